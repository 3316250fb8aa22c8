"""The last proof of each round's account, for those who look at the page."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from services.reporting.domain.ledger import Proof
from shared.database import Transaction


async def save(tx: Transaction, proof: Proof) -> None:
    """Keep a proof in the place of the one before."""
    await tx.do(
        "INSERT INTO proof (round, proven_at, final, proof)"
        " VALUES ($1, clock_timestamp(), $2, $3::jsonb) ON CONFLICT (round) DO UPDATE SET"
        " proven_at = excluded.proven_at, final = excluded.final, proof = excluded.proof",
        proof.round, proof.final, msgspec.json.encode(proof).decode(),
    )  # fmt: skip


async def proven_at(tx: Transaction, round_id: str) -> datetime | None:
    """Tell when a round was proven last; of every proof it is another time."""
    found: datetime | None = await tx.value(
        "SELECT proven_at FROM proof WHERE round = $1", round_id
    )
    return found


async def last(tx: Transaction, round_id: str) -> Proof | None:
    """Read the last proof of a round."""
    found = await tx.value("SELECT proof::text FROM proof WHERE round = $1", round_id)
    return None if found is None else msgspec.json.decode(found, type=Proof)


async def final(tx: Transaction, rounds: Sequence[str]) -> set[str]:
    """Find those of some rounds that need not be proven again."""
    rows = await tx.rows("SELECT round FROM proof WHERE final AND round = ANY ($1)", rounds)
    return {row["round"] for row in rows}
