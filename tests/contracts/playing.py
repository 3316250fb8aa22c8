"""The examples of the three services, played as one day against the services themselves."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx

from services.dispatch.api.examples import EXAMPLES as DISPATCH
from services.registry.api.examples import EXAMPLES as REGISTRY
from services.reporting.api.examples import EXAMPLES as REPORTING
from shared.auth import ROLES
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

UNPLAYED: dict[str, str] = {"registry": "dispatch", "dispatch": "registry", "reporting": "registry"}
"""Whose events each service sets aside, for the examples of dead letters."""


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
        service, method, template = call
        if service != "dispatch":
            await self.town.settle()
        if template == "/v1/status":
            await self._park(service)
        client: httpx.AsyncClient = getattr(self.town, service)
        answer = await client.request(
            method,
            self._real(template.format(**example.path)),
            params=self._real(dict(example.query)),
            json=self._real(example.body),
            headers=self.town.headers(*ROLES, areas=[DISTRICT]),
        )
        assert answer.is_success, (call, answer.text)
        return answer

    def learn(self, told: Any, example: Any) -> None:
        """Note which ids of an answer stand for those of its example."""
        if isinstance(told, dict) and isinstance(example, dict):
            for name in told.keys() & example.keys():
                self.learn(told[name], example[name])
        elif isinstance(told, list) and isinstance(example, list):
            for each in example:
                self.learn(max(told, key=lambda one: likeness(one, each), default=None), each)
        elif told != example and is_id(told) and is_id(example):
            self._ids[example] = told

    def _real(self, example: Any) -> Any:
        text = json.dumps(example)
        for shown, real in self._ids.items():
            text = text.replace(shown, real)
        return json.loads(text)

    async def _park(self, service: str) -> None:
        """Set two events aside that were applied long ago."""
        announcer = self.town.apps[UNPLAYED[service]].state.wiring.database
        async with announcer.begin() as tx:
            rows = await tx.rows("SELECT * FROM outbox ORDER BY topic, partition, pos")
        consumer = self.town.consumers[service]
        events = [row for row in rows if row["topic"] in followed(service)][:2]
        async with self.town.apps[service].state.wiring.database.begin() as tx:
            for row in events:
                await tx.do(
                    "INSERT INTO parked (consumer, topic, partition, pos, event_id, incarnation,"
                    " type, recorded_at, data, reason, parked_at)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now())",
                    consumer.name, row["topic"], row["partition"], row["pos"], row["id"], uuid4(),
                    row["type"], row["recorded_at"], row["data"], "ValueError",
                )  # fmt: skip


def followed(service: str) -> set[str]:
    """Tell the topic whose events a service sets aside in these examples."""
    example = EXAMPLES[service]["GET", "/v1/status"]
    return set(
        (example.reply or {"parked": {"registry.roll.v1": 0, "dispatch.hands.v1": 0}})["parked"]
    )


def likeness(one: Any, other: Any) -> int:
    """Count the members that two objects have in common."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return int(one == other)
    return sum(one[name] == other[name] for name in one.keys() & other.keys())


def is_id(value: Any) -> bool:
    """Tell whether a value is a UUID as text."""
    try:
        return str(UUID(value)) == value
    except (AttributeError, TypeError, ValueError):
        return False


def content(answer: httpx.Response) -> JSON | str | None:
    """Read an answer as an example shows it."""
    if not answer.content:
        return None
    if answer.headers["content-type"] == "application/json":
        told: JSON = answer.json()
        return told
    return answer.text
