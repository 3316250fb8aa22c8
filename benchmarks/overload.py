"""What happens under five times the load that can be carried? `make bench-overload`.

A real stack is started, with people on the roll and an open round. First the load it can carry is
measured: clients that ask again as soon as they are answered (a closed loop). Then requests come by
the clock at `--times` that rate, whatever becomes of those before (an open loop): single results,
batches, reads of the figures, each from one of twenty callers. Beside them come bombs, and clients
that drip, say nothing, or never end a head.

At the end everything that was accepted is sent again: if all of it is a duplicate, nothing was
lost. The ledger has to be true, with as many sampled as had an accepted swab, and no process may
have grown beyond its bound. The generator shares the machine: latency is counted from sending, and
a run in which the generator itself was late says nothing of time, and says so.
"""

import argparse
import asyncio
import contextlib
import gzip
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.wire import Answer, Lines, request
from deploy.local import areas
from deploy.local.calls import Api
from deploy.local.population import Population
from deploy.local.stack import Note
from deploy.local.tokens import development_token

DISTRICT = "410171"
CALLERS = 20
MEGABYTE = 1024 * 1024
BOUND = 400 * MEGABYTE
"""Resident memory of a process of ours."""
ACCEPTED_P99 = 2.0
LATE = 0.5
"""Seconds by which the generator may be late with one request in a hundred."""
SINGLE, BATCH, READ, BOMB = "single results", "batches", "reads", "bombs"
CROWD = [SINGLE] * 16 + [BATCH] * 2 + [READ] * 2
"""Who asks again and again while it is measured what can be carried."""
_OK, _TOO_LARGE = 200, 413
_REFUSED = frozenset({429, 503})


@dataclass
class Tally:
    """What became of the requests of one kind."""

    offered: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    unasked: int = 0
    """Refusals that did not say when to come again."""

    def note(self, answer: Answer, seconds: float, good: int = _OK) -> None:
        """Note an answer."""
        self.statuses[answer.status] += 1
        if answer.status == good:
            self.accepted.append(seconds)
        elif answer.status in _REFUSED:
            self.refused.append(seconds)
            self.unasked += not answer.retry_after


@dataclass
class Day:
    """A round, its people, and what was sent and accepted."""

    round: str
    people: Sequence[str]
    batch: int
    tokens: Sequence[str]
    watcher: str
    rng: random.Random
    accepted: list[dict[str, Any]] = field(default_factory=list)
    open: list[dict[str, Any]] = field(default_factory=list)
    """Sent, and nobody knows: no answer came."""

    def rows(self, count: int) -> list[dict[str, Any]]:
        """Swabs that were just taken."""
        now = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        return [
            {
                "sample_id": str(UUID(bytes=self.rng.randbytes(16), version=4)),
                "resident": {"id": self.rng.choice(self.people)},
                "round_id": self.round,
                "sampled_at": now,
                "channel": "site",
            }
            for _ in range(count)
        ]

    def token(self) -> str:
        """One of the callers."""
        return self.rng.choice(self.tokens)


class Load:
    """Sends requests of every kind and tallies the answers."""

    def __init__(self, day: Day, registry: Lines, reporting: Lines) -> None:
        self.day = day
        self.registry = registry
        self.reporting = reporting
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self.late: list[float] = []
        """Seconds by which the generator itself was late."""
        # Sent again some other time, as clients do: writing them costs more than sending them.
        self._refused: defaultdict[str, list[tuple[list[dict[str, Any]], bytes]]] = defaultdict(
            list
        )
        self._bombs = [
            gzip.compress(bytes(100 * MEGABYTE)),
            gzip.compress(b"[" + b"1," * (10 * MEGABYTE) + b"1]"),
        ]

    async def send(self, kind: str, due: float) -> Answer:
        """Send one request that is due at this time."""
        tally = self.tallies[kind]
        tally.offered += 1
        began = time.perf_counter()
        self.late.append(began - due)
        if kind == READ:
            path = f"/v1/coverage?round={self.day.round}&by=community"
            answer = await self.reporting.ask(request("GET", path, self.day.watcher))
        elif kind == BOMB:
            body = self.day.rng.choice(self._bombs)
            packed = {"content-encoding": "gzip"}
            answer = await self.registry.ask(
                request("POST", "/v1/results:batch", self.day.token(), body, packed)
            )
        else:
            answer = await self._results(kind)
        good = _TOO_LARGE if kind == BOMB else _OK
        tally.note(answer, time.perf_counter() - began, good)
        return answer

    async def _results(self, kind: str) -> Answer:
        rows, body = self._refused[kind].pop() if self._refused[kind] else self._written(kind)
        path = "/v1/results" if kind == SINGLE else "/v1/results:batch"
        answer = await self.registry.ask(request("POST", path, self.day.token(), body))
        if answer.status == _OK:
            self.day.accepted += rows
        elif answer.status in _REFUSED:
            self._refused[kind].append((rows, body))
        else:
            self.day.open += rows
        return answer

    def _written(self, kind: str) -> tuple[list[dict[str, Any]], bytes]:
        rows = self.day.rows(1 if kind == SINGLE else self.day.batch)
        return rows, msgspec.json.encode(rows[0] if kind == SINGLE else rows)

    async def carried(self, kinds: Iterable[str], seconds: float) -> dict[str, float]:
        """Measure what is answered when each asks again as soon as there is an answer."""
        end = time.perf_counter() + seconds
        kinds = list(kinds)

        async def ask_on(kind: str) -> None:
            while (due := time.perf_counter()) < end:
                await self.send(kind, due)

        async with asyncio.TaskGroup() as tasks:
            for kind in kinds:
                tasks.create_task(ask_on(kind))
        done = {kind: len(self.tallies[kind].accepted) / seconds for kind in set(kinds)}
        self.tallies.clear()
        self.late.clear()
        return done

    async def offer(self, rates: dict[str, float], seconds: float) -> None:
        """Send by the clock, whatever becomes of what was sent before."""
        end = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as tasks:

            async def by_the_clock(kind: str, rate: float) -> None:
                due = time.perf_counter()
                while due < end:
                    due += self.day.rng.expovariate(rate)
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    tasks.create_task(self.send(kind, due))

            for kind, rate in rates.items():
                tasks.create_task(by_the_clock(kind, rate))


class Nuisance:
    """Clients that cost without ever asking for anything."""

    BEGINNINGS = (
        b"",
        b"GET /v1/rounds HTTP/1.1\r\nhost: x\r\n",
        b"POST /v1/results HTTP/1.1\r\nauthorization: Bearer %s\r\ncontent-length: 9999\r\n\r\n",
    )

    def __init__(self, address: tuple[str, int], token: str, count: int) -> None:
        self._address = address
        self._token = token.encode()
        self._count = count
        self.cut = 0

    async def live(self) -> None:
        """Come again whenever we are cut off."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._count):
                beginning = self.BEGINNINGS[number % len(self.BEGINNINGS)]
                tasks.create_task(self._drip(beginning.replace(b"%s", self._token)))

    async def _drip(self, beginning: bytes) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(*self._address)
                writer.write(beginning)
                while not reader.at_eof():
                    if beginning:
                        writer.write(b"x: y\r\n")
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(1):
                            await reader.read(MEGABYTE)
                writer.close()
            self.cut += 1
            await asyncio.sleep(0.5)


@dataclass
class Memory:
    """Resident memory of every process of ours, at its most."""

    members: Sequence[psutil.Process]
    most: Counter[str] = field(default_factory=Counter)

    async def watch(self) -> None:
        """Look every second."""
        while True:
            for each in self.members:
                with contextlib.suppress(psutil.NoSuchProcess):
                    name = f"{each.name()} {each.pid}"
                    self.most[name] = max(self.most[name], each.memory_info().rss)
            await asyncio.sleep(1)


@contextlib.contextmanager
def stack(folder: Path) -> Iterator[Note]:
    """Run a stack of our own."""
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    command = [str(Path(sys.executable).with_name("lastmetre")), "up", "--data", f"{folder}/data"]
    ports = [
        word for name in ("registry", "dispatch", "reporting") for word in (f"--{name}-port", "0")
    ]
    with psutil.Popen([*command, *ports], stdout=sys.stderr) as process:
        try:
            note = folder / "state" / "lastmetre" / "stack.json"
            while not note.exists():
                if process.poll() is not None:
                    raise SystemExit("the stack did not start")
                time.sleep(0.1)
            yield Note.read()
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)
            process.wait()


@contextlib.asynccontextmanager
async def beside(*jobs: Any) -> AsyncIterator[None]:  # noqa: ANN401 - coroutines
    """Run jobs beside the block, and end them with it."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def open_round(office: Api, residents: int) -> tuple[str, list[str]]:
    """Put people on the roll and open a round for them."""
    await office.put("/v1/areas:batch", areas.under(DISTRICT))
    people = list(Population(residents, DISTRICT).residents())
    for begin in range(0, len(people), 2000):
        await office.post("/v1/residents:batch", people[begin : begin + 2000])
    now = datetime.now(UTC)
    made = {
        "id": str(UUID(bytes=os.urandom(16), version=4)),
        "campaign": "overload",
        "number": 1,
        "name": "第1轮全员核酸检测",
        "opens_at": (now - timedelta(hours=1)).isoformat(),
        "closes_at": (now + timedelta(hours=12)).isoformat(),
        "offices": [office.code for office in areas.offices(DISTRICT)],
    }
    await office.post("/v1/rounds", made)
    await office.post(f"/v1/rounds/{made['id']}:open")
    return str(made["id"]), [person["id"] for person in people]


async def settled(office: Api, figures: Api, day: Day) -> list[str]:
    """Send everything again, wait for the ledger, and say what is wrong."""
    wrong = []
    statuses: Counter[str] = Counter()
    for begin in range(0, len(day.accepted), 2000):
        rows = day.accepted[begin : begin + 2000]
        answer = await office.post("/v1/results:batch", rows)
        statuses.update(row["status"] for row in answer["rows"])
    if set(statuses) > {"duplicate"}:
        wrong.append(f"accepted before, and not known any more: {dict(statuses)}")
    for begin in range(0, len(day.open), 2000):
        await office.post("/v1/results:batch", day.open[begin : begin + 2000])
    expected = len({row["resident"]["id"] for row in [*day.accepted, *day.open]})
    for _ in range(120):
        ledger = await figures.get("/v1/ledger", {"round": day.round})
        coverage = await figures.get("/v1/coverage", {"round": day.round, "by": "office"})
        sampled = coverage["total"]["sampled"]
        if ledger["balanced"] is True and sampled == expected:
            return wrong
        await asyncio.sleep(0.5)
    return [*wrong, f"balanced: {ledger['balanced']}, sampled {sampled} of {expected}"]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def shown(load: Load, seconds: float) -> Table:
    """Make the table of answers."""
    table = Table(
        "requests",
        *("offered/s", "accepted/s", "p50", "p99", "429", "503", "p50 ", "p99 ", "others"),
    )
    for kind, tally in load.tallies.items():
        known = {_TOO_LARGE if kind == BOMB else _OK, *_REFUSED}
        others = {status: n for status, n in tally.statuses.items() if status not in known}
        table.add_row(
            kind,
            f"{tally.offered / seconds:.1f}",
            f"{len(tally.accepted) / seconds:.1f}",
            *(f"{percentile(tally.accepted, share) * 1000:.0f} ms" for share in (0.5, 0.99)),
            *(f"{tally.statuses[status]}" for status in sorted(_REFUSED)),
            *(f"{percentile(tally.refused, share) * 1000:.0f} ms" for share in (0.5, 0.99)),
            str(others or ""),
        )
    return table


async def measure(
    options: argparse.Namespace, note: Note, say: Callable[[object], None]
) -> list[str]:
    """Measure, and say what does not hold."""
    os.nice(options.nice)
    family = psutil.Process(note.pid).children(recursive=True)
    ours = [
        each for each in family if each.name().startswith(("registry", "dispatch", "reporting"))
    ]
    memory = Memory(ours)
    sites = [development_token(["site"], [DISTRICT], sub=f"site {n}") for n in range(CALLERS)]
    office_token = development_token(["system", "admin"], [DISTRICT], sub="office")
    async with (
        Api(note.addresses.registry, lambda: office_token) as office,
        Api(note.addresses.reporting, lambda: office_token) as figures,
        beside(memory.watch()),
    ):
        round_id, people = await open_round(office, options.residents)
        watcher = development_token(["district"], [DISTRICT], sub="dashboard")
        rng = random.Random(options.seed)  # noqa: S311 - a load, nothing to guess
        day = Day(round_id, people, options.batch, sites, watcher, rng)
        load = Load(day, Lines(note.addresses.registry, most=700), Lines(note.addresses.reporting))
        carried = await load.carried(CROWD, options.calibrate)
        say("carried, per second: " + ", ".join(f"{k} {v:.1f}" for k, v in carried.items()))
        rates = {kind: max(1.0, rate * options.times) for kind, rate in carried.items()}
        nuisance = Nuisance(load.registry.address, sites[0], options.slow)
        async with beside(nuisance.live()):
            began = time.perf_counter()
            await load.offer({**rates, BOMB: 1.0}, options.seconds)
            seconds = time.perf_counter() - began
        say(shown(load, seconds))
        say(f"the generator itself was late by {percentile(load.late, 0.99) * 1000:.0f} ms (p99)")
        say(f"slow clients: {options.slow} at a time, cut off {nuisance.cut} times")
        load.registry.close()
        load.reporting.close()
        wrong = await settled(office, figures, day)
        say(f"accepted rows {len(day.accepted)}, unanswered {len(day.open)}; sent again")
    for name, most in sorted(memory.most.items()):
        say(f"{name.rpartition(' ')[0]:<16} {most / MEGABYTE:6.0f} MB at its most")
        if most > BOUND:
            wrong.append(f"{name} grew to {most / MEGABYTE:.0f} MB")
    late = percentile(load.late, 0.99)
    if late > LATE:
        wrong.append(f"too busy a machine to measure time on: the generator was {late:.1f} s late")
    for kind, tally in load.tallies.items():
        if not tally.accepted:
            wrong.append(f"{kind}: none was accepted")
        if kind != BOMB and percentile(tally.accepted, 0.99) > ACCEPTED_P99:
            wrong.append(f"{kind}: accepted ones took more than {ACCEPTED_P99:g} s")
        if tally.unasked:
            wrong.append(f"{kind}: {tally.unasked} refusals without Retry-After")
    return wrong


def main() -> int:
    """Run; 0 only if everything holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="of overload")
    parser.add_argument("--calibrate", type=float, default=20, help="seconds of measuring before")
    parser.add_argument("--times", type=float, default=5, help="how much of what can be carried")
    parser.add_argument("--residents", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=500, help="rows of a batch")
    parser.add_argument("--slow", type=int, default=60, help="slow clients at a time")
    parser.add_argument("--nice", type=int, default=0, help="of the load generator")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    console = Console(width=120, highlight=False)
    with tempfile.TemporaryDirectory(prefix="lastmetre-") as folder, stack(Path(folder)) as note:
        wrong = uvloop.run(measure(options, note, console.print))
    for each in wrong:
        console.print(f"overload: {each}")
    console.print("overload: all holds" if not wrong else f"overload: {len(wrong)} do not hold")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
