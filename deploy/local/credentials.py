"""The files by which the services of a stack trust each other and open what they encrypted."""

import os
import secrets
import stat
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from deploy.local.errors import KeysError
from deploy.local.stack import SERVICES
from deploy.local.tokens import EVERYWHERE, Issuer
from shared.files import UnreadableFile
from shared.keyring import Keyring

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
            _write(self.keys, Keyring.new().text())
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
    made = {"registry-keys": Keyring.new().text(), "postgres-password": secrets.token_urlsafe(32)}
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


def change_keys(file: Path, change: Callable[[Keyring], Keyring]) -> None:
    """Change a file of keys; whoever may read it may do so afterwards, and nobody else.

    Raises:
        KeysError: the file is wrong, or would be; it is as it was

    """
    file = file.resolve()  # a link to it stays one
    try:
        changed = change(Keyring.read(file))
        _write(file, changed.text(), like=file.stat())
    except (UnreadableFile, OSError) as error:
        raise KeysError(f"{file}: {error}") from error


def _write(path: Path, content: str, mode: int = 0o600, like: os.stat_result | None = None) -> None:
    """Replace a file of ours; readers see the old or the new one, whole.

    Args:
        path: of the file
        content: all of it
        mode: who may read it
        like: of a file whose owner and mode it is to have instead

    """
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)  # of a supervisor that was killed here
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w") as output:
            if like is not None:
                os.fchown(descriptor, like.st_uid, like.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            output.write(content)
            output.flush()
            os.fsync(output.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)  # there is one if it was not taken: it holds secrets
