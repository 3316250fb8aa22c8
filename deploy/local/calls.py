"""Calls to the services as any client makes them: over HTTP, patiently.

Every write carries ids that the client made, so a repeat is harmless (R19): whatever may not have
arrived is sent again until it has, or until patience ends.

CallError (a LocalError)
├── Refused        the service answered, and repeating would not help (its problem+json inside)
└── Unreachable    no answer, or only "later" (429, 502, 503, 504), for as long as we waited
"""

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Self

import httpx
import msgspec

from deploy.local.errors import LocalError

LATER = frozenset({429, 502, 503, 504})
NOTHING_DONE = frozenset({"overloaded", "too-many-requests"})
"""Problems of requests that were refused at the door."""
FIRST_DELAY = 0.2
LONGEST_DELAY = 20.0
PATIENCE = 120.0

Params = Mapping[str, str | int]


class CallError(LocalError):
    """A call had no success."""


class Refused(CallError):
    """The service said no. `status` is HTTP's, `problem` the body's `type`, `detail` its words."""

    def __init__(self, status: int, problem: str, detail: str) -> None:
        super().__init__(f"{status} {problem}: {detail}" if detail else f"{status} {problem}")
        self.status = status
        self.problem = problem
        self.detail = detail


class Unreachable(CallError):
    """No useful answer within the patience."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered. `repeated`: the request may have arrived before, unanswered."""

    content: bytes
    repeated: bool


class Api:
    """One service, called with one bearer token.

    `token` is asked before each call, so it may be renewed. `patience` is how long (seconds) one
    call is repeated while the service cannot be reached or asks to come back later; `waiting` hears
    of it when that begins.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        *,
        patience: float = PATIENCE,
        waiting: Callable[[str], None] = lambda _: None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._patience = patience
        self._waiting = waiting
        self._sleep = sleep
        self._client = httpx.AsyncClient(
            base_url=self.url,
            timeout=httpx.Timeout(60, connect=5),
            transport=transport,
            verify=_trusted(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, path: str, params: Params | None = None) -> Any:  # noqa: ANN401 - JSON
        """Read JSON."""
        return await self.call("GET", path, params=params)

    async def post(self, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Post JSON, read JSON."""
        return await self.call("POST", path, body=body)

    async def put(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """Put JSON, read JSON."""
        return await self.call("PUT", path, body=body)

    async def call(
        self, method: str, path: str, *, params: Params | None = None, body: object = None
    ) -> Any:  # noqa: ANN401 - JSON
        """Call until there is an answer. Raises `Refused` or `Unreachable`."""
        content = None if body is None else msgspec.json.encode(body)
        reply = await self.exchange(method, path, params=params, content=content)
        return msgspec.json.decode(reply.content) if reply.content else None

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        content: bytes | None = None,
    ) -> Reply:
        """Send JSON as it is, and give the answer as it is. Raises `Refused` or `Unreachable`."""
        give_up = time.monotonic() + self._patience
        attempt, repeated = 0, False
        while True:
            answer, trouble = await self._attempt(method, path, params, content)
            if isinstance(answer, httpx.Response) and answer.status_code not in LATER:
                return Reply(_read(answer), repeated)
            repeated = repeated or _may_have_arrived(answer)
            delay = _delay(attempt, answer)
            if time.monotonic() + delay > give_up:
                raise Unreachable(f"{self.url}: {trouble}")
            if attempt == 0:
                self._waiting(f"{self.url}: {trouble}; trying for up to {self._patience:.0f} s")
            await self._sleep(delay)
            attempt += 1

    async def _attempt(
        self, method: str, path: str, params: Params | None, content: bytes | None
    ) -> tuple[httpx.Response | httpx.TransportError, str]:
        headers = {"Authorization": f"Bearer {self._token()}"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = await self._client.request(
                method, path, params=params, content=content, headers=headers
            )
        except httpx.TransportError as error:
            return error, f"{type(error).__name__}: {error}".rstrip(": ")
        return answer, f"answered {answer.status_code}"


@cache
def _trusted() -> ssl.SSLContext:
    """Certificates to trust, read once: that takes longer than a call, and clients are many."""
    return httpx.create_ssl_context()


def _may_have_arrived(answer: httpx.Response | httpx.TransportError) -> bool:
    """Whether something may have been done of a request whose answer is no use."""
    if isinstance(answer, httpx.Response):
        return _problem(answer).type.rpartition("/")[2] not in NOTHING_DONE
    return not isinstance(answer, httpx.ConnectError | httpx.ConnectTimeout)


def _read(answer: httpx.Response) -> bytes:
    if answer.is_success:
        return answer.content
    problem = _problem(answer)
    raise Refused(answer.status_code, problem.type, problem.detail or problem.title)


def _delay(attempt: int, answer: httpx.Response | httpx.TransportError) -> float:
    """Seconds until the next attempt: what the service asked for, else growing, never in step."""
    if isinstance(answer, httpx.Response):
        asked = _retry_after(answer.headers.get("Retry-After"))
        if asked is not None:
            return asked
    ceiling: float = min(LONGEST_DELAY, FIRST_DELAY * 2**attempt)
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, guards nothing


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header (RFC 9110: seconds or a date); None when unreadable."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _problem(answer: httpx.Response) -> "_Problem":
    try:
        return msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.MsgspecError:
        return _Problem(detail=answer.reason_phrase)


class _Problem(msgspec.Struct):
    """What we read of RFC 9457."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
