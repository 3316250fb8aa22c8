"""Who is asking: bearer tokens, their keys, and what a caller may see.

A token is a JWT signed with RS256, ES256 or EdDSA by a key of the trusted JWKS. Its claims: `sub`,
`exp`, `aud`, `roles`, `areas` (2- to 12-digit prefixes of statistics codes), `team`, `site`.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import httpx
import jwt
import msgspec
import structlog
from fastapi import Depends, Request

from shared.errors import Forbidden, LastmetreError, Unauthorised, Unavailable

Role = Literal["site", "team", "office", "supervisor", "district", "system", "admin"]
ROLES: frozenset[str] = frozenset(get_args(Role))

ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""Asymmetric only: a service can verify tokens, never make them. `none` and HS* are refused."""

LEEWAY_SECONDS = 10
"""How far the issuer's clock and ours may differ."""

LONGEST_TOKEN = 16_384
"""Characters. A longer one is not looked at."""

MOST_AREAS = 512
"""Areas of one token. Each is a pattern in every query; who answers for more has a shorter code."""

_RETRY_SECONDS = 1.0
"""Between two tries for keys at an address that has not answered yet."""

_AREA = re.compile(r"[0-9]{2,12}")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, as the verified token says.

    `areas` are prefixes of statistics codes; a caller without any sees no area at all.
    """

    sub: str
    roles: frozenset[str]
    areas: tuple[str, ...] = ()
    team: str | None = None
    site: str | None = None

    def covers(self, code: str) -> bool:
        """Tell whether an area code lies within the caller's areas."""
        return code.startswith(self.areas) if self.areas else False

    def require(self, code: str) -> None:
        """Let pass only what lies within the caller's areas.

        Raises:
            Forbidden: it does not; the code itself is not repeated

        """
        if not self.covers(code):
            raise Forbidden("the token's areas do not cover this place")

    @property
    def area_patterns(self) -> list[str]:
        """Patterns for `community LIKE ANY($1)`. Empty matches nothing, as it must."""
        return [f"{area}%" for area in self.areas]

    def has(self, *roles: Role) -> bool:
        """Tell whether the caller has any of these roles."""
        return not self.roles.isdisjoint(roles)


@dataclass(frozen=True, slots=True)
class Token:
    """A verified token: whose it is, until when it holds (seconds since 1970), and its own id."""

    caller: Caller
    expires: float
    id: str | None = None


@dataclass(frozen=True, slots=True)
class _Key:
    key: Any
    algorithm: str


class KeySet:
    """The keys of a JWKS, from a file or an address, read again when they change.

    A file is looked at once a second at most and read when it was replaced. An address is read
    every `max_age` seconds. An unknown key id makes both be read at once, but not more often than
    every `min_interval` seconds: tokens with made-up key ids must not become a flood of requests.

    Args:
        source: path of a JWKS file, or its `https` address (`http` on the loopback only)
        max_age: seconds after which an address is read again
        min_interval: least seconds between two readings of an address
        transport: for tests
        clock: monotonic seconds, for tests

    """

    def __init__(
        self,
        source: str,
        *,
        max_age: float = 300,
        min_interval: float = 10,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = _checked_url(source)
        self._path = None if self._url else Path(source)
        self._max_age = max_age
        self._min_interval = min_interval
        self._transport = transport
        self._clock = clock
        self._keys: dict[str, _Key] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._read_at: float | None = None
        self._failed_at: float | None = None
        self._lock = asyncio.Lock()
        self.version = 0
        """Grows whenever the keys changed."""

    async def find(self, key_id: str) -> _Key | None:
        """Find a key, reading the source again where that may help.

        Raises:
            Unavailable: no keys could ever be read

        """
        await self.refresh(wanted=key_id)
        return self._keys.get(key_id)

    async def refresh(self, *, wanted: str | None = None) -> None:
        """Read the source if it is due, or if the wanted key is unknown.

        Raises:
            Unavailable: no keys could ever be read

        """
        if not self._due(wanted):
            return
        if self._failed_at is not None and self._clock() - self._failed_at < _RETRY_SECONDS:
            raise Unavailable("the keys of tokens cannot be read")
        if self._lock.locked() and self._keys and (wanted is None or wanted in self._keys):
            # Somebody is reading. What is known already need not wait for a slow source.
            return
        async with self._lock:
            # Whoever held the lock before us may have read it already.
            if self._due(wanted):
                await self._read()

    def _due(self, wanted: str | None) -> bool:
        if self._read_at is None:
            return True
        age = self._clock() - self._read_at
        unknown = wanted is not None and wanted not in self._keys
        if self._path is not None:
            return unknown or age >= 1
        return age >= (self._min_interval if unknown else self._max_age)

    async def _read(self) -> None:
        try:
            document = self._read_file() if self._path else await self._fetch()
        except (OSError, httpx.HTTPError) as error:
            _log.warning("jwks_unreadable", error=type(error).__name__)
            if not self._keys:
                # Requests that come while an address is down must not queue up to ask it.
                self._failed_at = self._clock() if self._url else None
                raise Unavailable("the keys of tokens cannot be read") from error
            # A known key stays good while its source is out of reach.
            self._read_at = self._clock()
            return
        self._read_at = self._clock()
        self._failed_at = None
        if document is not None:
            self._replace(document)

    def _read_file(self) -> bytes | None:
        if self._path is None:
            raise AssertionError
        stat = self._path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if stamp == self._stamp:
            return None
        document = self._path.read_bytes()
        self._stamp = stamp
        return document

    async def _fetch(self) -> bytes:
        async with httpx.AsyncClient(transport=self._transport, timeout=5) as client:
            answer = await client.get(self._url or "")
            answer.raise_for_status()
            return answer.content

    def _replace(self, document: bytes) -> None:
        try:
            keys = _parse(document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.warning("jwks_malformed", error=type(error).__name__)
            if not self._keys:
                raise Unavailable("the keys of tokens cannot be read") from None
            return
        self._keys = keys
        self.version += 1
        _log.info("jwks_read", keys=len(keys))


class _Jwks(msgspec.Struct):
    keys: list[dict[str, Any]]


def _parse(document: bytes) -> dict[str, _Key]:
    keys: dict[str, _Key] = {}
    for entry in msgspec.json.decode(document, type=_Jwks).keys:
        key_id = entry.get("kid")
        if not isinstance(key_id, str) or entry.get("use", "sig") != "sig":
            continue
        # A key of a kind we do not take (a symmetric one above all) must not spoil its neighbours.
        try:
            key = jwt.PyJWK(entry)
        except jwt.PyJWTError as error:
            _log.warning("jwks_key_ignored", error=type(error).__name__)
            continue
        if key.algorithm_name in ALGORITHMS:
            keys[key_id] = _Key(key.key, key.algorithm_name)
    return keys


def _checked_url(source: str) -> str | None:
    parts = urlsplit(source)
    if parts.scheme not in {"http", "https"}:
        return None
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise LastmetreError("keys of tokens must come over https")
    return source


class Verifier:
    """Turns a bearer token into a `Caller`.

    Verified tokens are remembered until they expire or the keys change: a client sends the same
    token thousands of times, and a signature costs more than the rest of a small request.
    """

    def __init__(
        self,
        keys: KeySet,
        *,
        audience: str,
        remember: int = 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._audience = audience
        self._remember = remember
        self._clock = clock
        self._known: OrderedDict[str, Token] = OrderedDict()
        self._version = -1

    async def verify(self, token: str) -> Caller:
        """Verify a token, and tell who asks; raises as `read`."""
        return (await self.read(token)).caller

    async def read(self, token: str) -> Token:
        """Verify a token, and read it.

        Raises:
            Unauthorised: it is not accepted; the detail says why, never what it holds
            Unavailable: there are no keys to verify it with

        """
        if len(token) > LONGEST_TOKEN:
            raise Unauthorised("the token is too long")
        await self._keys.refresh()
        if self._version != self._keys.version:
            self._known.clear()
            self._version = self._keys.version
        known = self._known.get(token)
        if known is not None:
            return self._remembered(token, known)
        claims = await self._claims(token)
        read = Token(_caller(claims), float(claims["exp"]), claims.get("jti"))
        self._known[token] = read
        if len(self._known) > self._remember:
            self._known.popitem(last=False)
        return read

    def _remembered(self, token: str, known: Token) -> Token:
        if known.expires + LEEWAY_SECONDS <= self._clock():
            del self._known[token]
            raise Unauthorised("the token has expired")
        return known

    async def _claims(self, token: str) -> dict[str, Any]:
        key = await self._keys.find(_key_id(token))
        if key is None:
            raise Unauthorised("the token's key is unknown")
        try:
            # The algorithm is the key's, never the one that the token asks for.
            return jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "aud", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthorised("the token has expired") from None
        except jwt.InvalidAudienceError:
            raise Unauthorised("the token is for another audience") from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthorised(f"the token has no {error.claim}") from None
        except jwt.PyJWTError:
            raise Unauthorised("the token is not valid") from None


def _key_id(token: str) -> str:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise Unauthorised("the token is not a JWT") from None
    if header.get("alg") not in ALGORITHMS:
        raise Unauthorised(f"the token is not signed with one of {', '.join(ALGORITHMS)}")
    key_id = header.get("kid")
    if not isinstance(key_id, str):
        raise Unauthorised("the token names no key")
    return key_id


_Name = Annotated[
    str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f\ud800-\udfff]*\Z")
]
"""Goes into logs and databases as it is."""


class _Claims(msgspec.Struct):
    sub: _Name
    roles: frozenset[str] = frozenset()
    areas: tuple[str, ...] = ()
    team: _Name | None = None
    site: _Name | None = None


def _caller(claims: Mapping[str, Any]) -> Caller:
    try:
        ours = msgspec.convert(claims, _Claims)
    except msgspec.ValidationError:
        raise Unauthorised("the token's claims are not understood") from None
    if len(ours.areas) > MOST_AREAS or not all(map(_AREA.fullmatch, ours.areas)):
        raise Unauthorised(f"the token's areas are not up to {MOST_AREAS} 2- to 12-digit codes")
    # Roles we do not know belong to other systems of the same issuer.
    return Caller(ours.sub, ours.roles & ROLES, ours.areas, ours.team, ours.site)


CALLER = "lastmetre.caller"
"""Where the front door of `shared.http` leaves the caller in the ASGI scope."""


async def caller_of(request: Request) -> Caller:
    """Return the verified caller of a request.

    Raises:
        Unauthorised: the route is public, so nobody was asked for a token

    """
    caller = request.scope.get(CALLER)
    if not isinstance(caller, Caller):
        raise Unauthorised
    return caller


CallerDep = Annotated[Caller, Depends(caller_of)]
