"""All SQL of dispatch; rows ↔ domain.

Lock order in a transaction: round (advisory, shared by everybody but those who change the round
itself) → report or decision → teams, sorted → persons, sorted → visits → outbox heads. A person's
row is the mutex of all their visits in that round: nothing of one is written without the other's
lock.
"""

import secrets
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from services.dispatch import tables
from services.dispatch.assigner import Crew, Waiting, WaitingGroup
from services.dispatch.domain.areas import Area
from services.dispatch.domain.cases import Case
from services.dispatch.domain.decisions import Decision
from services.dispatch.domain.hands import Hand
from services.dispatch.domain.people import Person, Standing
from services.dispatch.domain.rounds import Round
from services.dispatch.domain.steps import Step
from services.dispatch.domain.teams import Member, Team
from services.dispatch.domain.visits import Sample, Visit, VisitReport
from shared.contracts.dispatch import HANDS
from shared.contracts.vocabulary import HandKind
from shared.database import Transaction

# The first two are the key.
_PERSON: Final = [column.name for column in tables.person.c]
_VISIT: Final = [column.name for column in tables.visit.c]


def new_id() -> UUID:
    """Make an id whose order is that of time, to a quarter of a microsecond (UUID version 7).

    Visits page in this order, and new ones go to the end of their index.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    return UUID(
        int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    )


# --- rounds and areas ---


async def enter_round(tx: Transaction, round_id: str) -> Round:
    """Read a round and hold it as it is until the transaction ends; unknown ones become stubs."""
    return await _locked_round(tx, round_id, "pg_advisory_xact_lock_shared")


async def hold_round(tx: Transaction, round_id: str) -> Round:
    """Read a round and keep everybody else from acting in it until the transaction ends."""
    return await _locked_round(tx, round_id, "pg_advisory_xact_lock")


async def _locked_round(tx: Transaction, round_id: str, lock: str) -> Round:
    # A statement of its own: the next one sees what the holder before us committed.
    await tx.do(f"SELECT {lock}(hashtextextended('dispatch.round:' || $1, 0))", round_id)
    row = await tx.row("SELECT * FROM round WHERE id = $1", round_id)
    if row is None:
        await _make_stub(tx, round_id)
        return Round(round_id)
    return _round(row)


async def _make_stub(tx: Transaction, round_id: str) -> None:
    stub = Round(round_id)
    serial = await tx.value(
        """
        INSERT INTO round (id, incarnation, version, campaign, number, name, state, offices,
                           manual_clock)
        VALUES ($1, $2, 0, '', 0, '', $3, '{}', false)
        ON CONFLICT DO NOTHING RETURNING serial
        """,
        round_id, stub.incarnation, stub.state,
    )  # fmt: skip
    if serial is None:
        return
    for table in ("person", "visit"):
        # Made apart and attached: that waits for no reader of the other rounds.
        partition = f"{table}__{serial}"
        await tx.do(f"CREATE TABLE {partition} (LIKE {table} INCLUDING ALL)")
        value = await tx.value("SELECT quote_literal($1::text)", round_id)
        await tx.do(f"ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES IN ({value})")


async def save_round(tx: Transaction, round_: Round) -> None:
    """Store a round that is held."""
    await tx.do(
        """
        UPDATE round SET incarnation = $2, version = $3, campaign = $4, number = $5, name = $6,
            state = $7, opens_at = $8, closes_at = $9, offices = $10, manual_clock = $11,
            clock_at = $12
        WHERE id = $1
        """,
        round_.id, round_.incarnation, round_.version, round_.campaign, round_.number, round_.name,
        round_.state, round_.opens_at, round_.closes_at, list(round_.offices),
        round_.manual_clock, round_.clock_at,
    )  # fmt: skip


async def running_rounds(tx: Transaction) -> list[str]:
    """List rounds that may hold hands or waiting visits: open, or closed and not yet sealed."""
    rows = await tx.rows("SELECT id FROM round WHERE state IN ('open', 'closed') ORDER BY id")
    return [row["id"] for row in rows]


async def save_areas(tx: Transaction, areas: Sequence[Area]) -> None:
    """Store areas; they come sorted by code."""
    await tx.do(
        """
        INSERT INTO area (code, name, kind, parent)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
        ON CONFLICT (code) DO UPDATE
            SET name = excluded.name, kind = excluded.kind, parent = excluded.parent
        """,
        [area.code for area in areas],
        [area.name for area in areas],
        [area.kind for area in areas],
        [area.parent for area in areas],
    )


async def area_names(tx: Transaction, codes: Iterable[str]) -> dict[str, str]:
    """Name areas; what has no name yet is left out."""
    rows = await tx.rows("SELECT code, name FROM area WHERE code = ANY($1)", list(set(codes)))
    return {row["code"]: row["name"] for row in rows}


async def our_life(tx: Transaction) -> str:
    """Tell the incarnation of our own database, by which our echoes are known."""
    return str(
        await tx.value("SELECT incarnation FROM outbox_head WHERE topic = $1 LIMIT 1", HANDS)
    )


# --- persons and their visits ---


async def lock_persons(
    tx: Transaction, round_id: str, residents: Iterable[str]
) -> dict[str, Person]:
    """Lock persons, in order, and load them with their visits; who has no row is left out."""
    rows = await tx.rows(
        "SELECT * FROM person WHERE round = $1 AND resident = ANY($2)"
        " ORDER BY resident FOR UPDATE",
        round_id, list(residents),
    )  # fmt: skip
    # Visits in a statement of their own: a join that waited on the lock would show older ones.
    return {person.resident: person for person in await _persons(tx, rows)}


async def meet_persons(
    tx: Transaction, round_id: str, residents: Iterable[str]
) -> dict[str, Person]:
    """Lock persons as `lock_persons` does, and make those we never heard of, to be saved.

    A lock on an absent row locks nothing: of two transactions that meet the same person at the
    same moment (two halves of a move) the later fails to insert, and runs again.
    """
    wanted = sorted(residents)
    known = await lock_persons(tx, round_id, wanted)
    return {each: known.get(each) or Person(round_id, each) for each in wanted}


async def load_visits(tx: Transaction, round_id: str, ids: Iterable[UUID]) -> dict[UUID, Visit]:
    """Load visits of one round by id."""
    rows = await tx.rows(
        "SELECT * FROM visit WHERE round = $1 AND id = ANY($2)", round_id, list(ids)
    )
    return {row["id"]: _visit(row) for row in rows}


async def find_visit(
    tx: Transaction, visit_id: UUID, areas: Sequence[str], team: str | None = None
) -> Visit | None:
    """Find a visit within areas, and only among those a team has or had, if one is named."""
    row = await tx.row(
        "SELECT * FROM visit WHERE id = $1 AND community LIKE ANY($2)"
        " AND ($3::text IS NULL OR $3 = ANY(teams))",
        visit_id, areas, team,
    )  # fmt: skip
    return None if row is None else _visit(row)


async def residents_of(tx: Transaction, round_id: str) -> list[str]:
    """List everyone we keep in a round, in the order they are locked in."""
    rows = await tx.rows("SELECT resident FROM person WHERE round = $1 ORDER BY resident", round_id)
    return [row["resident"] for row in rows]


async def residents_in_play(tx: Transaction, round_id: str) -> list[str]:
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


async def save(tx: Transaction, steps: Sequence[Step]) -> None:
    """Store what steps of one round changed, all of them at once."""
    changed = [step for step in steps if step.after != step.before]
    met = [_person_row(step.after) for step in changed if step.before.is_new]
    if met:
        await tx.do(_INSERT_PERSONS, _json(met))
    known = [_person_row(step.after) for step in changed if not step.before.is_new]
    if known:
        await tx.do(_UPDATE_PERSONS, _json(known), known[0]["round"])
    visits = [pair for step in steps for pair in step.visits]
    if visits:
        # New visits last: where one replaces another, the open one is unique at every row (R15).
        visits.sort(key=lambda pair: pair[0] is None)
        await tx.do(_UPSERT_VISITS, _json([_visit_row(after) for _, after in visits]))


def _assignments(columns: Iterable[str], source: str) -> str:
    return ", ".join(f"{column} = {source}.{column}" for column in columns)


_INSERT_PERSONS: Final = """
INSERT INTO person ({columns})
SELECT {columns} FROM json_populate_recordset(NULL::person, $1::json)
""".format(columns=", ".join(_PERSON))

_UPDATE_PERSONS: Final = """
UPDATE person SET {assignments} FROM json_populate_recordset(NULL::person, $1::json) AS new
WHERE person.round = $2 AND person.resident = new.resident
""".format(assignments=_assignments(_PERSON[2:], "new"))

_UPSERT_VISITS: Final = """
INSERT INTO visit ({columns})
SELECT {columns} FROM json_populate_recordset(NULL::visit, $1::json)
ON CONFLICT (round, id) DO UPDATE SET {assignments}
""".format(columns=", ".join(_VISIT), assignments=_assignments(_VISIT[2:], "excluded"))


def _json(rows: Sequence[dict[str, Any]]) -> str:
    """One parameter for a whole batch: PostgreSQL reads it into rows at a few µs each."""
    return msgspec.json.encode(rows).decode()


# --- what people told us, under ids of their own ---


async def keep_report(
    tx: Transaction, report: VisitReport, visit: Visit, told_by: str, fingerprint: bytes
) -> tuple[UUID, bytes] | None:
    """Keep a report, whatever comes of it; give (visit, fingerprint) of the one before, if any."""
    kept = await tx.value(
        """
        INSERT INTO report (id, round, visit, fingerprint, received_at, outcome, told_by)
        VALUES ($1, $2, $3, $4, now(), $5, $6) ON CONFLICT DO NOTHING RETURNING id
        """,
        report.id, visit.round, visit.id, fingerprint, report.outcome, told_by,
    )  # fmt: skip
    if kept is not None:
        return None
    row = await tx.row("SELECT visit, fingerprint FROM report WHERE id = $1", report.id)
    return None if row is None else (row["visit"], row["fingerprint"])


async def keep_decision(
    tx: Transaction, decision: Decision, person: Person, by: str, fingerprint: bytes
) -> bytes | None:
    """Keep what an office decided, and who; give the fingerprint of the one before, if any."""
    kept = await tx.value(
        """
        INSERT INTO decision (id, round, resident, verb, decided_by, decided_at, fingerprint)
        VALUES ($1, $2, $3, $4, $5, now(), $6) ON CONFLICT DO NOTHING RETURNING id
        """,
        decision.id, person.round, person.resident, decision.verb, by, fingerprint,
    )  # fmt: skip
    if kept is not None:
        return None
    found: bytes | None = await tx.value(
        "SELECT fingerprint FROM decision WHERE id = $1", decision.id
    )
    return found


# --- teams ---


async def lock_team(tx: Transaction, team_id: str) -> Team | None:
    """Lock a team, to change it or to count and fill its room."""
    row = await tx.row("SELECT * FROM team WHERE id = $1 FOR UPDATE", team_id)
    return None if row is None else (await _teams(tx, [row]))[0]


async def list_teams(
    tx: Transaction, areas: Sequence[str], *, limit: int, after: str = "", only: str | None = None
) -> list[Team]:
    """List teams that work within areas, by id; `only` one of them, if there is one."""
    rows = await tx.rows(
        """
        SELECT * FROM team
        WHERE id > $2 AND ($4::text IS NULL OR id = $4)
          AND EXISTS (SELECT FROM unnest(areas) AS code WHERE code LIKE ANY($1))
        ORDER BY id LIMIT $3
        """,
        areas, after, limit, only,
    )  # fmt: skip
    return await _teams(tx, rows)


async def save_team(tx: Transaction, team: Team) -> None:
    """Store a team, whole."""
    await tx.do(
        """
        INSERT INTO team (id, name, areas, shift_from, shift_until, capacity, active,
                          serves_quarantine)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, areas = excluded.areas,
            shift_from = excluded.shift_from, shift_until = excluded.shift_until,
            capacity = excluded.capacity, active = excluded.active,
            serves_quarantine = excluded.serves_quarantine
        """,
        team.id, team.name, list(team.areas), team.shift_from, team.shift_until, team.capacity,
        team.active, team.serves_quarantine,
    )  # fmt: skip
    await tx.do("DELETE FROM team_member WHERE team = $1", team.id)
    await tx.do(
        "INSERT INTO team_member (team, id, role) SELECT $1, * FROM unnest($2::text[], $3::text[])",
        team.id,
        [member.id for member in team.members],
        [member.role for member in team.members],
    )


_ON_SHIFT: Final = """
SELECT * FROM team WHERE active AND shift_from <= $1 AND $1 < shift_until ORDER BY id
"""
# Alone, not shared: two who fill the same room at once would fill it twice.
_ON_SHIFT_LOCKED: Final = _ON_SHIFT + "FOR UPDATE"


async def crews(tx: Transaction, now: datetime, *, lock: bool = False) -> list[Crew]:
    """List teams on shift at a time, with the visits they can still take in that shift."""
    rows = await tx.rows(_ON_SHIFT_LOCKED if lock else _ON_SHIFT, now)
    teams = await _teams(tx, rows)
    rooms = await _rooms(tx, teams)
    return [Crew(team, rooms[team.id]) for team in teams]


async def room_of(tx: Transaction, team: Team) -> int:
    """Count the visits a locked team can still take in its shift."""
    return (await _rooms(tx, [team]))[team.id]


async def _rooms(tx: Transaction, teams: Sequence[Team]) -> dict[str, int]:
    """Count by team: capacity, less what it has in hand and what it made in this shift.

    In all rounds that are not final: a team has one shift, whichever round it serves.
    """
    taken = await tx.rows(
        """
        SELECT visit.team, count(*) AS visits FROM visit JOIN team ON team.id = visit.team
        WHERE visit.team = ANY($1) AND visit.round = ANY($2)
          AND (visit.status IN ('assigned', 'started')
               OR visit.status = 'finished' AND visit.ended_at >= team.shift_from)
        GROUP BY visit.team
        """,
        [team.id for team in teams],
        await running_rounds(tx),
    )
    counts = {row["team"]: row["visits"] for row in taken}
    return {team.id: max(0, team.capacity - counts.get(team.id, 0)) for team in teams}


async def resting_teams(tx: Transaction, now: datetime) -> list[Team]:
    """List teams that work, but not at this time."""
    rows = await tx.rows(
        "SELECT * FROM team WHERE active AND NOT (shift_from <= $1 AND $1 < shift_until)"
        " ORDER BY id",
        now,
    )
    return await _teams(tx, rows)


async def anybody_waits(tx: Transaction, round_id: str) -> bool:
    """Tell whether any visit of a round is planned."""
    found: bool = await tx.value(
        "SELECT EXISTS (SELECT FROM visit WHERE round = $1 AND status = 'planned')", round_id
    )
    return found


async def waiting_visits(
    tx: Transaction,
    round_id: str,
    ordinary: Sequence[str],
    quarantined: Sequence[str],
    limit: int,
) -> list[Waiting]:
    """List planned visits where a team has room: patterns of communities, by kind of home."""
    rows = await tx.rows(
        """
        SELECT id, resident, community, priority, quarantined FROM visit
        WHERE round = $1 AND status = 'planned'
          AND community LIKE ANY(CASE WHEN quarantined THEN $3::text[] ELSE $2::text[] END)
        ORDER BY quarantined, priority DESC, community, id LIMIT $4
        """,
        round_id, ordinary, quarantined, limit,
    )  # fmt: skip
    return [Waiting(*row) for row in rows]


async def held_by_team(tx: Transaction, team_id: str) -> dict[str, list[str]]:
    """List the residents whose open visits a team has, by round, rounds sorted."""
    rows = await tx.rows(
        "SELECT round, resident FROM visit WHERE team = $1 AND status IN ('assigned', 'started')"
        " ORDER BY round",
        team_id,
    )
    held: dict[str, list[str]] = {}
    for row in rows:
        held.setdefault(row["round"], []).append(row["resident"])
    return held


async def _teams(tx: Transaction, rows: Sequence[asyncpg.Record]) -> list[Team]:
    members = await tx.rows(
        "SELECT team, id, role FROM team_member WHERE team = ANY($1) ORDER BY team, id",
        [row["id"] for row in rows],
    )
    by_team: dict[str, list[Member]] = {}
    for member in members:
        by_team.setdefault(member["team"], []).append(Member(member["id"], member["role"]))
    return [
        Team(
            id=row["id"],
            name=row["name"],
            areas=tuple(row["areas"]),
            members=tuple(by_team.get(row["id"], ())),
            shift_from=row["shift_from"],
            shift_until=row["shift_until"],
            capacity=row["capacity"],
            active=row["active"],
            serves_quarantine=row["serves_quarantine"],
        )
        for row in rows
    ]


# --- lists and figures ---


async def list_cases(
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
    return await _persons(tx, rows)


async def list_visits(
    tx: Transaction,
    *,
    areas: Sequence[str],
    after: UUID,
    limit: int,
    round_id: str | None = None,
    office: str | None = None,
    team: str | None = None,
    only: str | None = None,
    status: str | None = None,
) -> list[Visit]:
    """List visits by id, which is the order they were planned in.

    `team` has it now, `only` has it or had it once.
    """
    rows = await tx.rows(
        """
        SELECT * FROM visit
        WHERE community LIKE ANY($1) AND id > $2
          AND ($4::text IS NULL OR round = $4)
          AND ($5::text IS NULL OR community LIKE $5 || '%')
          AND ($6::text IS NULL OR team = $6)
          AND ($7::text IS NULL OR status = $7)
          AND ($8::text IS NULL OR $8 = ANY(teams))
        ORDER BY id LIMIT $3
        """,
        areas, after, limit, round_id, office, team, status, only,
    )  # fmt: skip
    return [_visit(row) for row in rows]


async def find_case(
    tx: Transaction, round_id: str, resident: str, areas: Sequence[str]
) -> Person | None:
    """Find a person who has, or had, a case, within areas."""
    rows = await tx.rows(
        "SELECT * FROM person WHERE round = $1 AND resident = $2 AND case_state IS NOT NULL"
        " AND community LIKE ANY($3)",
        round_id, resident, areas,
    )  # fmt: skip
    persons = await _persons(tx, rows)
    return persons[0] if persons else None


async def waiting_groups(
    tx: Transaction, *, areas: Sequence[str], round_id: str | None, office: str | None
) -> list[WaitingGroup]:
    """Count planned visits by round, community and kind of home."""
    rows = await tx.rows(
        """
        SELECT round, community, quarantined, count(*) AS visits, min(planned_at) AS since
        FROM visit
        WHERE status = 'planned' AND community LIKE ANY($1)
          AND ($2::text IS NULL OR round = $2)
          AND ($3::text IS NULL OR community LIKE $3 || '%')
        GROUP BY round, community, quarantined
        """,
        areas, round_id, office,
    )  # fmt: skip
    return [WaitingGroup(*row) for row in rows]


async def with_persons(
    tx: Transaction, visits: Sequence[Visit]
) -> list[tuple[Person, Visit | None]]:
    """Put each visit beside the person it is for."""
    rows = await tx.rows(
        "SELECT person.* FROM unnest($1::text[], $2::text[]) AS wanted (round, resident)"
        " JOIN person USING (round, resident)",
        [visit.round for visit in visits],
        [visit.resident for visit in visits],
    )
    persons = {(person.round, person.resident): person for person in await _persons(tx, rows)}
    return [(persons[visit.round, visit.resident], visit) for visit in visits]


async def worklist(tx: Transaction, team_id: str, areas: Sequence[str]) -> list[Person]:
    """List whom a team has to visit, in the order of its tour: quarantined homes last (R17)."""
    rows = await tx.rows(
        """
        SELECT person.* FROM visit
        JOIN person ON person.round = visit.round AND person.visit = visit.id
            AND person.resident = visit.resident
        WHERE visit.team = $1 AND visit.status IN ('assigned', 'started')
          AND visit.community LIKE ANY($2)
        ORDER BY visit.quarantined, visit.priority DESC, visit.community, visit.id
        """,
        team_id, areas,
    )  # fmt: skip
    return await _persons(tx, rows)


async def _persons(tx: Transaction, rows: Sequence[asyncpg.Record]) -> list[Person]:
    """Load persons of any rounds with their visits, in the order of the rows."""
    ids: dict[str, list[UUID]] = {}
    for row in rows:
        if row["visit"] is not None:
            ids.setdefault(row["round"], []).append(row["visit"])
    visits: dict[UUID, Visit] = {}
    for round_id, wanted in ids.items():
        visits |= await load_visits(tx, round_id, wanted)
    return [_person(row, visits.get(row["visit"])) for row in rows]


async def read_rounds(tx: Transaction, round_ids: Iterable[str]) -> dict[str, Round]:
    """Read rounds without holding them, to tell their time."""
    rows = await tx.rows("SELECT * FROM round WHERE id = ANY($1)", list(set(round_ids)))
    return {row["id"]: _round(row) for row in rows}


async def hand_totals(tx: Transaction, round_id: str) -> dict[HandKind, int]:
    """Count open hands by kind."""
    rows = await tx.rows(
        "SELECT hand_kind, count(*) AS n FROM person WHERE round = $1 AND hand_kind IS NOT NULL"
        " GROUP BY hand_kind ORDER BY hand_kind",
        round_id,
    )
    return {row["hand_kind"]: row["n"] for row in rows}


async def open_visits(tx: Transaction) -> dict[tuple[str, str], int]:
    """Count open visits by round and office, of rounds that are not sealed.

    An office of a round without any is told as 0: an alarm must tell none from not known.
    """
    rows = await tx.rows(
        """
        SELECT round, office, sum(n)::bigint AS n
        FROM (
            SELECT visit.round, left(community, 9) AS office, count(*) AS n
            FROM visit JOIN round ON round.id = visit.round AND round.state IN ('open', 'closed')
            WHERE status IN ('planned', 'assigned', 'started')
            GROUP BY visit.round, left(community, 9)
            UNION ALL
            SELECT id, unnest(offices), 0 FROM round WHERE state IN ('open', 'closed')
        ) AS counted
        GROUP BY round, office
        """
    )
    return {(row["round"], row["office"]): row["n"] for row in rows}


# --- rows ↔ domain ---


def _round(row: asyncpg.Record) -> Round:
    return Round(
        id=row["id"],
        incarnation=row["incarnation"],
        version=row["version"],
        campaign=row["campaign"],
        number=row["number"],
        name=row["name"],
        state=row["state"],
        opens_at=row["opens_at"],
        closes_at=row["closes_at"],
        offices=tuple(row["offices"]),
        manual_clock=row["manual_clock"],
        clock_at=row["clock_at"],
    )


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


def _person_row(person: Person) -> dict[str, Any]:
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


def _visit(row: asyncpg.Record) -> Visit:
    sample = None
    if row["sample"] is not None:
        sample = Sample(row["sample"], row["sampled_at"], row["tube_code"])
    return Visit(
        id=row["id"],
        round=row["round"],
        resident=row["resident"],
        community=row["community"],
        planned_at=row["planned_at"],
        status=row["status"],
        revision=row["revision"],
        attempt=row["attempt"],
        priority=row["priority"],
        quarantined=row["quarantined"],
        team=row["team"],
        teams=tuple(row["teams"]),
        assigned_at=row["assigned_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        reason=row["reason"],
        report=row["report"],
        outcome=row["outcome"],
        sample=sample,
        answer=row["answer"],
        refusal=row["refusal"],
    )


def _visit_row(visit: Visit) -> dict[str, Any]:
    sample = visit.sample
    return {
        "round": visit.round,
        "id": visit.id,
        "resident": visit.resident,
        "community": visit.community,
        "status": visit.status,
        "revision": visit.revision,
        "attempt": visit.attempt,
        "priority": visit.priority,
        "quarantined": visit.quarantined,
        "team": visit.team,
        "teams": visit.teams,
        "planned_at": visit.planned_at,
        "assigned_at": visit.assigned_at,
        "started_at": visit.started_at,
        "ended_at": visit.ended_at,
        "reason": visit.reason,
        "report": visit.report,
        "outcome": visit.outcome,
        "sample": sample and sample.id,
        "sampled_at": sample and sample.sampled_at,
        "tube_code": sample and sample.tube_code,
        "answer": visit.answer,
        "refusal": visit.refusal,
    }
