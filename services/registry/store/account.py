"""The account: from facts to standings, in one statement each way.

`settle` computes where given people stand and writes it down, answering what changed; `recount`
counts where everybody stands, and is what the ledger holds against the fold. Both share the rules
(`_STANDING`) and read facts alone: samples, reports, exclusions, hands, residence, needs, life.

While a round is open people live where the residents' table says. Once it is closed its membership
is frozen: their state row says where they lived at closing; one who has none was no member.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from services.registry.domain.rounds import Round
from shared.database import Transaction

# $1 round, $2 its offices, $3 whether its membership is frozen. Expects the relation `person`:
# resident, present, since, lived_in, needs, alive, and the facts sample_id, sampled_at, channel,
# site, result, reason, hand_kind, hand_due, hand_revision, hand_incarnation.
_STANDING = """
placed AS (
    SELECT person.*,
        lived_in <> '' AND left(lived_in, 9) = ANY ($2::text[]) AS lives_here,
        CASE
            WHEN sample_id IS NULL OR lived_in = '' THEN NULL
            WHEN since IS NULL OR sampled_at >= since THEN present
            ELSE coalesce((
                SELECT community FROM residence_past AS past
                WHERE past.resident = person.resident AND sampled_at < past.until
                ORDER BY past.until LIMIT 1), present)
        END AS lived_then
    FROM person
), classed AS (
    SELECT *,
        left(lived_then, 9) = ANY ($2::text[]) AS lived_here_then,
        CASE
            WHEN sample_id IS NOT NULL AND (lives_here OR left(lived_then, 9) = ANY ($2::text[]))
                THEN 'sampled'
            WHEN sample_id IS NOT NULL THEN 'visitor'
            WHEN NOT alive OR NOT lives_here THEN 'off'
            WHEN reason IS NOT NULL THEN 'excluded'
            WHEN hand_kind IS NOT NULL THEN 'in_hand'
            ELSE 'unaccounted'
        END AS class
    FROM placed
), standing AS (
    SELECT resident, class, needs, alive, lived_in,
        CASE
            WHEN class = 'sampled' AND lived_here_then THEN lived_then
            WHEN class <> 'visitor' THEN lived_in
            -- A site is named by its community's code, or by one with more after it.
            WHEN left(site, 9) = ANY ($2::text[]) AND length(site) >= 12 THEN left(site, 12)
            ELSE left(($2::text[])[1], 6) || '000000'
        END AS counted_in,
        CASE WHEN class = 'excluded' THEN reason END AS reason,
        hand_kind, hand_due, hand_revision, hand_incarnation,
        CASE WHEN class IN ('sampled', 'visitor') THEN channel END AS channel,
        CASE WHEN class IN ('sampled', 'visitor') THEN sampled_at END AS sampled_at,
        CASE WHEN class IN ('sampled', 'visitor') THEN result END AS result
    FROM classed
)
"""

_HOME = """
    r.id AS resident, r.community AS present, r.since,
    CASE WHEN $3 THEN coalesce(frozen.lived_in, '') ELSE r.community END AS lived_in,
    CASE WHEN $3 THEN coalesce(frozen.needs, '{}') ELSE r.needs END AS needs,
    CASE WHEN $3 THEN coalesce(frozen.alive, r.alive) ELSE r.alive END AS alive,
    s.id AS sample_id, s.sampled_at, s.channel, s.site, p.outcome AS result, e.reason,
    h.kind AS hand_kind, h.due AS hand_due,
    h.revision AS hand_revision, h.incarnation AS hand_incarnation
"""

# The facts of a few people: one index look-up each.
_FEW = f"""
person AS (
    SELECT {_HOME}
    FROM unnest($4::uuid[]) AS wanted (id)
    JOIN resident AS r ON r.id = wanted.id
    LEFT JOIN roll_state AS frozen ON $3 AND frozen.round = $1 AND frozen.resident = r.id
    LEFT JOIN LATERAL (
        SELECT id, sampled_at, channel, site FROM sample
        WHERE round = $1 AND resident = r.id AND voided_by IS NULL
        ORDER BY sampled_at, id LIMIT 1) AS s ON true
    LEFT JOIN LATERAL (
        SELECT outcome FROM report
        WHERE round = $1 AND sample = s.id AND superseded_by IS NULL AND released_at IS NOT NULL
        ORDER BY released_at DESC, id DESC LIMIT 1) AS p ON true
    LEFT JOIN LATERAL (
        SELECT reason FROM exclusion
        WHERE round = $1 AND resident = r.id AND revoked_at IS NULL
        ORDER BY filed_at, id LIMIT 1) AS e ON true
    LEFT JOIN hand AS h ON h.round = $1 AND h.resident = r.id
)
"""

# The facts of everybody: each table read once.
_ALL = f"""
s AS (
    SELECT DISTINCT ON (resident) resident, id, sampled_at, channel, site FROM sample
    WHERE round = $1 AND voided_by IS NULL ORDER BY resident, sampled_at, id
), p AS (
    SELECT DISTINCT ON (sample) sample, outcome FROM report
    WHERE round = $1 AND superseded_by IS NULL AND released_at IS NOT NULL
    ORDER BY sample, released_at DESC, id DESC
), e AS (
    SELECT DISTINCT ON (resident) resident, reason FROM exclusion
    WHERE round = $1 AND revoked_at IS NULL ORDER BY resident, filed_at, id
), person AS (
    SELECT {_HOME}
    FROM resident AS r
    LEFT JOIN roll_state AS frozen ON $3 AND frozen.round = $1 AND frozen.resident = r.id
    LEFT JOIN s ON s.resident = r.id
    LEFT JOIN p ON p.sample = s.id
    LEFT JOIN e ON e.resident = r.id
    LEFT JOIN hand AS h ON h.round = $1 AND h.resident = r.id
    WHERE s.id IS NOT NULL OR left(r.community, 9) = ANY ($2::text[])
        OR left(frozen.lived_in, 9) = ANY ($2::text[])
)
"""

_WRITTEN = (
    "class", "counted_in", "lived_in", "needs", "reason", "hand_kind", "hand_due",
    "hand_revision", "hand_incarnation", "channel", "sampled_at", "result", "alive",
)  # fmt: skip
_COLUMNS = ", ".join(_WRITTEN)

_SETTLE = f"""
WITH {_FEW}, {_STANDING}
INSERT INTO roll_state AS st (round, resident, rev, {_COLUMNS})
SELECT $1, resident, 1, {_COLUMNS} FROM standing ORDER BY resident
ON CONFLICT (round, resident) DO UPDATE
    SET rev = st.rev + 1, {", ".join(f"{c} = excluded.{c}" for c in _WRITTEN)}
    WHERE ({", ".join(f"st.{c}" for c in _WRITTEN)})
        IS DISTINCT FROM ({", ".join(f"excluded.{c}" for c in _WRITTEN)})
RETURNING WITH (OLD AS was, NEW AS became) became.resident, became.rev,
    {", ".join(f"became.{c}" for c in _WRITTEN)},
    {", ".join(f"was.{c} AS was_{c}" for c in _WRITTEN)}
"""  # noqa: S608 - columns are ours


async def settle(tx: Transaction, where: Round, residents: Sequence[UUID]) -> list[asyncpg.Record]:
    """Compute where people stand, write it down, and answer whose standing changed.

    The caller holds the residents' row locks. A row without `was_class` had no state row before.
    """
    return await tx.rows(
        _SETTLE, where.id, where.offices, where.state != "open", sorted(set(residents))
    )


async def materialise(tx: Transaction, where: Round, residents: Sequence[UUID]) -> None:
    """Give members their row while they are still untouched, so that a change has a before."""
    await tx.do(
        f"INSERT INTO roll_state (round, resident, rev, {_COLUMNS})"  # noqa: S608 - ours
        " SELECT $1, id, 0, 'unaccounted', community, community, needs, NULL, NULL, NULL, NULL,"
        "   NULL, NULL, NULL, NULL, true"
        " FROM resident WHERE id = ANY ($3::uuid[]) AND alive AND left(community, 9) = ANY ($2)"
        " ORDER BY id ON CONFLICT DO NOTHING",
        where.id, where.offices, residents,
    )  # fmt: skip


async def freeze(tx: Transaction, where: Round) -> None:
    """Give every member a row: from now on it says where they lived, whatever happens later."""
    await tx.do(
        f"INSERT INTO roll_state (round, resident, rev, {_COLUMNS})"  # noqa: S608 - ours
        " SELECT $1, id, 0, 'unaccounted', community, community, needs, NULL, NULL, NULL, NULL,"
        "   NULL, NULL, NULL, NULL, true"
        " FROM resident WHERE alive AND left(community, 9) = ANY ($2)"
        " ON CONFLICT DO NOTHING",
        where.id, where.offices,
    )  # fmt: skip


async def enter_special(tx: Transaction, where: Round) -> list[asyncpg.Record]:
    """Give the residents with needs their first row (rev 1) as the round opens."""
    return await tx.rows(
        f"INSERT INTO roll_state (round, resident, rev, {_COLUMNS})"  # noqa: S608 - ours
        " SELECT $1, id, 1, 'unaccounted', community, community, needs, NULL, NULL, NULL, NULL,"
        "   NULL, NULL, NULL, NULL, true"
        " FROM resident WHERE needs <> '{}' AND alive AND left(community, 9) = ANY ($2)"
        f" RETURNING resident, rev, {_COLUMNS}, "
        + ", ".join(f"{column} AS was_{column}" for column in _WRITTEN),
        where.id, where.offices,
    )  # fmt: skip


async def rolls(tx: Transaction, where: Round) -> dict[str, int]:
    """Read how many people each community of a round has, from the kept counters."""
    rows = await tx.rows(
        "SELECT community, roll FROM population WHERE left(community, 9) = ANY ($1) AND roll <> 0",
        where.offices,
    )
    return dict(map(tuple, rows))


async def count_into_population(tx: Transaction, deltas: dict[str, int]) -> None:
    """Keep the population counters, in order of their codes so that writers never deadlock."""
    changed = sorted((code, n) for code, n in deltas.items() if n)
    if changed:
        await tx.do(
            "INSERT INTO population AS p (community, roll)"
            " SELECT * FROM unnest($1::text[], $2::bigint[])"
            " ON CONFLICT (community) DO UPDATE SET roll = p.roll + excluded.roll",
            *zip(*changed, strict=True),
        )


_RECOUNT = f"""
WITH {_ALL}, {_STANDING}
SELECT class, counted_in, needs, reason, hand_kind, channel, result, count(*)
FROM (SELECT class, counted_in, needs, reason, channel, result,
             CASE WHEN class = 'in_hand' THEN hand_kind END AS hand_kind FROM standing) AS grouped
WHERE class <> 'off'
GROUP BY class, counted_in, needs, reason, hand_kind, channel, result
"""  # noqa: S608 - ours


async def recount(tx: Transaction, where: Round) -> list[asyncpg.Record]:
    """Count everybody anew from the facts: one row per community and kind of standing."""
    return await tx.rows(_RECOUNT, where.id, where.offices, where.state not in {"draft", "open"})


async def open_hands(tx: Transaction, round_id: UUID) -> dict[str, int]:
    """Count the latest hands that have not ended, by kind, whatever class their person is in."""
    rows = await tx.rows(
        "SELECT kind, count(*) FROM hand WHERE round = $1 AND kind IS NOT NULL GROUP BY kind",
        round_id,
    )
    return dict(map(tuple, rows))


async def take_hands(
    tx: Transaction, round_id: UUID, incarnation: UUID, hands: Sequence[tuple[Any, ...]]
) -> list[UUID]:
    """Take in hands (resident, revision, kind, due) newer than ours; answer whose they are."""
    rows = await tx.rows(
        """
        INSERT INTO hand AS ours (round, resident, kind, due, revision, incarnation)
        SELECT DISTINCT ON (resident) $1, resident, kind, due, revision, $2
        FROM unnest($3::uuid[], $4::bigint[], $5::text[], $6::timestamptz[])
            AS n (resident, revision, kind, due)
        ORDER BY resident, revision DESC
        ON CONFLICT (round, resident) DO UPDATE
            SET kind = excluded.kind, due = excluded.due,
                revision = excluded.revision, incarnation = excluded.incarnation
            WHERE (ours.incarnation, ours.revision) < (excluded.incarnation, excluded.revision)
        RETURNING ours.resident
        """,
        round_id, incarnation, *zip(*hands, strict=True),
    )  # fmt: skip
    return [row["resident"] for row in rows]


async def untested(
    tx: Transaction, where: Round, community: str, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Read a page of a community's members who are neither sampled nor excluded, by id."""
    return await tx.rows(
        """
        SELECT r.id, r.community, r.needs, coalesce(st.class, 'unaccounted') AS class,
               st.hand_kind, st.hand_due
        FROM resident r LEFT JOIN roll_state st ON st.round = $1 AND st.resident = r.id
        WHERE r.community = $2 AND r.alive AND ($3::uuid IS NULL OR r.id > $3)
            AND coalesce(st.class, 'unaccounted') IN ('unaccounted', 'in_hand')
        ORDER BY r.id LIMIT $4
        """,
        where.id, community, after, limit,
    )  # fmt: skip
