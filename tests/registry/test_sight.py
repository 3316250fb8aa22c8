"""The second wall: PostgreSQL shows of residents what a transaction may see, whatever it asks."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.registry.flow import lookup
from services.registry.store import sight
from shared.auth import Caller
from shared.database import Database, Transaction
from tests.registry.words import lives
from tests.support.counting import Tell
from tests.support.town import CHAOHE, DISTRICT, DONGFANG, LANQIAO, LUYUAN, MINGHU, Town

EVERYWHERE = (LUYUAN, LANQIAO, DONGFANG)


def database(town: Town) -> Database:
    found: Database = town.apps["registry"].state.wiring.database
    return found


@asynccontextmanager
async def looking(town: Town, *areas: str) -> AsyncIterator[Transaction]:
    """A transaction of somebody who may see some areas."""
    async with database(town).begin() as tx:
        await sight.within(tx, areas)
        yield tx


async def communities(tx: Transaction) -> list[str]:
    """Read the whole table, as a query does whose condition was forgotten."""
    return [row["community"] for row in await tx.rows("SELECT * FROM resident ORDER BY community")]


@pytest.fixture
async def people(town: Town) -> list[UUID]:
    return await town.people(*map(lives, EVERYWHERE))


async def test_a_transaction_that_says_nothing_sees_nobody(town: Town, people: list[UUID]) -> None:
    async with database(town).begin() as tx:
        assert await communities(tx) == []
        assert await tx.do("UPDATE resident SET name = 'x'") == "UPDATE 0"
        assert await tx.do("DELETE FROM resident") == "DELETE 0"
    async with database(town).begin() as tx:
        await sight.whole(tx)
        assert len(await communities(tx)) == len(people)


@pytest.mark.parametrize(
    ("areas", "seen"),
    [
        ([LUYUAN], [LUYUAN]),
        ([CHAOHE], [LUYUAN, LANQIAO]),
        ([LANQIAO, MINGHU], [LANQIAO, DONGFANG]),
        ([DISTRICT], list(EVERYWHERE)),
        (["41"], list(EVERYWHERE)),
        (["410172", "42"], []),
        ([], []),
        (["%"], []),
        (["_" * 12], []),
    ],
)
async def test_without_any_condition_only_the_callers_areas_are_read(
    town: Town, people: list[UUID], areas: list[str], seen: list[str]
) -> None:
    assert people
    async with looking(town, *areas) as tx:
        assert await communities(tx) == seen


async def test_what_was_said_ends_with_its_transaction(town: Town, people: list[UUID]) -> None:
    """The pool gives the same connections to others."""
    assert people
    for _ in range(20):
        async with looking(town, DISTRICT) as tx:
            assert len(await communities(tx)) == len(EVERYWHERE)
        async with database(town).begin() as tx:
            assert await communities(tx) == []


async def test_nobody_is_moved_out_of_sight_or_made_there(town: Town, people: list[UUID]) -> None:
    async with looking(town, CHAOHE) as tx:
        assert await tx.do("UPDATE resident SET phone = '1'") == "UPDATE 2"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await tx.do("UPDATE resident SET community = $2 WHERE id = $1", people[0], DONGFANG)


async def test_use_cases_say_what_they_see_before_they_look(town: Town, people: list[UUID]) -> None:
    """A caller's transaction shows no more than it may when the use case has answered."""
    vault = town.apps["registry"].state.wiring.vault
    caller = Caller("o", frozenset({"office"}), (CHAOHE,))
    async with database(town).begin() as tx:
        await lookup.page(
            tx, vault, caller, prefix="", need=None, household=None, after=None, limit=9
        )
        assert await communities(tx) == [LUYUAN, LANQIAO]
    async with database(town).begin() as tx:
        await lookup.search(tx, vault, caller, document=None, phone="1")
        assert await communities(tx) == [LUYUAN, LANQIAO]
    async with database(town).begin() as tx:
        found, _ = await lookup.contacts(tx, vault, caller, people)
        assert list(found) == people[:2]
        assert await communities(tx) == [LUYUAN, LANQIAO]


async def test_services_are_no_superusers_whom_no_policy_holds(town: Town) -> None:
    async with database(town).begin() as tx:
        role = await tx.row(
            "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        )
        guarded = await tx.row(
            "SELECT relrowsecurity, relforcerowsecurity FROM pg_class"
            " WHERE oid = 'resident'::regclass"
        )
    assert role is not None
    assert guarded is not None
    assert tuple(role) == (False, False)
    assert tuple(guarded) == (True, True)


async def test_every_table_with_names_or_doors_is_guarded(town: Town) -> None:
    """Whoever adds a table that holds them has to build the wall around it as well."""
    personal = ["name", "phone", "document_number", "birth_date", "door"]
    not_of_people = {"area", "round", "outbox_consumer"}
    async with database(town).begin() as tx:
        rows = await tx.rows(
            "SELECT DISTINCT c.relname, c.relrowsecurity FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
            "   AND a.attname = ANY ($1)",
            personal,
        )
    found = dict(map(tuple, rows))
    assert {name for name in found if name not in not_of_people} == {"resident"}
    assert found["resident"]


async def test_what_the_wall_costs(town: Town, tell: Tell) -> None:
    """The same look-ups with and without it, turn by turn in one run; told, not judged."""
    ids = [uuid4() for _ in range(20_000)]
    async with database(town).begin() as tx:
        await sight.whole(tx)
        await tx.do(
            "INSERT INTO resident (id, community, noted_at, name, household, building, unit, door,"
            " created_at) SELECT id, $2, now(), 'n', id, '1', '1', '1', now()"
            " FROM unnest($1::uuid[]) AS given (id)",
            ids, LUYUAN,
        )  # fmt: skip
    took: dict[str, list[float]] = {"with": [], "without": []}
    for kind in ("with", "without") * 5:
        guard = "ENABLE" if kind == "with" else "DISABLE"
        async with database(town).begin() as tx:
            await tx.do(f"ALTER TABLE resident {guard} ROW LEVEL SECURITY")
        async with database(town).begin() as tx:
            await sight.whole(tx)
            begun = time.perf_counter()
            for first in range(0, len(ids), 1_000):
                rows = await tx.rows(
                    "SELECT id, community, merged_into FROM resident WHERE id = ANY ($1)"
                    " ORDER BY id FOR NO KEY UPDATE",
                    ids[first : first + 1_000],
                )
                assert len(rows) == 1_000
            took[kind].append(time.perf_counter() - begun)
    ratio = min(took["with"]) / min(took["without"])
    tell(f"20,000 residents locked in thousands, the best of five: {ratio:.2f} x")
