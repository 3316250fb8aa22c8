"""`lastmetre status | parked | audit | rebuild`: what who runs a stack asks of it, over HTTP."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
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
_FEW = 3


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
        columns = ("id", "kind", "topic", "partition", "pos", "type", "parked_at", "reason")
        table = Table("service", *columns, "mended by")
        for service in SERVICES:
            async with self._api(service) as api:
                after = 0
                while items := (await api.get("/v1/parked", {"after": after}))["items"]:
                    for at in items:
                        cells = (str(at[column]) for column in columns)
                        table.add_row(service, *cells, at.get("mended_by", ""))
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

    async def explain_parked(self, service: str, number: int) -> int:
        """Say what is wrong with one event, what that means, and what to do about it."""
        async with self._api(service) as api:
            answer = await api.get(f"/v1/parked/{number}")
        told = answer["explanation"]
        place = f" at {told['field'] or 'the whole'}" if told["field"] is not None else ""
        self._say(f"{service} {number}: {answer['type']}, {told['kind']}{place}: {told['rule']}")
        self._say(f"round {told['round'] or 'unknown'}")
        self._say(f"communities {', '.join(told['communities']) or 'unknown'}")
        self._say(told["means"])
        for number_, step in enumerate(told["next"], 1):
            self._say(f"{number_}. {step}")
        return 0

    async def mend_parked(
        self, service: str, number: int, data: bytes, reason: str, *, dry_run: bool
    ) -> int:
        """Give one event other data, unless this is a dry run; 0 if it can be applied with it."""
        try:
            meant = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise OperatingError("the file is not JSON") from error
        async with self._api(service) as api:
            tried = await api.post(f"/v1/parked/{number}:try", {"data": meant})
            if not dry_run:
                body = {"data": meant, "reason": reason}
                await api.post(f"/v1/parked/{number}:mend", body)
        done = "tried" if dry_run else "mended"
        verdict = "it can be applied" if tried["applies"] else f"NOT applicable: {tried['why']}"
        self._say(f"{service} {number}: {done}; {verdict}")
        return 0 if tried["applies"] else 1

    async def redrive_parked(self, service: str, number: int) -> int:
        """Redrive one event."""
        async with self._api(service) as api:
            answer = await api.post(f"/v1/parked/{number}:redrive")
        self._say(f"{service} {number}: {answer['state']}")
        return 0

    async def redrive_all_parked(self, service: str, kind: str | None, event: str | None) -> int:
        """Redrive all events of a kind of failure or type; 0 if none of them is left."""
        asked = {"kind": kind, "type": event}
        done, left, after = 0, [], 0
        async with self._api(service) as api:
            while (answer := await api.post("/v1/parked:redrive", {**asked, "after": after}))[
                "last"
            ] is not None:
                done, after = done + len(answer["redriven"]), answer["last"]
                left += answer["still_parked"]
        still = f"; still parked: {', '.join(map(str, left))}" if left else ""
        self._say(f"{service}: {done} redriven{still}")
        return 1 if left else 0

    async def discard_parked(self, service: str, number: int, reason: str) -> int:
        """Give one event up."""
        async with self._api(service) as api:
            answer = await api.post(f"/v1/parked/{number}:discard", {"reason": reason})
        self._say(f"{service} {number}: {answer['state']}")
        return 0

    # audit

    async def list_audit(self, service: str, asked: Mapping[str, str], limit: int) -> int:
        """List the newest records of one service's audit log."""
        columns = ("seq", "at", "who", "roles", "action", "targets", "details")
        table = Table(*columns)
        async with self._api(service) as api:
            page = await api.get("/v1/audit", {**asked, "limit": limit})
        for at in page["items"]:
            at["roles"], at["targets"] = ", ".join(at["roles"]), _few(at["targets"])
            at["details"] = _words(at["details"])
            table.add_row(*(str(at[column]) for column in columns))
        self.out.print(table)
        return 0

    async def verify_audit(self, services: Sequence[str], head: str | None) -> int:
        """Have audit logs held against their hashes; 0 if they are as they were written.

        `head` is a hash that was kept elsewhere: one of the logs must hold it still.
        """
        well, found = True, False
        for service in services:
            after: dict[str, str | int] = {"known": head} if head else {}
            verified = 0
            async with self._api(service) as api:
                while True:
                    told = await api.get("/v1/audit:verify", after)
                    verified, found = verified + told["verified"], found or bool(told["found"])
                    if told["broken"] or told["whole"]:
                        break
                    after |= {"after": told["last"], "after_hash": told["last_hash"]}
            if broken := told["broken"]:
                well = False
                self._say(f"{service}: BROKEN at record {broken['seq']}: {broken['how']}")
            else:
                self._say(f"{service}: {verified:,} records hold, head {told['last_hash']}")
        if head and not found:
            well = False
            self._say("the head that was kept is not there: the log was CUT or written anew")
        return 0 if well else 1

    def _say(self, line: str) -> None:
        self.out.print(line, markup=False, highlight=False, soft_wrap=True)

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


def _few(targets: Sequence[str]) -> str:
    shown = ", ".join(targets[:_FEW])
    return shown if len(targets) <= _FEW else f"{shown} and {len(targets) - _FEW} more"


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
