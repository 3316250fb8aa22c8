"""All SQL of reporting.

Reads take a generation, so that one transaction sees one life of the counters from first to last.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from services.reporting.domain.areas import AREA_WIDTH, ByArea
from services.reporting.domain.denominators import Outside
from services.reporting.domain.evidence import Head
from services.reporting.domain.freshness import Applied, Producer
from services.reporting.domain.generations import RebuildRunning
from services.reporting.domain.rounds import Round
from services.reporting.domain.series import SAMPLED_AT
from services.reporting.messages import Moves, SampleMoves
from shared import positions
from shared.contracts.dispatch import VISITS
from shared.contracts.envelope import Record
from shared.contracts.registry import (
    ROLL,
    ROUNDS,
    Area,
    Denominator,
    RoundChanged,
    RoundTicked,
)
from shared.database import Transaction
from shared.errors import RoundUnknown

CONSUMER = "reporting"
"""Our name in `applied`, at the producers and as Kafka's group."""
TOPICS = (ROUNDS, ROLL, VISITS)

FOLDED = (
    "counter", "visit_counter", "series", "delta", "delta_floor", "area", "denominator", "round",
)  # fmt: skip
"""Tables that carry a generation."""

_ROUND_COLUMNS = (
    "id, campaign, number, name, state, opens_at, closes_at, offices, clock_at, changed_at"
)


_PLACE = "topic, partition, incarnation, pos"

Parked: TypeAlias = tuple[str, int, UUID, int]
"""Place of a record: topic, partition, incarnation, position."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One life of the counters."""

    id: int
    state: Literal["building", "current", "retired"]
    started_at: datetime
    swapped_at: datetime | None

    @property
    def consumer(self) -> str:
        """Name under which a building generation keeps its positions."""
        return f"{CONSUMER}-{self.id}"


async def install(tx: Transaction) -> None:
    """Make the rows that are there from the start: positions, and the first generation."""
    await positions.install(tx, CONSUMER, TOPICS)
    await tx.do(
        "INSERT INTO generation (state, started_at, swapped_at) SELECT 'current', now(), now()"
        " WHERE NOT EXISTS (SELECT FROM generation WHERE state = 'current')"
    )


# --- folding ---


async def current_generation(tx: Transaction) -> int:
    """Tell which generation is read, and fed by the live events."""
    found: int = await tx.value("SELECT id FROM generation WHERE state = 'current'")
    return found


async def move(tx: Transaction, generation: int, moves: Moves) -> None:
    """Move the account's counters, in one statement and one order of locks."""
    await _move(tx, "counter", ("cell", "text"), generation, moves)


async def move_visits(tx: Transaction, generation: int, moves: Moves) -> None:
    """Move the counters of visits."""
    await _move(tx, "visit_counter", ("cell", "text"), generation, moves)


async def move_samples(tx: Transaction, generation: int, moves: SampleMoves) -> None:
    """Move the series of samples by sampling time."""
    await _move(tx, "series", ("slot", "bigint"), generation, moves)


async def _move(
    tx: Transaction,
    table: str,
    figure: tuple[str, str],
    generation: int,
    moves: Moves | SampleMoves,
) -> None:
    """Add signed deltas. The position was the guard; nothing here looks at what is there."""
    if not moves:
        return
    ordered = sorted(moves.items())
    column, its_type = figure
    await tx.do(
        f"INSERT INTO {table} AS kept (generation, round, community, {column}, n)"  # noqa: S608 - ours
        f" SELECT $1, m.* FROM unnest($2::text[], $3::text[], $4::{its_type}[], $5::bigint[]) m"
        f" ON CONFLICT (generation, round, community, {column})"
        " DO UPDATE SET n = kept.n + excluded.n",
        generation,
        [round_id for (round_id, _, _), _ in ordered],
        [community for (_, community, _), _ in ordered],
        [name for (_, _, name), _ in ordered],
        [n for _, n in ordered],
    )


async def keep_deltas(
    tx: Transaction, generation: int, deltas: Iterable[tuple[Record, str, Moves]]
) -> None:
    """Keep what recent positions did to one round, so that counters can be told as of any."""
    rows = [
        (record.partition, record.pos, round_id, record.recorded_at, _nested_json(moves))
        for record, round_id, moves in deltas
    ]
    if not rows:
        return
    await tx.do(
        "INSERT INTO delta (generation, partition, pos, round, recorded_at, moved)"
        " SELECT $1, d.* FROM unnest($2::smallint[], $3::bigint[], $4::text[],"
        " $5::timestamptz[], $6::jsonb[]) d",
        generation,
        *map(list, zip(*rows, strict=True)),
    )


def _nested_json(moves: Moves) -> str:
    nested: dict[str, dict[str, int]] = {}
    for (_, community, cell), n in moves.items():
        nested.setdefault(community, {})[cell] = n
    return _json(nested)


async def forget_deltas(tx: Transaction, generation: int, records: Iterable[Record]) -> None:
    """Note positions whose deltas were never kept: they were old when they came."""
    tops: dict[int, int] = {}
    for record in records:
        tops[record.partition] = max(record.pos, tops.get(record.partition, 0))
    if not tops:
        return
    await tx.do(
        "INSERT INTO delta_floor AS kept (generation, partition, pos)"
        " SELECT $1, f.* FROM unnest($2::smallint[], $3::bigint[]) f"
        " ON CONFLICT (generation, partition) DO UPDATE SET pos = greatest(kept.pos, excluded.pos)",
        generation, list(tops.keys()), list(tops.values()),
    )  # fmt: skip


async def trim_deltas(tx: Transaction, before: datetime) -> None:
    """Drop deltas recorded before a time, and note how far that goes."""
    await tx.do(
        """
        WITH dropped AS (
            DELETE FROM delta WHERE recorded_at < $1 RETURNING generation, partition, pos)
        INSERT INTO delta_floor AS kept (generation, partition, pos)
        SELECT generation, partition, max(pos) FROM dropped GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (generation, partition) DO UPDATE SET pos = greatest(kept.pos, excluded.pos)
        """,
        before,
    )


async def delta_floor(tx: Transaction, generation: int) -> dict[int, int]:
    """Up to which position deltas are forgotten, by partition."""
    rows = await tx.rows("SELECT partition, pos FROM delta_floor WHERE generation = $1", generation)
    return dict(map(tuple, rows))


async def save_areas(tx: Transaction, generation: int, areas: Iterable[Area]) -> None:
    """Save areas; of several that name one code the last one holds."""
    newest = {area.code: area for area in areas}
    ordered = [newest[code] for code in sorted(newest)]
    await tx.do(
        "INSERT INTO area (generation, code, name, kind, parent, lat, lon)"
        " SELECT $1, a.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::float8[],"
        " $7::float8[]) a"
        " ON CONFLICT (generation, code) DO UPDATE SET name = excluded.name, kind = excluded.kind,"
        " parent = excluded.parent, lat = excluded.lat, lon = excluded.lon",
        generation,
        [area.code for area in ordered],
        [area.name for area in ordered],
        [area.kind for area in ordered],
        [area.parent for area in ordered],
        [area.lat for area in ordered],
        [area.lon for area in ordered],
    )


async def save_denominators(tx: Transaction, generation: int, given: Iterable[Denominator]) -> None:
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


async def save_round(
    tx: Transaction, generation: int, announced: RoundChanged, recorded_at: datetime
) -> None:
    """Save a round whole; an older version than ours is passed over, a clock never goes back."""
    await tx.do(
        """
        INSERT INTO round AS kept (generation, id, version, campaign, number, name, state, opens_at,
            closes_at, offices, manual_clock, clock_at, opened_at, changed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT (generation, id) DO UPDATE SET version = excluded.version,
            campaign = excluded.campaign, number = excluded.number, name = excluded.name,
            state = excluded.state, opens_at = excluded.opens_at, closes_at = excluded.closes_at,
            offices = excluded.offices, manual_clock = excluded.manual_clock,
            clock_at = greatest(kept.clock_at, excluded.clock_at),
            opened_at = excluded.opened_at, changed_at = excluded.changed_at
        WHERE kept.version < excluded.version
        """,
        generation, announced.round, announced.version, announced.campaign, announced.number,
        announced.name, announced.state, announced.opens_at, announced.closes_at,
        announced.offices, announced.manual_clock, announced.clock_at, announced.opened_at,
        recorded_at,
    )  # fmt: skip


async def tick_round(tx: Transaction, generation: int, ticked: RoundTicked) -> None:
    """Move a round's manual clock on, never back."""
    await tx.do(
        "UPDATE round SET clock_at = greatest(clock_at, $3) WHERE generation = $1 AND id = $2",
        generation, ticked.round, ticked.clock_at,
    )  # fmt: skip


# --- rounds and areas ---


async def find_round(
    tx: Transaction, generation: int, round_id: str | None, areas: Sequence[str]
) -> Round:
    """Find a round by id, or the newest open one, else the newest; within the caller's areas.

    `areas` are prefixes of codes. A round is within when any of its offices lies in one of them, or
    one of them lies in an office of the round.

    Raises:
        RoundUnknown: there is none.

    """
    row = await tx.row(
        f"""
        SELECT {_ROUND_COLUMNS} FROM round
        WHERE generation = $1 AND ($2::text IS NULL OR id = $2) AND EXISTS (
            SELECT FROM unnest(offices) office, unnest($3::text[]) area
            WHERE starts_with(office, area) OR starts_with(area, office))
        ORDER BY state = 'open' DESC, opens_at DESC, number DESC, id LIMIT 1
        """,  # noqa: S608 - our own column names
        generation, round_id, areas,
    )  # fmt: skip
    if row is None:
        raise RoundUnknown("no round of that id, or none at all, in the areas of the token")
    return _round(row)


async def watched_rounds(tx: Transaction, generation: int, sealed_after: datetime) -> list[Round]:
    """List rounds that are open or closed, and those sealed since a time."""
    rows = await tx.rows(
        f"SELECT {_ROUND_COLUMNS} FROM round WHERE generation = $1"  # noqa: S608 - our own names
        " AND (state IN ('open', 'closed') OR (state = 'sealed' AND changed_at > $2))"
        " ORDER BY opens_at, number, id",
        generation, sealed_after,
    )  # fmt: skip
    return [_round(row) for row in rows]


def _round(row: asyncpg.Record) -> Round:
    return Round(**{**row, "offices": tuple(row["offices"])})


async def area_names(
    tx: Transaction, generation: int, by: ByArea, offices: Sequence[str], areas: Sequence[str]
) -> dict[str, str]:
    """Name the areas of one level that a round covers and the caller may see, by code."""
    width = AREA_WIDTH[by]
    rows = await tx.rows(
        "SELECT code, name FROM area WHERE generation = $1 AND kind = $2"
        " AND EXISTS (SELECT FROM unnest($3::text[]) office WHERE left(office, $4) = left(code, 9))"
        " AND EXISTS (SELECT FROM unnest($5::text[]) area"
        "             WHERE starts_with(code, area) OR starts_with(area, code))"
        " ORDER BY code",
        generation, by, offices, min(width, 9), areas,
    )  # fmt: skip
    return dict(map(tuple, rows))


async def denominators(
    tx: Transaction, generation: int, areas: Sequence[str]
) -> dict[tuple[str, str], Outside]:
    """Read the numbers from outside in the caller's areas, by area and source."""
    rows = await tx.rows(
        "SELECT code, source, people, as_of FROM denominator"
        " WHERE generation = $1 AND code LIKE ANY ($2)",
        generation,
        _patterns(areas),
    )
    return {(code, source): Outside(source, people, day) for code, source, people, day in rows}


async def area_codes(tx: Transaction, generation: int, districts: Sequence[str]) -> list[str]:
    """List the codes of every area of some districts."""
    rows = await tx.rows(
        "SELECT code FROM area WHERE generation = $1 AND left(code, 6) = ANY ($2) ORDER BY code",
        generation, districts,
    )  # fmt: skip
    return [row["code"] for row in rows]


# --- figures ---


async def cells_by_area(
    tx: Transaction, generation: int, round_id: str, width: int, areas: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Sum the account's cells by areas of one level, without those by need; zeros left out."""
    rows = await tx.rows(
        "SELECT left(community, $3) AS code, cell, sum(n)::bigint FROM counter"
        " WHERE generation = $1 AND round = $2 AND community LIKE ANY($4)"
        " AND NOT starts_with(cell, 'need.') GROUP BY 1, 2 HAVING sum(n) <> 0 ORDER BY 1",
        generation, round_id, width, _patterns(areas),
    )  # fmt: skip
    return _nested(rows)


async def visits_by_area(
    tx: Transaction, generation: int, round_id: str, width: int, areas: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Sum the cells of visits by areas of one level; zeros left out."""
    rows = await tx.rows(
        "SELECT left(community, $3) AS code, cell, sum(n)::bigint FROM visit_counter"
        " WHERE generation = $1 AND round = $2 AND community LIKE ANY($4)"
        " GROUP BY 1, 2 HAVING sum(n) <> 0 ORDER BY 1",
        generation, round_id, width, _patterns(areas),
    )  # fmt: skip
    return _nested(rows)


async def cells_of_scope(
    tx: Transaction, generation: int, round_id: str, areas: Sequence[str]
) -> dict[str, int]:
    """Sum every cell of the account over the caller's areas."""
    rows = await tx.rows(
        "SELECT cell, sum(n)::bigint FROM counter WHERE generation = $1 AND round = $2"
        " AND community LIKE ANY($3) GROUP BY 1 HAVING sum(n) <> 0",
        generation, round_id, _patterns(areas),
    )  # fmt: skip
    return dict(map(tuple, rows))


async def series_by_area(
    tx: Transaction,
    generation: int,
    round_id: str,
    width: int,
    areas: Sequence[str],
    *,
    slots: int,
) -> dict[str, dict[int, int]]:
    """Sum samples by areas and steps of so many slots; the key is a step's first slot."""
    rows = await tx.rows(
        "SELECT left(community, $3) AS code, slot / $5 * $5 AS step, sum(n)::bigint FROM series"
        " WHERE generation = $1 AND round = $2 AND community LIKE ANY($4)"
        " GROUP BY 1, 2 HAVING sum(n) <> 0 ORDER BY 1, 2",
        generation, round_id, width, _patterns(areas), slots,
    )  # fmt: skip
    found: dict[str, dict[int, int]] = {}
    for code, step, n in rows:
        found.setdefault(code, {})[step] = n
    return found


async def counters_at(
    tx: Transaction, generation: int, round_id: str, cut: Mapping[int, int]
) -> dict[str, dict[str, int]]:
    """Tell the counters at exactly a cut: what they are now, less what later positions did.

    The series is among them, as cells `sampled_at.SLOT`.
    """
    rows = await tx.rows(
        """
        SELECT community, cell, sum(n)::bigint FROM (
            SELECT community, cell, n FROM counter WHERE generation = $1 AND round = $2
            UNION ALL
            SELECT community, $5 || slot, n FROM series WHERE generation = $1 AND round = $2
            UNION ALL
            SELECT community.key, cell.key, -cell.value::bigint
            FROM unnest($3::smallint[], $4::bigint[]) AS cut (partition, pos)
            JOIN delta ON delta.generation = $1 AND delta.partition = cut.partition
                AND delta.pos > cut.pos AND delta.round = $2,
                jsonb_each(delta.moved) community, jsonb_each_text(community.value) cell
        ) AS figures GROUP BY 1, 2 HAVING sum(n) <> 0
        """,
        generation, round_id, list(cut.keys()), list(cut.values()), SAMPLED_AT,
    )  # fmt: skip
    return _nested(rows)


def _patterns(areas: Sequence[str]) -> list[str]:
    return [f"{area}%" for area in areas]


def _nested(rows: Iterable[asyncpg.Record]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for code, cell, n in rows:
        found.setdefault(code, {})[cell] = n
    return found


# --- as of when ---


async def applied(tx: Transaction, consumer: str = CONSUMER) -> list[Applied]:
    """Read how far we are."""
    return [
        Applied(position.topic, position.partition, position.pos, position.recorded_at)
        for position in await positions.read(tx, consumer)
    ]


async def roll_heads(tx: Transaction) -> dict[int, Head]:
    """Read how far we are on the roll, and in which life of registry's database."""
    return {
        position.partition: Head(position.pos, str(position.incarnation))
        for position in await positions.read(tx, CONSUMER)
        if position.topic == ROLL
    }


async def decisions(tx: Transaction) -> str:
    """Tell apart the states of our dead letters: re-driving moves figures without a position."""
    found: str = await tx.value(
        "SELECT concat(count(*) FILTER (WHERE state = 'parked'), '/', max(decided_at))"
        " FROM parked WHERE consumer = $1",
        CONSUMER,
    )
    return found


async def count_parked(tx: Transaction) -> int:
    """Count our dead letters that nobody decided on."""
    found: int = await tx.value(
        "SELECT count(*) FROM parked WHERE consumer = $1 AND state = 'parked'", CONSUMER
    )
    return found


async def save_producer(tx: Transaction, told: Producer) -> None:
    """Note what a producer said; an answer to an older question is passed over."""
    await tx.do(
        "INSERT INTO producer AS kept (name, asked_at, heads, hands_as_of)"
        " VALUES ($1, $2, $3::jsonb, $4) ON CONFLICT (name) DO UPDATE SET"
        " asked_at = excluded.asked_at, heads = excluded.heads, hands_as_of = excluded.hands_as_of"
        " WHERE kept.asked_at < excluded.asked_at",
        told.name, told.asked_at, _json(told.heads), told.hands_as_of,
    )  # fmt: skip


async def producers(tx: Transaction) -> dict[str, Producer]:
    """Read what the producers said last."""
    rows = await tx.rows("SELECT name, asked_at, heads, hands_as_of FROM producer")
    return {row["name"]: Producer(**row) for row in rows}


# --- generations ---


async def generations(tx: Transaction) -> list[Generation]:
    """List the lives of the counters, newest first."""
    rows = await tx.rows(
        "SELECT id, state, started_at, swapped_at FROM generation ORDER BY id DESC"
    )
    return [Generation(*row) for row in rows]


async def building(tx: Transaction) -> Generation | None:
    """Find the generation that is being built."""
    row = await tx.row(
        "SELECT id, state, started_at, swapped_at FROM generation WHERE state = 'building'"
    )
    return Generation(*row) if row else None


async def begin_generation(tx: Transaction) -> Generation:
    """Begin a new life of the counters, from position zero.

    Raises:
        RebuildRunning: one is being built already.

    """
    row = await tx.row(
        "INSERT INTO generation (state, started_at) VALUES ('building', now())"
        " ON CONFLICT (state) WHERE state IN ('building', 'current') DO NOTHING"
        " RETURNING id, state, started_at, swapped_at"
    )
    if row is None:
        raise RebuildRunning
    begun = Generation(*row)
    await positions.install(tx, begun.consumer, TOPICS)
    await tx.do(
        "INSERT INTO parked (consumer, topic, partition, pos, event_id, incarnation, type,"
        " recorded_at, data, reason, parked_at, state, decided_at, decided_by)"
        " SELECT $2, topic, partition, pos, event_id, incarnation, type,"
        " recorded_at, data, reason, parked_at, state, decided_at, decided_by"
        " FROM parked WHERE consumer = $1 AND state = 'discarded'",
        CONSUMER, begun.consumer,
    )  # fmt: skip
    return begun


async def discarded(tx: Transaction, building: Generation) -> Collection[Parked]:
    """List the records that people had given up when a generation began: it leaves them out."""
    rows = await tx.rows(
        "SELECT topic, partition, incarnation, pos FROM parked"
        " WHERE consumer = $1 AND state = 'discarded'",
        building.consumer,
    )
    return {(topic, partition, incarnation, pos) for topic, partition, incarnation, pos in rows}


async def begin_anew(tx: Transaction, building: Generation) -> None:
    """Give up a generation that is being built, and begin another one in its place."""
    await tx.do("UPDATE generation SET state = 'retired' WHERE id = $1", building.id)
    await tx.do("DELETE FROM applied WHERE consumer = $1", building.consumer)
    await tx.do("DELETE FROM parked WHERE consumer = $1", building.consumer)
    await begin_generation(tx)


Swap = Literal["swapped", "behind", "outdated"]
"""What became of a swap: done; the live events are ahead; or what was built counts a record that
people have given up since it began."""


async def swap(tx: Transaction, built: Generation) -> Swap:
    """Make a built generation the current one, unless it is behind or counts what it must not.

    Both lives' positions are locked in one order, so that no event and no decision on a dead letter
    is between them. Our rows are updated, never replaced: a worker may be waiting for their locks.
    """
    await tx.do(
        "SELECT FROM applied WHERE consumer IN ($1, $2)"
        " ORDER BY consumer, topic, partition FOR UPDATE",
        CONSUMER, built.consumer,
    )  # fmt: skip
    behind = await tx.value(
        "SELECT EXISTS (SELECT FROM applied live JOIN applied built USING (topic, partition)"
        " WHERE live.consumer = $1 AND built.consumer = $2 AND built.pos < live.pos)",
        CONSUMER, built.consumer,
    )  # fmt: skip
    if behind:
        return "behind"
    if await _counts_what_was_given_up(tx, built.consumer):
        return "outdated"
    await tx.do(
        "UPDATE applied live SET pos = built.pos, id = built.id, incarnation = built.incarnation,"
        " recorded_at = built.recorded_at FROM applied built"
        " WHERE live.consumer = $1 AND built.consumer = $2"
        " AND (live.topic, live.partition) = (built.topic, built.partition)",
        CONSUMER, built.consumer,
    )  # fmt: skip
    await tx.do("DELETE FROM applied WHERE consumer = $1", built.consumer)
    await _merge_parked(tx, built.consumer)
    await tx.do("UPDATE generation SET state = 'retired' WHERE state = 'current'")
    await tx.do(
        "UPDATE generation SET state = 'current', swapped_at = now() WHERE id = $1", built.id
    )
    return "swapped"


async def _counts_what_was_given_up(tx: Transaction, built: str) -> bool:
    found: bool = await tx.value(
        "SELECT EXISTS (SELECT FROM parked WHERE consumer = $1 AND state = 'discarded'"  # noqa: S608
        f" AND ({_PLACE}) NOT IN (SELECT {_PLACE} FROM parked WHERE consumer = $2))",
        CONSUMER, built,
    )  # fmt: skip
    return found


async def _merge_parked(tx: Transaction, built: str) -> None:
    """Bring our dead letters in line with what a rebuild could and could not apply."""
    # What the rebuild applied is parked no more.
    await tx.do(
        "UPDATE parked SET state = 'redriven', decided_at = now(), decided_by = 'rebuild'"  # noqa: S608
        f" WHERE consumer = $1 AND state = 'parked' AND ({_PLACE}) NOT IN"
        f" (SELECT {_PLACE} FROM parked WHERE consumer = $2)",
        CONSUMER, built,
    )  # fmt: skip
    # What was re-driven before and could not be applied now is parked again.
    await tx.do(
        "UPDATE parked SET state = 'parked', decided_at = NULL, decided_by = NULL"  # noqa: S608
        f" WHERE consumer = $1 AND state = 'redriven' AND ({_PLACE}) IN"
        f" (SELECT {_PLACE} FROM parked WHERE consumer = $2)",
        CONSUMER, built,
    )  # fmt: skip
    await tx.do(
        f"DELETE FROM parked WHERE consumer = $2 AND ({_PLACE}) IN"  # noqa: S608
        f" (SELECT {_PLACE} FROM parked WHERE consumer = $1)",
        CONSUMER, built,
    )  # fmt: skip
    await tx.do("UPDATE parked SET consumer = $1 WHERE consumer = $2", CONSUMER, built)


async def drop_retired(tx: Transaction) -> None:
    """Drop the figures of lives that nobody reads any more."""
    for table in FOLDED:
        await tx.do(
            f"DELETE FROM {table} WHERE generation IN"  # noqa: S608 - our own tables
            " (SELECT id FROM generation WHERE state = 'retired')"
        )
    await tx.do("DELETE FROM generation WHERE state = 'retired'")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
