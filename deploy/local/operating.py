"""What a stack is asked over HTTP: `lastmetre status | parked | audit | keys | rebuild | adopt`."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import msgspec
from rich.console import Console
from rich.table import Table

from deploy.local.calls import Api, CallError
from deploy.local.errors import LocalError
from deploy.local.stack import SERVICES, Addresses
from shared import positions
from shared.outbox import Head, Heads, Pulled, PulledRecord
from shared.positions import Position

_PATIENCE = 3.0  # seconds; who asks how things are wants to hear of trouble soon
_PAUSE = 0.5  # seconds between two looks at a rebuild
_SHOWN = 20
_FEW = 3
_ADOPTING = 600.0  # seconds; a city's snapshot takes minutes, and everybody has to take it in
_COUNTING = 120.0  # seconds; all residents of a city are looked at
_FIRST = str(UUID(int=0))
_PASSES = 10  # over all residents; one, and another for who was just being written

PRODUCERS = ("registry", "dispatch")
Partition = tuple[str, int]


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


@dataclass(frozen=True)
class ConsumerStatus:
    """How far a service is with each partition, and how many events of each topic it set aside."""

    positions: Mapping[Partition, Position]
    parked: Mapping[str, int]


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

    def _api(self, service: str, patience: float = _PATIENCE) -> Api:
        return Api(self.addresses.of(service), lambda: self.token, patience=patience)

    # status

    async def status(self) -> int:
        """Tell how the stack is; 0 if every service is ready and nothing is wrong."""
        ready = {service: await self._ready(service) for service in SERVICES}
        self.out.print(_services_table(self.addresses, ready))
        if not all(answer == "ready" for answer in ready.values()):
            return 1
        statuses = await self._statuses()
        # Heads last: by now, every one has reached what was applied; else its history changed.
        heads = await self._heads()
        nexts = await self._nexts(statuses, heads)
        lags = _lags(statuses, heads, nexts)
        self.out.print(_lag_table(lags))
        broken = _contradicted(statuses, heads, nexts)
        for producer, consumers in sorted(broken.items()):
            self.out.print(
                f"{producer} was restored from an older backup: {', '.join(sorted(consumers))} had"
                f" followed it further and stopped. Next: lastmetre adopt {producer}",
                markup=False,
                highlight=False,
            )
        balanced = await self._ledger()
        well = balanced is not False and not broken and not any(lag.parked for lag in lags)
        return 0 if well else 1

    async def _ready(self, service: str) -> str:
        async with httpx.AsyncClient(timeout=_PATIENCE) as client:
            try:
                answer = await client.get(f"{self.addresses.of(service)}/readyz")
            except httpx.TransportError:
                return "does not answer"
        return "ready" if answer.is_success else "not ready"

    async def _statuses(self) -> dict[str, ConsumerStatus]:
        statuses = {}
        for service in SERVICES:
            async with self._api(service) as api:
                answer = await api.get("/v1/status")
            statuses[service] = ConsumerStatus(
                {
                    (at["topic"], at["partition"]): Position(
                        at["topic"], at["partition"], at["applied"], UUID(at["id"]),
                        UUID(at["incarnation"]), None,
                    )
                    for at in answer["positions"]
                },
                answer["parked"],
            )  # fmt: skip
        return statuses

    async def _heads(self) -> dict[Partition, Head]:
        heads: dict[Partition, Head] = {}
        for producer in PRODUCERS:
            async with self._api(producer) as api:
                answer = msgspec.convert(await api.get("/v1/outbox/heads"), Heads)
            heads |= {(head.topic, head.partition): head for head in answer.heads}
        return heads

    async def _nexts(
        self, statuses: Mapping[str, ConsumerStatus], heads: Mapping[Partition, Head]
    ) -> dict[tuple[Partition, int], PulledRecord]:
        """Read the first event after every position that is behind its head."""
        wanted = {
            (place, position.pos)
            for status in statuses.values()
            for place, position in status.positions.items()
            if place in heads and position.pos < heads[place].pos
        }
        found = {}
        for (topic, partition), pos in sorted(wanted):
            async with self._api(_producer(topic)) as api:
                page = await api.get(f"/v1/outbox/{topic}/{partition}", {"after": pos, "bytes": 1})
            for record in msgspec.convert(page, Pulled).records[:1]:
                found[(topic, partition), pos] = record
        return found

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

    # keys

    async def show_keys(self) -> int:
        """Tell which keys there are and how many numbers each seals; 0 if it is the current one."""
        async with self._api("registry", _COUNTING) as api:
            told = await api.get("/v1/keys")
        table = Table("key", "current", "residents", "on file")
        for key in told["keys"]:
            current = "current" if key["id"] == told["current"] else ""
            on_file = "yes" if key["on_file"] else "NO"
            table.add_row(key["id"], current, f"{key['residents']:,}", on_file)
        self.out.print(table)
        return 1 if told["left"] else 0

    async def reseal(self, key: str) -> int:
        """Have all numbers sealed under a key, stretch by stretch; 0 if none is left."""
        done, damaged = 0, set[str]()
        async with self._api("registry", _COUNTING) as api:
            before = left = (await api.get("/v1/keys"))["left"]
            for _ in range(_PASSES):
                start: str | None = _FIRST
                while start is not None:
                    asked = {"key": key, "start": start}
                    told = await api.call("POST", "/v1/keys:reseal", params=asked)
                    damaged.update(told["damaged"])
                    if told["resealed"]:
                        done += told["resealed"]
                        self._say(f"{done:,} of {max(done, before):,} sealed under {key}")
                    start = told["following"]
                left = (await api.get("/v1/keys"))["left"]
                if left <= len(damaged):
                    break
                await asyncio.sleep(_PAUSE)  # who was being written has been written by then
        for resident in sorted(damaged):
            self._say(f"no key opens the number of resident {resident}: send it again")
        self._say(f"{left:,} left")
        return 1 if left else 0

    async def assert_unused(self, key: str) -> int:
        """Make sure that no number is sealed under a key. Raises `OperatingError` if any is."""
        async with self._api("registry", _COUNTING) as api:
            told = await api.get("/v1/keys")
        if used := sum(each["residents"] for each in told["keys"] if each["id"] == key):
            raise OperatingError(
                f"{used:,} numbers are sealed under {key}: `lastmetre keys reseal` first"
            )
        return 0

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

    # adopt

    async def adopt(self, producer: str) -> int:
        """Let a producer that was restored from a backup begin a new life; wait for the others."""
        async with self._api(producer, _ADOPTING) as api:
            former = (await api.get("/v1/outbox/heads"))["heads"][0]["incarnation"]
            # An answer that was lost is asked for again: `replaces` tells that it is the same wish.
            adopted = await api.post("/v1/outbox:adopt", {"replaces": former})
        life = UUID(adopted["incarnation"])
        self.out.print(f"{producer} begins a new life: {life}", highlight=False)
        give_up = time.monotonic() + _ADOPTING
        while late := _not_following(await self._statuses(), producer, life):
            if time.monotonic() > give_up:
                self.out.print(f"not following yet: {', '.join(late)}", highlight=False)
                return 1
            await asyncio.sleep(_PAUSE)
        self.out.print("everybody follows; `lastmetre status` tells how far, and the ledger")
        return 0


def _producer(topic: str) -> str:
    return topic.partition(".")[0]


def _lags(
    statuses: Mapping[str, ConsumerStatus],
    heads: Mapping[Partition, Head],
    nexts: Mapping[tuple[Partition, int], PulledRecord],
) -> list[Lag]:
    now, lags = datetime.now(UTC), []
    for service, status in statuses.items():
        for topic in sorted({topic for topic, _ in status.positions}):
            own = {place: p.pos for place, p in status.positions.items() if place[0] == topic}
            behind = sum(heads[place].pos - pos for place, pos in own.items() if place in heads)
            times = [nexts[each].recorded_at for each in own.items() if each in nexts]
            oldest = (now - min(times)).total_seconds() if times else 0.0
            lags.append(Lag(service, topic, behind, oldest, status.parked.get(topic, 0)))
    return lags


def _contradicted(
    statuses: Mapping[str, ConsumerStatus],
    heads: Mapping[Partition, Head],
    nexts: Mapping[tuple[Partition, int], PulledRecord],
) -> dict[str, set[str]]:
    """Find producers whose history contradicts what was applied of it, and at whom."""
    found: dict[str, set[str]] = {}
    for service, status in statuses.items():
        for place, position in status.positions.items():
            head, following = heads.get(place), nexts.get((place, position.pos))
            if head is None or positions.reborn(position, head):
                continue
            broken = following is not None and following.prev_id != position.id
            if broken or positions.diverged(position, head):
                found.setdefault(_producer(position.topic), set()).add(service)
    return found


def _not_following(statuses: Mapping[str, ConsumerStatus], producer: str, life: UUID) -> list[str]:
    return [
        service
        for service, status in statuses.items()
        if any(
            position.incarnation < life
            for (topic, _), position in status.positions.items()
            if _producer(topic) == producer
        )
    ]


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
