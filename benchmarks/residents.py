"""How fast do people come on the roll, with who is who looked up? `make bench-residents`.

registry alone. A made-up population (`deploy/local/population.py`: id numbers, phones, addresses,
needs) is sent to `POST /v1/residents:batch` step by step, which gives the growth curve; what is
sent is made between the steps and not counted. Then, in turns in one run, over those who are there:

===========  =======================================================================================
new          people nobody has heard of
unchanged    people on file, as they are: the list of last month once more
corrections  people on file with another phone; every tenth has moved to another community
raw COPY     the new ones as they were stored, into a table with as many people and the same indexes
===========  =======================================================================================
"""

import argparse
import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median

import msgspec
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.alone import alone, spent
from benchmarks.bulk import COPY
from benchmarks.ground import MEGABYTE, PROFILED, TUNED, Ground, cpu
from benchmarks.report import Figure
from benchmarks.wire import Lines, request
from deploy.local import areas
from deploy.local.population import Population, Row
from deploy.local.tokens import development_token

NEW, UNCHANGED, CORRECTIONS = "new", "unchanged", "corrections"
MOVES_SHARE = 0.1
"""Of the corrections, those who moved."""
_OK = 200

Spent = dict[str, float]


class Counts(msgspec.Struct):
    """What is read of an answer."""

    accepted: int
    duplicate: int


@dataclass
class Roll:
    """People who are sent, one after the other, and a sample of those who were."""

    people: Iterator[Row]
    share: float
    rng: random.Random
    sample: list[Row] = field(default_factory=list)

    def take(self, count: int) -> Iterator[Row]:
        """Take the next ones."""
        for row in islice(self.people, count):
            if self.rng.random() < self.share:
                self.sample.append(row)
            yield row


async def send(ground: Ground, rows: Iterable[Row], options: argparse.Namespace) -> Spent:
    """Send rows in batches, so many at a time; tell what that took, and what became of them."""
    token = development_token(["district"], [options.prefix], sub="district")
    each = iter(rows)
    batches = iter(lambda: list(islice(each, options.batch)), [])
    bodies = [
        (len(batch), request("POST", "/v1/residents:batch", token, msgspec.json.encode(batch)))
        for batch in batches
    ]
    turns = iter(bodies)
    lines = Lines(ground.addresses.registry, seconds=120)
    answers: list[Counts] = []

    async def sender() -> None:
        for _, body in turns:
            answer = await lines.ask(body)
            if answer.status != _OK:
                raise SystemExit(f"answered {answer.status}: {answer.body[:300]!r}")
            answers.append(msgspec.json.decode(answer.body, type=Counts))

    with spent(ground) as told:
        await asyncio.gather(*(sender() for _ in range(options.at_once)))
    lines.close()
    told["accepted"] = sum(each.accepted for each in answers)
    told["duplicate"] = sum(each.duplicate for each in answers)
    told["rows"] = sum(count for count, _ in bodies)
    if told["accepted"] + told["duplicate"] != told["rows"]:
        raise SystemExit(f"rows were lost: {told}")
    return told


async def copy(ground: Ground, rows: Sequence[Row]) -> Spent:
    """COPY people who are on file into the other table; `api` is the client's CPU time."""
    database = await ground.superuser("registry")
    stored = await database.fetch(
        "SELECT * FROM resident WHERE id = ANY ($1)", [row["id"] for row in rows]
    )
    with spent(ground) as told:
        own = cpu(psutil.Process())
        await database.copy_records_to_table("resident_copied", records=stored)
    told["api"] = cpu(psutil.Process()) - own
    told["rows"] = len(stored)
    await database.close()
    return told


def corrected(rows: Iterable[Row], communities: Sequence[str], rng: random.Random) -> list[Row]:
    """Give everybody another phone, and some another community."""
    made = []
    for row in rows:
        address = row["address"]
        if rng.random() < MOVES_SHARE:
            address = {**address, "community_code": rng.choice(communities)}
        phone = f"+9992{rng.randrange(10**8):08d}"
        made.append({**row, "phone": phone, "address": address})
    return made


@dataclass
class Step:
    """One step of the growth curve."""

    there: int
    told: Spent
    memory: float
    size: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.told["rows"] / self.told["seconds"]


async def measure(options: argparse.Namespace, ground: Ground, out: Console) -> None:
    """Load, let the ways take turns, and tell."""
    async with ground.api("registry") as registry:
        await registry.put("/v1/areas:batch", areas.under(options.prefix))
    communities = [area.code for area in areas.communities(options.prefix)]
    total = options.residents + options.turns * options.rows
    people = Population(total, options.prefix).residents()
    wanted = 2 * options.turns * options.rows
    roll = Roll(people, min(1.0, 1.2 * wanted / options.residents), ground.rng)
    database = await ground.superuser("registry")
    if options.statements:
        await database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    steps: list[Step] = []
    out.print(
        "there", "rows/s", "client µs a row", "PostgreSQL µs a row", "API MB", "GB", sep=" | "
    )
    for there in range(0, options.residents, options.step):
        step = min(options.step, options.residents - there)
        told = await send(ground, roll.take(step), options)
        memory = ground.supervisor.memory_info().rss / MEGABYTE
        size = await database.fetchval("SELECT pg_database_size('registry')") / 1e9
        steps.append(Step(there, told, memory, size))
        # At once, not at the end: a city takes an hour.
        out.print(*_shown(steps[-1]), sep=" | ")
    runs: defaultdict[str, list[Spent]] = defaultdict(list)
    if options.copy:
        await database.execute(
            "CREATE TABLE resident_copied (LIKE resident INCLUDING ALL);"
            "INSERT INTO resident_copied SELECT * FROM resident"
        )
    ground.rng.shuffle(roll.sample)
    known = iter(roll.sample)
    for _ in range(options.turns):
        rows = list(islice(people, options.rows))
        for way, sent in (
            (NEW, rows),
            (UNCHANGED, list(islice(known, options.rows))),
            (CORRECTIONS, corrected(islice(known, options.rows), communities, ground.rng)),
        ):
            runs[way].append(_per_row(await send(ground, sent, options)))
        if options.copy:
            runs[COPY].append(_per_row(await copy(ground, rows)))
    await database.close()
    if runs:
        out.print(compared(runs))
    if options.statements:
        out.print(await costs(ground))
    report.write(options.json, figures(runs, steps))


def _per_row(told: Spent) -> Spent:
    micro = {name: told[name] * 1e6 / told["rows"] for name in ("api", "postgres")}
    return {"rate": told["rows"] / told["seconds"], **micro}


def _shown(step: Step) -> Iterator[str]:
    each = _per_row(step.told)
    yield f"{step.there:,}"
    yield f"{step.rate:,.0f}"
    yield f"{each['api']:.1f}"
    yield f"{each['postgres']:.1f}"
    yield f"{step.memory:.0f}"
    yield f"{step.size:.2f}"


def compared(runs: dict[str, list[Spent]]) -> Table:
    """Make the table of medians."""
    table = Table("rows", "rows/s", "least … most", "client µs a row", "PostgreSQL µs a row")
    for way, own in runs.items():
        every = [run["rate"] for run in own]
        table.add_row(
            way,
            f"{median(every):,.0f}",
            f"{min(every):,.0f} … {max(every):,.0f}",
            f"{median(run['api'] for run in own):.1f}",
            f"{median(run['postgres'] for run in own):.1f}",
        )
    return table


async def costs(ground: Ground) -> Table:
    """Tell what statements took in all, the longest first."""
    table = Table("seconds", "calls", "statement")
    for seconds, calls, text in await ground.statements("registry"):
        table.add_row(f"{seconds:.2f}", str(calls), text[:90])
    return table


def figures(runs: dict[str, list[Spent]], steps: Sequence[Step]) -> Iterator[Figure]:
    """Say what each way and each step of the load came to."""
    there = sum(int(step.told["rows"]) for step in steps)
    for way, own in runs.items():
        if way != COPY:
            api, postgres = (median(run[name] for run in own) for name in ("api", "postgres"))
            yield Figure.of(
                "10", f"residents, {way}, {there:,} there", "rows/s", [run["rate"] for run in own],
                f"CPU a row: client {api:.0f} µs, PostgreSQL {postgres:.0f} µs",
            )  # fmt: skip
    if COPY in runs:
        shares = [new["rate"] / raw["rate"] for new, raw in zip(runs[NEW], runs[COPY], strict=True)]
        yield Figure.of("10", "new residents against raw COPY, by rate", "x", shares)
    for step in steps:
        note = f"API {step.memory:.0f} MB, database {step.size:.1f} GB afterwards"
        what = f"residents, first load from {step.there:,} on"
        yield Figure("10", what, step.rate, "rows/s", note=note)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.residents", description=__doc__)
    parser.add_argument("--residents", type=int, default=1_000_000, help="who are there before")
    parser.add_argument("--step", type=int, default=250_000, help="of the growth curve")
    parser.add_argument("--rows", type=int, default=50_000, help="of a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch", type=int, default=5_000)
    parser.add_argument("--at-once", type=int, default=2, help="batches under way")
    parser.add_argument("--prefix", default="4101", help="code of the area they live in")
    parser.add_argument(
        "--copy", action=argparse.BooleanOptionalAction, default=True, help="raw COPY, too"
    )
    parser.add_argument("--statements", action="store_true", help="tell what PostgreSQL did")
    report.add_option(parser)
    options = parser.parse_args()
    tuned = TUNED | (PROFILED if options.statements else {})
    with alone(tuned=tuned) as ground:
        uvloop.run(measure(options, ground, Console(width=120, highlight=False)))


if __name__ == "__main__":
    main()
