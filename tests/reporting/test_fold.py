"""Events become figures; in the end they are those of a recount (R1, R2, R4, R5)."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, get_args
from uuid import uuid4

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.reporting.flow.figures import view_of
from services.reporting.flow.ledger import fold_at
from services.reporting.store import figures, generations
from services.reporting.worker import HANDLERS
from shared.contracts.dispatch import VisitChange, VisitsChanged
from shared.contracts.envelope import PARTITIONS, Event, partition_of, understood
from shared.contracts.registry import (
    ROLL,
    Change,
    CommunityRoll,
    Hand,
    RollChanged,
    RoundOpened,
    RoundTicked,
    Standing,
)
from shared.contracts.vocabulary import Channel, Class, HandKind, Outcome, RoundState
from shared.database import Database
from tests.reporting.conftest import FIRST, SECOND, THIRD, Desk, round_message
from tests.reporting.producers import (
    FakeProducer,
    change,
    recount,
    recount_due,
    recount_series,
    rolls,
)

COMMUNITIES = (FIRST, SECOND, THIRD, "410171001000", "410171000000")
NOON = datetime(2022, 1, 9, 12, tzinfo=UTC)

UNTESTED = Standing()
SAMPLED = Standing(klass="sampled", channel="site", sampled_at=NOON)
NEGATIVE = msgspec.structs.replace(SAMPLED, result="negative")


async def counters(desk: Desk, round_id: str) -> Mapping[str, Mapping[str, int]]:
    async with desk.database.snapshot() as tx:
        return (await fold_at(tx, round_id, {})).communities


def announced(
    desk: Desk, round_id: str, communities: dict[str, list[Change]], *, key: str | None = None
) -> None:
    message = RollChanged(round_id, communities)
    desk.world.registry.announce(message, key or next(iter(communities)))


async def test_r1_a_resident_sampled_twice_counts_once(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 3})
    announced(desk, round_id, {FIRST: [change(UNTESTED, SAMPLED)]})
    # The second swab, later the same day: the account did not move.
    announced(desk, round_id, {FIRST: [change(SAMPLED, SAMPLED, rev=2)]})
    await desk.wiring.consumer.catch_up()
    cells = (await counters(desk, round_id))[FIRST]
    assert (cells["roll"], cells["sampled"], cells["unaccounted"]) == (3, 1, 2)


async def test_r4_sampled_resulted_and_negative_are_three_counts(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 5})
    announced(desk, round_id, {FIRST: [change(UNTESTED, SAMPLED), change(UNTESTED, NEGATIVE)]})
    await desk.wiring.consumer.catch_up()
    cells = (await counters(desk, round_id))[FIRST]
    assert (cells["sampled"], cells["resulted"], cells["negative"]) == (2, 1, 1)


async def test_opening_puts_everybody_on_the_roll_unaccounted(desk: Desk) -> None:
    round_id = str(uuid4())
    opened = RoundOpened(round_id, [CommunityRoll(FIRST, 40, {"mobility": 3})])
    await fold(desk.database, [desk.world.registry.announce(opened, FIRST)])
    assert (await counters(desk, round_id))[FIRST] == {
        "roll": 40,
        "unaccounted": 40,
        "need.mobility.roll": 3,
        "need.mobility.unaccounted": 3,
    }


async def test_a_move_is_two_halves_and_each_folds_its_own_side(desk: Desk) -> None:
    """A person moves from one office to another before being sampled, and takes the account along.

    Both halves carry everything; each community takes only what counts in it.
    """
    round_id = await desk.open_round({FIRST: 10, THIRD: 10})
    here = Standing(needs=("mobility",), counted_in=FIRST)
    there = Standing(needs=("mobility",), counted_in=THIRD)
    half = [change(here, there)]
    announced(desk, round_id, {FIRST: half})
    announced(desk, round_id, {THIRD: half})
    await desk.wiring.consumer.catch_up()
    found = await counters(desk, round_id)
    assert (found[FIRST]["roll"], found[THIRD]["roll"]) == (9, 11)
    assert found[FIRST]["need.mobility.roll"] == -1  # nobody clamps what the opening did not tell
    assert found[THIRD]["need.mobility.roll"] == 1


async def test_both_halves_in_one_message_count_once_each(desk: Desk) -> None:
    """Two communities may share a partition; then the halves travel side by side."""
    round_id = await desk.open_round({FIRST: 10, SECOND: 10})
    half = [change(Standing(counted_in=FIRST), Standing(counted_in=SECOND))]
    announced(desk, round_id, {FIRST: half, SECOND: half})
    await desk.wiring.consumer.catch_up()
    found = await counters(desk, round_id)
    assert (found[FIRST]["roll"], found[SECOND]["roll"]) == (9, 11)


async def test_a_joiner_was_counted_nowhere_before(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 10})
    announced(desk, round_id, {FIRST: [change(None, UNTESTED)]})
    await desk.wiring.consumer.catch_up()
    assert (await counters(desk, round_id))[FIRST] == {"roll": 11, "unaccounted": 11}


async def test_a_visitor_is_counted_beside_the_account(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 10})
    announced(desk, round_id, {FIRST: [change(None, Standing(klass="visitor", channel="site"))]})
    await desk.wiring.consumer.catch_up()
    cells = (await counters(desk, round_id))[FIRST]
    assert (cells["roll"], cells["visitors"]) == (10, 1)


async def test_events_of_a_round_that_is_not_announced_yet_are_counted(desk: Desk) -> None:
    """Rounds and the roll are two topics: either may come first."""
    round_id = str(uuid4())
    announced(desk, round_id, {FIRST: [change(None, UNTESTED)]})
    await desk.wiring.consumer.catch_up()
    assert (await desk.get("/v1/coverage", round=round_id)).status_code == 404
    desk.world.registry.announce(round_message(round_id), round_id)
    await desk.wiring.consumer.catch_up()
    answer = (await desk.get("/v1/coverage", round=round_id)).json()
    assert answer["total"]["roll"] == 1


async def test_the_newest_version_of_a_round_holds_and_its_clock_never_goes_back(
    desk: Desk,
) -> None:
    round_id = str(uuid4())
    versions: list[tuple[int, RoundState]] = [(2, "open"), (1, "draft")]
    for version, state in versions:
        message = round_message(round_id, state, version=version)
        desk.world.registry.announce(message, round_id)
    for hour in (3, 2):
        desk.world.registry.announce(RoundTicked(round_id, NOON + timedelta(hours=hour)), round_id)
    await desk.wiring.consumer.catch_up()
    told = (await desk.get("/v1/coverage", round=round_id)).json()["round"]
    assert told["state"] == "open"
    assert datetime.fromisoformat(told["clock_at"]) == NOON + timedelta(hours=3)


async def test_r16_visits_are_counted_by_status_and_every_outcome_for_itself(desk: Desk) -> None:
    """Three visits: one is made, one finds nobody, one is cancelled at the door and refused."""
    round_id = await desk.open_round({FIRST: 10})
    path: Sequence[tuple[Any, ...]] = [
        ("a", None, "planned", None),
        ("b", None, "planned", None), ("b", "planned", "assigned", None),
        ("b", "assigned", "started", None), ("b", "started", "finished", "absent"),
        ("b", "finished", "finished", "absent"),
        ("c", None, "planned", None), ("c", "planned", "cancelled", None),
        ("c", "cancelled", "cancelled", "refused"),
    ]  # fmt: skip
    visits = [
        VisitChange(visit, "resident", FIRST, rev, before, after, outcome)
        for rev, (visit, before, after, outcome) in enumerate(path)
    ]
    desk.world.dispatch.announce(VisitsChanged(round_id, visits), FIRST)
    await desk.wiring.consumer.catch_up()
    async with desk.database.snapshot() as tx:
        found = await figures.visits_by_area(tx, await view_of(tx, round_id, ["41"]), 12)
    assert found == {
        FIRST: {
            "status.planned": 1,
            "status.finished": 1,
            "status.cancelled": 1,
            "outcome.absent": 1,
            "outcome.refused": 1,
        }
    }
    total = (await desk.get("/v1/coverage", round=round_id)).json()["total"]
    assert (total["visits_open"], total["visits_done"]) == (1, 1)


async def test_an_unreadable_event_is_set_aside_and_the_next_one_counts(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 10})
    announced(desk, round_id, {FIRST: [change(UNTESTED, SAMPLED)]})
    announced(desk, round_id, {FIRST: [change(UNTESTED, NEGATIVE)]})
    log = desk.world.registry.log[ROLL, partition_of(FIRST)]
    log[-2] = replace(log[-2], data=b'{"round": 7')
    await desk.wiring.consumer.catch_up()
    assert (await counters(desk, round_id))[FIRST]["sampled"] == 1
    status = await desk.client.get("/v1/status", headers=desk.read_as("supervisor"))
    assert status.json()["parked"] == {ROLL: 1}


# --- any order of partitions, any grouping: the fold is the recount ---


@dataclass
class Town:
    """Who stands where, and the events that told of it."""

    producer: FakeProducer
    round_id: str = field(default_factory=lambda: str(uuid4()))
    people: list[Standing] = field(default_factory=list)
    queues: dict[int, list[Event[Any]]] = field(default_factory=lambda: defaultdict(list))

    def populate(self, homes: Sequence[str]) -> None:
        """Open the round over people who live in these communities."""
        sizes = {home: homes.count(home) for home in homes}
        self.people = [Standing(counted_in=home) for home in homes]
        for communities in rolls(sizes).values():
            self._announce(RoundOpened(self.round_id, communities), communities[0].community)

    def move(self, who: int, after: Standing) -> None:
        """Let one person stand elsewhere, and announce it as registry does: in halves or whole."""
        before = self.people[who] if who < len(self.people) else None
        if before is None:
            self.people.append(after)
        else:
            self.people[who] = after
        told = [change(before, after)]
        places = {after.counted_in, before.counted_in if before else after.counted_in}
        by_partition = itertools.groupby(sorted(places, key=partition_of), key=partition_of)
        for _, group in by_partition:
            communities = dict.fromkeys(group, told)
            self._announce(RollChanged(self.round_id, communities), next(iter(communities)))

    def recount(self) -> dict[str, dict[str, int]]:
        """Count the people as they stand now, and by five minutes of sampling and due time."""
        told = [("", standing) for standing in self.people]
        found: dict[str, dict[str, int]] = recount(told)
        for community, slots in recount_series(told).items():
            found[community] |= {f"sampled_at.{slot}": n for slot, n in slots.items()}
        for community, kinds in recount_due(told).items():
            for kind, slots in kinds.items():
                found[community] |= {f"due.{kind}.{slot}": n for slot, n in slots.items()}
        return found

    def _announce(self, message: RollChanged | RoundOpened, key: str) -> None:
        event = self.producer.announce(message, key)
        self.queues[event.record.partition].append(event)


def standings() -> st.SearchStrategy[Standing]:
    """Any standing, sensible or not: the fold must not care."""
    return st.builds(
        Standing,
        klass=st.sampled_from(get_args(Class)),
        counted_in=st.sampled_from(COMMUNITIES),
        needs=st.sets(st.sampled_from(["mobility", "dialysis"])).map(sorted).map(tuple),
        reason=st.sampled_from(["under_3", "recovered"]),
        hand=st.builds(
            Hand,
            st.sampled_from(get_args(HandKind)),
            st.sampled_from([NOON, NOON + timedelta(minutes=7)]),
            st.just(1),
            st.just("x"),
        ),
        channel=st.sampled_from(get_args(Channel)),
        sampled_at=st.sampled_from([NOON, NOON + timedelta(minutes=7)]),
        result=st.sampled_from([None, *get_args(Outcome)]),
    )


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    homes=st.lists(st.sampled_from(COMMUNITIES), max_size=6),
    moves=st.lists(st.tuples(st.integers(0, 8), standings()), max_size=12),
    order=st.randoms(use_true_random=False),
)
async def test_r22_the_fold_is_the_recount_in_any_order_of_partitions(
    desk: Desk, homes: list[str], moves: list[tuple[int, Standing]], order: Random
) -> None:
    town = Town(desk.world.registry)
    town.populate(homes)
    for who, after in moves:
        town.move(who, after)
    queues = [list(queue) for queue in town.queues.values()]
    while any(queues):
        queue = order.choice([queue for queue in queues if queue])
        taken = order.randint(1, len(queue))
        await fold(desk.database, queue[:taken])
        del queue[:taken]
    assert await counters(desk, town.round_id) == town.recount()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    homes=st.lists(st.sampled_from(COMMUNITIES), min_size=1, max_size=6),
    moves=st.lists(st.tuples(st.integers(0, 8), standings()), min_size=1, max_size=12),
    share=st.floats(0, 1),
)
async def test_r22_figures_can_be_told_as_of_any_earlier_position(
    desk: Desk, homes: list[str], moves: list[tuple[int, Standing]], share: float
) -> None:
    """What came after a cut is taken off again: the cut need not be where we are now."""
    town = Town(desk.world.registry)
    town.populate(homes)
    for who, after in moves[: round(len(moves) * share)]:
        town.move(who, after)
    cut = {partition: queue[-1].record.pos for partition, queue in town.queues.items()}
    at_cut = town.recount()
    for who, after in moves[round(len(moves) * share) :]:
        town.move(who, after)
    for queue in town.queues.values():
        await fold(desk.database, queue)
    everywhere = {partition: cut.get(partition, 0) for partition in range(PARTITIONS)}
    async with desk.database.snapshot() as tx:
        generation = await generations.current(tx)
        assert await figures.at_cut(tx, generation, town.round_id, everywhere) == at_cut


async def fold(database: Database, events: Sequence[Event[Any]]) -> None:
    """Hand events of one partition to their handlers, runs of one type at a time."""
    handlers = {message.type: (message, handler) for message, handler in HANDLERS.items()}
    for kind, run in itertools.groupby(events, key=lambda event: event.record.type):
        message, handler = handlers[kind]
        await database.transact(handler, understood(message, [event.record for event in run]))
