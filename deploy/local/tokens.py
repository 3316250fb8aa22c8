"""Development tokens, and the issuer key that signs them.

The key lies in the user's state folder, readable by its owner only. `lastmetre up` trusts its
public half. In production tokens come from the house's identity provider and none of this runs.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from deploy.local.errors import TokenError

ROLES = ("site", "team", "office", "supervisor", "district", "system", "admin")

AUDIENCE = "lastmetre"

DAY = timedelta(days=1)

# fmt: off
EVERYWHERE = (
    "11", "12", "13", "14", "15",
    "21", "22", "23",
    "31", "32", "33", "34", "35", "36", "37",
    "41", "42", "43", "44", "45", "46",
    "50", "51", "52", "53", "54",
    "61", "62", "63", "64", "65",
    "71", "81", "82",
)
# fmt: on
"""Every province-level code of GB/T 2260: the areas of a token for the whole country."""


@dataclass(frozen=True)
class Issuer:
    """A key that signs tokens."""

    key: ec.EllipticCurvePrivateKey

    @property
    def key_id(self) -> str:
        """The key's RFC 7638 thumbprint."""
        public = self._public()
        members = {name: public[name] for name in ("crv", "kty", "x", "y")}
        canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
        digest = hashlib.sha256(canonical).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def jwks(self) -> str:
        """The public half, as a JWKS document."""
        entry = {**self._public(), "kid": self.key_id, "alg": "ES256", "use": "sig"}
        return json.dumps({"keys": [entry]}, indent=2)

    def sign(
        self,
        *,
        sub: str,
        roles: Iterable[str],
        areas: Iterable[str],
        ttl: timedelta,
        claims: Mapping[str, str] | None = None,
    ) -> str:
        """Sign a token that holds for `ttl` from now."""
        now = datetime.now(UTC)
        body = {
            **(claims or {}),
            "sub": sub,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + ttl,
            "roles": list(roles),
            "areas": list(areas),
        }
        return jwt.encode(body, self.key, algorithm="ES256", headers={"kid": self.key_id})

    def _public(self) -> dict[str, str]:
        document = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {name: str(value) for name, value in document.items()}


def state_folder() -> Path:
    """The user's folder for what outlives a run: `$XDG_STATE_HOME/lastmetre`; made if need be.

    Raises:
        TokenError: there is no such place.

    """
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(base) / "lastmetre"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise TokenError(f"no state folder: {error}; set XDG_STATE_HOME") from error
    return folder


def development_issuer(folder: Path | None = None) -> Issuer:
    """The issuer whose key lies in the folder (default: the state folder); made by the first user.

    Raises:
        TokenError: what lies there is not such a key, or others may read it.

    """
    path = (folder or state_folder()) / "issuer.pem"
    if not path.exists():
        _write_once(path, _new_key())
    if path.stat().st_mode & 0o077:
        raise TokenError(f"{path} can be read by others; remove it, and a new one is made")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise TokenError(
            f"{path} is not a private key; remove it, and a new one is made"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TokenError(f"{path} is not an ES256 key; remove it, and a new one is made")
    return Issuer(key)


def development_token(
    roles: Iterable[str],
    areas: Iterable[str] = EVERYWHERE,
    *,
    team: str | None = None,
    site: str | None = None,
    sub: str = "development",
    ttl: timedelta = DAY,
    once: bool = False,
) -> str:
    """Sign a token with the user's development key; with `once` it signs in to the page once.

    Raises:
        TokenError: an unknown role, an area that is no code prefix, or no usable key.

    """
    roles, areas = list(roles), list(areas)
    for role in roles:
        if role not in ROLES:
            raise TokenError(f"no role {role!r}; there are {', '.join(ROLES)}")
    for area in areas:
        if not (area.isascii() and area.isdigit() and 2 <= len(area) <= 12):  # noqa: PLR2004
            raise TokenError(
                f"an area is a statistics code or its beginning, 2-12 digits: {area!r}"
            )
    given = {"team": team, "site": site, "jti": secrets.token_hex(16) if once else None}
    claims = {name: value for name, value in given.items() if value}
    return _issuer(state_folder()).sign(sub=sub, roles=roles, areas=areas, ttl=ttl, claims=claims)


@cache
def _issuer(folder: Path) -> Issuer:
    return development_issuer(folder)


def _new_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_once(path: Path, content: bytes) -> None:
    """Write a file that others see whole or not at all; keep theirs if they were first."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as output:
            output.write(content)
            output.flush()
            os.fsync(output.fileno())
        # Linking fails where renaming would replace the key that somebody already signs with.
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
