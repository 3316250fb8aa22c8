"""A small day, for those who look at what came of it."""

from datetime import UTC, datetime

from shared.contracts.registry import Hand, RollChanged, Standing
from tests.reporting.conftest import FIRST, THIRD, Desk
from tests.reporting.producers import change

NOON = datetime(2022, 1, 9, 12, tzinfo=UTC)
UNTESTED = Standing()
SAMPLED = Standing(klass="sampled", channel="site", sampled_at=NOON, result="negative")
VISITED = Standing(klass="in_hand", hand=Hand("visit", NOON, 1, "x"))
DAY = [(FIRST, SAMPLED), (FIRST, VISITED), (FIRST, UNTESTED), (THIRD, UNTESTED)]
"""Where four people stand at the end of it."""


async def small_day(desk: Desk) -> str:
    """Play it: one person is sampled, one is in hand and two are unaccounted; say the round."""
    round_id = await desk.open_round({FIRST: 3, THIRD: 1})
    changes = {FIRST: [change(UNTESTED, SAMPLED), change(UNTESTED, VISITED)]}
    desk.world.registry.announce(RollChanged(round_id, changes, results=1), FIRST)
    await desk.wiring.consumer.catch_up()
    desk.world.testify(round_id, DAY, visit=1)
    return round_id
