"""How long until a round is under way, and until it is over? `make bench-opening`.

A real stack, so many residents, 3 in 100 of them with needs. Counted is from `POST …:open` until
the last of their visits exists in dispatch's database; then from `POST …:close` until none of them
is open any more. Each size stands on ground of its own, as often as it is repeated.
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.ground import Ground, Memory, Usage, ground
from benchmarks.report import Figure
from deploy.local.stack import SERVICES

if TYPE_CHECKING:
    import asyncpg


@dataclass
class Step:
    """A round opened or closed: seconds until that was answered, until all of it was done."""

    answered: float
    done: float
    used: dict[str, float]
    """CPU seconds by process."""

    def tell(self, name: str, out: Console) -> None:
        """Print it."""
        out.print(f"{name}: answered after {self.answered:.2f} s, done after {self.done:.2f} s")
        table = Table("process", "CPU s")
        for process, seconds in self.used.items():
            if seconds >= 0.05:  # noqa: PLR2004 - less is no news
                table.add_row(process, f"{seconds:.2f}")
        out.print(table)


async def step(
    stack: Ground,
    round_id: str,
    verb: str,
    database: "asyncpg.Connection[Any]",
    done: Callable[[int, int], bool],
) -> Step:
    """Do something to a round, and wait until the visits, all and open, are as they should be."""
    before = Usage.of(stack)
    began = time.perf_counter()
    async with stack.api("registry") as registry:
        asked = asyncio.create_task(registry.post(f"/v1/rounds/{round_id}:{verb}"))
        asked.add_done_callback(lambda _: answered.append(time.perf_counter() - began))
        answered: list[float] = []
        while True:
            row = await database.fetchrow(
                "SELECT count(*), count(*) FILTER (WHERE status = 'planned') FROM visit"
            )
            if row is not None and done(*row):
                break
            if asked.done():
                asked.result()
            await asyncio.sleep(0.1)
        seconds = time.perf_counter() - began
        await asked
    return Step(answered[0], seconds, Usage.of(stack).since(before))


async def measure(
    options: argparse.Namespace, stack: Ground, residents: int, out: Console
) -> tuple[Step, Step, Figure]:
    """Open a round and close it again."""
    await stack.populate(residents)
    registry = await stack.superuser("registry")
    wanted = await registry.fetchval("SELECT count(*) FROM resident WHERE needs <> '{}'")
    await registry.close()
    round_id = await stack.draft_round()
    if options.statements:
        await stack.forget_statements()
    database = await stack.superuser("dispatch")
    memory = Memory(stack)
    async with memory.watched():
        opened = await step(stack, round_id, "open", database, lambda made, _: made == wanted)
        opened.tell(f"{residents:,} residents, {wanted:,} with needs: opened", out)
        if options.statements:
            await tell_statements(stack, out)
            await stack.forget_statements()
        closed = await step(stack, round_id, "close", database, lambda _, left: left == 0)
        closed.tell("closed", out)
        if options.statements:
            await tell_statements(stack, out)
    await database.close()
    return opened, closed, memory.figure(f"a round opened and closed, {residents:,} residents")


async def tell_statements(stack: Ground, out: Console) -> None:
    """Tell what the statements of each database took."""
    for service in SERVICES:
        table = Table("seconds", "calls", f"statement, {service}")
        for seconds, calls, text in await stack.statements(service, most=8):
            table.add_row(f"{seconds:.2f}", str(calls), text[:80])
        out.print(table)


def figures(residents: int, taken: list[tuple[Step, Step, Figure]]) -> Iterator[Figure]:
    """Say what belongs into the report."""
    who = f"{residents:,} residents"
    opened, closed = [each for each, _, _ in taken], [each for _, each, _ in taken]
    yield Figure.of(
        "8", f"opening, {who}, until the last visit exists", "s", [each.done for each in opened]
    )
    yield Figure.of("8", f"opening, {who}, until answered", "s", [each.answered for each in opened])
    yield Figure.of(
        "8", f"opening, {who}, CPU of all processes", "s",
        [sum(each.used.values()) for each in opened],
    )  # fmt: skip
    yield Figure.of(
        "8", f"closing, {who}, until no visit is open", "s", [each.done for each in closed]
    )
    yield max((each for _, _, each in taken), key=lambda figure: figure.value)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.opening", description=__doc__)
    parser.add_argument("--residents", type=int, nargs="+", default=[20_000, 200_000, 2_000_000])
    parser.add_argument("--turns", type=int, default=1, help="of each size")
    parser.add_argument("--apache", action="store_true", help="Apache Kafka as the broker")
    parser.add_argument("--statements", action="store_true", help="tell what PostgreSQL did")
    report.add_option(parser)
    options = parser.parse_args()
    out = Console(width=110, highlight=False)
    found: list[Figure] = []
    for residents in options.residents:
        taken = []
        for seed in range(options.turns):
            with ground(apache=options.apache, profiled=options.statements, seed=seed) as stack:
                taken.append(uvloop.run(measure(options, stack, residents, out)))
        found += figures(residents, taken)
    report.write(options.json, found)


if __name__ == "__main__":
    main()
