"""What does taking results in cost, against COPY and against a naive build? `make bench-bulk`.

In one run, in turns, the same kind of rows: by `POST /v1/results:batch` into registry alone; by raw
COPY into tables like `sample` and `report`, with their indexes and nothing else; and one by one
into a naive build (FastAPI, pydantic, the ORM), from as many clients as serve it best.
"""

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from statistics import median
from typing import Any
from uuid import UUID

import msgspec
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.alone import NAIVE, alone, make_tables, spent
from benchmarks.ground import Ground, cpu
from benchmarks.report import Figure
from benchmarks.wire import Lines, request
from deploy.local.tokens import development_token

BULK, COPY = "bulk over HTTP", "raw COPY"
NAIVE_BUILD = "naive build"
NAIVE_CLIENTS = 16
_OK = 200

Rows = Sequence[dict[str, Any]]


async def send(
    ground: Ground, path: str, bodies: Iterable[bytes], clients: int, word: bytes
) -> None:
    """Send bodies from so many clients at a time; each answer has to hold a word of success."""
    token = development_token(["site"], ["41"], sub="site")
    lines = Lines(ground.addresses.registry, seconds=120)
    turns = iter(bodies)

    async def sender() -> None:
        for body in turns:
            answer = await lines.ask(request("POST", path, token, body))
            if answer.status != _OK or word not in answer.body[:100]:
                raise SystemExit(f"answered {answer.status}: {answer.body[:300]!r}")

    await asyncio.gather(*(sender() for _ in range(clients)))
    lines.close()


async def bulk(ground: Ground, rows: Rows, size: int) -> None:
    """Send rows in batches, two at a time."""
    bodies = [msgspec.json.encode(rows[at : at + size]) for at in range(0, len(rows), size)]
    await send(ground, "/v1/results:batch", bodies, 2, b'"rejected":0')


async def naive(ground: Ground, rows: Rows) -> None:
    """Send rows one by one, from several clients."""
    bodies = [msgspec.json.encode(row) for row in rows]
    await send(ground, NAIVE, bodies, NAIVE_CLIENTS, b'"accepted"')


async def copy(ground: Ground, rows: Rows) -> dict[str, float]:
    """COPY rows, decoded before, in one transaction; `api` is the client's CPU time."""
    database = await ground.superuser("registry")
    now = datetime.now().astimezone()
    samples = [
        (UUID(r["round_id"]), UUID(r["sample_id"]), UUID(r["resident"]["id"]), _time(r, "sampled"),
         r["channel"], r["site"], None, now, None, None)
        for r in rows
    ]  # fmt: skip
    reports = [
        (UUID(r["round_id"]), UUID(r["result_id"]), UUID(r["sample_id"]), r["outcome"],
         _time(r, "resulted"), _time(r, "released"), now, None, None)
        for r in rows
    ]  # fmt: skip
    columns = {
        "sample": ["round", "id", "resident", "sampled_at", "channel", "site", "tube_code",
                   "recorded_at", "voided_by", "filed_for"],
        "report": ["round", "id", "sample", "outcome", "resulted_at", "released_at",
                   "recorded_at", "corrects", "superseded_by"],
    }  # fmt: skip
    with spent(ground) as told:
        own = cpu(psutil.Process())
        async with database.transaction():
            for table, records in (("sample", samples), ("report", reports)):
                await database.copy_records_to_table(
                    f"{table}_copied", columns=columns[table], records=records
                )
    told["api"] = cpu(psutil.Process()) - own
    await database.close()
    return told


def _time(row: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(row[f"{name}_at"])


async def measure(options: argparse.Namespace, ground: Ground, out: Console) -> None:
    """Let the three take turns, and tell."""
    await ground.populate(options.residents)
    round_id = await ground.open_round()
    await make_tables(ground)
    database = await ground.superuser("registry")
    for table in ("sample", "report"):
        await database.execute(f"CREATE TABLE {table}_copied (LIKE {table} INCLUDING ALL)")
    await database.close()
    ground.rng.shuffle(ground.people)
    people = iter(ground.people)
    runs: defaultdict[str, list[dict[str, float]]] = defaultdict(list)

    def some(count: int) -> Rows:
        return ground.rows(round_id, [next(people) for _ in range(count)])

    for _ in range(options.turns):
        rows = some(options.rows)
        with spent(ground) as told:
            await bulk(ground, rows, options.batch)
        runs[BULK].append(_per_row(told, len(rows)))
        runs[COPY].append(_per_row(await copy(ground, rows), len(rows)))
        rows = some(options.naive_rows)
        with spent(ground) as told:
            await naive(ground, rows)
        runs[NAIVE_BUILD].append(_per_row(told, len(rows)))
    out.print(shown(runs))
    report.write(options.json, figures(runs))


def _per_row(told: dict[str, float], rows: int) -> dict[str, float]:
    micro = {name: told[name] * 1e6 / rows for name in ("api", "postgres")}
    return {"rate": rows / told["seconds"], **micro}


def shown(runs: dict[str, list[dict[str, float]]]) -> Table:
    """Make the table; the ratios are those of the medians."""
    table = Table(
        "way", "rows/s", "least … most", "client µs a row", "PostgreSQL µs a row",
        "bulk is, by rate", "by CPU",
    )  # fmt: skip
    middle = {
        way: {name: median(run[name] for run in own) for name in own[0]}
        for way, own in runs.items()
    }
    ours = middle[BULK]
    for way, own in runs.items():
        every = [run["rate"] for run in own]
        its = middle[way]
        cost = (its["api"] + its["postgres"]) / (ours["api"] + ours["postgres"])
        table.add_row(
            way,
            f"{its['rate']:,.0f}",
            f"{min(every):,.0f} … {max(every):,.0f}",
            f"{its['api']:.1f}",
            f"{its['postgres']:.1f}",
            f"{ours['rate'] / its['rate']:.2f} x",
            f"{cost:.2f} x",
        )
    return table


def figures(runs: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """Say how bulk does against the other two, turn by turn."""

    def cost(run: dict[str, float]) -> float:
        return run["api"] + run["postgres"]

    def against(other: str, by: Callable[[dict[str, float]], float]) -> list[float]:
        return [by(ours) / by(its) for ours, its in zip(runs[BULK], runs[other], strict=True)]

    def rate(run: dict[str, float]) -> float:
        return run["rate"]

    return [
        Figure.of("3", "bulk over HTTP against raw COPY, by rate", "x", against(COPY, rate)),
        Figure.of("3", "registry alone, in bulk", "rows/s", [run["rate"] for run in runs[BULK]]),
        Figure.of("4", "bulk against the naive build, by rate", "x", against(NAIVE_BUILD, rate)),
        Figure.of(
            "4", "CPU of the naive build by that of bulk", "x",
            [1 / each for each in against(NAIVE_BUILD, cost)],
        ),
    ]  # fmt: skip


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__)
    parser.add_argument("--residents", type=int, default=400_000)
    parser.add_argument("--rows", type=int, default=100_000, help="of a turn")
    parser.add_argument("--naive-rows", type=int, default=3_000, help="of a turn")
    parser.add_argument("--random-ids", action="store_true", help="UUIDv4 and not UUIDv7")
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=3)
    report.add_option(parser)
    options = parser.parse_args()
    with alone() as ground:
        ground.random_ids = options.random_ids
        uvloop.run(measure(options, ground, Console(width=120, highlight=False)))


if __name__ == "__main__":
    main()
