"""Denominators from outside, as rows."""

from collections.abc import Iterable, Sequence

from services.registry.domain.denominators import Denominator
from shared.database import Transaction


async def lock(
    tx: Transaction, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Denominator]:
    """Read the numbers of areas and sources, and keep other writers off until the end.

    The whole table: they come a few times in a campaign, and a lock on a row that is not there yet
    locks nothing.
    """
    await tx.do("LOCK TABLE denominator IN SHARE ROW EXCLUSIVE MODE")
    wanted = sorted(set(keys))
    rows = await tx.rows(
        "SELECT code, source, people, as_of FROM denominator"
        " JOIN unnest($1::text[], $2::text[]) AS wanted (code, source) USING (code, source)",
        [code for code, _ in wanted],
        [source for _, source in wanted],
    )
    return {(found := Denominator(*row)).key: found for row in rows}


async def save(tx: Transaction, given: Sequence[Denominator]) -> None:
    """Store numbers, over those of the same area and source."""
    await tx.do(
        "INSERT INTO denominator AS d (code, source, people, as_of)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::date[])"
        " ON CONFLICT (code, source) DO UPDATE SET people = excluded.people,"
        " as_of = excluded.as_of",
        [each.code for each in given],
        [each.source for each in given],
        [each.people for each in given],
        [each.as_of for each in given],
    )


async def everything(tx: Transaction) -> list[Denominator]:
    """Read all numbers."""
    rows = await tx.rows(
        "SELECT code, source, people, as_of FROM denominator ORDER BY code, source"
    )
    return [Denominator(*row) for row in rows]


async def page(
    tx: Transaction, patterns: Sequence[str], after: tuple[str, str], limit: int
) -> list[Denominator]:
    """Read a page of the numbers of areas that match one of the patterns, by code and source."""
    rows = await tx.rows(
        "SELECT code, source, people, as_of FROM denominator"
        " WHERE code LIKE ANY ($1::text[]) AND (code, source) > ($2, $3)"
        " ORDER BY code, source LIMIT $4",
        patterns, *after, limit,
    )  # fmt: skip
    return [Denominator(*row) for row in rows]
