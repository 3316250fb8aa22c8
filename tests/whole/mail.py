"""What travels between the services, held up by chance: in order within a partition, no further."""

from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import msgspec

from services.dispatch.wiring import TOPICS as BY_DISPATCH
from services.registry.wiring import TOPICS as BY_REGISTRY
from shared.contracts.dispatch import HANDS, VISITS
from shared.contracts.envelope import Event, Message, Record, partition_of, understood
from shared.contracts.registry import ROLL, ROUNDS
from shared.database import Database, Transaction
from tests.support.town import OPENS

FOLLOWS = {
    "registry": (HANDS, VISITS),
    "dispatch": (ROUNDS, ROLL),
    "reporting": (ROUNDS, ROLL, VISITS),
}
FOLLOWERS = tuple(FOLLOWS)

Handler = Callable[[Transaction, Sequence[Event[Any]]], Awaitable[None]]
Box = tuple[str, str, int]
"""A follower, a topic, a partition: where order is kept."""


class Mail:
    """Letters of every service, until their followers have read them."""

    def __init__(self, incarnations: Mapping[str, UUID]) -> None:
        self._incarnations = {
            topic: incarnations[name]
            for name, topics in (("registry", BY_REGISTRY), ("dispatch", BY_DISPATCH))
            for topic in topics
        }
        self._boxes: dict[Box, deque[Event[Any]]] = defaultdict(deque)
        self._pos: Counter[tuple[str, int]] = Counter()

    def post(self, announced: Iterable[tuple[Message, str]]) -> None:
        """Post what a transaction announced, as it is after its journey."""
        for message, key in announced:
            topic, partition = message.topic, partition_of(key)
            self._pos[topic, partition] += 1
            pos = self._pos[topic, partition]
            record = Record(
                topic, partition, pos, UUID(int=pos), UUID(int=pos - 1),
                self._incarnations[topic], message.type, OPENS, msgspec.json.encode(message),
            )  # fmt: skip
            (letter,) = understood(type(message), [record])
            for follower, topics in FOLLOWS.items():
                if topic in topics:
                    self._boxes[follower, topic, partition].append(letter)

    def waiting(self, follower: str) -> list[Box]:
        """List the boxes of a follower that hold letters."""
        return sorted(box for box, letters in self._boxes.items() if letters and box[0] == follower)

    async def deliver(
        self,
        box: Box,
        most: int,
        database: Database,
        handlers: Mapping[type[Message], Handler],
    ) -> list[Event[Any]]:
        """Hand over the next letters of a box in one transaction; those of a kind go together."""
        letters = self._boxes[box]
        by_type = {message.type: (message, handler) for message, handler in handlers.items()}
        batch = [letters[n] for n in range(min(most, len(letters)))]

        async def read(tx: Transaction) -> None:
            for kind, events in groupby(batch, key=lambda event: event.record.type):
                if kind in by_type:
                    message, handler = by_type[kind]
                    await handler(tx, understood(message, [event.record for event in events]))

        await database.transact(read)
        for _ in batch:
            letters.popleft()
        return batch

    def clear(self) -> None:
        """Throw everything away."""
        self._boxes.clear()
        self._pos.clear()
