"""The files by which the services of a stack trust each other and open what they encrypted."""

import base64
import json
import os
import secrets
import time
from datetime import timedelta
from pathlib import Path

from deploy.local.stack import SERVICES
from deploy.local.tokens import EVERYWHERE, Issuer

_TOKEN_TTL = timedelta(hours=6)
_HANDED_TTL = timedelta(days=30)
_RENEWAL = 3600.0  # seconds between two service tokens; far shorter than their life


class Credentials:
    """What a stack keeps in its data folder, readable by its owner only.

    - `jwks`: the public key of the development issuer, which the services verify tokens with;
    - `keys`: registry's encryption keys. They are made once and belong to the databases beside
      them: without them nobody can read an id number there;
    - a token per service, with which it calls the others; renewed long before it expires.
    """

    def __init__(self, home: Path, issuer: Issuer) -> None:
        self.jwks = home / "jwks.json"
        self.keys = home / "keys.json"
        self._home = home
        self._issuer = issuer
        self._renewed = 0.0
        _write(self.jwks, issuer.jwks())
        if not self.keys.exists():
            _write(self.keys, _new_keys())
        self._renew()

    def token(self, service: str) -> Path:
        """The file with a service's own token."""
        return self._home / f"{service}.token"

    def keep_fresh(self) -> None:
        """Renew the tokens if it is time to; call it now and then."""
        if time.monotonic() - self._renewed > _RENEWAL:
            self._renew()

    def _renew(self) -> None:
        for service in SERVICES:
            token = self._issuer.sign(
                sub=service, roles=["system"], areas=EVERYWHERE, ttl=_TOKEN_TTL
            )
            _write(self.token(service), token)
        self._renewed = time.monotonic()


def hand_out(folder: Path, issuer: Issuer) -> list[Path]:
    """Write every secret that a stack in containers mounts, a file each; keep those that exist.

    Keys and passwords belong to databases that outlive the containers, so they are made once.
    Tokens are always renewed; they hold for 30 days.

    Args:
        folder: made if need be, closed to others. The files in it can be read by whoever gets to
            them: a container has a user of its own.
        issuer: whose tokens the stack is to trust.

    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = {"registry-keys": _new_keys(), "postgres-password": secrets.token_urlsafe(32)}
    made |= {f"{service}-password": secrets.token_urlsafe(32) for service in SERVICES}
    kept = {name for name in made if (folder / name).exists()}
    made["jwks"] = issuer.jwks()
    for service in SERVICES:
        made[f"{service}-token"] = issuer.sign(
            sub=service, roles=["system"], areas=EVERYWHERE, ttl=_HANDED_TTL
        )
    written = [folder / name for name in sorted(made) if name not in kept]
    for path in written:
        _write(path, made[path.name], mode=0o444)
    return written


def _new_keys() -> str:
    return json.dumps({"current": "k1", "keys": {"k1": _key()}, "index": _key()}, indent=2)


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _write(path: Path, content: str, mode: int = 0o600) -> None:
    """Replace a file of ours; readers see the old or the new one, whole."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)  # of a supervisor that was killed here
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as output:
        output.write(content)
        output.flush()
        os.fsync(output.fileno())
    draft.replace(path)
