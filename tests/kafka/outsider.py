"""Somebody else's client, who has nothing from us but the committed schemas.

librdkafka reads the topics; `jsonschema` says whether what is on them is what the schemas promise.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID, uuid4

import jsonschema
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as Fetched
from confluent_kafka.admin import AdminClient

from shared.contracts import snapshot

SECONDS = 30.0
"""How long the broker may take over one answer."""

Place = tuple[str, int]


@dataclass(frozen=True)
class Message:
    """One message as it lies on a topic."""

    place: Place
    headers: dict[str, str]
    data: Any

    @property
    def pos(self) -> int:
        """Its position, by its header."""
        return int(self.headers["pos"])

    def check(self) -> None:
        """Assert that it is what the interfaces and the schema of its type promise."""
        headers = self.headers
        assert headers["ce_specversion"] == "1.0"
        assert headers["content-type"] == "application/json"
        for name in ("ce_id", "prev", "incarnation"):
            UUID(headers[name])
        assert datetime.fromisoformat(headers["ce_time"]).utcoffset() is not None
        producer = self.place[0].split(".", maxsplit=1)[0]
        assert headers["ce_source"] == f"/lastmetre/{producer}"
        validator = _validator(headers["ce_type"])
        assert validator.schema["x-topic"] == self.place[0]
        validator.validate(self.data)


@cache
def _validator(type_name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((snapshot.FOLDER / f"{type_name}.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def topics(bootstrap: str) -> dict[str, Any]:
    """Describe every topic that is not the broker's own (librdkafka's `TopicMetadata`)."""
    known = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=SECONDS).topics
    return {name: topic for name, topic in known.items() if not name.startswith("__")}


def delete(bootstrap: str, names: Collection[str]) -> None:
    """Delete those of the topics that there are; wait until they are gone."""
    present = topics(bootstrap).keys() & set(names)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    # Empty, the client would take offence.
    for deleted in admin.delete_topics(sorted(present)).values() if present else ():
        deleted.result(SECONDS)


def truncate(bootstrap: str, topic: str, partition: int, *, keep: int) -> None:
    """Have the broker forget all but the last records of a partition, as its retention does."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": f"outsider-{uuid4()}"})
    try:
        _, end = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=SECONDS)
    finally:
        reader.close()
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for truncated in admin.delete_records([TopicPartition(topic, partition, end - keep)]).values():
        truncated.result(SECONDS)


def read_all(bootstrap: str, names: Sequence[str]) -> list[Message]:
    """Read everything that lies on topics at this moment."""
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"outsider-{uuid4()}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        return list(map(_message, _fetch(reader, names)))
    finally:
        reader.close()


def _fetch(reader: Consumer, names: Sequence[str]) -> Iterator[Fetched]:
    known = reader.list_topics(timeout=SECONDS).topics
    unread = {(name, number) for name in names for number in known[name].partitions}
    reader.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in unread])
    while unread:
        fetched = reader.poll(SECONDS)
        assert fetched is not None, f"nothing more came from {unread}"
        error = fetched.error()
        if error is None:
            yield fetched
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            unread.discard(_place(fetched))
        else:
            assert error.retriable(), error


def _message(fetched: Fetched) -> Message:
    # A list of pairs, bytes to a reader; the type covers what writers may give as well.
    headers: Any = fetched.headers() or []
    text = {name: (value or b"").decode() for name, value in headers}
    return Message(_place(fetched), text, json.loads(fetched.value() or b""))


def _place(fetched: Fetched) -> Place:
    topic, partition = fetched.topic(), fetched.partition()
    assert topic is not None
    assert partition is not None
    return topic, partition
