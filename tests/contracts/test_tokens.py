"""A token that is not to be trusted opens no door, and is repeated nowhere."""

from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from shared.errors import Unauthorised
from tests.contracts.playing import calls
from tests.contracts.test_access import problem
from tests.shared.tokens import EC_KEY, ENTRIES, REFUSED, write
from tests.support.counting import Tell
from tests.support.issuer import Issuer
from tests.support.town import Ground


async def test_a_bad_token_is_refused_at_every_route(
    ground: Ground, tmp_path: Path, tell: Tell
) -> None:
    write(tmp_path / "jwks.json", ENTRIES)
    issuer = Issuer(EC_KEY, tmp_path / "jwks.json", key_id="ec")
    bad = {name: make() for name, (make, _) in REFUSED.items()}
    routes = [call for call, _ in calls()]
    async with replace(ground, issuer=issuer).town() as town:
        for service, method, path in routes:
            for name, token in bad.items():
                with capture_logs() as logs:
                    answer = await getattr(town, service).request(
                        method, path, headers={"Authorization": f"Bearer {token}"}
                    )
                where = f"{name} at {service} {method} {path}"
                assert problem(answer) == (401, Unauthorised.slug), where
                assert 'error="invalid_token"' in answer.headers["www-authenticate"], where
                parts = [part for part in token.split(".") if len(part) > len("expired")]
                told = f"{answer.text} {answer.headers} {logs}"
                assert not any(part in told for part in parts), where
    tell(f"{len(bad)} kinds of bad tokens x {len(routes)} routes = {len(bad) * len(routes)}")
