"""Numbers from outside, as rows (R3)."""

from collections.abc import Iterable

from services.reporting.domain.denominators import Outside
from services.reporting.domain.rounds import View
from services.reporting.store.areas import within
from shared.contracts.registry import Denominator
from shared.database import Transaction


async def save(tx: Transaction, generation: int, given: Iterable[Denominator]) -> None:
    """Save numbers from outside; of several for one area and source the last one holds."""
    newest = {(each.code, each.source): each for each in given}
    ordered = [newest[key] for key in sorted(newest)]
    await tx.do(
        "INSERT INTO denominator (generation, code, source, people, as_of)"
        " SELECT $1, d.* FROM unnest($2::text[], $3::text[], $4::bigint[], $5::date[]) d"
        " ON CONFLICT (generation, code, source) DO UPDATE SET people = excluded.people,"
        " as_of = excluded.as_of",
        generation,
        [each.code for each in ordered],
        [each.source for each in ordered],
        [each.people for each in ordered],
        [each.as_of for each in ordered],
    )


async def seen(tx: Transaction, view: View) -> dict[tuple[str, str], Outside]:
    """Read the numbers in the caller's areas, by area and source."""
    rows = await tx.rows(
        "SELECT code, source, people, as_of FROM denominator"
        " WHERE generation = $1 AND code LIKE ANY ($2)",
        view.generation, within(view.areas),
    )  # fmt: skip
    return {(code, source): Outside(source, people, day) for code, source, people, day in rows}
