"""`lastmetre status | parked | rebuild`: what whoever runs a stack asks of it, over HTTP."""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
from rich.console import Console
from rich.table import Table

from deploy.local.calls import Api, CallError
from deploy.local.errors import LocalError
from deploy.local.stack import SERVICES, Addresses

_PATIENCE = 3.0  # seconds; who asks how things are wants to hear of trouble soon
_PAUSE = 0.5  # seconds between two looks at a rebuild
_SHOWN = 20


class OperatingError(LocalError):
    """The stack did not answer as asked."""


@dataclass(frozen=True)
class Lag:
    """How far one consumer is behind one topic; `oldest` is the age of the first event it lacks."""

    consumer: str
    topic: str
    behind: int
    oldest: float
    parked: int


class Operator:
    """Asks the services of one stack, with one token."""

    def __init__(self, addresses: Addresses, token: str, out: Console) -> None:
        self.addresses = addresses
        self.token = token
        self.out = out

    def run(self, work: Coroutine[Any, Any, int]) -> int:
        """Do the work; give its exit code. Raises `OperatingError` if a service refuses."""
        try:
            return asyncio.run(work)
        except CallError as error:
            raise OperatingError(str(error)) from error

    def _api(self, service: str) -> Api:
        return Api(self.addresses.of(service), lambda: self.token, patience=_PATIENCE)

    # status

    async def status(self) -> int:
        """Tell how the stack is; 0 if every service is ready and nothing is wrong."""
        ready = {service: await self._ready(service) for service in SERVICES}
        self.out.print(_services_table(self.addresses, ready))
        if not all(answer == "ready" for answer in ready.values()):
            return 1
        lags = await self._lags()
        self.out.print(_lag_table(lags))
        balanced = await self._ledger()
        return 0 if balanced is not False and not any(lag.parked for lag in lags) else 1

    async def _ready(self, service: str) -> str:
        async with httpx.AsyncClient(timeout=_PATIENCE) as client:
            try:
                answer = await client.get(f"{self.addresses.of(service)}/readyz")
            except httpx.TransportError:
                return "does not answer"
        return "ready" if answer.is_success else "not ready"

    async def _lags(self) -> list[Lag]:
        heads = await self._heads()
        lags = []
        for service in SERVICES:
            async with self._api(service) as api:
                status = await api.get("/v1/status")
            applied = {(at["topic"], at["partition"]): at["applied"] for at in status["positions"]}
            for topic in sorted({topic for topic, _ in applied}):
                behind = {
                    partition: heads.get((name, partition), 0) - pos
                    for (name, partition), pos in applied.items()
                    if name == topic
                }
                waiting = {
                    partition: applied[topic, partition]
                    for partition, count in behind.items()
                    if count > 0
                }
                oldest = await self._oldest(topic, waiting)
                parked = status["parked"].get(topic, 0)
                lags.append(Lag(service, topic, sum(behind.values()), oldest, parked))
        return lags

    async def _heads(self) -> dict[tuple[str, int], int]:
        heads = {}
        for producer in ("registry", "dispatch"):
            async with self._api(producer) as api:
                for head in (await api.get("/v1/outbox/heads"))["heads"]:
                    heads[head["topic"], head["partition"]] = head["pos"]
        return heads

    async def _oldest(self, topic: str, applied: Mapping[int, int]) -> float:
        """Age, in seconds, of the oldest event after the given positions of a topic."""
        times = []
        async with self._api(topic.partition(".")[0]) as api:
            for partition, pos in applied.items():
                page = await api.get(f"/v1/outbox/{topic}/{partition}", {"after": pos, "bytes": 1})
                times += [datetime.fromisoformat(at["recorded_at"]) for at in page["records"][:1]]
        return (datetime.now(UTC) - min(times)).total_seconds() if times else 0.0

    async def _ledger(self) -> bool | None:
        async with self._api("reporting") as api:
            try:
                ledger = await api.get("/v1/ledger")
            except CallError as error:
                self.out.print(f"ledger: {error}", markup=False, highlight=False)
                return None
        self.out.print(ledger_line(ledger), markup=False, highlight=False)
        for difference in ledger["differences"][:_SHOWN]:
            self.out.print(f"  {_words(difference)}", markup=False, highlight=False)
        balanced: bool | None = ledger["balanced"]
        return balanced

    # parked

    async def list_parked(self) -> int:
        """List the events that were set aside, of every service."""
        table = Table("service", "id", "topic", "partition", "position", "type", "since", "reason")
        for service in SERVICES:
            async with self._api(service) as api:
                after = 0
                while items := (await api.get("/v1/parked", {"after": after}))["items"]:
                    for at in items:
                        columns = ("id", "topic", "partition", "pos", "type", "parked_at", "reason")
                        table.add_row(service, *(str(at[column]) for column in columns))
                    after = items[-1]["id"]
        if table.row_count:
            self.out.print(table)
        else:
            self.out.print("nothing is parked")
        return 0

    async def show_parked(self, service: str, number: int) -> int:
        """Show one event, whole."""
        async with self._api(service) as api:
            answer = await api.get(f"/v1/parked/{number}")
        self.out.print_json(msgspec.json.encode(answer).decode())
        return 0

    async def decide_parked(self, service: str, number: int, decision: str) -> int:
        """Redrive or discard one event."""
        async with self._api(service) as api:
            answer = await api.post(f"/v1/parked/{number}:{decision}")
        self.out.print(f"{service} {number}: {answer['state']}")
        return 0

    # rebuild

    async def rebuild(self) -> int:
        """Have reporting's counters built anew beside the old ones; wait until they are swapped."""
        async with self._api("reporting") as api:
            begun = await api.post("/v1/rebuild")
            since = time.monotonic()
            while True:
                lives = (await api.get("/v1/rebuild"))["generations"]
                ours = next(life for life in lives if life["id"] == begun["id"])
                if ours["state"] != "building":
                    break
                await asyncio.sleep(_PAUSE)
        self.out.print(
            f"generation {ours['id']} is {ours['state']}: {ours['applied']:,} events counted"
            f" in {time.monotonic() - since:.0f} s"
        )
        return 0


def ledger_line(ledger: Mapping[str, Any]) -> str:
    """The ledger in a line: what it says, of which round, and why."""
    word = {True: "balanced", False: "DOES NOT BALANCE", None: "pending"}[ledger["balanced"]]
    reasons = ", ".join(ledger.get("reasons", []))
    return f"ledger of {ledger['round']}: {word}{f' ({reasons})' if reasons else ''}"


def _words(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.items())


def _services_table(addresses: Addresses, ready: Mapping[str, str]) -> Table:
    table = Table("service", "address", "state")
    for service, state in ready.items():
        table.add_row(service, addresses.of(service), state)
    return table


def _lag_table(lags: list[Lag]) -> Table:
    table = Table("consumer", "topic", "events behind", "oldest", "parked")
    for lag in lags:
        age = f"{lag.oldest:.1f} s" if lag.behind else "-"
        table.add_row(lag.consumer, lag.topic, f"{lag.behind:,}", age, f"{lag.parked:,}")
    return table
