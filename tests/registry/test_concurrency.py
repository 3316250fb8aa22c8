"""Many at once: no deadlock, and the account is the same as one by one.

A gate keeps everybody off the account until all are there; then they start in the same moment, on
connections of their own. That is done many times over: a wrong order of locks shows in some.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
from structlog.testing import capture_logs

from services.dispatch import wiring as dispatch_wiring
from services.dispatch import worker as dispatch_worker
from services.registry import wiring as registry_wiring
from services.registry.store import locks, rounds
from services.reporting import wiring as reporting_wiring
from shared.consumer import Consumer
from shared.contracts.envelope import Record
from shared.database import Transaction
from shared.outbox import Pulled
from shared.positions import Partition
from tests.journeys.field import door, on_shift, open_visits, tell
from tests.registry.words import assert_account, hour, lives
from tests.support.town import DONGFANG, JSON, LANQIAO, LUYUAN, Town
from tests.support.waiting import eventually

TIMES = 30
FEWER = 10
"""How often longer stories are told."""
CROWD = 40
RANDOM = Random(3)  # noqa: S311 - orders, not secrets

Call = Coroutine[Any, Any, httpx.Response]


async def crowd(town: Town, number: int = CROWD, **more: Any) -> list[UUID]:
    """Some people of one community."""
    return await town.people(*(lives(**more) for _ in range(number)))


def batch(town: Town, rows: Sequence[JSON]) -> Call:
    """Send results, without waiting for them to be counted."""
    return town.registry.post("/v1/results:batch", json=rows, headers=town.headers("site"))


def changes(town: Town, rows: Sequence[JSON]) -> Call:
    """Send residents, without waiting for them to be counted."""
    return town.registry.post("/v1/residents:batch", json=rows, headers=town.headers("office"))


def said(town: Town, path: str, body: JSON | None = None) -> Call:
    """Do something else that an office or the district may do."""
    return town.registry.post(path, json=body, headers=town.headers("district", "office"))


def exclusion(round_id: str, resident: UUID) -> JSON:
    """An exclusion under its person's id."""
    who = str(resident)
    return {"id": who, "round_id": round_id, "resident": {"id": who}, "reason": "recovered"}


def shuffled(rows: Sequence[Any]) -> list[Any]:
    """The same in another order."""
    return RANDOM.sample(rows, len(rows))


# --- the gate ---


@asynccontextmanager
async def gate(town: Town) -> AsyncIterator[Transaction]:
    """Keep everybody off residents and rounds; whoever waits at the end starts then."""
    async with town.apps["registry"].state.wiring.database.begin() as tx:
        await locks.own_residents(tx)
        for where in sorted(await rounds.listed(tx), key=lambda where: where.id):
            await locks.own_round(tx, where.id)
        yield tx


async def at_the_gate(tx: Transaction) -> int:
    """How many wait for a lock."""
    waiting: int = await tx.value(
        "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return waiting


async def at_once(town: Town, *calls: Call, retried: bool = False) -> list[httpx.Response]:
    """Answers to calls made in the same moment: each is taken, at the first attempt.

    `retried` is for use cases that cannot know beforehand whom they lock.
    """
    with capture_logs() as logs:
        async with gate(town) as tx:
            made = [asyncio.create_task(call) for call in calls]

            async def all_there() -> bool:
                return await at_the_gate(tx) == len(calls)

            await eventually(all_there)
        answers = await asyncio.gather(*made)
    # A deadlock is retried and reaches nobody; but there is to be none.
    assert retried or not [log for log in logs if log.get("why") == "DeadlockDetectedError"]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    return answers


def total(answers: Sequence[httpx.Response], status: str) -> int:
    """How many rows of these batches were told so."""
    return sum(answer.json().get(status, 0) for answer in answers)


# --- samples ---


async def test_r19_overlapping_batches_in_opposite_order(town: Town) -> None:
    people = await crowd(town)
    round_id = await town.round()
    await town.tick(round_id, 2)
    for _ in range(TIMES):
        rows = [town.resulted(round_id, resident, "negative") for resident in people]
        others = [town.result(round_id, resident, 0.5) for resident in people]
        answers = await at_once(
            town,
            batch(town, rows), batch(town, rows[::-1]), batch(town, shuffled(others)),
            batch(town, others[::-1]), batch(town, shuffled(rows[::2] + others[1::2])),
        )  # fmt: skip
        assert total(answers, "accepted") == 2 * CROWD
        assert total(answers, "duplicate") == 3 * CROWD
    await assert_account(town, round_id, sampled=CROWD)


async def test_samples_while_people_move(town: Town) -> None:
    people = await crowd(town, needs=[{"code": "mobility"}])
    round_id = await town.round()
    await town.tick(round_id, 2)
    for time in range(TIMES):
        here, there = (DONGFANG, LANQIAO) if time % 2 else (LANQIAO, LUYUAN)
        moves = [
            {"id": str(resident), "address": {"community_code": community}}
            for community in (here, there)
            for resident in reversed(people)
        ]
        sampled = people[: time + 1]
        await at_once(
            town,
            changes(town, moves[:CROWD]),
            batch(town, [town.result(round_id, resident) for resident in sampled]),
            changes(town, shuffled(moves[CROWD:])),
            batch(town, [town.result(round_id, resident, 0.5) for resident in sampled[::-1]]),
        )  # fmt: skip
    await assert_account(
        town, round_id, sampled=len(sampled), unaccounted=CROWD - len(sampled),
        need__mobility__roll=CROWD,
    )  # fmt: skip


async def test_samples_while_exclusions_are_filed_and_revoked(town: Town) -> None:
    round_id = await town.round()
    await town.tick(round_id, 2)
    # Of each eight, four are excluded; two of these are sampled, one of either half is let off.
    revoked: list[UUID] = []
    for _ in range(TIMES):
        people = await crowd(town, 8)
        await at_once(
            town,
            *(said(town, "/v1/exclusions", exclusion(round_id, who)) for who in people[:4]),
            *(said(town, f"/v1/exclusions/{who}:revoke") for who in revoked),
            batch(town, [town.result(round_id, who) for who in shuffled(people[2:])]),
        )  # fmt: skip
        revoked = [people[0], people[2]]
    await assert_account(
        town, round_id, sampled=6 * TIMES, excluded=TIMES + 1, unaccounted=TIMES - 1
    )


async def test_late_reports_while_their_swabs_are_voided(town: Town) -> None:
    people = await crowd(town)
    round_id = await town.round()
    await town.tick(round_id, 2)
    for _ in range(TIMES):
        swabs = [town.result(round_id, resident) for resident in people]
        await town.results(*swabs)
        reports = [
            swab | {"result_id": str(uuid4()), "outcome": "negative", "released_at": hour(2)}
            for swab in swabs
        ]
        voids = [
            swab | {"result_id": str(uuid4()), "corrects": swab["sample_id"], "void": True}
            for swab in swabs[1:]
        ]
        answers = await at_once(
            town,
            batch(town, reports), batch(town, voids[::-1]),
            batch(town, shuffled(reports)),
        )  # fmt: skip
        assert total(answers, "rejected") == 0
    await assert_account(town, round_id, sampled=1, negative=1, resulted=1, unaccounted=CROWD - 1)


async def test_corrections_of_the_same_swabs_in_opposite_directions(town: Town) -> None:
    people = await crowd(town, FEWER)
    first, second = await town.round(1), await town.round(2)
    await town.tick(first, 2)
    await town.tick(second, 2, day=2)
    swabs = [town.result(first, resident) for resident in people]
    await town.results(*swabs)

    def corrected(swab: JSON, **more: Any) -> JSON:
        """Say something else of a swab."""
        return swab | {"result_id": str(uuid4()), "corrects": swab["sample_id"]} | more

    def belonging(step: int) -> list[JSON]:
        """Every swab is that of a neighbour."""
        return [
            corrected(swab, resident={"id": str(people[(n + step) % FEWER])})
            for n, swab in enumerate(swabs)
        ]

    for _ in range(FEWER):
        answers = await at_once(
            town,
            batch(town, belonging(1)),
            batch(town, belonging(-1)[::-1]),
            batch(town, shuffled([corrected(swab, sampled_at=hour(0.5)) for swab in swabs])),
            batch(town, [
                corrected(swab, round_id=second, sampled_at=hour(25)) for swab in shuffled(swabs)
            ]),
            retried=True,
        )  # fmt: skip
        assert total(answers, "accepted") == 4 * FEWER
    await batch(town, [corrected(swab) for swab in shuffled(swabs)])
    await assert_account(town, first, sampled=FEWER)
    await assert_account(town, second, unaccounted=FEWER)


# --- residents, rounds and clocks ---


async def test_births_while_a_round_opens_and_samples_while_it_closes(town: Town) -> None:
    people = await crowd(town, 8)
    born = 0
    for day in range(1, FEWER + 1):
        round_id = await town.round(day, opened=False)
        excluded = exclusion(round_id, people[0]) | {"id": str(uuid4())}
        await at_once(
            town,
            changes(town, [newborn() for _ in range(3)]),
            changes(town, [{"id": str(people[-1]), "alive": day % 2 == 0}]),
            said(town, f"/v1/rounds/{round_id}:open"),
            said(town, "/v1/exclusions", excluded),
            changes(town, [newborn(), newborn()]),
        )  # fmt: skip
        born += 5
        alive = len(people) - day % 2
        await assert_account(
            town, round_id, excluded=1, unaccounted=born + alive - 1, need__minor_alone__roll=born
        )
        at = (day - 1) * 24 + 1
        await town.tick(round_id, 2, day=day)
        await at_once(
            town,
            batch(town, [town.result(round_id, who, at) for who in people[1:4]]),
            said(town, f"/v1/rounds/{round_id}:close"),
            changes(town, [moved(who, DONGFANG if day % 2 else LUYUAN) for who in people[2:5]]),
            batch(town, [town.result(round_id, who, at) for who in people[3:6][::-1]]),
        )  # fmt: skip
        await assert_account(town, round_id, sampled=5, excluded=1, unaccounted=born + alive - 6)


def newborn() -> JSON:
    """Somebody who was not there before."""
    return lives(id=str(uuid4()), name="新生儿", needs=[{"code": "minor_alone"}])


def moved(resident: UUID, community: str) -> JSON:
    """Somebody lives elsewhere from now on."""
    return {"id": str(resident), "address": {"community_code": community}}


async def test_samples_while_quarantines_end(town: Town) -> None:
    people = await crowd(town)
    round_id = await town.round()
    for time in range(1, TIMES + 1):
        ends = hour(time / 10)
        quarantined = [
            {"id": str(who), "needs": [{"code": "quarantine", "until": ends}]} for who in people
        ]
        answer = await changes(town, quarantined)
        assert answer.json()["accepted"] == CROWD
        at = (time - 1) / 10
        await at_once(
            town,
            said(town, f"/v1/rounds/{round_id}:tick", {"clock_at": ends}),
            batch(town, [town.result(round_id, who, at) for who in people[time:][::-1]]),
            changes(town, [{"id": str(who), "phone": str(time)} for who in shuffled(people)]),
        )  # fmt: skip
    await assert_account(town, round_id, sampled=CROWD - 1, unaccounted=1, need__quarantine__roll=0)


async def test_samples_while_records_are_merged_and_parted(town: Town) -> None:
    round_id = await town.round()
    await town.tick(round_id, 2)
    parted: list[str] = []
    for _ in range(TIMES):
        people = await crowd(town, 6, needs=[{"code": "dialysis"}])
        merges = [str(uuid4()) for _ in range(3)]
        pairs = zip(merges, people[:3], people[3:], strict=True)
        swabs = [town.result(round_id, who) for who in people]
        later = [town.result(round_id, who, 1.5) for who in people]
        await at_once(
            town,
            *(
                said(town, f"/v1/residents/{absorbed}:merge", {"id": merge, "into": str(kept)})
                for merge, absorbed, kept in pairs
            ),
            *(said(town, f"/v1/merges/{merge}:undo") for merge in parted),
            batch(town, shuffled(swabs)),
            batch(town, later[::-1]),
            retried=True,
        )  # fmt: skip
        parted = merges[:1]
    # Three persons a time; one pair of six records was two after all, but for the last time.
    sampled = 3 * TIMES + TIMES - 1
    await assert_account(town, round_id, sampled=sampled, need__dialysis__sampled=sampled)


async def test_one_person_sent_by_many_at_once_is_one_person(town: Town) -> None:
    round_id = await town.round()
    for time in range(TIMES):
        row = lives(name="王秀英", id_document={"type": "passport", "number": f"E{time:07}"})
        answers = await at_once(town, *(changes(town, [row]) for _ in range(4)))
        rows = [answer.json()["rows"][0] for answer in answers]
        assert sorted(each["status"] for each in rows) == ["accepted", *["duplicate"] * 3]
        assert len({each["id"] for each in rows}) == 1
    await assert_account(town, round_id, unaccounted=TIMES)


# --- two workers of a service ---


@asynccontextmanager
async def two_workers(town: Town) -> AsyncIterator[list[tuple[Consumer, Consumer]]]:
    """Two workers of each service."""
    registry, dispatch, reporting = (
        town.apps[name].state.wiring for name in ("registry", "dispatch", "reporting")
    )
    others = (
        registry_wiring.wire(registry.settings, town.switches),
        dispatch_wiring.wire(dispatch.settings, town.switches),
        reporting_wiring.wire(reporting.settings, reporting.folds, town.switches),
    )
    yield [
        (registry.consumer, others[0].consumer),
        (dispatch_worker.consumer(dispatch), dispatch_worker.consumer(others[1])),
        (reporting.consumer, others[2].consumer),
    ]
    for other in others:
        await other.close()


async def news(town: Town, seen: dict[Partition, int]) -> dict[Partition, list[Record]]:
    """What registry and dispatch have announced since we asked last."""
    found: dict[Partition, list[Record]] = {}
    system = town.headers("system")
    for service in (town.registry, town.dispatch):
        heads = (await service.get("/v1/outbox/heads", headers=system)).json()["heads"]
        for topic, partition, pos in ((h["topic"], h["partition"], h["pos"]) for h in heads):
            after = seen.get((topic, partition), 0)
            if pos > after:
                answer = await service.get(
                    f"/v1/outbox/{topic}/{partition}?after={after}", headers=system
                )
                pulled = msgspec.json.decode(answer.content, type=Pulled)
                found[topic, partition] = pulled.as_records(topic, partition)
                seen[topic, partition] = pulled.records[-1].pos
    return found


async def test_two_workers_on_one_partition(whole_town: Town) -> None:
    """Both fetch the same records, as after a rebalance, while a third way, the pull, is open."""
    town = whole_town
    people = await crowd(town, FEWER, needs=[{"code": "mobility"}])
    round_id = await town.round()
    await on_shift(town, capacity=FEWER)
    await town.tick(round_id, 2)
    visits = {who: (await open_visits(town, round_id, who))[0] for who in people}
    seen: dict[Partition, int] = {}
    await news(town, seen)
    async with two_workers(town) as workers:
        for number, who in enumerate(people):
            if number % 3:
                await batch(town, [town.result(round_id, who), town.result(round_id, people[0])])
            else:
                await tell(town, visits[who], door("absent" if number % 2 else "sampled", 1))
            while fresh := await news(town, seen):
                for partition, records in fresh.items():
                    following = [
                        each for both in workers for each in both if partition[0] in each.topics
                    ]
                    await asyncio.gather(
                        *(each.take({partition: records}) for each in following),
                        *(each.sweep() for each in following),
                    )
        assert not any(each.stopped for both in workers for each in both)
    figures = await town.coverage(round_id)
    await town.expect(round_id, **{name: figures[name] for name in ("sampled", "in_hand")})
    assert figures["sampled"] == sum(bool(n % 3) or n % 2 == 0 for n in range(FEWER))
