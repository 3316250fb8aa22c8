"""Everybody looks, without signing in: at offices, and at nobody in particular (R20)."""

import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from html import unescape
from http import HTTPStatus
from uuid import uuid4

import pytest

from services.reporting.api.page import public
from services.reporting.flow.publishing import publish
from services.reporting.store import releases
from shared.contracts.registry import RollChanged, Standing
from tests.reporting.conftest import FIRST, QIANCHENG, SECOND, THIRD, Desk, opened, round_message
from tests.reporting.producers import World, change
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl

EVERY = timedelta(minutes=15)
NINE = datetime(2022, 1, 1, 9, tzinfo=UTC)
LEAST = 10
UNTESTED, SAMPLED = Standing(), Standing(klass="sampled", channel="site", sampled_at=NINE)
EXCLUDED = Standing(klass="excluded", reason="under_3")
REFERRED = Standing(klass="in_hand")


@pytest.fixture
async def square(
    world: World, database_url: DatabaseUrl, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    """Reporting where everybody may look, and a process that looks for news at every request."""
    monkeypatch.setattr(public, "READ_SECONDS", 1e-9)
    async with opened(world, database_url, issuer, public=True) as desk:
        yield desk


async def stand(desk: Desk, round_id: str, community: str, *groups: tuple[int, Standing]) -> None:
    """Let so many people of a community stand elsewhere."""
    told = [change(UNTESTED, after) for number, after in groups for _ in range(number)]
    desk.world.registry.announce(RollChanged(round_id, {community: told}), community)
    await desk.wiring.consumer.catch_up()


async def a_day(desk: Desk) -> str:
    round_id = await desk.open_round({FIRST: 300, SECOND: 200, THIRD: 400})
    await stand(desk, round_id, FIRST, (200, SAMPLED), (4, EXCLUDED), (60, REFERRED))
    await stand(desk, round_id, THIRD, (300, SAMPLED), (20, EXCLUDED), (40, REFERRED))
    return round_id


async def released(desk: Desk, at: datetime = NINE) -> bool:
    return await publish(desk.database, at, EVERY, LEAST) is not None


async def looked(desk: Desk, path: str = "/public?lang=en") -> str:
    answer = await desk.client.get(path)
    assert answer.status_code == HTTPStatus.OK, answer.text
    return unescape(answer.text)


def rows(page: str) -> Mapping[str, list[str]]:
    """Read the table: figures by office."""
    found = {}
    for row in re.findall(r"<tr>\s*<th scope=\"row\">.*?</tr>", page, re.DOTALL):
        cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
        name, _, *figures = [re.sub(r"<[^>]*>", "", cell).strip() for cell in cells]
        found[name] = figures
    return found


async def test_there_is_nothing_unless_it_is_switched_on(desk: Desk) -> None:
    await a_day(desk)
    await released(desk)
    answer = await desk.client.get("/public")
    assert answer.status_code == HTTPStatus.NOT_FOUND
    assert "前程街道" not in answer.text


async def test_everybody_sees_offices_without_what_is_of_few(square: Desk) -> None:
    await a_day(square)
    assert await released(square)
    page = await looked(square)
    hidden = "not shown"
    assert rows(page) == {
        "前程街道": ["236", hidden, "500", "200", hidden, hidden],
        "潮河街道": ["40", hidden, "400", "300", hidden, hidden],
        "All": ["276", "57.07%", "900", "500", "24", "100"],
    }
    for nobodys in ("韩庄", FIRST, "visits", "Ledger", "under_3"):
        assert nobodys not in page
    assert "不公开" in await looked(square, "/public?lang=zh")


async def test_it_is_for_caches_and_carries_no_cookie(square: Desk) -> None:
    await a_day(square)
    await released(square)
    first = await square.client.get("/public", headers={"Accept-Language": "en"})
    assert "set-cookie" not in first.headers
    assert first.headers["cache-control"] == "public, max-age=60"
    assert "unsafe" not in first.headers["content-security-policy"]
    tag = first.headers["etag"]
    again = await square.client.get(
        "/public", headers={"Accept-Language": "en", "If-None-Match": tag}
    )
    assert (again.status_code, again.content) == (HTTPStatus.NOT_MODIFIED, b"")
    assert (await square.client.get("/public?lang=zh")).headers["etag"] != tag


async def test_figures_stand_until_their_time_is_over(square: Desk) -> None:
    """Whoever looks at every moment learns no more than who looks at every release."""
    round_id = await a_day(square)
    assert await released(square, NINE + timedelta(minutes=7))
    page = await looked(square)
    await stand(square, round_id, FIRST, (50, SAMPLED))
    assert not await released(square, NINE + timedelta(minutes=14))
    assert await looked(square) == page
    assert await released(square, NINE + EVERY)
    assert rows(await looked(square))["前程街道"][3] == "250"
    # A clock that is set back makes none twice.
    assert not await released(square, NINE)


async def test_the_next_round_takes_the_place_of_the_last(square: Desk) -> None:
    await a_day(square)
    await released(square)
    tomorrow = str(uuid4())
    square.world.registry.announce(round_message(tomorrow, "draft", 2), tomorrow)
    await square.wiring.consumer.catch_up()
    await released(square, NINE + EVERY)
    assert "第1轮" in await looked(square)
    await square.open_round({FIRST: 300}, number=3)
    await released(square, NINE + 2 * EVERY)
    assert "第3轮" in await looked(square)


async def test_nothing_is_published_before_there_is_anything(square: Desk) -> None:
    assert not await released(square)
    assert (await square.client.get("/public")).status_code == HTTPStatus.NOT_FOUND


async def test_figures_that_do_not_add_up_are_not_published(square: Desk) -> None:
    await a_day(square)
    async with square.database.begin() as tx:
        await tx.do("UPDATE counter SET n = n + 1 WHERE cell = 'sampled' AND community = $1", FIRST)
    assert not await released(square)


async def test_what_is_kept_is_no_more_than_what_is_shown(square: Desk) -> None:
    round_id = await a_day(square)
    await released(square)
    async with square.database.snapshot() as tx:
        kept = await releases.of(tx, round_id)
    assert kept is not None
    assert (QIANCHENG, "excluded") in kept.hidden
    assert kept.rows[0].figures["excluded"] is None
