"""What reporting asks of registry and dispatch: heads, and testimony for the ledger."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, TypeVar

import httpx
import msgspec
import structlog

from services.reporting.domain.evidence import Evidence, Head, OpenHands, Recount
from services.reporting.domain.freshness import Applied
from services.reporting.domain.operations import At, Place
from services.reporting.domain.series import SAMPLED_AT
from services.reporting.domain.webhooks import Attempt
from services.reporting.domain.work import DUE
from shared.clients import TIMEOUT
from shared.contracts.dispatch import HANDS
from shared.contracts.registry import ROLL
from shared.contracts.vocabulary import RoundState
from shared.errors import (
    BadBody,
    BadInput,
    Conflict,
    Forbidden,
    NotFound,
    ProblemError,
    TransientError,
    Unauthorised,
    Unavailable,
)
from shared.outbox import Backlog, ConsumerPosition, Heads, Pulled, Unpublished
from shared.outbox import Head as ProducerHead
from shared.parked import DiscardIn, MendIn, Parked, ParkedList, ParkedWhole, Tried, TryIn

T = TypeVar("T")

RECOUNT_TIMEOUT = httpx.Timeout(60.0, connect=2.0)
"""A recount goes through everybody; what ends it is registry's own limit on statements."""

ATTEMPT_SECONDS = 20.0
"""How long one call of a webhook may take altogether."""

log = structlog.get_logger(__name__)


class _Totals(msgspec.Struct, frozen=True):
    as_of: datetime
    heads: list[ProducerHead]
    applied: list[ConsumerPosition]
    communities: dict[str, dict[str, int]]
    hands: dict[str, int]
    state: RoundState
    series: dict[str, dict[int, int]]
    due: dict[str, dict[str, dict[int, int]]] | None = None


class _HandsHead(msgspec.Struct, frozen=True):
    partition: int
    pos: int


class _HandsTotals(msgspec.Struct, frozen=True):
    heads: list[_HandsHead]
    hands: dict[str, int]


class _AppliedPosition(msgspec.Struct, frozen=True):
    topic: str
    partition: int
    applied: int
    recorded_at: datetime | None = None


class _Status(msgspec.Struct, frozen=True):
    positions: list[_AppliedPosition]
    parked: dict[str, int]


@dataclass(frozen=True, slots=True)
class Peers:
    """The two services whose word reporting's figures are held against."""

    registry: httpx.AsyncClient
    dispatch: httpx.AsyncClient

    async def testify(self, round_id: str, max_age: float) -> Evidence:
        """Ask both for what the ledger needs; one that does not answer is None, never an error.

        A recount may be up to `max_age` seconds old, so that many who ask share one.
        """
        recounting = asyncio.ensure_future(_or_none(self.recount(round_id, max_age)))
        try:
            registry_parked, dispatch_parked = await asyncio.gather(
                _or_none(parked(self.registry)), _or_none(parked(self.dispatch))
            )
            # Who says nothing at all is not waited for as long as a recount may take.
            recount = await recounting if registry_parked is not None else None
        finally:
            recounting.cancel()
        # Asked last: hands that registry has taken in were dispatch's before.
        open_hands = await _or_none(self.open_hands(round_id))
        return Evidence(
            recount, open_hands, {"registry": registry_parked, "dispatch": dispatch_parked}
        )

    async def recount(self, round_id: str, max_age: float) -> Recount:
        """Figures of a round as registry counts them from facts, in one snapshot."""
        totals = await _get(
            self.registry,
            f"/v1/rounds/{round_id}/totals",
            _Totals,
            {"max_age": f"{max_age:g}"},
            timeout=RECOUNT_TIMEOUT,
        )
        return Recount(
            as_of=totals.as_of,
            state=totals.state,
            roll_heads={
                each.partition: Head(each.pos, str(each.incarnation))
                for each in totals.heads
                if each.topic == ROLL
            },
            hands_applied={
                each.partition: each.pos for each in totals.applied if each.topic == HANDS
            },
            communities=_along_time(totals),
            hands=totals.hands,
            tells_due=totals.due is not None,
        )

    async def open_hands(self, round_id: str) -> OpenHands:
        """Dispatch's open hands of a round, by kind."""
        totals = await _get(self.dispatch, "/v1/hands/totals", _HandsTotals, {"round": round_id})
        return OpenHands({each.partition: each.pos for each in totals.heads}, totals.hands)

    def named(self) -> Mapping[str, httpx.AsyncClient]:
        """Both, by name."""
        return {"registry": self.registry, "dispatch": self.dispatch}

    async def hands_applied(self) -> Sequence[Applied]:
        """How far registry has taken in what dispatch announced of hands."""
        status = await _get(self.registry, "/v1/status", _Status)
        return [
            Applied(each.topic, each.partition, each.applied, each.recorded_at)
            for each in status.positions
            if each.topic == HANDS
        ]


def _along_time(totals: _Totals) -> dict[str, dict[str, int]]:
    """Figures by community, those along time among them as cells that end in their slot."""
    due = totals.due or {}
    return {
        code: totals.communities.get(code, {})
        | {f"{SAMPLED_AT}.{slot}": n for slot, n in totals.series.get(code, {}).items()}
        | {
            f"{DUE}{kind}.{slot}": n
            for kind, slots in due.get(code, {}).items()
            for slot, n in slots.items()
        }
        for code in totals.communities.keys() | totals.series.keys() | due.keys()
    }


async def heads(client: httpx.AsyncClient) -> Mapping[str, Sequence[int]]:
    """Heads of everything a producer announces on, by topic; the index is the partition."""
    told = sorted(
        (await _get(client, "/v1/outbox/heads", Heads)).heads,
        key=lambda head: (head.topic, head.partition),
    )
    return {
        topic: [head.pos for head in own] for topic, own in groupby(told, lambda head: head.topic)
    }


async def parked(client: httpx.AsyncClient) -> int:
    """How many events a service set aside that nobody decided on."""
    return sum((await _get(client, "/v1/status", _Status)).parked.values())


async def head_places(client: httpx.AsyncClient) -> Mapping[Place, At]:
    """Heads of everything a producer announces on, by place."""
    told = (await _get(client, "/v1/outbox/heads", Heads)).heads
    return {(head.topic, head.partition): At(head.pos, head.recorded_at) for head in told}


async def consumed(client: httpx.AsyncClient) -> tuple[Mapping[Place, At], Mapping[str, int]]:
    """How far a service has applied what it follows, and how much of each topic it set aside."""
    status = await _get(client, "/v1/status", _Status)
    applied = {
        (each.topic, each.partition): At(each.applied, each.recorded_at)
        for each in status.positions
    }
    return applied, status.parked


async def backlog(client: httpx.AsyncClient) -> Sequence[Unpublished]:
    """What a producer has announced that is not on Kafka yet."""
    return (await _get(client, "/v1/outbox/unpublished", Backlog)).topics


async def announced_at(client: httpx.AsyncClient, place: Place, after: int) -> datetime | None:
    """Tell when the first event after a position was announced."""
    topic, partition = place
    params = {"after": str(after), "bytes": "1"}
    page = await _get(client, f"/v1/outbox/{topic}/{partition}", Pulled, params)
    return page.records[0].recorded_at if page.records else None


async def parked_events(client: httpx.AsyncClient, limit: int) -> Sequence[Parked]:
    """List what a service set aside and nobody decided on."""
    params = {"state": "parked", "limit": str(limit)}
    return (await _get(client, "/v1/parked", ParkedList, params)).items


_REFUSALS: Mapping[int, type[ProblemError]] = {
    each.status: each for each in (BadBody, Unauthorised, Forbidden, NotFound, Conflict, BadInput)
}


@dataclass(frozen=True, slots=True)
class TheirLetters:
    """Dead letters of another service, in the name of who looks: their token, so their rights.

    Each raises what the service refuses, and why, and TransientError when it does not answer.
    """

    client: httpx.AsyncClient
    token: str

    async def show(self, parked_id: int) -> ParkedWhole:
        """Show one event, whole."""
        return await self._call("GET", f"/v1/parked/{parked_id}", ParkedWhole)

    async def mend(self, parked_id: int, asked: MendIn) -> Parked:
        """Give it other data."""
        return await self._call("POST", f"/v1/parked/{parked_id}:mend", Parked, asked)

    async def attempt(self, parked_id: int) -> Tried:
        """Say what re-driving it would do."""
        return await self._call("POST", f"/v1/parked/{parked_id}:try", Tried, TryIn())

    async def redrive(self, parked_id: int) -> Parked:
        """Apply it now."""
        return await self._call("POST", f"/v1/parked/{parked_id}:redrive", Parked)

    async def discard(self, parked_id: int, asked: DiscardIn) -> Parked:
        """Give it up."""
        return await self._call("POST", f"/v1/parked/{parked_id}:discard", Parked, asked)

    async def _call(
        self, method: str, path: str, shape: type[T], body: msgspec.Struct | None = None
    ) -> T:
        answer = await self.client.request(
            method,
            path,
            content=msgspec.json.encode(body) if body is not None else b"",
            headers={"authorization": f"Bearer {self.token}", "content-type": "application/json"},
            auth=None,
        )
        if answer.is_error:
            raise _refusal(answer)
        return _read(answer, shape)


def _refusal(answer: httpx.Response) -> ProblemError:
    try:
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        problem = {}
    refused = _REFUSALS.get(answer.status_code, ProblemError)
    errors = problem.get("errors")
    detail = str(problem.get("detail", ""))
    return refused(detail, errors=errors) if errors else refused(detail)


async def _get(
    client: httpx.AsyncClient,
    path: str,
    shape: type[T],
    params: Mapping[str, str] | None = None,
    timeout: httpx.Timeout = TIMEOUT,  # noqa: ASYNC109 - httpx's, of each step
) -> T:
    answer = await client.get(path, params=params, timeout=timeout)
    if answer.is_error:
        raise Unavailable(f"{path} was answered {answer.status_code}")
    return _read(answer, shape)


def _read(answer: httpx.Response, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=shape)
    except msgspec.MsgspecError as error:
        path = answer.request.url.path
        raise Unavailable(f"{path} was answered in a shape we do not know") from error


async def _or_none(asked: Awaitable[T]) -> T | None:
    try:
        return await asked
    except TransientError as error:
        log.debug("witness_silent", why=str(error))
        return None


def receivers() -> httpx.AsyncClient:
    """Make the client that webhooks are called by: nothing is followed, little is waited for."""
    return httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False)


async def post(client: httpx.AsyncClient, attempt: Attempt, now: datetime) -> int | str:
    """Make one attempt; tell the status that was answered, or the kind of failure.

    Of an answer nothing but the status is read: its sender is a stranger.
    """
    try:
        async with (
            asyncio.timeout(ATTEMPT_SECONDS),
            client.stream(
                "POST", attempt.url, content=attempt.body.encode(), headers=attempt.headers(now)
            ) as response,
        ):
            return response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        return type(error).__name__
