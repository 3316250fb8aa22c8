"""Somebody doubts the figures and opens the ledger: it shows what the worker proved last (R22)."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from http import HTTPStatus

import pytest

from services.reporting.flow.ledger import Watch
from shared.contracts.registry import RollChanged
from tests.reporting.conftest import CHAOHE, FIRST, QIANCHENG, THIRD, Desk, round_message
from tests.reporting.days import DAY, SAMPLED, UNTESTED, small_day
from tests.reporting.producers import change
from tests.reporting.test_page import look, sign_in


@pytest.fixture
async def day(desk: Desk) -> str:
    """A small day, with somebody of the district at the page."""
    round_id = await small_day(desk)
    await sign_in(desk, "district")
    return round_id


@pytest.fixture
def watch(desk: Desk) -> Watch:
    return Watch(desk.database, desk.wiring.peers)


async def prove(watch: Watch) -> None:
    """Do what a worker does every few seconds."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    await watch.recount(yesterday)
    await watch.prove()


async def opened(desk: Desk, path: str = "/ledger?lang=en") -> str:
    return unescape(await look(desk, path))


def verdict(page: str) -> str:
    found = re.search(r'class="verdict (true|null|false)"', page)
    assert found, page
    return found[1]


def account(page: str) -> list[list[str]]:
    """Read the table by office: each count's place, figures and, of the first, agreement."""
    table = page[page.index('<table class="account both">') :]
    table = table[: table.index("</table>")]
    return [
        [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<t[dh].*?</t[dh]>", row)]
        for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)[1:]
    ]


async def test_both_counts_stand_side_by_side(desk: Desk, day: str, watch: Watch) -> None:
    assert "Not proven yet" in await opened(desk)
    await prove(watch)
    page = await opened(desk)
    assert verdict(page) == "true"
    assert account(page) == [
        ["前程街道", "recounted", "3", "1", "0", "1", "1", "0", "agrees"],
        ["summed", "3", "1", "0", "1", "1", "0"],
        ["潮河街道", "recounted", "1", "0", "0", "0", "1", "0", "agrees"],
        ["summed", "1", "0", "0", "0", "1", "0"],
        ["All", "recounted", "4", "1", "0", "1", "2", "0", "agrees"],
        ["summed", "4", "1", "0", "1", "2", "0"],
    ]
    told = (await desk.get("/v1/ledger")).json()
    assert told["balanced"] is True
    for pos in told["cut"]["registry.roll.v1"]:
        assert f"<td>{pos}</td><td>{pos}</td>" in page
    assert "账平" in await opened(desk, f"/ledger?lang=zh&round={day}")


async def test_what_differs_is_named_and_both_numbers(desk: Desk, day: str, watch: Watch) -> None:
    async with desk.database.begin() as tx:
        await tx.do("UPDATE counter SET n = n - 1 WHERE cell = 'sampled' AND round = $1", day)
        await tx.do("UPDATE counter SET n = n + 2 WHERE cell = 'in_hand.visit'")
    await prove(watch)
    page = await opened(desk)
    assert verdict(page) == "false"
    assert "differ in 3 figures" in page
    assert account(page)[0][-1] == "3 differ"
    assert account(page)[2][-1] == "agrees"
    for figure, ours, theirs, by in (
        ("Sampled", "1", "0", "-1"), ("In hand · home visit", "1", "3", "+2"),
        ("Remainder", "0", "1", "+1"),
    ):  # fmt: skip
        assert re.search(
            rf"前程街道</td><th scope=\"row\">韩庄社区</th><td>{figure}</td>\s*"
            rf"<td>{ours}</td><td>{theirs}</td><td class=\"differs\">{re.escape(by)}</td>",
            page,
        ), figure


async def test_figures_along_time_are_named_by_their_five_minutes(
    desk: Desk, day: str, watch: Watch
) -> None:
    async with desk.database.begin() as tx:
        await tx.do("UPDATE series SET slot = slot + 1 WHERE round = $1", day)
        await tx.do("UPDATE slot_counter SET slot = slot + 1")
    await prove(watch)
    page = await opened(desk)
    for figure in ("sampled in five minutes from 9 Jan", "home visit, due in five minutes from 9"):
        assert page.count(figure) == len(("as it was", "as it is")), figure


async def test_why_it_cannot_be_said_is_told_in_words(desk: Desk, day: str, watch: Watch) -> None:
    world = desk.world
    world.registry.announce(RollChanged(day, {THIRD: [change(UNTESTED, SAMPLED)]}), THIRD)
    world.testify(day, [*DAY[:3], (THIRD, SAMPLED)], visit=1)
    await prove(watch)
    page = await opened(desk)
    assert verdict(page) == "null"
    assert "has not come to the position of the recount" in page
    assert account(page)[0][-1] == "not compared"
    assert "1 behind" in page
    await desk.wiring.consumer.catch_up()
    await prove(watch)
    assert verdict(await opened(desk)) == "true"
    world.registry.down = world.dispatch.down = True
    await prove(watch)
    page = await opened(desk)
    assert verdict(page) == "null"
    assert "Registry does not answer" in page
    assert "Dispatch does not answer" in page
    assert account(page)[0][2] == "-"
    world.registry.down = world.dispatch.down = False
    world.dispatch.parked = {"registry.roll.v1": 2}
    await prove(watch)
    page = await opened(desk)
    assert verdict(page) == "false"
    assert "somebody has to decide on them" in page


async def test_somebody_sees_their_own_offices_of_it(desk: Desk, day: str, watch: Watch) -> None:
    async with desk.database.begin() as tx:
        await tx.do("UPDATE counter SET n = n + 1 WHERE community = $1", FIRST)
    await prove(watch)
    await sign_in(desk, "office", areas=(CHAOHE,))
    page = await opened(desk)
    # The verdict is of the whole round; what differs elsewhere is not theirs to see.
    assert verdict(page) == "false"
    assert "前程街道" not in page
    assert FIRST not in page
    assert [row[0] for row in account(page)[::2]] == ["潮河街道", "All"]
    assert account(page)[0][-1] == "agrees"
    await sign_in(desk, "office", areas=(FIRST,))
    assert "differ in" in await opened(desk, f"/ledger?lang=en&round={day}")
    assert (await desk.client.get("/v1/stream?view=ledger&round=0")).status_code == (
        HTTPStatus.NOT_FOUND
    )


async def test_looking_makes_nobody_recount(desk: Desk, day: str, watch: Watch) -> None:
    await prove(watch)
    desk.world.registry.down = desk.world.dispatch.down = True
    first = await desk.client.get("/ledger")
    again = await desk.client.get("/ledger", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == HTTPStatus.NOT_MODIFIED
    assert again.headers["as-of"] == first.headers["as-of"]
    assert day in desk.world.registry.totals


async def test_a_sealed_round_is_proven_once_more_and_then_kept(
    desk: Desk, day: str, watch: Watch
) -> None:
    desk.world.registry.announce(round_message(day, "sealed", version=2), day)
    await desk.wiring.consumer.catch_up()
    desk.world.testify(day, DAY, state="sealed", visit=1)
    await prove(watch)
    assert verdict(await opened(desk)) == "true"
    desk.world.registry.down = True
    await prove(watch)
    page = await opened(desk)
    assert verdict(page) == "true"
    assert QIANCHENG not in account(page)[0]
