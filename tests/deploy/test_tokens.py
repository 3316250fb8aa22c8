"""Development tokens: one key per user, made once, and trusted by what `up` writes."""

import asyncio
import json
import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from deploy.local import tokens
from deploy.local.errors import TokenError
from shared.auth import ROLES, KeySet, Verifier


async def _lastmetre(state: Path, *words: str) -> tuple[int, str, str]:
    """Run the command with a state folder of the test; give exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("lastmetre"),
        *words,
        env={**os.environ, "XDG_STATE_HOME": str(state)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode().strip(), errors.decode().strip()


def _claims(token: str, jwks: str) -> dict[str, Any]:
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(jwks).keys}
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(token, key, algorithms=["ES256"], audience=tokens.AUDIENCE)


async def test_the_command_prints_a_token_that_the_key_set_verifies(tmp_path: Path) -> None:
    status, token, _ = await _lastmetre(
        tmp_path,
        *("token", "--role", "team", "--role", "site", "--area", "410171", "--area", "4102"),
        *("--team", "t-7", "--site", "s-1", "--ttl", "2"),
    )
    assert status == 0
    claims = _claims(token, tokens.development_issuer(tmp_path / "lastmetre").jwks())
    assert claims["roles"] == ["team", "site"]
    assert claims["areas"] == ["410171", "4102"]
    assert (claims["team"], claims["site"]) == ("t-7", "s-1")
    assert claims["exp"] - claims["iat"] == 7200


async def test_many_first_users_at_once_agree_on_one_key(tmp_path: Path) -> None:
    runs = await asyncio.gather(
        *(_lastmetre(tmp_path, "token", "--role", "office") for _ in range(4))
    )
    jwks = tokens.development_issuer(tmp_path / "lastmetre").jwks()
    assert [_claims(token, jwks)["roles"] for _, token, _ in runs] == [["office"]] * 4
    assert [path.name for path in (tmp_path / "lastmetre").iterdir()] == ["issuer.pem"]


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    tokens.development_issuer(tmp_path)
    assert stat.S_IMODE((tmp_path / "issuer.pem").stat().st_mode) == 0o600


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    tokens.development_issuer(tmp_path)
    (tmp_path / "issuer.pem").chmod(0o644)
    with pytest.raises(TokenError, match="read by others"):
        tokens.development_issuer(tmp_path)


def test_a_damaged_key_is_named_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "issuer.pem").touch(mode=0o600)
    with pytest.raises(TokenError, match="not a private key"):
        tokens.development_issuer(tmp_path)


async def test_the_services_accept_it(tmp_path: Path) -> None:
    issuer = tokens.development_issuer(tmp_path)
    (tmp_path / "jwks.json").write_text(issuer.jwks())
    token = issuer.sign(sub="me", roles=["system"], areas=["41"], ttl=timedelta(minutes=1))
    verifier = Verifier(KeySet(str(tmp_path / "jwks.json")), audience=tokens.AUDIENCE)
    caller = await verifier.verify(token)
    assert caller.sub == "me"
    assert caller.covers("410171001000")


async def test_what_cannot_be_meant_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for area in ("x", "4", "4101710010001"):
        status, token, why = await _lastmetre(tmp_path, "token", "--role", "team", "--area", area)
        assert (status, token) == (1, "")
        assert why.startswith("lastmetre: an area is")


def test_roles_are_those_of_the_services() -> None:
    assert set(tokens.ROLES) == ROLES


def test_the_whole_country_is_every_province() -> None:
    assert len(set(tokens.EVERYWHERE)) == 34
    assert all(len(area) == 2 for area in tokens.EVERYWHERE)


def test_a_key_id_is_the_thumbprint_of_rfc_7638(tmp_path: Path) -> None:
    issuer = tokens.development_issuer(tmp_path)
    assert json.loads(issuer.jwks())["keys"][0]["kid"] == issuer.key_id
    assert len(issuer.key_id) == 43
    later = datetime.now(UTC) + timedelta(minutes=1)
    claims = _claims(
        issuer.sign(sub="me", roles=[], areas=[], ttl=timedelta(minutes=1)), issuer.jwks()
    )
    assert abs(claims["exp"] - later.timestamp()) < 60
