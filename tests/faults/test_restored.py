"""A database is lost and an older backup restored: noticed, adopted, and everybody catches up."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import make_url

from deploy.local import servers
from services.registry.flow.adoption import MARKS, retell
from services.reporting.flow import rebuild
from shared import adoption
from shared.contracts.envelope import Message
from shared.contracts.registry import RollStated
from shared.database import Transaction
from tests.journeys.field import door, knock, on_shift, open_visits, visits_of
from tests.support.servers import DatabaseUrl
from tests.support.town import JSON, LANQIAO, LUYUAN, Ground, Town

Backup = Callable[[str], None]
"""Keep a service's database as it is now; nobody is connected to it."""
PRODUCERS = ("registry", "dispatch")


def lives(community: str, number: int, *needs: str) -> JSON:
    return {
        "address": {"community_code": community, "building": "1", "door": str(number)},
        "needs": [{"code": need} for need in needs],
    }


@pytest.fixture
def copy(ground: Ground, postgres: servers.Postgres, database_url: DatabaseUrl) -> Backup:
    """Back a service's database up; the second time, put the copy in its place."""
    kept: dict[str, str] = {}

    def back_up_or_restore(service: str) -> None:
        if service in kept:
            ground.databases[service] = kept[service]
            return
        kept[service] = database_url("")
        source, target = (
            make_url(url).database for url in (ground.databases[service], kept[service])
        )
        postgres.execute(
            f'DROP DATABASE "{target}"',
            f'CREATE DATABASE "{target}" TEMPLATE "{source}" STRATEGY file_copy',
        )

    return back_up_or_restore


class Day:
    """A day of six people, told in two halves: up to the backup, and what was lost with it."""

    round: str
    walker: UUID
    grandmother: UUID
    quarantined: UUID
    late: UUID
    dialysis: UUID
    newcomer: UUID

    async def morning(self, town: Town) -> None:
        """The round opens, a team has three visits in hand, and one person came to the site."""
        people = await town.people(
            lives(LUYUAN, 1), lives(LUYUAN, 2, "mobility"), lives(LANQIAO, 3, "quarantine"),
            lives(LANQIAO, 4), lives(LANQIAO, 5, "dialysis"),
        )  # fmt: skip
        self.walker, self.grandmother, self.quarantined, self.late, self.dialysis = people
        self.round = await town.round()
        await on_shift(town, until=11)
        await town.tick(self.round, 1)
        await town.results(town.resulted(self.round, self.walker, "negative"))
        await town.expect(self.round, roll=5, sampled=1, in_hand=3, unaccounted=1)

    async def afternoon(self, town: Town) -> None:
        """A swab at one door, nobody at the next, an exclusion, a newcomer, a swab at the site."""
        await town.tick(self.round, 2)
        for resident, outcome in ((self.grandmother, "sampled"), (self.quarantined, "absent")):
            (visit,) = await open_visits(town, self.round, resident)
            await knock(town, visit, door(outcome, 1))
        exclusion = {
            "id": str(uuid4()),
            "round_id": self.round,
            "resident": {"id": str(self.dialysis)},
            "reason": "tested_elsewhere",
        }
        await town.sent(town.registry, "/v1/exclusions", exclusion)
        (self.newcomer,) = await town.people(lives(LUYUAN, 6, "mobility"))
        await town.results(town.result(self.round, self.late, 2))
        await town.expect(self.round, roll=6, sampled=3, excluded=1, in_hand=2)

    @property
    def people(self) -> list[UUID]:
        """Everybody."""
        return [self.walker, self.grandmother, self.quarantined, self.late, self.dialysis,
                self.newcomer]  # fmt: skip


async def stopped(town: Town) -> dict[str, set[str]]:
    """Whose topics which consumers have stopped on, once each has looked."""
    found = {}
    for name, consumer in town.consumers.items():
        await consumer.sweep()
        await consumer.sweep()
        found[name] = {topic for topic, _ in consumer.stopped}
    return found


async def adopt(town: Town, service: str) -> JSON:
    """Have a producer adopted, as `lastmetre adopt` does."""
    client, admin = getattr(town, service), town.headers("admin")
    heads = (await client.get("/v1/outbox/heads", headers=admin)).json()["heads"]
    body = {"replaces": heads[0]["incarnation"]}
    answer: JSON = await town.sent(client, "/v1/outbox:adopt", body, admin)
    return answer


async def assert_nobody_is_forgotten(town: Town, round_id: str) -> None:
    """Who is untested and cannot come has a case with a visit or a hand; nobody else has one."""
    demanded = set()
    for community in (LUYUAN, LANQIAO):
        answer = await town.registry.get(
            f"/v1/rounds/{round_id}/untested",
            params={"community": community},
            headers=town.headers("district"),
        )
        rows = [json.loads(line) for line in answer.text.splitlines()]
        demanded |= {row["id"] for row in rows if row.get("needs")}
    listed = await town.dispatch.get(
        "/v1/cases", params={"round": round_id, "state": "open"}, headers=town.headers("district")
    )
    cases = listed.json()["items"]
    assert {case["resident"] for case in cases} == demanded
    for case in cases:
        assert case["visit"] or case["hand"], case


async def assert_rebuild_agrees(town: Town, round_id: str) -> None:
    """Counting from zero goes through the old life into the new one, to the same figures."""
    before = await town.coverage(round_id, by="community")
    wiring = town.apps["reporting"].state.wiring
    await town.sent(town.reporting, "/v1/rebuild", headers=town.headers("admin"))
    assert await rebuild.build(wiring.database, wiring.builder) is not None
    assert await town.coverage(round_id, by="community") == before
    await town.assert_balanced(round_id)


async def test_registry_is_restored_from_an_older_backup(ground: Ground, copy: Backup) -> None:
    day = Day()
    async with ground.town() as town:
        await day.morning(town)
    copy("registry")
    async with ground.town() as town:
        await day.afternoon(town)
    copy("registry")

    async with ground.town() as town:
        # Life goes on for those who do not know.
        await town.sent(
            town.registry,
            "/v1/results:batch",
            [town.result(day.round, day.late, 1)],
            town.headers("site"),
        )
        noticed = await stopped(town)
        assert "registry.roll.v1" in noticed["dispatch"] & noticed["reporting"]

        adopted = await adopt(town, "registry")
        await town.settle()
        assert await stopped(town) == {"registry": set(), "dispatch": set(), "reporting": set()}

        # The swab at the door came back from dispatch; exclusion and newcomer are lost.
        await town.expect(day.round, roll=5, sampled=3, excluded=0, in_hand=2)
        await assert_nobody_is_forgotten(town, day.round)
        outcomes = [visit["outcome"] for visit in await visits_of(town, day.round, day.grandmother)]
        assert outcomes == ["sampled"]
        assert await open_visits(town, day.round, day.newcomer) == []
        assert len(await open_visits(town, day.round, day.dialysis)) == 1
        await assert_rebuild_agrees(town, day.round)

        # The day goes on, in the new life.
        (visit,) = await open_visits(town, day.round, day.dialysis)
        await town.tick(day.round, 4)
        await knock(town, visit, door("sampled", 4))
        await town.expect(day.round, sampled=4, in_hand=1)
        assert adopted["incarnation"] > adopted["replaces"]


async def test_dispatch_is_restored_from_an_older_backup(ground: Ground, copy: Backup) -> None:
    day = Day()
    async with ground.town() as town:
        await day.morning(town)
    copy("dispatch")
    async with ground.town() as town:
        await day.afternoon(town)
    copy("dispatch")

    async with ground.town() as town:
        noticed = await stopped(town)
        assert "dispatch.hands.v1" in noticed["registry"]
        assert "dispatch.visits.v1" in noticed["registry"] & noticed["reporting"]

        await adopt(town, "dispatch")
        await town.settle()
        assert await stopped(town) == {"registry": set(), "dispatch": set(), "reporting": set()}

        # registry lost nothing; who was absent is in somebody's hands again.
        await town.expect(day.round, roll=6, sampled=3, excluded=1, in_hand=2)
        await assert_nobody_is_forgotten(town, day.round)
        assert await open_visits(town, day.round, day.grandmother) == []
        assert (await town.ledger(day.round))["hands"]["balanced"] is True
        await assert_rebuild_agrees(town, day.round)

        # dispatch took registry's word that a team has the newcomer; which one is lost, and once
        # its shift is over, another visit is planned.
        assert await open_visits(town, day.round, day.newcomer) == []
        await town.tick(day.round, 11)
        assert len(await open_visits(town, day.round, day.newcomer)) == 1
        await town.expect(day.round, sampled=3, in_hand=0, unaccounted=2)
        await assert_nobody_is_forgotten(town, day.round)


async def test_both_are_restored_and_adopted_one_after_the_other(
    ground: Ground, copy: Backup
) -> None:
    day = Day()
    async with ground.town() as town:
        await day.morning(town)
    for service in PRODUCERS:
        copy(service)
    async with ground.town() as town:
        await day.afternoon(town)
    for service in PRODUCERS:
        copy(service)

    async with ground.town() as town:
        await stopped(town)
        for service in PRODUCERS:
            await adopt(town, service)
        await town.settle()
        await town.expect(day.round, roll=5, sampled=1, in_hand=3)
        await assert_nobody_is_forgotten(town, day.round)
        await assert_rebuild_agrees(town, day.round)


@pytest.mark.parametrize("service", ["reporting", "registry"])
async def test_who_only_listens_and_is_restored_catches_up_by_itself(
    ground: Ground, copy: Backup, service: str
) -> None:
    """Registry's own positions in what dispatch says go back with it, and it hears all again."""
    day = Day()
    async with ground.town() as town:
        await day.morning(town)
    copy(service)
    async with ground.town() as town:
        (visit,) = await open_visits(town, day.round, day.grandmother)
        await knock(town, visit, door("sampled", 1))
    copy(service)

    async with ground.town() as town:
        if service == "registry":
            await adopt(town, service)
        await town.expect(day.round, roll=5, sampled=2, in_hand=2)
        await assert_nobody_is_forgotten(town, day.round)


async def test_adopting_twice_and_after_an_adoption_that_was_cut_short(
    ground: Ground, copy: Backup
) -> None:
    day = Day()
    async with ground.town() as town:
        await day.morning(town)
    copy("registry")
    async with ground.town() as town:
        await day.afternoon(town)
    copy("registry")

    async with ground.town() as town:
        database = town.apps["registry"].state.wiring.database
        heads = (await town.registry.get("/v1/outbox/heads", headers=town.headers("admin"))).json()
        former = UUID(heads["heads"][0]["incarnation"])

        async def cut_short(tx: Transaction) -> AsyncIterator[tuple[Message, str]]:
            async for message, key in retell(tx):
                yield message, key
                if isinstance(message, RollStated):
                    raise asyncpg.ConnectionDoesNotExistError

        with pytest.raises(Exception, match="database"):
            await database.transact(adoption.adopt, MARKS, cut_short, former)
        after = (await town.registry.get("/v1/outbox/heads", headers=town.headers("admin"))).json()
        assert after == heads

        first = await database.transact(adoption.adopt, MARKS, retell, former)
        assert await database.transact(adoption.adopt, MARKS, retell, former) == first
        with pytest.raises(adoption.AdoptedMeanwhile):
            await database.transact(adoption.adopt, MARKS, retell, uuid4())
        await town.settle()
        await adopt(town, "registry")  # by somebody who did not know
        await town.settle()
        await town.assert_balanced(day.round)
        await assert_nobody_is_forgotten(town, day.round)
        await assert_rebuild_agrees(town, day.round)


async def test_adoption_while_writers_write(ground: Ground, copy: Backup) -> None:
    day = Day()
    async with ground.town() as town:
        await day.morning(town)
    copy("registry")
    async with ground.town() as town:
        await day.afternoon(town)
    copy("registry")

    async with ground.town() as town:
        people = await town.people(*(lives(LUYUAN, 100 + n) for n in range(20)))

        async def swab(resident: UUID) -> None:
            row = town.result(day.round, resident, 1)
            await town.sent(town.registry, "/v1/results", row, town.headers("site"))

        await asyncio.gather(
            *(swab(each) for each in people[:10]),
            adopt(town, "registry"),
            *(swab(each) for each in people[10:]),
        )
        await town.expect(day.round, roll=25, sampled=22)
        await assert_nobody_is_forgotten(town, day.round)
