"""What arrives on the broker, as a client that we did not write sees it."""

import time
from collections.abc import Mapping
from typing import Any, Self
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from shared.positions import Partition

PATIENCE = 60.0  # seconds; it is how long to hope, not how long it takes


class Arrivals:
    """Reads partitions of one producer from their beginning, and goes on where it was.

    Args:
        bootstrap: of the broker
        written: the last position of each partition; the first is 1
        incarnation: of the producer. The broker is everybody's, and others' records are passed over

    """

    def __init__(self, bootstrap: str, written: Mapping[Partition, int], incarnation: str) -> None:
        self._written = written
        self._incarnation = incarnation
        self._last = dict.fromkeys(written, 0)
        self._reader = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid4().hex})

    def assert_all_again(self) -> None:
        """Wait until every partition has arrived once more, whole: repeated perhaps, in order."""
        unfinished = set(self._written)
        deadline = time.monotonic() + PATIENCE
        while unfinished:
            assert time.monotonic() < deadline, unfinished
            message: Any = self._reader.poll(1)
            if message is None or message.error() is not None:
                continue
            headers = {name: value.decode() for name, value in message.headers()}
            if headers["incarnation"] == self._incarnation:
                unfinished.discard(self._take((message.topic(), message.partition()), headers))

    def _take(self, partition: Partition, headers: Mapping[str, str]) -> Partition | None:
        """Note what arrived; give the partition if it is whole by that."""
        position, last = int(headers["pos"]), self._last[partition]
        assert position in {last + 1, 1}, (partition, position, last)
        self._last[partition] = position
        return partition if position == self._written[partition] else None

    def __enter__(self) -> Self:
        self._reader.assign([TopicPartition(*each, OFFSET_BEGINNING) for each in self._written])
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
