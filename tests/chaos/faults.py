"""What is done to the stack, to whom, when, and how long until all is well again.

After a fault somebody sends one more result. All is well when registry has taken it and everything
that was announced by then, on all topics, is applied by everybody who follows them, every process
lives, and reporting says so over HTTP.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

import asyncpg
import httpx
import psutil

from deploy.local.stack import SERVICES
from tests.chaos.ground import MEMBERS, Client, Ground
from tests.chaos.plan import Plan, Swab
from tests.support.waiting import eventually

BACKEND = "a PostgreSQL backend"
POSTMASTER = "PostgreSQL's postmaster"
BROKER = "a broker"
CLIENT = "a client"
SUPERVISOR = "the supervisor, so all at once"
DECK = (*MEMBERS, BACKEND, POSTMASTER, BROKER, CLIENT, SUPERVISOR)
"""Dealt one after the other, then shuffled anew: each is struck about as often."""
PAUSED = (*MEMBERS, BROKER)
PAUSE = (2.0, 12.0)
"""Seconds that somebody stands still: less and more than Kafka's patience with its members."""
KILLS_PER_PAUSE = 10

AT_LONGEST = 7_200.0
"""Seconds to wait for what has to come; the run has a deadline of its own."""
AGAIN_AFTER = 0.2
CALL = 10.0
"""Seconds for one attempt of the prober."""
PRODUCERS = ("registry", "dispatch")

AWAY = (
    httpx.HTTPError,
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What the prober meets while somebody is away."""

Heads = dict[tuple[str, int], int]


@dataclass(frozen=True)
class Fault:
    """One fault to come: `due` when that many rows have been answered."""

    due: int
    victim: str
    pause: float = 0.0

    @property
    def kind(self) -> str:
        """What is done, for the report."""
        return f"SIGSTOP, {self.victim}" if self.pause else f"SIGKILL, {self.victim}"


@dataclass
class Struck:
    """One fault that was, and how long (seconds) until all was well."""

    kind: str
    began: float
    pause: float = 0.0
    recovered: float | None = None

    def alone(self, others: Iterable["Struck"]) -> bool:
        """Say whether nothing else was amiss while this one was made good."""
        return all(other is self or not self._meets(other) for other in others)

    def _meets(self, other: "Struck") -> bool:
        first, second = sorted((self, other), key=lambda struck: struck.began)
        return first.recovered is None or second.began < first.ended

    @property
    def ended(self) -> float:
        """When (monotonic) all was well, or a pause of somebody at least over."""
        return self.began + self.pause + (self.recovered or 0.0)


def deal(seed: int, *, kills: int, results: int) -> list[Fault]:
    """Draw all faults, in order. The last one falls when everything has been answered."""
    rng = Random(f"{seed}:faults")  # noqa: S311 - the same again, nothing to guess
    victims: list[str] = []
    while len(victims) < kills:
        victims += rng.sample(DECK, len(DECK))
    victims = victims[:kills]
    # At the end nobody has anything to send any more.
    if victims[-1] == CLIENT:
        victims[-1] = rng.choice(MEMBERS)
    pauses = [rng.choice(PAUSED) for _ in range(kills // KILLS_PER_PAUSE)]
    faults = [Fault(rng.randrange(results), victim) for victim in victims[:-1]]
    faults += [Fault(rng.randrange(results), each, rng.uniform(*PAUSE)) for each in pauses]
    faults.sort(key=lambda fault: fault.due)
    return [*faults, Fault(results, victims[-1])]


class Prober:
    """Sends one result after every fault and follows it to the end."""

    def __init__(self, ground: Ground, plan: Plan) -> None:
        self._ground = ground
        self._plan = plan
        self._client = httpx.AsyncClient(
            timeout=CALL, headers={"Authorization": f"Bearer {ground.token('system', 'district')}"}
        )
        self._sent = 0
        self.swabs: dict[int, list[Swab]] = {}

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def all_is_well(self, number: int) -> float | None:
        """Send a result of a round, and wait until it is counted and everybody is up to date."""
        swab, row = self._plan.probe(number, self._sent)
        self._sent += 1
        self.swabs.setdefault(number, []).append(swab)
        addresses = self._ground.addresses
        await self._until(self._get_through, "POST", f"{addresses.registry}/v1/results", row)
        announced: Heads = {}
        for producer in PRODUCERS:
            announced |= await self._until(self._heads, addresses.of(producer))
        for consumer in SERVICES:
            await self._until(self._applied, consumer, announced)
        await self._until(self._shown, self._plan.round(number).id, announced)
        await self._until(self._all_live)
        return None

    async def _until(self, attempt: Callable[..., Coroutine[Any, Any, Any]], *words: object) -> Any:
        task = asyncio.current_task()
        assert task is not None
        # Whoever waits in vain is asked for what by the name of its task.
        task.set_name(f"{attempt.__name__} {words[:2]}")
        while True:
            try:
                answer = await attempt(*words)
            except AWAY as error:
                task.set_name(f"{attempt.__name__} {words[:2]}: {type(error).__name__}")
            else:
                if answer is not None:
                    return answer
            await asyncio.sleep(AGAIN_AFTER)

    async def _get_through(self, method: str, url: str, body: object = None) -> Any:
        answer = await self._client.request(method, url, json=body)
        answer.raise_for_status()
        return answer.json()

    async def _heads(self, url: str) -> Heads:
        answer = await self._get_through("GET", f"{url}/v1/outbox/heads")
        return {(head["topic"], head["partition"]): head["pos"] for head in answer["heads"]}

    async def _applied(self, consumer: str, announced: Heads) -> bool | None:
        rows = await fetch(
            self._ground, consumer,
            "SELECT topic, partition, pos FROM applied WHERE consumer = $1", consumer,
        )  # fmt: skip
        return reached({(row["topic"], row["partition"]): row["pos"] for row in rows}, announced)

    async def _shown(self, round_id: str, announced: Heads) -> bool | None:
        url = f"{self._ground.addresses.reporting}/v1/coverage?by=district&round={round_id}"
        shown = (await self._get_through("GET", url))["as_of"]["positions"]
        return reached(
            {(topic, n): pos for topic, counts in shown.items() for n, pos in enumerate(counts)},
            announced,
        )

    async def _all_live(self) -> bool | None:
        return self._ground.complete() or None


def reached(applied: Heads, announced: Heads) -> bool | None:
    """Say whether somebody has applied what was announced where they follow; None: not yet."""
    if not applied or any(pos < announced.get(place, 0) for place, pos in applied.items()):
        return None
    return True


async def fetch(ground: Ground, service: str, sql: str, *args: object) -> list[asyncpg.Record]:
    """Look into a service's database, on a connection of its own: any may be gone by now."""
    url = ground.postgres.url(service).replace("postgresql+asyncpg:", "postgresql:", 1)
    connection = await asyncpg.connect(url, timeout=CALL)
    try:
        return await connection.fetch(sql, *args, timeout=600)
    finally:
        await connection.close(timeout=CALL)


@dataclass
class Striker:
    """Strikes when it is time to, and has somebody look how long each takes to be made good."""

    ground: Ground
    prober: Prober
    rng: Random
    answered: Callable[[], int]
    """How many rows have been answered so far."""
    lines_of: Callable[[Client], int]
    """How many lines a client has written so far."""
    round: int = 1
    struck: list[Struck] = field(default_factory=list)
    watching: list[asyncio.Task[None]] = field(default_factory=list)

    async def strike_all(self, faults: Sequence[Fault]) -> None:
        """Strike, one after the other, each when it is due."""
        for fault in faults:
            await eventually(partial(self._due, fault), AT_LONGEST)
            await self.strike(fault)

    def _due(self, fault: Fault) -> bool:
        return self.answered() >= fault.due

    async def strike(self, fault: Fault) -> float:
        """Strike as soon as the victim is there; say when (monotonic) that was."""
        if fault.victim == CLIENT:
            busy = [client for client in self.ground.clients if client.alive()]
            if not busy:  # between two rounds nobody has anything to send
                return await self.strike(replace(fault, victim=self.rng.choice(MEMBERS)))
            self._watch(fault, self._kill_client(self.rng.choice(busy)))
        elif fault.pause:
            self._watch(fault, self._pause(await self._victim(fault.victim), fault.pause))
        else:
            victim = await self._victim(fault.victim)
            with suppress(psutil.NoSuchProcess):
                victim.kill()
            self._watch(fault, self.prober.all_is_well(self.round))
        return time.monotonic()

    def _watch(self, fault: Fault, recovery: Coroutine[Any, Any, float | None]) -> None:
        """Have somebody wait until all is well; a pause says itself when it was over."""
        struck = Struck(fault.kind, time.monotonic(), fault.pause)
        self.struck.append(struck)

        async def watch() -> None:
            over = await recovery
            struck.recovered = time.monotonic() - (over or struck.began)

        self.watching.append(asyncio.create_task(watch()))

    async def _victim(self, name: str) -> psutil.Process:
        found = await eventually(lambda: self._find(name), AT_LONGEST)
        assert found is not None
        return found

    def _find(self, name: str) -> psutil.Process | None:
        ground = self.ground
        if name == BACKEND:
            backends = ground.backends()
            return self.rng.choice(backends) if backends else None
        if name == BROKER and ground.kafka is None:
            return ground.member("tansu")
        if name in MEMBERS:
            return ground.member(name)
        candidates = (
            list(ground.kafka.nodes.values())
            if name == BROKER and ground.kafka is not None
            else [ground.postgres if name == POSTMASTER else ground.supervisor]
        )
        server = self.rng.choice(candidates)
        return psutil.Process(server.process.pid) if server.alive() else None

    async def _pause(self, victim: psutil.Process, seconds: float) -> float:
        round_ = self.round
        with suppress(psutil.NoSuchProcess):
            victim.suspend()
        await asyncio.sleep(seconds)
        with suppress(psutil.NoSuchProcess):
            victim.resume()
        over = time.monotonic()
        await self.prober.all_is_well(round_)
        return over

    async def _kill_client(self, client: Client) -> None:
        client.process.kill()
        lines = self.lines_of(client)
        await eventually(lambda: client.done or self.lines_of(client) > lines, AT_LONGEST)
