"""Under which keys residents' numbers are sealed, and sealing them under the current one."""

from dataclasses import dataclass, field
from uuid import UUID

from cryptography.exceptions import InvalidTag

from services.registry.vault import Vault, mark
from shared.database import Transaction
from shared.keyring import ID_CHARACTERS

AT_ONCE = 1_000
"""Residents that one transaction looks at: some ten milliseconds."""


@dataclass(frozen=True)
class Stretch:
    """What was done to a stretch of residents, in order of their ids."""

    following: UUID | None
    """The first resident behind it; None: there is nobody further on."""
    resealed: int = 0
    damaged: list[UUID] = field(default_factory=list)
    """Whose number no key opens; it is left as it is."""


async def count(tx: Transaction) -> dict[str, int]:
    """Count the numbers sealed under each key; reads the whole table."""
    rows = await tx.rows(
        # Not as UTF-8: whatever stands there, it is counted and not refused.
        "SELECT split_part(encode(substring(document_number, 1, $1), 'escape'), ':', 1), count(*)"
        " FROM resident WHERE document_number IS NOT NULL GROUP BY 1",
        ID_CHARACTERS + 1,
    )
    return dict(map(tuple, rows))


async def reseal(tx: Transaction, vault: Vault, start: UUID, key: str) -> Stretch:
    """Seal the numbers of the residents from an id on under the current key, where they are not.

    Rows that somebody else is about to change are passed over: what they write is sealed under the
    current key by then, or is found by whoever counts.
    """
    found = await tx.rows(
        "SELECT id FROM resident WHERE id >= $1 ORDER BY id LIMIT $2", start, AT_ONCE + 1
    )
    ids = [row["id"] for row in found]
    rows = await tx.rows(
        "SELECT id, document_type, document_number FROM resident WHERE id = ANY ($1)"
        " AND substring(document_number, 1, octet_length($2::bytea)) <> $2"
        " ORDER BY id FOR NO KEY UPDATE SKIP LOCKED",
        ids[:AT_ONCE], mark(key),
    )  # fmt: skip
    sealed: dict[UUID, bytes] = {}
    damaged = []
    for row in rows:
        try:
            sealed[row["id"]] = vault.reseal(row["document_type"], row["document_number"])
        except InvalidTag:
            damaged.append(row["id"])
    if sealed:
        await tx.do(
            "UPDATE resident SET document_number = n.sealed"
            " FROM unnest($1::uuid[], $2::bytea[]) AS n (id, sealed) WHERE resident.id = n.id",
            list(sealed), list(sealed.values()),
        )  # fmt: skip
    return Stretch(next(iter(ids[AT_ONCE:]), None), len(sealed), damaged)
