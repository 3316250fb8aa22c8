"""All of it once more from position zero, beside the old figures, then swapped."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from prometheus_client import REGISTRY, generate_latest

from services.reporting.domain.generations import CONSUMER
from services.reporting.flow import rebuild
from services.reporting.store import generations
from shared.auth import Caller
from shared.contracts.dispatch import VisitChange, VisitsChanged, Waiting
from shared.contracts.registry import ROLL, Hand, RollChanged, Standing
from shared.database import Database
from shared.errors import TransientError
from tests.reporting.conftest import FIRST, THIRD, Desk
from tests.reporting.producers import change
from tests.reporting.test_fold import NEGATIVE, SAMPLED, UNTESTED
from tests.support.town import DONGFANG, LUYUAN, MINGHU, Town

NEEDY = Standing(needs=("mobility",))
OVERDUE = datetime.now(UTC) - timedelta(hours=1)
IN_HAND = Standing(klass="in_hand", hand=Hand("referral", OVERDUE, 1, "x"))
OPERATOR = Caller("operator", frozenset({"admin"}))


async def everything(desk: Desk) -> list[Any]:
    """All figures there are, without how old they are."""
    found = []
    for by in ("district", "office", "community", "need", "channel"):
        answer = (await desk.get("/v1/coverage", by=by)).json()
        found.append((answer["rows"], answer["total"], answer["round"]))
    found.append((await desk.get("/v1/coverage/series", by="community")).json()["rows"])
    found.append((await desk.get("/v1/coverage/work", by="community")).json()["rows"])
    return found


async def a_day(desk: Desk) -> str:
    round_id = await desk.open_round({FIRST: 10, THIRD: 10})
    registry = desk.world.registry
    registry.announce(RollChanged(round_id, {FIRST: [change(UNTESTED, SAMPLED)]}), FIRST)
    registry.announce(RollChanged(round_id, {THIRD: [change(None, NEEDY)]}), THIRD)
    registry.announce(RollChanged(round_id, {FIRST: [change(UNTESTED, IN_HAND)]}), FIRST)
    waits = Waiting(OVERDUE, ("mobility",))
    visits = [VisitChange("v", "r", FIRST, 1, None, "planned", waits=waits)]
    desk.world.dispatch.announce(VisitsChanged(round_id, visits), FIRST)
    await desk.wiring.consumer.catch_up()
    return round_id


async def test_a_rebuild_gives_the_same_figures_while_the_day_goes_on(desk: Desk) -> None:
    round_id = await a_day(desk)
    before = await everything(desk)
    admin = desk.read_as("admin")
    begun = await desk.client.post("/v1/rebuild", headers=admin)
    assert (begun.status_code, begun.json()["state"]) == (202, "building")
    again = await desk.client.post("/v1/rebuild", headers=admin)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/rebuild-running")
    assert await everything(desk) == before

    built = await rebuild.build(desk.database, desk.wiring.builder)
    assert built is not None
    assert await everything(desk) == before
    told = (await desk.client.get("/v1/rebuild", headers=admin)).json()["generations"]
    assert [each["state"] for each in told] == ["current", "retired"]

    # Live events go on where the new generation is, with neither a gap nor a repetition.
    desk.world.registry.announce(
        RollChanged(round_id, {FIRST: [change(UNTESTED, NEGATIVE)]}), FIRST
    )
    await desk.wiring.consumer.catch_up()
    assert (await desk.get("/v1/coverage")).json()["total"]["sampled"] == 2


async def test_a_rebuild_mends_a_counter_that_was_changed_by_hand(desk: Desk) -> None:
    await a_day(desk)
    before = await everything(desk)
    async with desk.database.begin() as tx:
        await tx.do("UPDATE counter SET n = n + 7")
        await tx.do("DELETE FROM series")
        await tx.do("UPDATE area SET name = 'nowhere'")
    assert await everything(desk) != before
    await desk.database.transact(rebuild.begin, OPERATOR)
    await rebuild.build(desk.database, desk.wiring.builder)
    assert await everything(desk) == before


async def test_a_rebuild_that_was_cut_short_goes_on_where_it_was(desk: Desk) -> None:
    """Dispatch goes down half-way; whoever takes the rebuild up again finds the positions."""
    await a_day(desk)
    before = await everything(desk)
    await desk.database.transact(rebuild.begin, OPERATOR)
    desk.world.dispatch.down = True
    with pytest.raises(TransientError):
        await rebuild.build(desk.database, desk.wiring.builder)
    async with desk.database.snapshot() as tx:
        building, current = await rebuild.progress(tx)
    assert 0 < building.applied < building.target == current.applied
    assert await everything(desk) == before
    desk.world.dispatch.down = False
    assert await rebuild.build(desk.database, desk.wiring.builder)
    assert await everything(desk) == before


async def test_a_retired_generation_is_dropped(desk: Desk) -> None:
    await a_day(desk)
    before = await everything(desk)
    await desk.database.transact(rebuild.begin, OPERATOR)
    await rebuild.build(desk.database, desk.wiring.builder)
    await desk.database.transact(generations.drop_retired)
    assert await everything(desk) == before
    async with desk.database.snapshot() as tx:
        assert [each.state for each in await generations.listed(tx)] == ["current"]
        for table in generations.FOLDED:
            lives = await tx.rows(f"SELECT DISTINCT generation FROM {table}")  # noqa: S608 - ours
            assert len(lives) <= 1


@dataclass
class DeadLetter:
    """What people may do about it."""

    desk: Desk
    mend: Callable[[], None]
    """Make the producer's copy readable."""
    meant: Any
    """The data that it should have had."""

    async def states(self) -> list[str]:
        """What was decided on each dead letter."""
        async with self.desk.database.snapshot() as tx:
            rows = await tx.rows("SELECT consumer, state FROM parked ORDER BY id")
        assert all(row["consumer"] == CONSUMER for row in rows)
        return [row["state"] for row in rows]

    async def decide(self, how: str, **body: Any) -> int:
        """Mend, re-drive or discard it."""
        headers = self.desk.read_as("admin")
        items = (await self.desk.client.get("/v1/parked", headers=headers)).json()["items"]
        path = f"/v1/parked/{items[0]['id']}:{how}"
        body |= {} if how == "redrive" else {"reason": "as it was meant"}
        return (await self.desk.client.post(path, headers=headers, json=body)).status_code

    async def correct(self) -> None:
        """Mend our copy of it, and leave the producer's as it is; then re-drive it."""
        assert await self.decide("mend", data=self.meant) == 200
        assert await self.decide("redrive") == 200

    async def rebuild(self) -> int:
        """Rebuild; return how many are then sampled."""
        await self.desk.database.transact(rebuild.begin, OPERATOR)
        assert await rebuild.build(self.desk.database, self.desk.wiring.builder)
        sampled: int = (await self.desk.get("/v1/coverage")).json()["total"]["sampled"]
        return sampled


@pytest.fixture
async def parked(desk: Desk) -> DeadLetter:
    """A sample whose event is damaged, and was set aside."""
    round_id = await desk.open_round({FIRST: 10})
    message = RollChanged(round_id, {FIRST: [change(UNTESTED, SAMPLED)]})
    event = desk.world.registry.announce(message, FIRST)
    log = desk.world.registry.log[ROLL, event.record.partition]
    log[-1] = replace(event.record, data=b"{")
    await desk.wiring.consumer.catch_up()
    meant = msgspec.json.decode(event.record.data)
    return DeadLetter(desk, lambda: log.__setitem__(-1, event.record), meant)


async def test_what_a_rebuild_can_read_is_parked_no_more(parked: DeadLetter) -> None:
    parked.mend()
    assert await parked.rebuild() == 1
    assert await parked.states() == ["redriven"]


async def test_what_a_rebuild_cannot_read_either_stays_parked_once(parked: DeadLetter) -> None:
    assert await parked.rebuild() == 0
    assert await parked.states() == ["parked"]


async def test_what_was_discarded_stays_discarded(parked: DeadLetter) -> None:
    """Decisions are kept by position: a rebuild does not bring back what people gave up."""
    assert await parked.decide("discard") == 200
    assert await parked.rebuild() == 0
    parked.mend()
    assert await parked.rebuild() == 0
    assert await parked.states() == ["discarded"]


async def test_what_is_discarded_while_a_rebuild_has_counted_it_is_left_out_of_the_next(
    parked: DeadLetter,
) -> None:
    """The rebuild could read what nobody could before; then people gave it up all the same."""
    database, wiring = parked.desk.database, parked.desk.wiring
    begun = await database.transact(rebuild.begin, OPERATOR)
    parked.mend()
    await wiring.builder(begun.generation).catch_up()
    assert await parked.decide("discard") == 200
    assert await rebuild.build(database, wiring.builder) is None
    async with database.snapshot() as tx:
        states = [each.state for each in await generations.listed(tx)]
    assert states == ["building", "retired", "current"]
    assert await rebuild.build(database, wiring.builder)
    assert (await parked.desk.get("/v1/coverage")).json()["total"]["sampled"] == 0
    assert await parked.states() == ["discarded"]


async def test_what_is_discarded_and_could_not_be_rebuilt_either_does_not_matter(
    parked: DeadLetter,
) -> None:
    database, wiring = parked.desk.database, parked.desk.wiring
    begun = await database.transact(rebuild.begin, OPERATOR)
    await wiring.builder(begun.generation).catch_up()
    assert await parked.decide("discard") == 200
    assert await rebuild.build(database, wiring.builder)
    assert await parked.states() == ["discarded"]


async def test_what_was_mended_and_redriven_is_rebuilt_as_it_was_mended(
    parked: DeadLetter,
) -> None:
    """The producer's copy stays as damaged as it was."""
    await parked.correct()
    counted = (await parked.desk.get("/v1/coverage")).json()["total"]
    assert counted["sampled"] == 1
    for _ in range(2):
        assert await parked.rebuild() == 1
        assert await parked.states() == ["redriven"]
    assert (await parked.desk.get("/v1/coverage")).json()["total"] == counted


async def test_what_is_mended_while_a_rebuild_runs_is_in_the_next(parked: DeadLetter) -> None:
    database, wiring = parked.desk.database, parked.desk.wiring
    begun = await database.transact(rebuild.begin, OPERATOR)
    await wiring.builder(begun.generation).catch_up()
    await parked.correct()
    assert await rebuild.build(database, wiring.builder) is None
    assert await rebuild.build(database, wiring.builder)
    assert (await parked.desk.get("/v1/coverage")).json()["total"]["sampled"] == 1
    assert await parked.states() == ["redriven"]


async def test_what_was_mended_but_not_redriven_gives_way_to_what_the_rebuild_could_read(
    parked: DeadLetter,
) -> None:
    assert await parked.decide("mend", data=parked.meant | {"results": 7}) == 200
    assert await parked.rebuild() == 0
    assert await parked.states() == ["parked"]
    parked.mend()
    assert await parked.rebuild() == 1
    assert await parked.states() == ["redriven"]
    assert await parked.rebuild() == 1


async def test_a_rebuild_leaves_no_gauges_behind(desk: Desk) -> None:
    """The live consumer's are not touched, and nobody is told the lag of what is no more."""
    await a_day(desk)
    begun = await desk.database.transact(rebuild.begin, OPERATOR)
    await rebuild.build(desk.database, desk.wiring.builder)
    told = generate_latest(REGISTRY).decode()
    assert 'lastmetre_consumer_lag_positions{partition="0",service="reporting"' in told
    assert f'"{begun.generation.consumer}"' not in told


KEYS = {
    "counter": "round, community, cell, n",
    "visit_counter": "round, community, cell, n",
    "series": "round, community, slot, n",
    "delta": "partition, pos, round, moved",
    "area": "code, name, kind, parent, lat, lon",
    "denominator": "code, source, people, as_of",
    "round": "id, version, campaign, number, name, state, opens_at, closes_at, offices,"
             " manual_clock, clock_at, opened_at, changed_at",
}  # fmt: skip
"""What two lives of the figures must have in common: everything but how they came about."""


async def life(database: Database, generation: int) -> dict[str, list[tuple[Any, ...]]]:
    """All tables of one generation; a counter that came back to zero counts as never moved."""
    found = {}
    async with database.snapshot() as tx:
        for table, columns in KEYS.items():
            some = " AND n <> 0" if columns.endswith(", n") else ""
            rows = await tx.rows(
                f"SELECT {columns} FROM {table} WHERE generation = $1{some} ORDER BY {columns}",  # noqa: S608
                generation,
            )
            found[table] = [tuple(row) for row in rows]
    return found


async def test_a_rebuild_during_which_everything_is_written_is_what_was_folded_live(
    town: Town,
) -> None:
    """Writes of every kind through both services, a live worker, and rebuilds, all at once.

    The first life is folded live from end to end; the second is built while the day goes on,
    becomes current in the middle of it and is fed live from there; the third is built when all is
    quiet.
    """
    wiring = town.apps["reporting"].state.wiring
    needs = {"needs": [{"code": "mobility"}]}
    people = await town.people(*(needs if number % 3 else {} for number in range(9)))
    round_id = await town.round()
    await town.tick(round_id, 2)
    day = asyncio.create_task(a_busy_day(town, round_id, people[:4]))
    begun = (await wiring.database.transact(rebuild.begin, OPERATOR)).generation
    while not day.done():
        await wiring.builder(begun).sweep()
    await day
    await town.settle()
    await wiring.builder(begun).catch_up()
    first = await life(wiring.database, begun.id - 1)
    assert all(first.values())
    assert await life(wiring.database, begun.id) == first

    day = asyncio.create_task(a_busy_day(town, round_id, people[4:7]))
    assert await rebuild.build(wiring.database, wiring.builder)
    await day
    await a_busy_day(town, round_id, people[7:])
    await town.assert_balanced(round_id)
    second = await life(wiring.database, begun.id)
    assert second != first
    quiet = (await wiring.database.transact(rebuild.begin, OPERATOR)).generation
    assert await rebuild.build(wiring.database, wiring.builder)
    assert await life(wiring.database, quiet.id) == second
    await town.assert_balanced(round_id)


async def a_busy_day(town: Town, round_id: str, people: list[UUID]) -> None:
    """Swabs, voids, moves, names and numbers from outside; all is folded as it comes."""
    district = town.headers("district")
    for number, resident in enumerate(people):
        row = town.resulted(round_id, resident, "negative", hours=number % 7 * 0.2)
        await town.results(row)
        if number % 4 == 0:
            await town.results(
                town.result(
                    round_id, resident, number % 7 * 0.2, sample_id=row["sample_id"],
                    corrects=row["sample_id"], void=True,
                )
            )  # fmt: skip
        if number % 5 == 0:
            moved = {"address": {"community_code": (LUYUAN, DONGFANG)[number % 2]}}
            answer = await town.registry.patch(
                f"/v1/residents/{resident}", json=moved, headers=district
            )
            assert answer.is_success, answer.text
        rows = [{"code": DONGFANG, "source": "census", "people": number, "as_of": "2020-11-01"}]
        await town.registry.put("/v1/denominators:batch", json=rows, headers=district)
        area = {"code": DONGFANG, "name": f"东方{number}", "kind": "community", "parent": MINGHU}
        await town.registry.put("/v1/areas:batch", json=[area], headers=district)
        await town.settle()


async def test_events_that_come_during_the_swap_are_counted_once(desk: Desk) -> None:
    """A live worker, a rebuild after the other and a busy registry, all at the same time."""
    round_id = await desk.open_round({FIRST: 100, THIRD: 100})
    live = desk.wiring.consumer
    told = 0

    async def announce_and_count() -> None:
        nonlocal told
        for _ in range(40):
            for community in (FIRST, THIRD):
                message = RollChanged(round_id, {community: [change(UNTESTED, SAMPLED)]})
                desk.world.registry.announce(message, community)
                told += 1
            await live.sweep()

    async def rebuild_again_and_again() -> None:
        for _ in range(3):
            await desk.database.transact(rebuild.begin, OPERATOR)
            while not await rebuild.build(desk.database, desk.wiring.builder):
                continue

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(announce_and_count())
        tasks.create_task(rebuild_again_and_again())
    await live.catch_up()
    total = (await desk.get("/v1/coverage")).json()["total"]
    assert (total["sampled"], total["unaccounted"]) == (told, 200 - told)
    async with desk.database.snapshot() as tx:
        states = [each.state for each in await generations.listed(tx)]
    assert states == ["current", "retired", "retired", "retired"]
