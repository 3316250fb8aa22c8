"""What can be carried from end to end, and what does a result cost? `make bench-carry`.

A real stack on real servers, durable as in earnest; people on the roll, 3 in 100 of them with
needs, an open round. Batches of swabs with their results come over HTTP, by the clock (`--rate`) or
as fast as they are answered, written before the run so that the generator costs little. Told are

- the rate, and every second how many events nobody has applied yet: carried is what leaves it flat;
- freshness, from accepted to counted, as reporting's own histogram has it;
- CPU time per result of every process, PostgreSQL by database, and the memory of each at its most.

At the end everything must have been accepted, and counted once.
"""

import argparse
import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import msgspec
import psutil
import uvloop
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from benchmarks.ground import MEGABYTE, Ground, Usage, cpu, ground
from benchmarks.wire import Lines, request
from deploy.local.calls import Api
from deploy.local.stack import SERVICES
from deploy.local.tokens import development_token

_OK = 200
_LATER = frozenset({429, 503})
CALLERS = 4


class Counts(msgspec.Struct):
    """What is read of an answer."""

    accepted: int
    rejected: int


@dataclass
class Watch:
    """Looks on every second."""

    ground: Ground
    registry: Api
    reporting: Api
    lag: list[int] = field(default_factory=list)
    """Events that reporting has not applied, second by second."""
    most: Counter[str] = field(default_factory=Counter)

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
            for name, members in self.ground.processes().items():
                for member in members:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        own = member.memory_info()
                        used = own.rss - getattr(own, "shared", 0)
                        self.most[name] = max(self.most[name], used)
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


def quantile(before: dict[float, float], after: dict[float, float], share: float) -> str:
    """Tell within which bound this share of what was counted meanwhile lies."""
    counts = {bound: n - before.get(bound, 0) for bound, n in after.items()}
    total = max(counts.values(), default=0)
    for bound, n in sorted(counts.items()):
        if total and n >= share * total:
            return f"≤ {bound:g} s"
    return "unknown"


@dataclass
class Sent:
    """How long sending took, and how often a batch was told to come later."""

    seconds: float = 0
    refused: int = 0


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


async def measure(options: argparse.Namespace, stack: Ground, out: Console) -> bool:
    """Measure, and say whether everything was counted."""
    out.print(f"putting {options.residents:,} people on the roll")
    await stack.populate(options.residents)
    began = time.perf_counter()
    round_id = await stack.open_round()
    count = min(options.results, options.residents) // options.batch
    stack.rng.shuffle(stack.people)
    tokens = [development_token(["site"], ["41"], sub=f"site {n}") for n in range(CALLERS)]
    bodies = [
        request(
            "POST", "/v1/results:batch", tokens[n % CALLERS],
            msgspec.json.encode(
                stack.rows(round_id, stack.people[n * options.batch : (n + 1) * options.batch])
            ),
        )
        for n in range(count)
    ]  # fmt: skip
    rows = count * options.batch
    async with stack.api("registry") as registry, stack.api("reporting") as reporting:
        watch = Watch(stack, registry, reporting)
        await watch.until_applied()
        out.print(
            f"the round is open and told everywhere after {time.perf_counter() - began:.1f} s"
        )
        worker = stack.operations["reporting worker"]
        if options.statements:
            await stack.forget_statements()
        before, fresh = Usage.of(stack), await freshness(worker)
        lines = Lines(stack.addresses.registry, most=options.at_once * 4, seconds=120)
        mine = cpu(psutil.Process())
        looking = asyncio.create_task(watch.live())
        sent = await send(lines, bodies, options.rate, options.batch, options.at_once)
        lag_then = await watch.look()
        drained = time.perf_counter()
        await watch.until_applied()
        drained = time.perf_counter() - drained
        looking.cancel()
        lines.close()
        used = Usage.of(stack).since(before)
        used["(the generator)"] = cpu(psutil.Process()) - mine
        after = await freshness(worker)
        out.print(
            f"{rows:,} results in {sent.seconds:.1f} s: {rows / sent.seconds:,.0f}/s;"
            f" {sent.refused} times told to come later"
        )
        out.print(f"{lag_then} events not applied then, gone after {drained:.1f} s")
        out.print(
            f"freshness p50 {quantile(fresh, after, 0.5)}, p99 {quantile(fresh, after, 0.99)}"
        )
        out.print(f"events not applied, second by second: {watch.lag}")
        out.print(shown(used, watch.most, rows))
        if options.statements:
            await tell_statements(stack, rows, out)
        coverage = await reporting.get("/v1/coverage", {"round": round_id, "by": "office"})
        counted = coverage["total"]["sampled"]
        out.print(f"counted: {counted:,} of {rows:,}")
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
    parser.add_argument("--residents", type=int, default=1_000_000)
    parser.add_argument("--results", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=5_000, help="rows of a batch")
    parser.add_argument("--rate", type=float, default=0, help="results a second; 0: what it takes")
    parser.add_argument("--at-once", type=int, default=4, help="batches under way")
    parser.add_argument("--apache", action="store_true", help="Apache Kafka as the broker")
    parser.add_argument("--statements", action="store_true", help="tell what PostgreSQL did")
    options = parser.parse_args()
    out = Console(width=110, highlight=False)
    with ground(apache=options.apache, profiled=options.statements) as stack:
        good = uvloop.run(measure(options, stack, out))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
