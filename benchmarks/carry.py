"""What can be carried from end to end, and what does a result cost? `make bench-carry`.

A real stack on real servers, durable as in earnest; people on the roll, 3 in 100 of them with
needs, an open round. Batches of swabs with their results come over HTTP, first by the clock at each
of `--rates`, then as fast as they are answered, written before so that the generator costs little.
Told are, of each of these stretches,

- the rate, and every second how many events nobody has applied yet: carried is what leaves it flat;
- freshness, from accepted to counted, as reporting's own histogram has it;
- CPU time per result of every process, PostgreSQL by database, and the memory of each at its most.

At the end everything must have been accepted, and counted once.
"""

import argparse
import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import httpx
import msgspec
import psutil
import uvloop
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.ground import MEGABYTE, Ground, Memory, Usage, cpu, ground
from benchmarks.report import Figure
from benchmarks.wire import Lines, request
from deploy.local.calls import Api
from deploy.local.stack import SERVICES
from deploy.local.tokens import development_token

_OK = 200
_LATER = frozenset({429, 503})
CALLERS = 4
WINDOW = 5
"""Seconds of which rates are told apart."""


class Counts(msgspec.Struct):
    """What is read of an answer."""

    accepted: int
    rejected: int


@dataclass
class Watch:
    """Looks on every second."""

    registry: Api
    reporting: Api
    lag: list[int] = field(default_factory=list)
    """Events that reporting has not applied, second by second."""

    async def look(self) -> int:
        """Count what is not applied yet."""
        heads = (await self.registry.get("/v1/outbox/heads"))["heads"]
        applied = (await self.reporting.get("/v1/status"))["positions"]
        there = {(at["topic"], at["partition"]): at["applied"] for at in applied}
        return sum(max(0, at["pos"] - there.get((at["topic"], at["partition"]), 0)) for at in heads)

    async def until_applied(self) -> None:
        """Wait until everything announced is applied."""
        while await self.look():  # noqa: ASYNC110 - it is other processes that we wait for
            await asyncio.sleep(0.05)

    async def live(self) -> None:
        """Look every second until cancelled."""
        while True:
            self.lag.append(await self.look())
            await asyncio.sleep(1)


async def freshness(address: str) -> dict[float, float]:
    """Read reporting's histogram: results counted within so many seconds."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{address}/metrics")).text
    return {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(text)
        if family.name == "lastmetre_freshness_seconds"
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }


def quantile(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """Tell within how many seconds this share was counted: the bound of the histogram above it."""
    counts = {bound: n - before.get(bound, 0) for bound, n in after.items()}
    total = max(counts.values(), default=0)
    return next((b for b, n in sorted(counts.items()) if total and n >= share * total), math.inf)


@dataclass
class Sent:
    """How long sending took, when each batch was answered, how often one had to come later."""

    seconds: float = 0
    answered: list[float] = field(default_factory=list)
    refused: int = 0

    def rates(self, size: int) -> list[float]:
        """Tell the rate of every whole window."""
        counts = Counter(int(at / WINDOW) for at in self.answered)
        whole = int(self.seconds / WINDOW)
        return [counts[window] * size / WINDOW for window in range(whole)]


async def send(lines: Lines, bodies: Sequence[bytes], rate: float, size: int, at_once: int) -> Sent:
    """Send bodies, by the clock or as they are answered; what is refused is sent once more."""
    sent = Sent()
    began = time.perf_counter()
    turns = iter(range(len(bodies)))

    async def one(number: int) -> None:
        while (answer := await lines.ask(bodies[number])).status in _LATER:
            sent.refused += 1
            await asyncio.sleep(0.1)
        if answer.status != _OK:
            raise SystemExit(f"answered {answer.status}: {answer.body[:300]!r}")
        counts = msgspec.json.decode(answer.body, type=Counts)
        if counts.accepted != size:
            raise SystemExit(f"accepted {counts.accepted} of {size}: {answer.body[:600]!r}")
        sent.answered.append(time.perf_counter() - began)

    async def closed() -> None:
        for number in turns:
            await one(number)

    async with asyncio.TaskGroup() as tasks:
        if rate:
            for number in turns:
                due = began + number * size / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.create_task(one(number))
        else:
            for _ in range(at_once):
                tasks.create_task(closed())
    sent.seconds = time.perf_counter() - began
    return sent


@dataclass
class Carried:
    """What one stretch brought: results sent by the clock, or as fast as they were answered."""

    rate: float
    """Results a second by the clock; 0: as fast as they were answered."""
    rows: int
    size: int
    """Rows of a batch."""
    sent: Sent
    lag: list[int]
    drained: float
    """Seconds from the last answer until everything was counted."""
    p50: float
    p99: float
    used: dict[str, float]

    @property
    def micro(self) -> float:
        """CPU µs a result of everything but the generator."""
        own = (seconds for name, seconds in self.used.items() if not name.startswith("("))
        return sum(own) * 1e6 / self.rows

    def tell(self, memory: Memory, out: Console) -> None:
        """Print it."""
        speed = self.rows / self.sent.seconds
        out.print(
            f"{self.rows:,} results in {self.sent.seconds:.1f} s: {speed:,.0f}/s;"
            f" {self.sent.refused} times told to come later"
        )
        out.print(f"everything counted {self.drained:.1f} s after the last answer")
        out.print(f"freshness p50 ≤ {self.p50:g} s, p99 ≤ {self.p99:g} s")
        out.print(f"events not applied, second by second: {self.lag}")
        out.print(shown(self.used, memory.most, self.rows))

    def figures(self) -> Iterator[Figure]:
        """Say what belongs into the report."""
        if self.rate:
            for share, value in (("p50", self.p50), ("p99", self.p99)):
                yield Figure("5", f"freshness {share} at {self.rate:,.0f}/s", value, "s")
            yield Figure("5", f"CPU a result at {self.rate:,.0f}/s", self.micro, "µs")
            return
        rates = self.sent.rates(self.size) or [self.rows / self.sent.seconds]
        told = (
            f"{self.sent.seconds:.0f} s; lag {min(self.lag)} to {max(self.lag)} events,"
            f" gone {self.drained:.1f} s after"
        )
        yield Figure(
            "1", "end to end, sustained", self.rows / self.sent.seconds, "results/s",
            min(rates), max(rates), told,
        )  # fmt: skip
        yield Figure("2", "CPU a result, all processes, bulk", self.micro, "µs")
        for share, value in (("p50", self.p50), ("p99", self.p99)):
            yield Figure("5", f"freshness {share} as fast as it goes", value, "s")


@dataclass
class Load:
    """Where results go, and whose are left to be sent."""

    ground: Ground
    round_id: str
    people: Iterator[UUID]
    options: argparse.Namespace
    watch: Watch

    def bodies(self, count: int, size: int) -> list[bytes]:
        """Write so many batches."""
        tokens = [development_token(["site"], ["41"], sub=f"site {n}") for n in range(CALLERS)]
        return [
            request(
                "POST", "/v1/results:batch", tokens[n % CALLERS],
                msgspec.json.encode(
                    self.ground.rows(self.round_id, [next(self.people) for _ in range(size)])
                ),
            )
            for n in range(count)
        ]  # fmt: skip

    async def carry(self, rate: float, results: int) -> Carried:
        """Send so many results, and look on."""
        options, watch = self.options, self.watch
        # By the clock at least four a second: of fewer there is no quantile to speak of.
        size = min(options.batch, int(rate / 4)) if rate else options.batch
        bodies = self.bodies(results // size, size)
        worker = self.ground.operations["reporting worker"]
        if options.statements:
            await self.ground.forget_statements()
        before, fresh = Usage.of(self.ground), await freshness(worker)
        lines = Lines(self.ground.addresses.registry, most=options.at_once * 4, seconds=120)
        mine = cpu(psutil.Process())
        watch.lag = []
        looking = asyncio.create_task(watch.live())
        sent = await send(lines, bodies, rate, size, options.at_once)
        drained = time.perf_counter()
        await watch.until_applied()
        drained = time.perf_counter() - drained
        looking.cancel()
        lines.close()
        used = Usage.of(self.ground).since(before)
        used["(the generator)"] = cpu(psutil.Process()) - mine
        after = await freshness(worker)
        p50, p99 = (quantile(fresh, after, share) for share in (0.5, 0.99))
        rows = len(bodies) * size
        return Carried(rate, rows, size, sent, watch.lag, drained, p50, p99, used)


async def measure(options: argparse.Namespace, stack: Ground, out: Console) -> bool:
    """Measure, and say whether everything was counted."""
    stretches = [(rate, int(rate * options.seconds)) for rate in options.rates]
    if options.results:
        stretches.append((0, options.results))
    wanted = sum(results for _, results in stretches)
    residents = max(options.residents, wanted)
    out.print(f"putting {residents:,} people on the roll")
    await stack.populate(residents)
    began = time.perf_counter()
    round_id = await stack.open_round()
    stack.rng.shuffle(stack.people)
    memory, rows, figures = Memory(stack), 0, list[Figure]()
    async with stack.api("registry") as registry, stack.api("reporting") as reporting:
        load = Load(stack, round_id, iter(stack.people), options, Watch(registry, reporting))
        await load.watch.until_applied()
        out.print(
            f"the round is open and told everywhere after {time.perf_counter() - began:.1f} s"
        )
        for rate, results in stretches:
            async with memory.watched():
                carried = await load.carry(rate, results)
            carried.tell(memory, out)
            figures += carried.figures()
            rows += carried.rows
            if options.statements:
                await tell_statements(stack, carried.rows, out)
        coverage = await reporting.get("/v1/coverage", {"round": round_id, "by": "office"})
    counted = coverage["total"]["sampled"]
    out.print(f"counted: {counted:,} of {rows:,}")
    figures.append(memory.figure(f"results coming in, {residents:,} residents"))
    report.write(options.json, figures)
    return bool(counted == rows)


async def tell_statements(stack: Ground, rows: int, out: Console) -> None:
    """Tell what the statements of each database cost."""
    for service in SERVICES:
        table = Table("µs a result", "calls", f"statement, {service}")
        for seconds, calls, text in await stack.statements(service):
            table.add_row(f"{seconds * 1e6 / rows:.2f}", str(calls), text[:90])
        out.print(table)


def shown(used: dict[str, float], most: Counter[str], rows: int) -> Table:
    """Make the table of costs."""
    table = Table("process", "µs a result", "MB at its most")
    for name, seconds in used.items():
        memory = f"{most[name] / MEGABYTE:.0f}" if most[name] else ""
        table.add_row(name, f"{seconds * 1e6 / rows:.1f}", memory)
    total = sum(seconds for name, seconds in used.items() if not name.startswith("("))
    table.add_row("all but the generator", f"{total * 1e6 / rows:.1f}", "")
    return table


def main() -> int:
    """Run; 0 only if everything was counted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.carry", description=__doc__)
    parser.add_argument("--residents", type=int, default=1_000_000, help="at the least")
    parser.add_argument(
        "--rates", type=float, nargs="*", default=[], help="results a second, one after another"
    )
    parser.add_argument("--seconds", type=float, default=20, help="of each rate")
    parser.add_argument(
        "--results", type=int, default=1_000_000, help="sent then, as fast as they are answered"
    )
    parser.add_argument("--random-ids", action="store_true", help="UUIDv4 and not UUIDv7")
    parser.add_argument("--batch", type=int, default=5_000, help="rows of a batch at the most")
    parser.add_argument("--at-once", type=int, default=2, help="batches under way")
    parser.add_argument("--apache", action="store_true", help="Apache Kafka as the broker")
    parser.add_argument("--statements", action="store_true", help="tell what PostgreSQL did")
    report.add_option(parser)
    options = parser.parse_args()
    out = Console(width=110, highlight=False)
    with ground(apache=options.apache, profiled=options.statements) as stack:
        stack.random_ids = options.random_ids
        good = uvloop.run(measure(options, stack, out))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
