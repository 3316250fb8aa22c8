"""What a database holds, written so that two runs of the same can be compared.

Every row of every table counts. Only what no two runs can have in common is struck out: ids and
ciphertexts that were not there before, the time of day, numbers of identity columns.
"""

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

State = Counter[str]
"""Rows with the name of their table, and how often each is there."""

NIL = "00000000-0000-0000-0000-000000000000"
AROUND_NOW = timedelta(days=3)

_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{32}\b")
"""As UUIDs are written; requests' ids are without hyphens."""
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::\d\d)?)")
_BYTES = re.compile(r"\\\\x([0-9a-f]*)")

_TABLES = """
    SELECT c.relname,
           coalesce(array_agg(a.attname) FILTER (WHERE a.attidentity <> ''), '{}') AS counted
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    GROUP BY c.relname ORDER BY c.relname
"""
_NUMBERED = """
    SELECT format(
        'SELECT setval(pg_get_serial_sequence(%1$L, %2$L), coalesce(max(%2$I), 0) + 1, false)'
        ' FROM %1$I', c.relname, a.attname)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attidentity <> ''
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
"""
_BREAKS = """
    SELECT topic, partition, o.pos FROM (
        SELECT topic, partition, pos, id, prev_id, row_number() OVER w AS number,
               lag(id, 1, $1) OVER w AS before, lead(id) OVER w AS after
        FROM outbox WINDOW w AS (PARTITION BY topic, partition ORDER BY pos)
    ) AS o JOIN outbox_head h USING (topic, partition)
    WHERE o.pos <> o.number OR o.prev_id <> o.before
       OR (o.after IS NULL AND (h.pos, h.id) <> (o.pos, o.id))
"""


async def rows(connection: "asyncpg.Connection[Any]") -> list[str]:
    """Read every row of every table as text."""
    tables = await connection.fetch(_TABLES)
    union = " UNION ALL ".join(
        f"SELECT '{name} ' || (to_jsonb(t) - '{{{','.join(counted)}}}'::text[])::text"  # noqa: S608 - names of our own tables
        f' FROM "{name}" t'
        for name, counted in tables
    )
    return [row[0] for row in await connection.fetch(union)]


async def close_gaps(connection: "asyncpg.Connection[Any]") -> None:
    """Have numbers go on where they are: those that a rollback used up mean nothing."""
    for (statement,) in await connection.fetch(_NUMBERED):
        await connection.execute(statement)


async def breaks(connection: "asyncpg.Connection[Any]") -> list[Any]:
    """List where the outbox is not dense, not chained, or its head is not its last event."""
    if await connection.fetchval("SELECT to_regclass('outbox') IS NULL"):
        return []
    return await connection.fetch(_BREAKS, NIL)


class Eye:
    """Sees what is the same in two runs that began alike."""

    def __init__(self, *before: str) -> None:
        whole = "\n".join(before)
        self._known = {NIL, *_ID.findall(whole), *_BYTES.findall(whole)}
        self._now = datetime.now(UTC)

    def state(self, rows: list[str]) -> State:
        """Strike out of rows what differs from run to run."""
        return Counter(map(self.seen, rows))

    def seen(self, text: str) -> str:
        """Strike out of a text what differs from run to run."""
        text = _BYTES.sub(self._bytes, text)
        text = _ID.sub(lambda found: found[0] if found[0] in self._known else "(an id)", text)
        return _TIME.sub(self._time, text)

    def _bytes(self, found: re.Match[str]) -> str:
        if found[1] in self._known:
            return found[0]
        try:
            return json.dumps(json.loads(bytes.fromhex(found[1])), ensure_ascii=False)
        except ValueError:
            return "(sealed)"

    def _time(self, found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(found[0])
        return "(now)" if abs(moment - self._now) < AROUND_NOW else moment.isoformat()
