"""What do single scans cost, many tables at once? `make bench-scans`.

registry's own route takes turns with an empty one and with a plain INSERT (`benchmarks/alone.py`)
in one run: so many clients, each on a connection of its own, ask again once they are answered.
"""

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from statistics import median

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.alone import EMPTY, INSERT, alone, make_tables, spent
from benchmarks.ground import Ground
from benchmarks.report import Figure
from benchmarks.wire import Lines, request
from deploy.local.tokens import development_token

SCAN = "/v1/results"
CALLERS = 20
_OK, _LATER = 200, frozenset({429, 503})

Runs = defaultdict[tuple[int, str], list[dict[str, float]]]
"""By clients and route: each turn's requests a second, and µs of CPU a request by process."""


async def turn(lines: Lines, path: str, bodies: Iterator[bytes], clients: int, most: float) -> int:
    """Ask from so many clients for so long; say how many were answered, and not told to wait."""
    tokens = [development_token(["site"], ["41"], sub=f"site {n}") for n in range(CALLERS)]
    end = time.perf_counter() + most
    answered = 0

    async def ask(number: int) -> None:
        nonlocal answered
        while time.perf_counter() < end:
            asked = request("POST", path, tokens[number % CALLERS], next(bodies))
            answer = await lines.ask(asked)
            if answer.status in _LATER:
                await asyncio.sleep(0.1)
                continue
            if answer.status != _OK:
                raise SystemExit(f"{path} answered {answer.status}: {answer.body[:300]!r}")
            answered += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(ask(number))
    return answered


async def measure(options: argparse.Namespace, ground: Ground, out: Console) -> None:
    """Let the three take turns, and tell."""
    await ground.populate(options.residents)
    round_id = await ground.open_round()
    await make_tables(ground)

    def bodies() -> Iterator[bytes]:
        while True:
            people = ground.rng.sample(ground.people, 1000)
            yield from map(msgspec.json.encode, ground.rows(round_id, people))

    runs: Runs = defaultdict(list)
    ready = bodies()
    for clients in options.clients:
        lines = Lines(ground.addresses.registry, most=clients)
        for _ in range(options.turns):
            for path in (EMPTY, INSERT, SCAN):
                with spent(ground) as told:
                    answered = await turn(lines, path, ready, clients, options.seconds)
                told["rate"] = answered / told["seconds"]
                for name in ("api", "postgres"):
                    told[name] *= 1e6 / answered
                runs[clients, path].append(told)
        lines.close()
    out.print(shown(runs))
    report.write(options.json, figures(runs, options))


def shown(runs: Runs) -> Table:
    """Make the table."""
    table = Table(
        "clients", "route", "requests/s", "least … most", "API µs", "PostgreSQL µs",
        "of empty", "of insert",
    )  # fmt: skip
    rates = {key: median(run["rate"] for run in own) for key, own in runs.items()}
    for (clients, path), own in runs.items():
        every = [run["rate"] for run in own]
        table.add_row(
            str(clients),
            path,
            f"{rates[clients, path]:,.0f}",
            f"{min(every):,.0f} … {max(every):,.0f}",
            f"{median(run['api'] for run in own):.0f}",
            f"{median(run['postgres'] for run in own):.0f}",
            f"{rates[clients, path] / rates[clients, EMPTY]:.2f} x",
            f"{rates[clients, path] / rates[clients, INSERT]:.2f} x",
        )
    return table


def figures(runs: Runs, options: argparse.Namespace) -> Iterator[Figure]:
    """Say how scans do against the other two, turn by turn."""
    for clients in options.clients:
        rates = {
            path: [run["rate"] for run in runs[clients, path]] for path in (EMPTY, INSERT, SCAN)
        }
        who = f"scans, {clients} clients"
        yield Figure.of("6", who, "requests/s", rates[SCAN])
        for path, name in ((EMPTY, "empty"), (INSERT, "one-INSERT")):
            shares = [ours / its for ours, its in zip(rates[SCAN], rates[path], strict=True)]
            yield Figure.of("6", f"{who}, of the {name} endpoint", "x", shares)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scans", description=__doc__)
    parser.add_argument("--residents", type=int, default=200_000)
    parser.add_argument("--clients", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of a turn")
    parser.add_argument("--gathered", type=int, default=128, help="requests in work at a time")
    report.add_option(parser)
    options = parser.parse_args()
    with alone(gathered_requests=options.gathered) as ground:
        uvloop.run(measure(options, ground, Console(width=120, highlight=False)))


if __name__ == "__main__":
    main()
