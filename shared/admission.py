"""How much a process takes on at a time, and what it says to the rest at once.

A request comes through three narrow places, all of them in front of its route:

1. *On arrival.* When the queue of its lane is full it is refused before its body is read.
2. *Its body* is read into memory, and all bodies together are bounded. A slow sender holds the
   bytes that have come, and no turn: turns are for work.
3. *Its turn.* So many are in work, so many wait, and nobody waits for long: who has waited
   `seconds` is refused. An answer that comes late is work for nothing, the asker has given up.

There are four lanes, so that none can starve another: `single` rows and reads; `bulk`, whose one
request is the work of a thousand; `gathered`, whose requests are work only together
(`shared/gathering.py`); and `system`, by which our own services follow each other. The turns of all
lanes are fewer than the connections to the database: the pool is never the queue. Of `gathered`,
dozens are in work on two connections.

Who is refused is told when to come again, each another second (`Retry-After`). While others wait,
nobody holds more than half of a lane's places: the caller who does is refused by name, 429.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import structlog

from shared import gathering
from shared.errors import Overloaded, TooManyRequests
from shared.settings import ServiceSettings
from shared.telemetry import HTTP_IN_WORK, HTTP_REFUSED, HTTP_WAITING

SINGLE, BULK, GATHERED, SYSTEM = "single", "bulk", "gathered", "system"

_BATCH = 16
"""Single requests in whose stead one batch may wait: it is large, and a turn of its takes long."""

_SCANS = 8
"""Rows that are written together, of which as many may wait as of one other request: they are
small, and a turn of theirs is short."""

_LOG_SECONDS = 10.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much one process takes on.

    `single`, `bulk`, `gathered` and `system` are requests in work. `waiting` is how many of a lane
    may wait for their turn (of batches a sixteenth, of what is gathered eight times as many), and
    `seconds` for how long; `bodies` is bytes of request bodies held at a time.
    """

    single: int = 3
    bulk: int = 2
    system: int = 2
    gathered: int = 128
    waiting: int = 64
    seconds: float = 0.5
    bodies: int = 64 * 1024 * 1024

    @classmethod
    def of(cls, settings: ServiceSettings) -> Self:
        """Share out the connections of a process.

        One is left for probes and background work, and two for what is gathered.
        """
        part = max(1, settings.database_pool // 4)
        return cls(
            single=max(1, settings.database_pool - 2 * part - 1 - gathering.AT_ONCE),
            bulk=part,
            system=part,
            gathered=settings.gathered_requests,
            waiting=settings.waiting_requests,
            seconds=settings.waiting_seconds,
            bodies=settings.bodies_megabytes * 1024 * 1024,
        )


class Admission:
    """The lanes of one process and the memory for bodies they share."""

    def __init__(self, service: str, limits: Limits) -> None:
        refusals = _Refusals(service)
        self.bodies = Bodies(limits.bodies, refusals)
        self._lanes = {
            name: Lane(service, name, work, waiting, limits.seconds, refusals)
            for name, work, waiting in (
                (SINGLE, limits.single, limits.waiting),
                (BULK, limits.bulk, limits.waiting // _BATCH),
                (GATHERED, limits.gathered, limits.waiting * _SCANS),
                (SYSTEM, limits.system, limits.waiting),
            )
        }

    def lane(self, name: str) -> "Lane":
        """Find a lane."""
        return self._lanes[name]


class Lane:
    """Requests of one kind: some in work, some waiting for their turn, first come first served."""

    def __init__(
        self,
        service: str,
        name: str,
        work: int,
        waiting: int,
        seconds: float,
        refusals: "_Refusals",
    ) -> None:
        self._work = work
        self._most = waiting
        self._seconds = seconds
        self._refusals = refusals
        self._share = max(1, (work + waiting) // 2)
        self._in_work = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._held: Counter[str] = Counter()
        HTTP_IN_WORK.labels(service, name).set_function(lambda: self._in_work)
        HTTP_WAITING.labels(service, name).set_function(lambda: len(self._queue))

    def arrive(self, sub: str) -> None:
        """Look whether there is a place for this caller.

        Raises:
            Overloaded: all places are taken
            TooManyRequests: places are short, and this caller has half of them

        """
        if len(self._queue) >= self._most and self._in_work >= self._work:
            raise self._refusals.count(Overloaded("too many requests are waiting"), "queue")
        if self._queue and self._held[sub] >= self._share:
            detail = "others are waiting, and half of all places are yours"
            raise self._refusals.count(TooManyRequests(detail), "caller")

    async def turn(self, sub: str) -> "Turn":
        """Wait for a turn; whoever is given one has to end it.

        Raises:
            Overloaded: all places are taken, or the turn did not come in time
            TooManyRequests: as on arrival

        """
        self.arrive(sub)
        self._held[sub] += 1
        try:
            if self._in_work < self._work:
                self._in_work += 1
            else:
                await self._wait()
        except BaseException:
            self._forget(sub)
            raise
        return Turn(lambda: self._end(sub))

    async def _wait(self) -> None:
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            async with asyncio.timeout(self._seconds):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                # The turn came in the very moment in which we left.
                self._pass_on()
            elif place in self._queue:
                self._queue.remove(place)
            if isinstance(error, TimeoutError):
                late = Overloaded(f"its turn did not come within {self._seconds:g} s")
                raise self._refusals.count(late, "late") from None
            raise

    def _end(self, sub: str) -> None:
        self._forget(sub)
        self._pass_on()

    def _pass_on(self) -> None:
        """Hand a turn to the first who waits; it stays in work."""
        while self._queue:
            place = self._queue.popleft()
            # Who is leaving may stand here a moment longer.
            if not place.done():
                place.set_result(None)
                return
        self._in_work -= 1

    def _forget(self, sub: str) -> None:
        self._held[sub] -= 1
        if not self._held[sub]:
            del self._held[sub]


class Turn:
    """The right to work. Ending it twice is ending it once."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end: Callable[[], None] | None = end

    def end(self) -> None:
        """Let the next one work."""
        end, self._end = self._end, None
        if end is not None:
            end()


class Bodies:
    """Memory for the bodies of requests: what has come, of those that are being read or worked on.

    Args:
        limit: bytes
        refusals: where they are counted

    """

    def __init__(self, limit: int, refusals: "_Refusals") -> None:
        self._limit = limit
        self._refusals = refusals
        self.held = 0

    def fits(self, size: int) -> None:
        """Look whether a body of this size could be held now.

        Raises:
            Overloaded: it could not

        """
        if self.held + size > self._limit:
            raise self._refusals.count(Overloaded("too many bodies are in memory"), "memory")

    def hold(self, size: int) -> None:
        """Hold so many bytes more, as `fits` allows."""
        self.fits(size)
        self.held += size

    def drop(self, size: int) -> None:
        """Hold so many bytes less."""
        self.held -= size


class _Refusals:
    """Counts refusals, and logs them together: a line for each would add to the load."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._since: Counter[str] = Counter()
        self._logged = 0.0

    def count(self, error: Overloaded, reason: str) -> Overloaded:
        HTTP_REFUSED.labels(self._service, reason).inc()
        self._since[reason] += 1
        now = time.monotonic()
        if now - self._logged > _LOG_SECONDS:
            _log.warning("requests_refused", **self._since)
            self._since.clear()
            self._logged = now
        return error
