"""Teams as rows, the room left in their shifts, and their tours."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg

from services.dispatch.assigner import Crew
from services.dispatch.domain.people import Person
from services.dispatch.domain.teams import Member, Team
from services.dispatch.store import people, rounds
from shared.database import Transaction

_ON_SHIFT: Final = """
SELECT * FROM team WHERE active AND shift_from <= $1 AND $1 < shift_until ORDER BY id
"""
# Alone, not shared: two who fill the same room at once would fill it twice.
_ON_SHIFT_LOCKED: Final = _ON_SHIFT + "FOR UPDATE"


async def lock(tx: Transaction, team_id: str) -> Team | None:
    """Lock a team, to change it or to count and fill its room."""
    row = await tx.row("SELECT * FROM team WHERE id = $1 FOR UPDATE", team_id)
    return None if row is None else (await _with_members(tx, [row]))[0]


async def listed(
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
    return await _with_members(tx, rows)


async def save(tx: Transaction, team: Team) -> None:
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


async def crews(tx: Transaction, now: datetime, *, lock: bool = False) -> list[Crew]:
    """List teams on shift at a time, with the visits they can still take in that shift."""
    rows = await tx.rows(_ON_SHIFT_LOCKED if lock else _ON_SHIFT, now)
    teams = await _with_members(tx, rows)
    rooms = await _rooms(tx, teams)
    return [Crew(team, rooms[team.id]) for team in teams]


async def resting(tx: Transaction, now: datetime) -> list[Team]:
    """List teams that work, but not at this time."""
    rows = await tx.rows(
        "SELECT * FROM team WHERE active AND NOT (shift_from <= $1 AND $1 < shift_until)"
        " ORDER BY id",
        now,
    )
    return await _with_members(tx, rows)


async def room_of(tx: Transaction, team: Team) -> int:
    """Count the visits a locked team can still take in its shift."""
    return (await _rooms(tx, [team]))[team.id]


async def held_by(tx: Transaction, team_id: str) -> dict[str, list[str]]:
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
    return await people.with_visits(tx, rows)


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
        await rounds.running(tx),
    )
    counts = {row["team"]: row["visits"] for row in taken}
    return {team.id: max(0, team.capacity - counts.get(team.id, 0)) for team in teams}


async def _with_members(tx: Transaction, rows: Sequence[asyncpg.Record]) -> list[Team]:
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
