"""Cases: the rows of people who have, or had, one."""

from collections.abc import Sequence
from datetime import UTC, datetime

from services.dispatch.domain.people import Person
from services.dispatch.store import people
from shared.database import Transaction


async def find(
    tx: Transaction, round_id: str, resident: str, areas: Sequence[str]
) -> Person | None:
    """Find a person who has, or had, a case, within areas."""
    rows = await tx.rows(
        "SELECT * FROM person WHERE round = $1 AND resident = $2 AND case_state IS NOT NULL"
        " AND community LIKE ANY($3)",
        round_id, resident, areas,
    )  # fmt: skip
    persons = await people.with_visits(tx, rows)
    return persons[0] if persons else None


async def listed(
    tx: Transaction,
    *,
    areas: Sequence[str],
    after: tuple[str, str],
    limit: int,
    round_id: str | None = None,
    office: str | None = None,
    state: str | None = None,
    hand: str | None = None,
    owner: str | None = None,
    past_due: bool | None = None,
) -> list[Person]:
    """List persons who have, or had, a case, by (round, resident).

    A hand is past due by the clock of its round.
    """
    rows = await tx.rows(
        """
        SELECT person.* FROM person JOIN round ON round.id = person.round
        WHERE case_state IS NOT NULL AND community LIKE ANY($1)
          AND (person.round, resident) > ($2, $3)
          AND ($5::text IS NULL OR person.round = $5)
          AND ($6::text IS NULL OR community LIKE $6 || '%')
          AND ($7::text IS NULL OR case_state = $7)
          AND ($8::text IS NULL OR hand_kind = $8)
          AND ($9::text IS NULL OR hand_owner = $9)
          AND ($10::bool IS NULL OR (hand_due <= CASE WHEN manual_clock
                  THEN coalesce(clock_at, opens_at, $11) ELSE $11 END) = $10)
        ORDER BY person.round, resident LIMIT $4
        """,
        areas, *after, limit, round_id, office, state, hand, owner, past_due, datetime.now(UTC),
    )  # fmt: skip
    return await people.with_visits(tx, rows)
