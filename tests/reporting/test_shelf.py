"""Two hundred dashboards poll: one rendering a change, and a change shows at once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.reporting.api.shelf import Shelf
from services.reporting.flow import producers
from shared.contracts.registry import RollChanged, Standing
from tests.reporting.conftest import FIRST, QIANCHENG, SECOND, THIRD, Desk, round_message
from tests.reporting.producers import change

UNTESTED, SAMPLED = Standing(), Standing(klass="sampled", channel="site")


class Printer:
    """Renders, and notes what it rendered."""

    def __init__(self) -> None:
        self.rendered: list[str] = []

    def of(self, text: str, until: asyncio.Event | None = None) -> Callable[[], Awaitable[str]]:
        async def render() -> str:
            self.rendered.append(text)
            if until is not None:
                await until.wait()
            return text

        return render


async def test_however_many_ask_it_is_rendered_once_a_change() -> None:
    shelf: Shelf[str] = Shelf()
    printer = Printer()
    for edition in ("morning", "noon"):
        came = asyncio.Event()
        askers = [
            asyncio.create_task(shelf.copy("offices", edition, printer.of(edition, came)))
            for _ in range(200)
        ]
        asyncio.get_running_loop().call_soon(came.set)  # behind all of them
        texts = await asyncio.gather(*askers)
        assert set(texts) == {edition}
    assert printer.rendered == ["morning", "noon"]


async def test_a_rendering_that_failed_is_made_by_who_waits_for_it() -> None:
    shelf: Shelf[str] = Shelf()
    printer = Printer()

    came = asyncio.Event()

    async def fail() -> str:
        await came.wait()
        raise ConnectionError

    first = asyncio.create_task(shelf.copy("offices", "morning", fail))
    second = asyncio.create_task(shelf.copy("offices", "morning", printer.of("morning")))
    asyncio.get_running_loop().call_soon(came.set)  # behind both of them
    with pytest.raises(ConnectionError):
        await first
    assert await second == "morning"


async def test_the_shelf_is_bounded_and_keeps_what_is_asked_for() -> None:
    shelf: Shelf[str] = Shelf(size=2)
    printer = Printer()
    for question in ("offices", "needs", "offices", "channels", "offices", "needs"):
        await shelf.copy(question, "morning", printer.of(question))
    assert printer.rendered == ["offices", "needs", "channels", "needs"]


async def test_r22_a_change_shows_at_once_and_as_of_is_of_the_moment(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 5, THIRD: 5})
    await producers.look(desk.database, desk.wiring.peers)
    polls = await asyncio.gather(*(desk.get("/v1/coverage") for _ in range(8)))
    assert len({poll.text for poll in polls}) == 1
    await producers.look(desk.database, desk.wiring.peers)
    later = (await desk.get("/v1/coverage")).json()
    first = polls[0].json()
    assert later["as_of"]["time"] > first["as_of"]["time"]
    assert (later["rows"], later["total"]) == (first["rows"], first["total"])
    for sampled in (1, 2, 3):
        desk.world.registry.announce(
            RollChanged(round_id, {FIRST: [change(UNTESTED, SAMPLED)]}), FIRST
        )
        await desk.wiring.consumer.catch_up()
        assert (await desk.get("/v1/coverage")).json()["total"]["sampled"] == sampled


async def test_a_round_that_changes_alone_is_told_as_it_is(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 5})
    await desk.get("/v1/coverage")
    desk.world.registry.announce(round_message(round_id, "closed", version=2), round_id)
    await desk.wiring.consumer.catch_up()
    assert (await desk.get("/v1/coverage")).json()["round"]["state"] == "closed"


async def test_every_question_and_every_token_has_a_copy_of_its_own(desk: Desk) -> None:
    await desk.open_round({FIRST: 1, SECOND: 2, THIRD: 4})
    whole, part = desk.read_as("district"), desk.read_as("office", areas=(QIANCHENG,))
    for _ in range(2):
        found = [
            (len(table["rows"]), table["total"]["roll"])
            for headers in (whole, part)
            for by in ("office", "community")
            for table in [
                (await desk.client.get("/v1/coverage", params={"by": by}, headers=headers)).json()
            ]
        ]
        assert found == [(2, 7), (3, 7), (1, 3), (2, 3)]
