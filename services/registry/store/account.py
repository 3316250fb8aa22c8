"""The account: from facts to standings, in one statement each way.

`settle` computes where given people stand and writes it down, answering what changed; `recount`
counts where everybody stands, and is what the ledger holds against the fold. Both share the rules
(`_STANDING`) and read facts alone: samples, reports, exclusions, hands, residence, needs, life.

While a round is open people live where the residents' table says. Once it is closed its membership
is frozen: their state row says where they lived at closing; one who has none was no member.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from services.registry.domain.rounds import Round
from services.registry.store import plans
from shared.contracts.cells import SLOT_SECONDS
from shared.database import Transaction

CHUNK = 1000
"""State rows read at a time where a round's are read one after the other."""

# OFFSET 0 keeps the planner from merging the steps, so that each rule is evaluated once a person.
# $1 round, $2 its offices, $3 when its membership was frozen, NULL while it is open. Expects the
# relation `person`: resident, present, since, noted_at, lived_in, needs, alive, and the facts
# sample_id, sampled_at, channel, site, result, reason, hand_kind, hand_due, hand_revision,
# hand_incarnation.
#
# A sampled person is counted in the first community of the round they lived in at sampling time or
# after it: where they lived then or, if that was elsewhere, where they joined. Residences overlay
# each other in the order in which they were put on file: each holds from its `since` until the
# first `since` of those noted later.
_STANDING = """
placed AS (
    SELECT person.*,
        lived_in <> '' AND left(lived_in, 9) = ANY ($2::text[]) AS lives_here,
        CASE
            WHEN sample_id IS NULL THEN NULL
            WHEN (since IS NULL OR sampled_at >= since)
                AND ($3::timestamptz IS NULL OR noted_at <= $3)
                THEN CASE WHEN left(present, 9) = ANY ($2::text[]) THEN present END
            ELSE (
                SELECT community
                FROM (
                    SELECT community, since, min(since) OVER (
                        ORDER BY id ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS until
                    FROM (
                        SELECT id, community, coalesce(since, '-infinity') AS since, noted_at
                        FROM residence_past WHERE resident = person.resident
                        UNION ALL
                        SELECT 9223372036854775807, present, coalesce(since, '-infinity'), noted_at
                    ) AS noted
                    WHERE $3::timestamptz IS NULL OR noted_at <= $3
                ) AS stay
                WHERE left(community, 9) = ANY ($2::text[])
                    AND (until IS NULL OR (until > sampled_at AND until > since))
                ORDER BY since LIMIT 1)
        END AS sampled_in
    FROM person OFFSET 0
), classed AS (
    SELECT *,
        CASE
            WHEN sampled_in IS NOT NULL THEN 'sampled'
            WHEN sample_id IS NOT NULL THEN 'visitor'
            WHEN NOT alive OR NOT lives_here THEN 'off'
            WHEN reason IS NOT NULL THEN 'excluded'
            WHEN hand_kind IS NOT NULL THEN 'in_hand'
            ELSE 'unaccounted'
        END AS class
    FROM placed OFFSET 0
), standing AS (
    SELECT resident, class, needs, alive, lived_in,
        CASE
            WHEN class = 'sampled' THEN sampled_in
            WHEN class <> 'visitor' THEN lived_in
            -- A site is named by its community's code, or by one with more after it.
            WHEN left(site, 9) = ANY ($2::text[]) AND site ~ '^[0-9]{12}' THEN left(site, 12)
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
    r.id AS resident, r.community AS present, r.since, r.noted_at,
    CASE WHEN $3::timestamptz IS NULL THEN r.community
         ELSE coalesce(frozen.lived_in, '') END AS lived_in,
    CASE WHEN $3::timestamptz IS NULL THEN r.needs ELSE coalesce(frozen.needs, '{}') END AS needs,
    CASE WHEN $3::timestamptz IS NULL THEN r.alive
         ELSE coalesce(frozen.alive, r.alive) END AS alive,
    s.id AS sample_id, s.sampled_at, s.channel, s.site, p.outcome AS result, e.reason,
    h.kind AS hand_kind, h.due AS hand_due,
    h.revision AS hand_revision, h.incarnation AS hand_incarnation
"""

# The facts of a few people: one index look-up each.
_FEW = f"""
person AS (
    SELECT {_HOME}
    FROM (SELECT unnest($4::uuid[]) AS id ORDER BY id) AS wanted
    JOIN resident AS r ON r.id = wanted.id
    LEFT JOIN roll_state AS frozen
        ON $3::timestamptz IS NOT NULL AND frozen.round = $1 AND frozen.resident = r.id
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
    LEFT JOIN roll_state AS frozen
        ON $3::timestamptz IS NOT NULL AND frozen.round = $1 AND frozen.resident = r.id
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

# The row lock of a resident keeps others from giving them a row meanwhile, so it is one join. That
# is an outer one, for the sake of those without a row, and leaves the planner no choice: for an
# UPDATE of those with one it read the whole round once per batch, if the round was young when it
# was asked first.
_SETTLE = f"""
WITH {_FEW}, {_STANDING}
MERGE INTO roll_state AS st USING standing AS now ON st.round = $1 AND st.resident = now.resident
WHEN MATCHED AND ({", ".join(f"st.{c}" for c in _WRITTEN)})
        IS DISTINCT FROM ({", ".join(f"now.{c}" for c in _WRITTEN)})
    THEN UPDATE SET rev = st.rev + 1, {", ".join(f"{c} = now.{c}" for c in _WRITTEN)}
-- Who never was in the account and is not in it now needs no row.
WHEN NOT MATCHED AND now.class <> 'off'
    THEN INSERT (round, resident, rev, {_COLUMNS})
    VALUES ($1, now.resident, 1, {", ".join(f"now.{c}" for c in _WRITTEN)})
RETURNING WITH (OLD AS was, NEW AS became) became.resident, became.rev,
    {", ".join(f"became.{c}" for c in _WRITTEN)},
    {", ".join(f"was.{c} AS was_{c}" for c in _WRITTEN)}
"""


async def settle(tx: Transaction, where: Round, residents: Sequence[UUID]) -> list[asyncpg.Record]:
    """Compute where people stand, write it down, and answer whose standing changed.

    The caller holds the residents' row locks. A row without `was_class` had no state row before.
    """
    await plans.by_index(tx)
    return await tx.rows(_SETTLE, where.id, where.offices, where.frozen_at, list(set(residents)))


async def among(tx: Transaction, where: Round, residents: Sequence[UUID]) -> list[UUID]:
    """Tell who of these has a row in a round: was touched in it, or a visitor."""
    rows = await tx.rows(
        "SELECT resident FROM roll_state WHERE round = $1 AND resident = ANY ($2)",
        where.id, residents,
    )  # fmt: skip
    return [row["resident"] for row in rows]


async def materialise(tx: Transaction, where: Round, residents: Sequence[UUID]) -> None:
    """Give members their row while they are still untouched, so that a change has a before."""
    await tx.do(
        f"INSERT INTO roll_state (round, resident, rev, {_COLUMNS})"
        " SELECT $1, id, 0, 'unaccounted', community, community, needs, NULL, NULL, NULL, NULL,"
        "   NULL, NULL, NULL, NULL, true"
        " FROM resident WHERE id = ANY ($3::uuid[]) AND alive AND left(community, 9) = ANY ($2)"
        " ORDER BY id ON CONFLICT DO NOTHING",
        where.id, where.offices, residents,
    )  # fmt: skip


_FROZEN = (
    f"INSERT INTO roll_state (round, resident, rev, {_COLUMNS})"
    " SELECT $1, id, 0, CASE WHEN alive AND left(community, 9) = ANY ($2) THEN 'unaccounted'"
    "   ELSE 'off' END, community, community, needs, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
    "   NULL, alive FROM resident"
)


async def freeze(tx: Transaction, where: Round) -> None:
    """Give every member a row: from now on it says where they lived, whatever happens later.

    So it does for the dead, and for those who lived here once: a late sample may still count here.
    Office by office, so that no statement takes as long as a city.
    """
    for office in where.offices:
        # By the first and the last code that it can have: digits are in order in every collation.
        await tx.do(
            f"{_FROZEN} WHERE community BETWEEN $3 AND $4 ON CONFLICT DO NOTHING",
            where.id, where.offices, f"{office}000", f"{office}999",
        )  # fmt: skip
    await tx.do(
        f"{_FROZEN} WHERE id IN (SELECT resident FROM residence_past"
        " WHERE left(community, 9) = ANY ($2)) ON CONFLICT DO NOTHING",
        where.id, where.offices,
    )  # fmt: skip


async def enter_special(tx: Transaction, where: Round) -> list[asyncpg.Record]:
    """Give the residents with needs their first row (rev 1) as the round opens."""
    return await tx.rows(
        f"INSERT INTO roll_state (round, resident, rev, {_COLUMNS})"
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
SELECT class, counted_in, needs, reason, hand_kind, channel, result, slot, due, count(*)
FROM (SELECT class, counted_in, needs, reason, channel, result,
             CASE WHEN class = 'in_hand' THEN hand_kind END AS hand_kind,
             CASE WHEN class = 'in_hand' THEN
                 floor(extract(epoch FROM hand_due) / {SLOT_SECONDS})::bigint END AS due,
             CASE WHEN class = 'sampled' THEN
                 floor(extract(epoch FROM sampled_at) / {SLOT_SECONDS})::bigint END AS slot
      FROM standing) AS grouped
WHERE class <> 'off'
GROUP BY GROUPING SETS (
    (class, counted_in, needs, reason, hand_kind, channel, result),
    (counted_in, slot), (counted_in, hand_kind, due))
"""


async def recount(tx: Transaction, where: Round) -> list[asyncpg.Record]:
    """Count everybody anew from the facts: one row per community and kind of standing.

    In the same scan the sampled are counted by slot of sampling time, and those in hand by kind and
    slot of when it is due: a row per community and slot, without a class; one without a class and a
    slot counts everybody else.

    A draft has no account yet.
    """
    if where.state == "draft":
        return []
    # Nobody has told the planner yet how a round filled up since this morning. Every join here is
    # of whole tables: looping over them, as it would for a few rows, takes a thousand times longer.
    await tx.do("SET LOCAL enable_nestloop = off; SET LOCAL work_mem = '64MB'")
    return await tx.rows(_RECOUNT, where.id, where.offices, where.frozen_at)


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
    if not hands:
        return []
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


async def end_hands(tx: Transaction, round_id: UUID) -> list[UUID]:
    """End every hand of a round that nobody works in any more; answer whose they were.

    Their revisions stay: it is not dispatch that says so. The caller has the round to itself.
    """
    rows = await tx.rows(
        "UPDATE hand SET kind = NULL, due = NULL WHERE round = $1 AND kind IS NOT NULL"
        " RETURNING resident",
        round_id,
    )
    return [row["resident"] for row in rows]


async def hands_of_former_lives(tx: Transaction, incarnation: UUID) -> dict[UUID, list[UUID]]:
    """List who is in a hand that an older life of dispatch gave, by round, rounds and ids sorted.

    Sealed rounds are final, and nobody is in a hand there.
    """
    rows = await tx.rows(
        "SELECT hand.round, hand.resident FROM hand JOIN round ON round.id = hand.round"
        " WHERE hand.kind IS NOT NULL AND hand.incarnation < $1 AND round.state <> 'sealed'"
        " ORDER BY hand.round, hand.resident",
        incarnation,
    )
    found: dict[UUID, list[UUID]] = {}
    for row in rows:
        found.setdefault(row["round"], []).append(row["resident"])
    return found


async def let_go(
    tx: Transaction, round_id: UUID, incarnation: UUID, residents: Sequence[UUID]
) -> None:
    """End the hands of locked residents that an older life of dispatch gave."""
    await tx.do(
        "UPDATE hand SET kind = NULL, due = NULL WHERE round = $1 AND resident = ANY ($3)"
        " AND kind IS NOT NULL AND incarnation < $2",
        round_id, incarnation, residents,
    )  # fmt: skip


async def of_concern(tx: Transaction, where: Round) -> AsyncIterator[list[asyncpg.Record]]:
    """Read the state rows of a round that have a need or a hand, a thousand at a time."""
    rows = await tx.raw.cursor(
        f"SELECT resident, rev, {_COLUMNS} FROM roll_state"
        " WHERE round = $1 AND (needs <> '{}' OR hand_kind IS NOT NULL)",
        where.id,
    )
    while chunk := await rows.fetch(CHUNK):
        yield chunk


_UNTESTED_OPEN = """
    SELECT r.id, r.community, r.needs, coalesce(st.class, 'unaccounted') AS class,
           st.hand_kind, st.hand_due
    FROM resident r LEFT JOIN roll_state st ON st.round = $1 AND st.resident = r.id
    WHERE r.community = $2 AND r.alive AND ($3::uuid IS NULL OR r.id > $3)
        AND coalesce(st.class, 'unaccounted') IN ('unaccounted', 'in_hand')
    ORDER BY r.id LIMIT $4
"""
# Closing gave every member a row; whoever came to live here since is nobody's concern in it.
_UNTESTED_FROZEN = """
    SELECT resident AS id, counted_in AS community, needs, class, hand_kind, hand_due
    FROM roll_state
    WHERE round = $1 AND counted_in = $2 AND ($3::uuid IS NULL OR resident > $3)
        AND class IN ('unaccounted', 'in_hand')
    ORDER BY resident LIMIT $4
"""


async def untested(
    tx: Transaction, where: Round, community: str, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Read a page of a community's members who are neither sampled nor excluded, by id."""
    if where.state == "draft" or not where.covers(community):
        return []
    query = _UNTESTED_OPEN if where.state == "open" else _UNTESTED_FROZEN
    return await tx.rows(query, where.id, community, after, limit)
