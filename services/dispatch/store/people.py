"""People as rows. A person's row is the mutex of all their visits in that round."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.dispatch import tables
from services.dispatch.domain.cases import Case
from services.dispatch.domain.hands import Hand
from services.dispatch.domain.people import Person, Standing
from services.dispatch.domain.steps import Step
from services.dispatch.domain.visits import Visit
from services.dispatch.store import visits
from services.dispatch.store.batches import as_json, assigned
from shared.contracts.dispatch import HANDS
from shared.database import Transaction

CHUNK: Final = 1000
"""Rows read at a time where all are read one after the other."""

# The first two are the key.
_COLUMNS: Final = [column.name for column in tables.person.c]
_LIST: Final = ", ".join(_COLUMNS)

_INSERT: Final = f"""
INSERT INTO person ({_LIST})
SELECT {_LIST} FROM json_populate_recordset(NULL::person, $1::json)
"""
# Named twice, so that a few are found by their index: of rows out of JSON the planner knows
# nothing, and would go through everybody in the round.
_UPDATE: Final = f"""
UPDATE person SET {assigned(_COLUMNS[2:], "new")}
FROM json_populate_recordset(NULL::person, $1::json) AS new
WHERE person.round = $2 AND person.resident = ANY($3) AND person.resident = new.resident
"""


async def lock(tx: Transaction, round_id: str, residents: Iterable[str]) -> dict[str, Person]:
    """Lock persons, in order, and load them with their visits; who has no row is left out."""
    rows = await tx.rows(
        "SELECT * FROM person WHERE round = $1 AND resident = ANY($2)"
        " ORDER BY resident FOR UPDATE",
        round_id, list(residents),
    )  # fmt: skip
    # Visits in a statement of their own: a join that waited on the lock would show older ones.
    return {person.resident: person for person in await with_visits(tx, rows)}


async def meet(tx: Transaction, round_id: str, residents: Iterable[str]) -> dict[str, Person]:
    """Lock persons as `lock` does, and make those we never heard of, to be saved.

    A lock on an absent row locks nothing: of two transactions that meet the same person at the
    same moment (two halves of a move) the later fails to insert, and runs again.
    """
    wanted = sorted(residents)
    known = await lock(tx, round_id, wanted)
    return {each: known.get(each) or Person(round_id, each) for each in wanted}


async def everybody(tx: Transaction, round_id: str) -> list[str]:
    """List everyone we keep in a round, in the order they are locked in."""
    rows = await tx.rows("SELECT resident FROM person WHERE round = $1 ORDER BY resident", round_id)
    return [row["resident"] for row in rows]


async def in_play(tx: Transaction, round_id: str) -> list[str]:
    """List those of a round who have an open case or are in our hands, in the same order."""
    rows = await tx.rows(
        "SELECT resident FROM person WHERE round = $1"
        " AND (case_state = 'open' OR hand_kind IS NOT NULL) ORDER BY resident",
        round_id,
    )
    return [row["resident"] for row in rows]


async def held_without_case(tx: Transaction, round_id: str) -> set[str]:
    """List the few who are in our hands although their case is closed: a team is at their door."""
    rows = await tx.rows(
        "SELECT resident FROM person WHERE round = $1 AND hand_kind IS NOT NULL"
        " AND case_state IS DISTINCT FROM 'open'",
        round_id,
    )
    return {row["resident"] for row in rows}


async def hands_past(
    tx: Transaction, round_id: str, now: datetime, limit: int | None = None
) -> list[str]:
    """List residents whose hand the clock has to end by now."""
    rows = await tx.rows(
        "SELECT resident FROM person WHERE round = $1 AND hand_ends_at <= $2"
        " ORDER BY hand_ends_at LIMIT $3",
        round_id, now, limit,
    )  # fmt: skip
    return [row["resident"] for row in rows]


async def of_former_lives(tx: Transaction, incarnation: UUID) -> dict[str, list[str]]:
    """List whom registry last spoke of in an older life, by round; rounds and people sorted."""
    rows = await tx.rows(
        "SELECT round, resident FROM person WHERE incarnation < $1 ORDER BY round, resident",
        incarnation,
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["round"], []).append(row["resident"])
    return found


async def in_hands(tx: Transaction) -> AsyncIterator[tuple[str, list[Person]]]:
    """Read who is in our hands, round by round, a thousand at a time."""
    for round_ in await tx.rows("SELECT id FROM round ORDER BY id"):
        rows = await tx.raw.cursor(
            "SELECT * FROM person WHERE round = $1 AND hand_kind IS NOT NULL", round_["id"]
        )
        while chunk := await rows.fetch(CHUNK):
            yield round_["id"], await with_visits(tx, chunk)


async def our_life(tx: Transaction) -> str:
    """Tell the incarnation of our own database, by which our echoes are known."""
    return str(
        await tx.value("SELECT incarnation FROM outbox_head WHERE topic = $1 LIMIT 1", HANDS)
    )


async def beside(tx: Transaction, made: Sequence[Visit]) -> list[tuple[Person, Visit | None]]:
    """Put each visit beside the person it is for."""
    rows = await tx.rows(
        "SELECT person.* FROM unnest($1::text[], $2::text[]) AS wanted (round, resident)"
        " JOIN person USING (round, resident)",
        [visit.round for visit in made],
        [visit.resident for visit in made],
    )
    persons = {(person.round, person.resident): person for person in await with_visits(tx, rows)}
    return [(persons[visit.round, visit.resident], visit) for visit in made]


async def with_visits(tx: Transaction, rows: Sequence[asyncpg.Record]) -> list[Person]:
    """Load persons of any rounds with their visits, in the order of the rows."""
    ids = defaultdict[str, list[UUID]](list)
    for row in rows:
        if row["visit"] is not None:
            ids[row["round"]].append(row["visit"])
    found: dict[UUID, Visit] = {}
    for round_id, wanted in ids.items():
        found |= await visits.load(tx, round_id, wanted)
    return [_person(row, found.get(row["visit"])) for row in rows]


async def save(tx: Transaction, steps: Sequence[Step]) -> None:
    """Store whom steps of one round changed, all of them at once."""
    changed = [step for step in steps if step.after != step.before]
    met = [_row(step.after) for step in changed if step.before.is_new]
    if met:
        await tx.do(_INSERT, as_json(met))
    known = [_row(step.after) for step in changed if not step.before.is_new]
    if known:
        residents = [row["resident"] for row in known]
        await tx.do(_UPDATE, as_json(known), known[0]["round"], residents)


def _person(row: asyncpg.Record, visit: Visit | None) -> Person:
    case = hand = None
    if row["case_state"] is not None:
        case = Case(
            row["case_state"], row["case_opened_at"], row["case_closed_at"], row["case_reason"]
        )
    if row["hand_kind"] is not None:
        hand = Hand(
            kind=row["hand_kind"],
            due=row["hand_due"],
            ends_at=row["hand_ends_at"],
            owner=row["hand_owner"],
            reason=row["hand_reason"],
        )
    return Person(
        round=row["round"],
        resident=row["resident"],
        incarnation=row["incarnation"],
        rev=row["rev"],
        standing=Standing(row["klass"], row["community"], tuple(row["needs"]), row["alive"]),
        case=case,
        home=row["home"],
        visit=visit,
        attempts=row["attempts"],
        hand=hand,
        hand_revision=row["hand_revision"],
    )


def _row(person: Person) -> dict[str, Any]:
    standing, case, hand = person.standing, person.case, person.hand
    return {
        "round": person.round,
        "resident": person.resident,
        "incarnation": person.incarnation,
        "rev": person.rev,
        "klass": standing.klass,
        "community": standing.community,
        "needs": standing.needs,
        "alive": standing.alive,
        "case_state": case and case.state,
        "case_reason": case and case.reason,
        "case_opened_at": case and case.opened_at,
        "case_closed_at": case and case.closed_at,
        "home": person.home,
        "visit": person.visit and person.visit.id,
        "attempts": person.attempts,
        "hand_kind": hand and hand.kind,
        "hand_due": hand and hand.due,
        "hand_ends_at": hand and hand.ends_at,
        "hand_owner": hand and hand.owner,
        "hand_reason": hand and hand.reason,
        "hand_revision": person.hand_revision,
    }
