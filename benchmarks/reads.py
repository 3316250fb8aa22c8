"""What does it cost to look? `make bench-reads`.

A real stack, so many residents, a share of them with a result that came over HTTP. Then, one after
another on one connection,

- coverage by office, of which reporting has a copy at hand, or has to make the table anew, as for
  somebody who sees other areas; the series; the ledger, proven anew and against a younger recount;
- the same figures counted live, by the best `GROUP BY` over registry's tables that we could write,
  with indexes of its own, parallel workers and memory: they have to be equal;
- 200 dashboards that ask once a second with the `ETag` of what they have, while nothing changes,
  and while results come in.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from statistics import median
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.carry import Watch, send
from benchmarks.ground import DISTRICT, Ground, Memory, Usage, ground
from benchmarks.report import Figure
from benchmarks.wire import Answer, Lines, request
from deploy.local import areas
from deploy.local.tokens import development_token

_OK, _SAME = 200, 304
_LATER = frozenset({429, 503})
BATCH = 5_000
DASHBOARDS = 200
STRANGERS = 160
"""Callers with different areas; of that many reporting keeps no copies."""
READERS = ("reporting api", "PostgreSQL, reporting")
"""Processes that a read costs."""
COPY, ANEW, SERIES = "coverage, copy at hand", "coverage", "series"
LEDGER, LEDGER_LATER = "ledger", "ledger, recount at hand"
TABLE = "/v1/coverage?by=office"

LIVE = {
    # Everybody beside what there is of them. Here and below a person swabbed twice would count
    # twice (against R1): that is in favour of what we compare with.
    "one join": """
        SELECT left(r.community, 9) AS office, count(*) AS roll, count(s.id) AS sampled,
            count(p.outcome) AS resulted,
            count(*) FILTER (WHERE p.outcome = 'negative') AS negative,
            count(*) FILTER (WHERE p.outcome = 'positive') AS positive,
            count(*) FILTER (WHERE p.outcome = 'inconclusive') AS inconclusive,
            count(*) FILTER (WHERE p.outcome = 'invalid') AS invalid,
            count(*) FILTER (WHERE s.id IS NULL AND e.resident IS NOT NULL) AS excluded,
            count(*) FILTER (WHERE s.id IS NULL AND e.resident IS NULL AND h.kind IS NOT NULL)
                AS in_hand
        FROM resident AS r
        LEFT JOIN sample AS s ON s.round = $1 AND s.resident = r.id AND s.voided_by IS NULL
        LEFT JOIN report AS p ON p.round = $1 AND p.sample = s.id
            AND p.superseded_by IS NULL AND p.released_at IS NOT NULL
        LEFT JOIN exclusion AS e
            ON e.round = $1 AND e.resident = r.id AND e.revoked_at IS NULL
        LEFT JOIN hand AS h ON h.round = $1 AND h.resident = r.id
        WHERE r.alive AND left(r.community, 9) = ANY ($2) GROUP BY 1
    """,
    # The roll from an index alone; joined are only those of whom there is anything.
    "in parts": """
        WITH roll AS (
            SELECT left(community, 9) AS office, count(*) AS roll
            FROM resident WHERE alive GROUP BY 1
        ), tested AS (
            SELECT left(r.community, 9) AS office, count(*) AS sampled,
                count(p.outcome) AS resulted,
                count(*) FILTER (WHERE p.outcome = 'negative') AS negative,
                count(*) FILTER (WHERE p.outcome = 'positive') AS positive,
                count(*) FILTER (WHERE p.outcome = 'inconclusive') AS inconclusive,
                count(*) FILTER (WHERE p.outcome = 'invalid') AS invalid
            FROM sample AS s JOIN resident AS r ON r.id = s.resident
            LEFT JOIN report AS p ON p.round = $1 AND p.sample = s.id
                AND p.superseded_by IS NULL AND p.released_at IS NOT NULL
            WHERE s.round = $1 AND s.voided_by IS NULL GROUP BY 1
        ), others AS (
            SELECT left(r.community, 9) AS office,
                count(*) FILTER (WHERE e.resident IS NOT NULL) AS excluded,
                count(*) FILTER (WHERE e.resident IS NULL) AS in_hand
            FROM (SELECT resident FROM hand WHERE round = $1 AND kind IS NOT NULL
                  UNION SELECT resident FROM exclusion WHERE round = $1 AND revoked_at IS NULL) AS n
            JOIN resident AS r ON r.id = n.resident AND r.alive
            LEFT JOIN exclusion AS e
                ON e.round = $1 AND e.resident = n.resident AND e.revoked_at IS NULL
            WHERE NOT EXISTS (
                SELECT FROM sample WHERE round = $1 AND resident = n.resident AND voided_by IS NULL)
            GROUP BY 1
        )
        SELECT * FROM roll LEFT JOIN tested USING (office) LEFT JOIN others USING (office)
        WHERE office = ANY ($2)
    """,
}
STATE_ROWS = """
    SELECT left(counted_in, 9) AS office, class, result, count(*) FROM roll_state
    WHERE round = $1 AND left(counted_in, 9) = ANY ($2) GROUP BY 1, 2, 3
"""
"""Over what registry derives and keeps of everybody touched, which is not a base table."""
LIVE_INDEXES = (
    "CREATE INDEX ON resident (id) INCLUDE (community) WHERE alive",
    "CREATE INDEX ON resident (community) WHERE alive",
    "CREATE INDEX ON sample (resident) INCLUDE (id) WHERE voided_by IS NULL",
    (
        "CREATE INDEX ON report (sample) INCLUDE (outcome)"
        " WHERE superseded_by IS NULL AND released_at IS NOT NULL"
    ),
    "CREATE INDEX ON roll_state (counted_in, class, result)",
)


@dataclass
class Reads:
    """How long reads of one kind took, and what CPU time: milliseconds, µs a read of both."""

    p50: list[float] = field(default_factory=list)
    micro: list[float] = field(default_factory=list)


@dataclass
class Seen:
    """What was measured at one size."""

    residents: int
    reads: dict[str, Reads]
    live: dict[str, tuple[float, float]]
    """By query: median of seconds, and of CPU seconds."""
    polling: dict[str, float]
    """Share of one core that dashboards took, by what happened meanwhile."""
    refused: int
    """Reads that were told to come later."""
    memory: Figure

    @property
    def best(self) -> str:
        """The live query that was the fastest over base tables."""
        return min(LIVE, key=lambda name: self.live[name][0])


@contextmanager
def spent(stack: Ground, names: Sequence[str]) -> Iterator[list[float]]:
    """Tell the CPU seconds that processes used in the block."""
    told: list[float] = []
    before = Usage.of(stack)
    yield told
    used = Usage.of(stack).since(before)
    told.append(sum(used.get(name, 0.0) for name in names))


class Bench:
    """One stack, one round, and those who look at it."""

    def __init__(self, stack: Ground, round_id: str, options: argparse.Namespace) -> None:
        self.refused = 0
        """Reads that were told to come later."""
        self._stack = stack
        self._round = round_id
        self._options = options
        self._lines = Lines(stack.addresses.reporting, most=DASHBOARDS, seconds=120)
        self._token = development_token(["district"], [DISTRICT], sub="reader")
        # A second area that is not there: they see the same, and share no copy.
        self._strangers = cycle(
            [
                development_token(["district"], [DISTRICT, f"42{n:04}"], sub=f"reader {n}")
                for n in range(STRANGERS)
            ]
        )

    async def ask(self, path: str, token: str = "", etag: str = "") -> Answer:
        """Read once; anything but an answer, or being told to come later, ends the run."""
        headers = {"if-none-match": etag} if etag else {}
        path = f"{path}{'&' if '?' in path else '?'}round={self._round}"
        answer = await self._lines.ask(request("GET", path, token or self._token, b"", headers))
        if answer.status in _LATER:
            self.refused += 1
            return answer
        if answer.status not in {_OK, _SAME}:
            raise SystemExit(f"{path} answered {answer.status}: {answer.body[:300]!r}")
        return answer

    async def turn(self, found: Reads, times: int, path: str, *, anew: bool = False) -> None:
        """Read so often, one after another; `anew` as callers of whom there is no copy."""
        taken = []
        with spent(self._stack, READERS) as used:
            for _ in range(times):
                token = next(self._strangers) if anew else self._token
                began = time.perf_counter()
                await self.ask(path, token)
                taken.append(time.perf_counter() - began)
        found.p50.append(median(taken) * 1e3)
        found.micro.append(used[0] * 1e6 / times)

    async def turn_anew(self, found: Reads) -> None:
        """Read coverage, made anew each time."""
        await self.turn(found, self._options.reads, TABLE, anew=True)

    async def reads(self) -> dict[str, Reads]:
        """Read everything there is to read."""
        times = self._options.reads
        found = {name: Reads() for name in (ANEW, COPY, SERIES, LEDGER, LEDGER_LATER)}
        for _ in range(STRANGERS):
            await self.ask(TABLE, next(self._strangers))
        for _ in range(self._options.turns):
            await self.turn_anew(found[ANEW])
            await self.turn(found[COPY], times, TABLE)
            await self.turn(found[SERIES], times, "/v1/coverage/series?by=office")
            await self.turn(found[LEDGER], 1, "/v1/ledger")
            await self.turn(found[LEDGER_LATER], times // 10, "/v1/ledger?max_age=3600")
        return found

    async def poll(self) -> float:
        """Let 200 dashboards ask once a second; tell which share of one core that takes."""
        tokens = [
            development_token(["district"], [DISTRICT], sub=f"dashboard {n}")
            for n in range(DASHBOARDS)
        ]
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def dashboard(number: int) -> None:
            etag = ""
            for second in range(self._options.seconds):
                due = began + second + number / DASHBOARDS
                await asyncio.sleep(max(0.0, due - loop.time()))
                answer = await self.ask(TABLE, tokens[number], etag)
                etag = answer.etag or etag

        with spent(self._stack, READERS) as used:
            async with asyncio.TaskGroup() as tasks:
                for number in range(DASHBOARDS):
                    tasks.create_task(dashboard(number))
        return used[0] / (loop.time() - began)

    async def require_balanced(self) -> None:
        """Have the ledger proven.

        Raises:
            SystemExit: it is not true, or could not be said ten times.

        """
        for _ in range(10):
            ledger = msgspec.json.decode((await self.ask("/v1/ledger")).body)
            if ledger.get("balanced") is not None:
                break
        if ledger.get("balanced") is not True:
            raise SystemExit(f"not balanced: {ledger.get('reasons')}")

    async def coverage(self) -> dict[str, Any]:
        """Read the figures."""
        found: dict[str, Any] = msgspec.json.decode((await self.ask("/v1/coverage")).body)
        return found

    async def live(self) -> dict[str, tuple[float, float]]:
        """Count live, each query as often as there are turns; figures must be those of reporting.

        Raises:
            SystemExit: they are not.

        """
        database = await self._stack.superuser("registry")
        for statement in (*LIVE_INDEXES, "VACUUM ANALYZE"):
            await database.execute(statement)
        workers = os.cpu_count()
        await database.execute(
            f"SET work_mem = '512MB'; SET max_parallel_workers_per_gather = {workers};"
            "SET jit = off; SET random_page_cost = 1.1"
        )
        offices = [office.code for office in areas.offices(DISTRICT)]
        rows = {row["code"]: row for row in (await self.coverage())["rows"]}
        found = {}
        for name, query in (LIVE | {"state rows": STATE_ROWS}).items():
            taken, used = [], []
            for _ in range(self._options.turns):
                with spent(self._stack, ("PostgreSQL, registry", "PostgreSQL, itself")) as cpu:
                    began = time.perf_counter()
                    counted = await database.fetch(query, UUID(self._round), offices)
                    taken.append(time.perf_counter() - began)
                used += cpu
            found[name] = (median(taken), median(used))
            if name in LIVE:
                _require_equal(counted, rows)
        await database.close()
        return found

    def close(self) -> None:
        """Hang up."""
        self._lines.close()


def _require_equal(counted: Sequence[asyncpg.Record], rows: dict[str, dict[str, Any]]) -> None:
    for line in counted:
        ours = rows[line["office"]]
        differing = {
            name: (n, ours[name])
            for name, n in line.items()
            if name != "office" and (n or 0) != ours[name]
        }
        if differing:
            raise SystemExit(f"{line['office']}: live and reporting differ: {differing}")


class Feed:
    """Sends results, of one person after another."""

    def __init__(self, stack: Ground, round_id: str) -> None:
        self._stack = stack
        self._round = round_id
        self._people = iter(stack.people)
        self._token = development_token(["site"], ["41"], sub="site")

    def batch(self, size: int) -> bytes:
        """Write a batch of the next people."""
        rows = self._stack.rows(self._round, [next(self._people) for _ in range(size)])
        return request("POST", "/v1/results:batch", self._token, msgspec.json.encode(rows))

    async def send(self, count: int, *, rate: float = 0, size: int = BATCH) -> None:
        """Send so many, a few batches at a time in memory."""
        lines = Lines(self._stack.addresses.registry, most=8, seconds=120)
        while count >= size:
            bodies = [self.batch(size) for _ in range(min(count // size, 20))]
            await send(lines, bodies, rate, size, 2)
            count -= len(bodies) * size
        lines.close()


async def measure(
    options: argparse.Namespace, stack: Ground, residents: int, out: Console
) -> tuple[Bench, Seen]:
    """Measure at one size."""
    out.print(f"putting {residents:,} people on the roll, and results of {options.share:.0%}")
    await stack.populate(residents)
    round_id = await stack.open_round()
    stack.rng.shuffle(stack.people)
    memory = Memory(stack)
    bench, feed = Bench(stack, round_id, options), Feed(stack, round_id)
    async with stack.api("registry") as registry, stack.api("reporting") as reporting:
        watch = Watch(registry, reporting)
        await feed.send(int(residents * options.share))
        await watch.until_applied()
        async with memory.watched():
            reads = await bench.reads()
            polling = {"nothing changes": await bench.poll()}
            wanted = min(residents // 5, options.rate * options.seconds)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(
                    feed.send(wanted, rate=wanted / options.seconds, size=wanted // 20)
                )
                polling[f"{wanted / options.seconds:,.0f} results/s come in"] = await bench.poll()
            await watch.until_applied()
            await bench.require_balanced()
            live = await bench.live()
    bench.close()
    largest = memory.figure(f"reads, {residents:,} residents")
    seen = Seen(residents, reads, live, polling, bench.refused, largest)
    tell(seen, out)
    return bench, seen


async def run(options: argparse.Namespace, out: Console) -> list[Figure]:
    """Measure at every size; the first and the last take turns at the end."""
    found: list[tuple[Bench, Seen]] = []
    with ExitStack() as kept:
        for residents in options.residents:
            with ExitStack() as own:
                stack = (own if found else kept).enter_context(ground())
                found.append(await measure(options, stack, residents, out))
                if residents == options.residents[-1]:
                    await compare(found[0], found[-1], options)
                    found[0][0].close()
                if len(found) > 1:
                    found[-1][0].close()
    return list(figures([seen for _, seen in found]))


async def compare(
    least: tuple[Bench, Seen], most: tuple[Bench, Seen], options: argparse.Namespace
) -> None:
    """Read coverage here and there in turns: what else the machine does meets both."""
    for _, seen in (least, most):
        seen.reads[ANEW] = Reads()
    for _ in range(options.turns + 2):
        for bench, seen in (least, most):
            await bench.turn_anew(seen.reads[ANEW])


def tell(seen: Seen, out: Console) -> None:
    """Print what was measured at one size."""
    table = Table(f"{seen.residents:,} residents", "p50 ms", "least … most", "CPU µs")
    for name, own in seen.reads.items():
        table.add_row(
            name,
            f"{median(own.p50):.2f}",
            f"{min(own.p50):.2f} … {max(own.p50):.2f}",
            f"{median(own.micro):,.0f}",
        )
    for name, (seconds, cpu) in seen.live.items():
        table.add_row(f"live, {name}", f"{seconds * 1e3:,.1f}", "", f"{cpu * 1e6:,.0f}")
    for name, share in seen.polling.items():
        table.add_row(f"{DASHBOARDS} dashboards, {name}", "", "", f"{share:.0%} of a core")
    out.print(table)
    out.print(f"{seen.refused} reads were told to come later")


def figures(found: Sequence[Seen]) -> Iterator[Figure]:
    """Say what belongs into the report."""
    for seen in found:
        who = f"at {seen.residents:,} residents"
        for name, own in seen.reads.items():
            note = f"CPU {median(own.micro):,.0f} µs"
            yield Figure.of("7", f"{name}, read {who}", "ms", own.p50, note)
        for name, (seconds, cpu) in seen.live.items():
            note = f"CPU {cpu:.2f} s"
            yield Figure("7", f"live GROUP BY, {name}, {who}", seconds * 1e3, "ms", note=note)
        for name, share in seen.polling.items():
            what = f"{DASHBOARDS} dashboards asking every second while {name}, {who}"
            note = f"{seen.refused} told to come later" if seen.refused else ""
            yield Figure("7", what, share * 100, "% of a core", note=note)
        yield seen.memory
    least, most = found[0], found[-1]
    here, there = least.reads[ANEW], most.reads[ANEW]
    sizes = f"at {most.residents:,} by that at {least.residents:,}"
    for kind, ours, its in (("", there.p50, here.p50), (", CPU", there.micro, here.micro)):
        ratios = [mine / other for mine, other in zip(ours, its, strict=True)]
        yield Figure.of("7", f"coverage {sizes}{kind}", "x", ratios)
    live_seconds, live_cpu = most.live[most.best]
    who = f"live GROUP BY at {most.residents:,} by coverage"
    for name, kind in ((ANEW, ""), (COPY, ", copy at hand")):
        own = most.reads[name]
        ratios = [live_seconds * 1e3 / each for each in own.p50]
        yield Figure.of("7", f"{who}{kind}", "x", ratios, most.best)
        by_cpu = [live_cpu * 1e6 / each for each in own.micro]
        yield Figure.of("7", f"CPU of {who}{kind}", "x", by_cpu, most.best)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reads", description=__doc__)
    parser.add_argument("--residents", type=int, nargs="+", default=[20_000, 200_000, 2_000_000])
    parser.add_argument("--share", type=float, default=0.3, help="of them have a result")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--reads", type=int, default=400, help="of a turn")
    parser.add_argument("--seconds", type=int, default=10, help="of polling")
    parser.add_argument("--rate", type=int, default=2_000, help="results a second during it")
    report.add_option(parser)
    options = parser.parse_args()
    out = Console(width=110, highlight=False)
    report.write(options.json, uvloop.run(run(options, out)))


if __name__ == "__main__":
    main()
