"""The envelope: CloudEvents 1.0 in Kafka's binary mode, plus the position that makes it countable.

An event's data is JSON. Its headers carry the CloudEvents attributes (`ce_*`) and three of our own:
`pos`, `prev` and `incarnation`. Position and chain are minted by the producer's own database and
are the only thing a consumer trusts; Kafka's offsets are not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Generic, TypeVar
from uuid import UUID
from zlib import crc32

import msgspec

PARTITIONS = 12
"""Partitions of every topic. Fixed with the topic's version: positions are per partition."""

SOURCE = "/lastmetre/{service}"
TYPE_PREFIX = "lastmetre."


def partition_of(key: str) -> int:
    """Partition of a key: a community code on the roll, a round id on the rounds topic."""
    return crc32(key.encode()) % PARTITIONS


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of everything that is announced. `type` is a past-tense name with a version."""

    topic: ClassVar[str]
    type: ClassVar[str]


M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Record:
    """One outbox row as it travels, on Kafka or over the pull.

    `pos` is dense per (topic, partition) and starts at 1; `prev_id` is the id of its predecessor
    (the nil UUID before the first). `incarnation` orders the lives of the producer's database.
    """

    topic: str
    partition: int
    pos: int
    id: UUID
    prev_id: UUID
    incarnation: UUID
    type: str
    recorded_at: datetime
    data: bytes
    traceparent: str | None = None
    """Of what announced it (W3C), if that was traced."""


@dataclass(frozen=True, slots=True)
class Event(Generic[M]):
    """A record whose data was understood, as handlers see it."""

    record: Record
    data: M


def understood(message: type[M], records: Iterable[Record]) -> list[Event[M]]:
    """Read records of one type.

    Raises:
        msgspec.MsgspecError: the data of one of them is not what its type says
        UnicodeDecodeError: nor even text

    """
    read = msgspec.json.Decoder(message).decode
    return [Event(record, read(record.data)) for record in records]


def registered(messages: Iterable[type[Message]]) -> dict[str, type[Message]]:
    """Index message classes by their type name."""
    return {message.type: message for message in messages}
