"""Overload: who is taken on, who is told at once to come again, and what it costs those inside."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared import gathering
from shared.admission import Admission, Lane, Limits
from shared.auth import KeySet, Verifier
from shared.bodies import read_body
from shared.errors import Overloaded, TooManyRequests
from shared.http import create_app
from tests.shared.toy import Settings
from tests.support.issuer import Issuer
from tests.support.waiting import eventually

EVERYBODY = {"site", "team", "system"}
LONG = 60.0
"""Seconds that nobody waits in these tests."""


@dataclass
class Workshop:
    """A service whose work is finished when the test says so."""

    issuer: Issuer
    limits: Limits
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def router(self) -> APIRouter:
        routes = APIRouter()

        async def work(request: Request) -> str:
            self.begun.append(request.url.path)
            self.sizes.append(len(await read_body(request)))
            await self.gate.wait()
            self.done.append(request.url.path)
            return "done"

        async def stream() -> StreamingResponse:
            async def pages() -> AsyncIterator[bytes]:
                self.begun.append("the answer")
                yield b"first"
                await self.gate.wait()
                yield b"last"

            return StreamingResponse(pages())

        routes.add_api_route("/v1/rows", work, methods=["GET", "POST"])
        routes.add_api_route("/v1/rows:batch", work, methods=["POST"])
        routes.add_api_route("/v1/follow", work, methods=["PUT"])
        routes.add_api_route("/v1/stream", stream, methods=["GET"])
        return routes

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Callable[..., "Asker"]]:
        app = create_app(
            service="workshop",
            title="Workshop",
            description="A workshop",
            routers=[self.router()],
            access={
                ("GET", "/v1/rows"): EVERYBODY,
                ("POST", "/v1/rows"): EVERYBODY,
                ("POST", "/v1/rows:batch"): EVERYBODY,
                ("PUT", "/v1/follow"): {"system"},
                ("GET", "/v1/stream"): EVERYBODY,
            },
            verifier=Verifier(KeySet(str(self.issuer.jwks)), audience="lastmetre"),
            limits=self.limits,
        )
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://workshop", timeout=LONG
        ) as client, asyncio.TaskGroup() as tasks:  # fmt: skip

            def ask(
                method: str, path: str, sub: str = "a", role: str = "site", **more: Any
            ) -> Asker:
                headers = {"Authorization": f"Bearer {self.issuer.token(role, sub=sub)}"}
                call = client.request(method, path, headers=headers, **more)
                return tasks.create_task(call)

            yield ask
            self.gate.set()

    async def begins(self, count: int) -> None:
        await eventually(lambda: len(self.begun) >= count, hint=f"{count} begun")


Asker = asyncio.Task[httpx.Response]


def told(answer: httpx.Response, status: int, slug: str) -> None:
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
    assert int(answer.headers["retry-after"]) in {1, 2, 3}


def gauge(name: str, lane: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"service": "workshop", "lane": lane})


def waiting(lane: str) -> Callable[[], float | None]:
    return lambda: gauge("lastmetre_http_waiting", lane)


def refused(reason: str) -> float:
    labels = {"service": "workshop", "reason": reason}
    return REGISTRY.get_sample_value("lastmetre_http_refused_total", labels) or 0.0


async def test_with_all_places_taken_the_next_is_refused_at_once_and_none_is_lost(
    issuer: Issuer,
) -> None:
    shop = Workshop(issuer, Limits(single=2, waiting=2, seconds=LONG))
    before = refused("queue")
    async with shop.open() as ask:
        inside = [ask("POST", "/v1/rows", sub=f"{n}") for n in range(2)]
        await shop.begins(2)
        inside += [ask("POST", "/v1/rows", sub=f"{n}") for n in range(2, 4)]
        await eventually(lambda: waiting("single")() == 2)
        assert gauge("lastmetre_http_in_work", "single") == 2

        for n in range(20):
            told(await ask("POST", "/v1/rows", sub=f"late {n}"), 503, "overloaded")
        assert len(shop.begun) == 2, "nothing of the refused was begun"

        shop.gate.set()
        assert [(await each).status_code for each in inside] == [200] * 4
    assert len(shop.begun) == len(shop.done) == 4
    assert refused("queue") == before + 20
    assert gauge("lastmetre_http_in_work", "single") == 0


async def test_who_is_refused_on_arrival_need_not_send_the_body(issuer: Issuer) -> None:
    shop = Workshop(issuer, Limits(single=1, waiting=0))

    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was asked for")
        yield b""

    async with shop.open() as ask:
        ask("GET", "/v1/rows")
        await shop.begins(1)
        told(await ask("POST", "/v1/rows", sub="b", content=never()), 503, "overloaded")


async def test_nobody_waits_longer_than_is_said(issuer: Issuer) -> None:
    shop = Workshop(issuer, Limits(single=1, waiting=5, seconds=0.01))
    before = refused("late")
    async with shop.open() as ask:
        first = ask("GET", "/v1/rows")
        await shop.begins(1)
        told(await ask("GET", "/v1/rows", sub="b"), 503, "overloaded")
        assert waiting("single")() == 0
        shop.gate.set()
        assert (await first).status_code == 200
        assert (await ask("GET", "/v1/rows", sub="b")).status_code == 200
    assert refused("late") == before + 1


async def test_batches_do_not_starve_single_rows_nor_anybody_our_own_services(
    issuer: Issuer,
) -> None:
    shop = Workshop(issuer, Limits(single=1, bulk=1, system=1, waiting=0, seconds=LONG))
    async with shop.open() as ask:
        ask("POST", "/v1/rows:batch")
        await shop.begins(1)
        told(await ask("POST", "/v1/rows:batch", sub="b"), 503, "overloaded")
        ask("POST", "/v1/rows")
        await shop.begins(2)
        told(await ask("GET", "/v1/rows", sub="b"), 503, "overloaded")
        # Another system that sends rows under our role is no service of ours.
        told(await ask("POST", "/v1/rows", sub="c", role="system"), 503, "overloaded")
        ask("PUT", "/v1/follow", sub="reporting", role="system")
        await shop.begins(3)
        told(await ask("GET", "/v1/rows", sub="dispatch", role="system"), 503, "overloaded")
        health = [await ask("GET", path) for path in ("/healthz", "/readyz", "/metrics")]
        assert [each.status_code for each in health] == [200] * 3


async def test_while_others_wait_nobody_has_more_than_half(issuer: Issuer) -> None:
    shop = Workshop(issuer, Limits(single=2, waiting=4, seconds=LONG))
    before = refused("caller")
    async with shop.open() as ask:
        greedy = [ask("GET", "/v1/rows", sub="greedy") for _ in range(3)]
        await eventually(lambda: waiting("single")() == 1)
        told(await ask("GET", "/v1/rows", sub="greedy"), 429, "too-many-requests")
        modest = [ask("GET", "/v1/rows", sub=f"{n}") for n in range(3)]
        await eventually(lambda: waiting("single")() == 4)
        shop.gate.set()
        assert {(await each).status_code for each in [*greedy, *modest]} == {200}
        again = [ask("GET", "/v1/rows", sub="greedy") for _ in range(2)]
        assert {(await each).status_code for each in again} == {200}
    assert refused("caller") == before + 1


async def test_bodies_are_bounded_together_and_a_slow_sender_holds_no_turn(issuer: Issuer) -> None:
    shop = Workshop(issuer, Limits(single=1, waiting=5, seconds=LONG, bodies=1000))
    shop.gate.set()
    before = refused("memory")
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x" * 400
        arrived.set()
        await go_on.wait()
        yield b"x" * 400

    async with shop.open() as ask:
        slow = ask("POST", "/v1/rows", content=slowly())
        await arrived.wait()
        assert (await ask("POST", "/v1/rows", sub="b", content=b"y" * 600)).status_code == 200
        told(await ask("POST", "/v1/rows", sub="b", content=b"y" * 601), 503, "overloaded")
        go_on.set()
        assert (await slow).status_code == 200
        assert (await ask("POST", "/v1/rows", sub="b", content=b"y" * 1000)).status_code == 200
    assert shop.sizes == [600, 800, 1000]
    assert refused("memory") == before + 1


async def test_a_single_row_may_not_be_as_large_as_a_batch(issuer: Issuer) -> None:
    shop = Workshop(issuer, Limits())
    shop.gate.set()
    large = b"x" * (1024 * 1024 + 1)
    async with shop.open() as ask:
        assert (await ask("POST", "/v1/rows", content=large)).status_code == 413
        assert (await ask("POST", "/v1/rows:batch", content=large)).status_code == 200


async def test_who_reads_slowly_holds_no_turn(issuer: Issuer) -> None:
    shop = Workshop(issuer, Limits(single=1, waiting=0))
    async with shop.open() as ask:
        reading = ask("GET", "/v1/stream")
        await shop.begins(1)
        working = ask("GET", "/v1/rows", sub="b")
        await shop.begins(2)
        shop.gate.set()
        assert (await reading).text == "firstlast"
        assert (await working).status_code == 200


async def test_refusals_are_logged_together(issuer: Issuer) -> None:
    shop = Workshop(issuer, Limits(single=1, waiting=0))
    with capture_logs() as lines:
        async with shop.open() as ask:
            ask("GET", "/v1/rows")
            await shop.begins(1)
            for _ in range(50):
                told(await ask("GET", "/v1/rows", sub="b"), 503, "overloaded")
    loud = [line for line in lines if line["log_level"] in {"warning", "error"}]
    assert [line["event"] for line in loud] == ["requests_refused"]


# --- a lane ---


def lane(**limits: Any) -> Lane:
    return Admission("lane", Limits(**limits)).lane("single")


async def queued(turn: Awaitable[Any]) -> asyncio.Task[Any]:
    task = asyncio.ensure_future(turn)
    await asyncio.wait([task], timeout=0)
    return task


async def test_turns_come_in_the_order_of_arrival() -> None:
    road = lane(single=1, waiting=3, seconds=LONG)
    turn = await road.turn("a")
    others = [await queued(road.turn(f"{n}")) for n in range(3)]
    for other in others:
        turn.end()
        turn.end()  # ended twice is ended once
        turn = await other
    turn.end()
    (await road.turn("a")).end()


async def test_a_place_of_one_who_left_is_free_again() -> None:
    road = lane(single=1, waiting=1, seconds=LONG)
    turn = await road.turn("a")
    gone = await queued(road.turn("b"))
    with pytest.raises(Overloaded):
        road.arrive("c")
    gone.cancel()
    await asyncio.wait([gone])
    stays = await queued(road.turn("c"))
    turn.end()
    (await stays).end()


@pytest.mark.parametrize("first", ["turn", "leaving"])
async def test_a_turn_that_comes_in_the_moment_of_leaving_is_passed_on(first: str) -> None:
    road = lane(single=1, waiting=2, seconds=LONG)
    turn = await road.turn("a")
    leaving, next_one = await queued(road.turn("b")), await queued(road.turn("c"))
    if first == "turn":
        turn.end()
    leaving.cancel()
    turn.end()
    (await next_one).end()
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    (await road.turn("a")).end()


async def test_a_full_share_is_no_matter_while_nobody_waits() -> None:
    road = lane(single=2, waiting=0, seconds=LONG)
    turns = [await road.turn("a"), await road.turn("a")]
    for turn in turns:
        turn.end()
    road = lane(single=1, waiting=1, seconds=LONG)
    turn = await road.turn("a")
    waits = await queued(road.turn("b"))
    with pytest.raises(Overloaded) as caught:
        road.arrive("a")
    assert not isinstance(caught.value, TooManyRequests)
    turn.end()
    (await waits).end()


@pytest.mark.parametrize(
    ("pool", "shares"), [(1, (1, 1, 1)), (4, (1, 1, 1)), (10, (3, 2, 2)), (20, (7, 5, 5))]
)
def test_what_is_in_work_never_waits_for_a_connection(
    pool: int, shares: tuple[int, int, int]
) -> None:
    limits = Limits.of(Settings(jwks="", database_pool=pool))
    assert (limits.single, limits.bulk, limits.system) == shares
    assert pool < 6 or sum(shares) + gathering.AT_ONCE < pool
