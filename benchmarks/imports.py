"""Does an import that is killed again and again count everything once? `make bench-import`.

A real stack, people on the roll, an open round. A file of their results, of which some are there
twice and some cannot be taken, goes in by `lastmetre import`, a process of its own, which is killed
(SIGKILL) at random moments and begun again as often. Then

- accepted + duplicate + rejected must be the rows of the file, and the rejects be listed once each;
- the coverage must have grown by what the file holds. That this is what one clean import gives is
  tried first, on a smaller file.

The rate is that of the file over the time that imports were running, beside the rate of the sender
of `benchmarks.carry` on the same stack. They take turns: it sends a part of its results before the
first process of the import, after each that was killed, and after the last.
"""

import argparse
import asyncio
import csv
import os
import re
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import msgspec
import uvloop
from rich.console import Console

from benchmarks import report
from benchmarks.carry import Load, Watch
from benchmarks.ground import MEGABYTE, Ground, Usage, ground
from benchmarks.report import Figure
from deploy.local import generating
from deploy.local.calls import Api
from deploy.local.tokens import state_folder

REPEATED = 200
LATE = 500
"""Of so many rows one is there twice; of so many one was taken before the round."""
KILLED = -signal.SIGKILL
_TALLY = re.compile(
    r"results: ([\d,]+) accepted \+ ([\d,]+) duplicate \+ ([\d,]+) rejected = ([\d,]+) rows"
)


@dataclass
class Sheet:
    """A file of results, and what is in it."""

    path: Path
    rows: int = 0
    repeated: int = 0
    late: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """What coverage grows by."""

    @classmethod
    def of(cls, folder: Path, name: str, round_id: str, people: Sequence[UUID]) -> "Sheet":
        """Write a file: people's results, then rows that are there twice and rows that are late."""
        who = folder / f"{name}-people.csv"
        who.write_text("id\n" + "".join(f"{each}\n" for each in people))
        now = datetime.now(UTC).replace(microsecond=0)
        wanted = generating.Results(
            round_id, now - timedelta(minutes=60), now - timedelta(minutes=5),
            laboratory=timedelta(0),
        )  # fmt: skip
        clean = folder / f"{name}-clean.csv"
        generating.results(clean, who, wanted)
        sheet = cls(folder / f"{name}.csv")
        with clean.open(newline="") as source, sheet.path.open("w", newline="") as out:
            rows = csv.DictReader(source)
            writer = csv.DictWriter(out, list(rows.fieldnames or ()), lineterminator="\n")
            writer.writeheader()
            for row in sheet.spoilt(rows):
                writer.writerow(row)
                sheet.rows += 1
        for path in (who, clean):
            path.unlink()
        return sheet

    def spoilt(self, rows: Iterator[dict[str, str]]) -> Iterator[dict[str, str]]:
        """Spoil some rows, and note what is good."""
        for number, row in enumerate(rows, start=1):
            if number % LATE == 0:
                self.late += 1
                yield row | {"sampled_at": "2020-01-01T00:00:00+00:00"}
                continue
            yield row
            self.counts["sampled"] += 1
            self.counts[row["outcome"]] += 1
            if number % REPEATED == 0:
                self.repeated += 1
                yield row


@dataclass
class Import:
    """An import of a sheet, in as many processes as it took."""

    sheet: Sheet
    registry: str
    round_id: str
    applied: Callable[[], Awaitable[None]]
    seconds: float = 0.0
    cpu: float = 0.0
    used: float = 0.0
    """CPU seconds of everything else, until what was sent was counted."""
    kills: int = 0
    said: str = ""

    @property
    def rejects(self) -> Path:
        """Where its rejected rows are listed."""
        return self.sheet.path.with_suffix(".rejects")

    async def run(
        self, kill_at: Sequence[float], stack: Ground, turn: Callable[[], Awaitable[None]]
    ) -> None:
        """Import; kill it when these shares of the file are answered, give or take a batch.

        `turn` is done before each process and after the last.
        """
        await turn()
        for share in (*kill_at, None):
            kill_after = None if share is None else int(share * self.sheet.rows)
            before = Usage.of(stack)
            ended = await self._process(kill_after, stack.rng.random() / 2)
            await self.applied()
            self.used += sum(Usage.of(stack).since(before).values())
            await turn()
            if ended:
                return
            self.kills += 1

    async def _process(self, kill_after: int | None, later: float) -> bool:
        """Run a process, to its end if it is not killed; tell whether it came to it."""
        spent, began = _children(), time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("lastmetre"), "import", "results", self.sheet.path,
            "--registry", self.registry, "--round", self.round_id, "--rejects", self.rejects,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said = asyncio.create_task(process.communicate())
        if kill_after is not None:
            while process.returncode is None and _answered() < kill_after:  # noqa: ASYNC110 - another's
                await asyncio.sleep(0.05)
            await asyncio.sleep(later)
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        self.said = (await said)[0].decode()
        self.seconds += time.perf_counter() - began
        self.cpu += _children() - spent
        return process.returncode != KILLED

    def faults(self) -> Iterator[str]:
        """Tell what is not as it must be in what it said and listed."""
        told = _TALLY.search(self.said)
        if told is None:
            yield f"it said {self.said!r}"
            return
        accepted, duplicate, rejected, rows = (int(n.replace(",", "")) for n in told.groups())
        if accepted + duplicate + rejected != rows or rows != self.sheet.rows:
            yield f"{told[0]}, where the file has {self.sheet.rows:,} rows"
        if rejected != self.sheet.late:
            yield f"{rejected:,} rejected of {self.sheet.late:,}"
        good = self.sheet.counts["sampled"]
        if accepted > good or (not self.kills and accepted != good):
            yield f"{accepted:,} accepted of {good:,}"
        with self.rejects.open(newline="") as file:
            lines = [int(row["line"]) for row in csv.DictReader(file)]
        if len(lines) != len(set(lines)) or len(lines) != self.sheet.late:
            yield f"{len(lines):,} lines of rejects, {len(set(lines)):,} of them different"
        if list((state_folder() / "imports").glob("*.journal")):
            yield "its journal is there still"


def _answered() -> int:
    """How many rows the journal of the import under way knows the answer to."""
    rows = 0
    for journal in (state_folder() / "imports").glob("*.journal"):
        for line in journal.read_bytes().splitlines():
            with suppress(msgspec.DecodeError):
                rows += msgspec.json.decode(line).get("rows", 0)
    return rows


def _most() -> float:
    """Megabytes that an import had at its most; counted are processes of ours that have ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / MEGABYTE


def _children() -> float:
    """Seconds of CPU of processes of ours that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass
class Counted:
    """What reporting counts in a round."""

    watch: Watch
    reporting: Api
    round_id: str

    async def now(self) -> Counter[str]:
        """Read it, once everything is applied."""
        await self.watch.until_applied()
        answer = await self.reporting.get(
            "/v1/coverage", {"round": self.round_id, "by": "district"}
        )
        names = ("sampled", "negative", "positive", "inconclusive", "invalid")
        return Counter({name: answer["total"][name] for name in names})

    async def balanced(self) -> bool:
        """Whether the ledger is true."""
        ledger: dict[str, Any] = await self.reporting.get("/v1/ledger", {"round": self.round_id})
        return ledger["balanced"] is True


@dataclass
class Sender:
    """The sender of `benchmarks.carry`, a part of its results at a time."""

    load: Load
    part: int
    rows: int = 0
    seconds: float = 0.0
    cpu: float = 0.0

    async def turn(self) -> None:
        """Send a part, and wait until it is counted."""
        if self.part:
            carried = await self.load.carry(0, self.part)
            self.rows += carried.rows
            self.seconds += carried.sent.seconds
            self.cpu += sum(carried.used.values())


async def measure(options: argparse.Namespace, stack: Ground, folder: Path, out: Console) -> bool:
    """Measure, and say whether everything was counted once."""
    turns = options.kills + 2
    part = -(-options.bulk // turns // options.batch) * options.batch
    residents = options.rows + options.clean + part * turns
    out.print(f"putting {residents:,} people on the roll")
    await stack.populate(residents)
    round_id = await stack.open_round()
    stack.rng.shuffle(stack.people)
    people = iter(stack.people)
    wrong: list[str] = []
    async with stack.api("registry") as registry, stack.api("reporting") as reporting:
        load = Load(stack, round_id, people, options, Watch(registry, reporting))
        counted = Counted(load.watch, reporting, round_id)

        async def imported(
            name: str, rows: int, kill_at: Sequence[float], sender: Sender
        ) -> Import:
            sheet = Sheet.of(folder, name, round_id, list(islice(people, rows)))
            done = Import(sheet, stack.addresses.registry, round_id, load.watch.until_applied)
            before = await counted.now()
            await done.run(kill_at, stack, sender.turn)
            grown = await counted.now()
            grown.subtract(before + Counter(sampled=sender.rows, negative=sender.rows))
            out.print(done.said.strip())
            wrong.extend(f"{name}: {fault}" for fault in done.faults())
            if +grown != sheet.counts:
                wrong.append(f"{name}: counted {dict(grown)}, the file has {dict(sheet.counts)}")
            return done

        await imported("clean", options.clean, [], Sender(load, 0))
        moments = sorted(stack.rng.uniform(0.05, 0.9) for _ in range(options.kills))
        sender = Sender(load, part)
        killed = await imported("killed", options.rows, moments, sender)
        if not await counted.balanced():
            wrong.append("the ledger does not balance")
    if killed.kills != options.kills:
        wrong.append(f"killed {killed.kills} times")
    for each in wrong:
        out.print(f"WRONG: {each}")
    report.write(options.json, list(figures(killed, sender, out)))
    return not wrong


def figures(killed: Import, sender: Sender, out: Console) -> Iterator[Figure]:
    """Print what was measured, and say what of it belongs into the report."""
    rows = killed.sheet.rows
    rate, sent = rows / killed.seconds, sender.rows / sender.seconds
    client, every = killed.cpu * 1e6 / rows, (killed.cpu + killed.used) * 1e6 / rows
    bulk = sender.cpu * 1e6 / sender.rows
    out.print(
        f"{rows:,} rows, killed {killed.kills} times: {rate:,.0f} rows/s over {killed.seconds:.1f}"
        f" s; the sender {sent:,.0f}/s: {rate / sent:.2f} x"
    )
    out.print(
        f"CPU µs a row: {client:.1f} of the import, {every:.1f} of all; with the sender"
        f" {bulk:.1f}: {bulk / every:.2f} x; the import had {_most():.0f} MB at its most"
    )
    what = f"import of {rows:,} rows, killed {killed.kills} times"
    yield Figure("12", f"{what}, by the bulk rate", rate / sent, "x")
    yield Figure("12", what, rate, "rows/s", note=f"the sender in turns with it {sent:,.0f}/s")
    yield Figure("12", f"{what}: CPU a row, the client", client, "µs")
    yield Figure(
        "12", f"{what}: CPU a row, all processes", every, "µs", note=f"the sender {bulk:.1f}"
    )
    yield Figure("11", f"the client of an import of {rows:,} rows", _most(), "MB")


def main() -> int:
    """Run; 0 only if everything was counted once."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="people of the killed import")
    parser.add_argument("--clean", type=int, default=100_000, help="people of the clean import")
    parser.add_argument("--bulk", type=int, default=400_000, help="results of the sender")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--batch", type=int, default=5_000, help="rows of a batch of the sender")
    parser.add_argument("--at-once", type=int, default=2, help="batches the sender has under way")
    parser.add_argument("--seed", type=int, default=1, help="of the people and the moments")
    parser.add_argument("--apache", action="store_true", help="Apache Kafka as the broker")
    parser.set_defaults(statements=False)
    report.add_option(parser)
    options = parser.parse_args()
    out = Console(width=110, highlight=False)
    os.environ.pop("LASTMETRE_TOKEN", None)
    with (
        TemporaryDirectory(prefix="lastmetre-") as folder,
        ground(apache=options.apache, seed=options.seed) as stack,
    ):
        good = uvloop.run(measure(options, stack, Path(folder), out))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
