"""A running stack keeps its secrets in files: no command line, environment or log shows them."""

import json
from pathlib import Path
from secrets import token_urlsafe

import pytest

from tests.support.certificates import Authority
from tests.support.front import asking, front
from tests.support.live import live
from tests.support.stack import Up, running
from tests.support.town import LUYUAN

USER = "owner"


def secrets_of(up: Up, data: Path) -> dict[str, str]:
    """Everything of a stack that nobody else may know, by where it is kept."""
    keys = json.loads((data / "keys.json").read_text())
    found = {"index key": keys["index"], **keys["keys"]}
    found |= {token.name: token.read_text().strip() for token in data.glob("*.token")}
    for path in (up.state / "lastmetre").glob("*.pem"):
        found[path.name] = path.read_text().splitlines()[1]
    return found


async def test_a_stack_on_a_guarded_server_shows_its_secrets_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password, file = token_urlsafe(), tmp_path / "password"
    file.write_text(password)
    authority = Authority(tmp_path)
    server = authority.vouch("server")
    monkeypatch.setenv("LASTMETRE_DATABASE_PASSWORD_FILE", str(file))
    monkeypatch.setenv("LASTMETRE_DATABASE_CA_FILE", str(authority.certificate))
    data = tmp_path / "data"
    with asking(USER, password) as postgres:
        async with front(postgres.socket_folder, lambda: server) as port:
            place = f"postgresql://{USER}@127.0.0.1:{port}/"
            async with running(tmp_path / "state", data, "--postgres", place) as up:
                async with live(up) as town:
                    await town.people({"address": {"community_code": LUYUAN}})
                secrets = {"password": password, **secrets_of(up, data)}
                assert len(secrets) > 5, secrets.keys()
                for member in up.family():
                    shown = " ".join([*member.cmdline(), *member.environ().values()])
                    for name, secret in secrets.items():
                        assert secret not in shown, (member.name(), name)
    for log in (data / "logs").iterdir():
        for name, secret in secrets.items():
            assert secret not in log.read_text(), (log.name, name)
