"""How PostgreSQL goes about statements over the few thousand people of a batch."""

from shared.database import Transaction

# That leaves the planner one plan, so it is made once a connection.
_BY_INDEX = (
    "".join(
        f"SET LOCAL enable_{way} = off;"
        for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "material", "memoize")
    )
    + "SET LOCAL plan_cache_mode = force_generic_plan"
)


async def by_index(tx: Transaction) -> None:
    """Look each person and fact up by index from here to the end of the transaction.

    Left to itself the planner takes a batch of a few thousand for a good part of everybody: it
    reads the roll from end to end for it, or, where tables were empty when it last looked, keeps
    all facts of a round in memory and goes through them for everybody.
    """
    await tx.do(_BY_INDEX)
