"""What settling a few people reads does not depend on how many others there are, nor on when."""

from uuid import UUID

from services.registry.store import account, rounds, sight
from shared.database import Database, Transaction
from tests.registry.words import lives
from tests.support.town import Town


async def standings_read(tx: Transaction) -> int:
    """How many standings were read in this transaction so far."""
    read: int = await tx.value(
        "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int"
        " FROM pg_stat_xact_user_tables WHERE relname LIKE 'roll\\_state%'"
    )
    return read


async def test_a_plan_that_was_made_in_a_young_round_is_good_for_an_old_one(town: Town) -> None:
    people = await town.people(*(lives() for _ in range(100)))
    round_id = await town.round()
    database: Database = town.apps["registry"].state.wiring.database
    async with database.begin() as tx:
        await sight.whole(tx)
        where = await rounds.load(tx, UUID(round_id))
        await account.settle(tx, where, people[:1])  # of an empty table; the connection keeps it
        await account.settle(tx, where, people)
        before = await standings_read(tx)
        await account.settle(tx, where, people[:1])
        assert await standings_read(tx) - before < len(people) / 10
