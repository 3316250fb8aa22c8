"""What a stack left on Kafka, held against the outboxes that it came from."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

import httpx

from tests.kafka import outsider
from tests.kafka.outsider import Message, Place
from tests.support.live import Command
from tests.support.stack import START, Up
from tests.support.town import DISTRICT
from tests.support.waiting import eventually


async def heads(up: Up) -> dict[Place, int]:
    """How far each partition's producer has counted."""
    token = Command(up.environment).token("system", areas=[DISTRICT])
    found = {}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as client:
        for producer in ("registry", "dispatch"):
            answer = await client.get(f"{up.note['addresses'][producer]}/v1/outbox/heads")
            answer.raise_for_status()
            for head in answer.json()["heads"]:
                found[head["topic"], head["partition"]] = head["pos"]
    return found


async def assert_all_is_on_kafka(up: Up, bootstrap: str) -> list[Message]:
    """Wait until Kafka has every position of every outbox; give all messages, checked.

    Not asserted: that each is there once. A relay that was interrupted says again what it had said.
    """

    async def everything() -> list[Message]:
        due = await heads(up)
        names = sorted({topic for topic, _ in due})
        if not outsider.topics(bootstrap).keys() >= set(names):
            return []  # the relay has not made them yet
        messages = await asyncio.to_thread(outsider.read_all, bootstrap, names)
        return messages if _last(messages) == {at: pos for at, pos in due.items() if pos} else []

    messages = await eventually(everything, START)
    for message in messages:
        message.check()
    _assert_chained(messages)
    return messages


def _last(messages: Iterable[Message]) -> dict[Place, int]:
    last: dict[Place, int] = defaultdict(int)
    for message in messages:
        last[message.place] = max(last[message.place], message.pos)
    return last


def _assert_chained(messages: Iterable[Message]) -> None:
    """Nothing is missing, nothing overtakes, and each names its predecessor."""
    known: dict[Place, dict[int, str]] = defaultdict(lambda: {0: ""})
    for message in messages:
        place, headers = known[message.place], message.headers
        if message.pos in place:  # said again: the same then
            assert headers["ce_id"] == place[message.pos]
            continue
        assert message.pos - 1 in place
        assert message.pos == 1 or headers["prev"] == place[message.pos - 1]
        place[message.pos] = headers["ce_id"]
