"""The examples of the three services, played as one day against the services themselves."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx

from services.dispatch.api.examples import EXAMPLES as DISPATCH
from services.registry.api.examples import EXAMPLES as REGISTRY
from services.reporting.api.examples import EXAMPLES as REPORTING
from services.reporting.api.page.routes import EVENT_STREAM
from shared.auth import ROLES
from shared.bodies import JSON as JSON_TYPE
from shared.contracts.dispatch import HANDS
from shared.contracts.registry import ROUNDS
from shared.examples import Example, Examples
from tests.support.town import DISTRICT, JSON, Town

EXAMPLES: dict[str, Examples] = {
    "registry": REGISTRY,
    "dispatch": DISPATCH,
    "reporting": REPORTING,
}
Call = tuple[str, str, str]
"""Service, method and path template."""

INTERLUDES: dict[Call, str] = {
    ("registry", "POST", "/v1/exclusions"): "dispatch",
    ("registry", "POST", "/v1/rounds/{round_id}:close"): "reporting",
}
"""Each service's examples are played in their order; these services play theirs before a call."""

SET_ASIDE: dict[str, tuple[str, str]] = {
    "registry": ("dispatch", HANDS),
    "dispatch": ("registry", ROUNDS),
    "reporting": ("registry", ROUNDS),
}
"""Whose events each service sets aside, for the examples of dead letters."""

MADE_UP = {"id", "household", "event_id", "prev_id", "incarnation", "data", "age", "pos"}
"""Members that differ from day to day, or from one database to the next."""
MADE_UP |= {"partition", "applied", "target", "positions", "cut"}
MADE_UP |= {"unpublished", "oldest_seconds"}
MADE_UP |= {"seq", "targets", "prev", "hash", "request_id", "verified", "last", "last_hash"}
MADE_UP |= {"decided_by", "mended_by", "merged_by", "undone_by", "created_by", "secret"}


def calls(service: str = "registry") -> Iterator[tuple[Call, Example]]:
    """Give all examples in the order of the day."""
    for (method, template), example in EXAMPLES[service].items():
        call = (service, method, template)
        if call in INTERLUDES:
            yield from calls(INTERLUDES[call])
        yield call, example


class Player:
    """Plays examples in a town, and learns the ids that services make up on the way."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self._ids: dict[str, str] = {}

    async def play(self, call: Call, example: Example) -> httpx.Response:
        """Play one example, after all services have caught up with each other."""
        await self.prepare(call)
        answer = await self.ask(call, example, self.town.headers(*ROLES, areas=[DISTRICT]))
        assert answer.is_success, (call, answer.text)
        self._learn(content(answer), example.reply)
        return answer

    async def prepare(self, call: Call) -> None:
        """Let everything come about that an example needs."""
        service, _, template = call
        if service != "dispatch":
            await self.town.settle()
        if template == "/v1/status":
            await self._park(service)

    async def ask(self, call: Call, example: Example, headers: JSON) -> httpx.Response:
        """Ask what an example asks, as somebody: with the ids that are real here."""
        service, method, template = call
        client: httpx.AsyncClient = getattr(self.town, service)
        return await client.request(
            method,
            self.real(template.format(**example.path)),
            params=self.real(dict(example.query)),
            json=self.real(example.body),
            headers=headers,
        )

    def _learn(self, told: Any, example: Any) -> None:
        """Note which ids of an answer stand for those of its example."""
        if isinstance(told, dict) and isinstance(example, dict):
            for name in told.keys() & example.keys():
                self._learn(told[name], example[name])
        elif isinstance(told, list) and isinstance(example, list):
            for each in example:
                self._learn(max(told, key=lambda one: likeness(one, each), default=None), each)
        elif told != example and is_id(told) and is_id(example):
            self._ids[example] = told

    def real(self, example: Any) -> Any:
        """Put the ids that services made up in the place of those that examples show."""
        text = json.dumps(example)
        for shown, real in self._ids.items():
            text = text.replace(shown, real)
        return json.loads(text)

    async def _park(self, service: str) -> None:
        """Set an event aside that was applied long ago, twice."""
        producer, topic = SET_ASIDE[service]
        type_name = EXAMPLES[service]["GET", "/v1/parked/{parked_id}"].reply["type"]
        async with self.town.apps[producer].state.wiring.database.begin() as tx:
            rows = await tx.rows(
                "SELECT * FROM outbox WHERE topic = $1 AND type = $2 ORDER BY partition, pos",
                topic, type_name,
            )  # fmt: skip
        name = self.town.consumers[service].name
        async with self.town.apps[service].state.wiring.database.begin() as tx:
            row = rows[0]
            for pos in (1001, 1002):
                await tx.do(
                    "INSERT INTO parked (consumer, topic, partition, pos, event_id, incarnation,"
                    " type, recorded_at, data, reason, parked_at)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now())",
                    name, topic, row["partition"], pos, uuid4(), uuid4(),
                    type_name, row["recorded_at"], row["data"], "ValueError",
                )  # fmt: skip


def likeness(one: Any, other: Any) -> int:
    """Count the members that two objects have in common."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return int(one == other)
    return sum(one[name] == other[name] for name in one.keys() & other.keys())


def agrees(told: Any, example: Any, name: str = "") -> bool:
    """Tell whether an answer is what its example shows; a list may show some of its items."""
    if isinstance(example, dict):
        return (
            isinstance(told, dict)
            and (told.keys() == example.keys() or name in MADE_UP)
            and all(agrees(told[each], example[each], each) for each in example)
        )
    if isinstance(example, list) and name not in MADE_UP:
        return (
            isinstance(told, list)
            and bool(told) == bool(example)
            and all(any(agrees(one, each) for one in told) for each in example)
        )
    if name in MADE_UP or (is_time(told) and is_time(example)):
        return isinstance(told, type(example))
    return bool(told == example or (is_id(told) and is_id(example)))


def is_time(value: Any) -> bool:
    """Tell whether a value is a time as text."""
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def is_id(value: Any) -> bool:
    """Tell whether a value is a UUID as text."""
    try:
        return bool(str(UUID(value)) == value)
    except (AttributeError, TypeError, ValueError):
        return False


def content(answer: httpx.Response) -> Any:
    """Read an answer as an example shows it."""
    if not answer.content:
        return None
    if answer.headers["content-type"] == JSON_TYPE:
        return answer.json()
    if answer.headers["content-type"].startswith(EVENT_STREAM):
        events = re.findall(r"^data: (.*)$", answer.text, re.MULTILINE)
        return [json.loads(event) for event in events]
    return [json.loads(line) for line in answer.text.splitlines()]
