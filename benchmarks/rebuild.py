"""How fast are all figures built anew from position zero? `make bench-rebuild`.

A real stack; people on the roll, an open round, results taken in and counted as they would be. Then
reporting is told to rebuild: it pulls every event there ever was from the producers, folds it and
swaps the figures. Twice: as a rebuild mostly finds them, events of an hour ago and more; and events
of this hour, whose single deltas are kept as well. A change is one element of an event's list: one
person who moved in the account, one visit that moved on. Figures must be the same afterwards.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.carry import Load, Watch
from benchmarks.ground import Ground, Memory, Usage, ground
from benchmarks.report import Figure
from deploy.local.calls import Api
from shared.contracts.dispatch import VISITS, VisitsChanged
from shared.contracts.registry import ROLL, RollChanged

_PRODUCERS = {"registry": ROLL, "dispatch": VISITS}


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild took."""

    events: str
    changes: int
    seconds: float
    used: dict[str, float]

    @property
    def rate(self) -> float:
        """Changes a second, from the asking to the swap."""
        return self.changes / self.seconds

    def figures(self) -> Iterator[Figure]:
        """Say what belongs into the report."""
        main = ", ".join(
            f"{name} {seconds * 1e6 / self.changes:.1f}"
            for name, seconds in list(self.used.items())[:4]
        )
        yield Figure(
            "9", f"rebuild of reporting, {self.changes:,} changes {self.events}", self.rate,
            "changes/s", note=f"CPU µs a change: {main}",
        )  # fmt: skip


async def changes(stack: Ground) -> int:
    """Count the changes in every event of both producers."""
    count = 0
    for service, topic in _PRODUCERS.items():
        database = await stack.superuser(service)
        async with database.transaction():
            async for kind, data in database.cursor(
                "SELECT type, data FROM outbox WHERE topic = $1", topic
            ):
                if kind == RollChanged.type:
                    message = msgspec.json.decode(data, type=RollChanged)
                    count += sum(map(len, message.communities.values()))
                elif kind == VisitsChanged.type:
                    count += len(msgspec.json.decode(data, type=VisitsChanged).visits)
        await database.close()
    return count


async def age(stack: Ground) -> None:
    """Put every event back by a day."""
    for service in _PRODUCERS:
        database = await stack.superuser(service)
        await database.execute("UPDATE outbox SET recorded_at = recorded_at - interval '1 day'")
        await database.execute("VACUUM (FULL, ANALYZE) outbox")
        await database.close()


async def rebuild(stack: Ground, reporting: Api, count: int, events: str) -> Rebuilt:
    """Have everything built anew, and wait for the swap."""
    before = Usage.of(stack)
    began = time.perf_counter()
    begun = await reporting.post("/v1/rebuild")
    while (await _life(reporting, begun["id"]))["state"] != "current":  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    seconds = time.perf_counter() - began
    return Rebuilt(events, count, seconds, Usage.of(stack).since(before))


async def _life(reporting: Api, generation: int) -> dict[str, Any]:
    lives = (await reporting.get("/v1/rebuild"))["generations"]
    found: dict[str, Any] = next(life for life in lives if life["id"] == generation)
    return found


async def measure(options: argparse.Namespace, stack: Ground, out: Console) -> bool:
    """Measure, and say whether the figures stayed what they were."""
    out.print(f"putting {options.residents:,} people on the roll")
    await stack.populate(options.residents)
    round_id = await stack.open_round()
    stack.rng.shuffle(stack.people)
    memory, figures = Memory(stack), list[Figure]()
    table = Table("events", "changes", "seconds", "changes/s", "CPU µs a change, by process")
    async with stack.api("registry") as registry, stack.api("reporting") as reporting:
        load = Load(stack, round_id, iter(stack.people), options, Watch(registry, reporting))
        await load.watch.until_applied()
        await load.carry(0, min(options.results, options.residents))

        async def shown() -> Any:  # noqa: ANN401 - JSON
            return (await reporting.get("/v1/coverage", {"round": round_id}))["total"]

        count, first = await changes(stack), await shown()
        good = True
        for events in ("of this hour", "of a day ago"):
            if events == "of a day ago":
                await age(stack)
            async with memory.watched():
                built = await rebuild(stack, reporting, count, events)
            used = ", ".join(
                f"{name} {seconds * 1e6 / count:.2f}" for name, seconds in built.used.items()
                if seconds * 1e6 / count >= 0.01  # noqa: PLR2004
            )  # fmt: skip
            table.add_row(events, f"{count:,}", f"{built.seconds:.1f}", f"{built.rate:,.0f}", used)
            figures += built.figures()
            good &= await shown() == first
    out.print(table)
    figures.append(memory.figure(f"rebuild of {count:,} changes"))
    report.write(options.json, figures)
    out.print("the figures are the same" if good else "THE FIGURES DIFFER")
    return good


def main() -> int:
    """Run; 0 only if a rebuild gives the figures that were there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebuild", description=__doc__)
    parser.add_argument("--residents", type=int, default=1_000_000)
    parser.add_argument("--results", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=5_000, help="rows of a batch")
    parser.add_argument("--at-once", type=int, default=2, help="batches under way")
    report.add_option(parser)
    options = parser.parse_args()
    options.statements = False
    with ground() as stack:
        good = uvloop.run(measure(options, stack, Console(width=120, highlight=False)))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
