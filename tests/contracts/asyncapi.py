"""The AsyncAPI document of the topics, as committed in docs/asyncapi.json.

`python -m tests.contracts.asyncapi` renews it.

It is for whoever reads the topics without our code: a warehouse, another system, a generator. It is
made from the contracts, like the JSON Schemas beside them, and says the same in one file: schemas
are put into draft 7, which AsyncAPI's own is a superset of, so that every tool understands them.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from shared.contracts.dispatch import HANDS, VISITS
from shared.contracts.envelope import PARTITIONS, SOURCE, Message
from shared.contracts.registry import ROLL, ROUNDS
from shared.contracts.snapshot import MESSAGES, dedented

PAGE = Path(__file__).parents[2] / "docs" / "asyncapi.json"

DESCRIPTION = """
What registry and dispatch announce, over Kafka: CloudEvents 1.0 in binary mode. Attributes and
three headers of our own are record headers, `data` is the value, JSON in UTF-8. No message carries
a name, number, phone or address of anybody.

**Partitions.** Every topic has {partitions}, a number that is fixed with the topic's version. The
producer chooses the partition itself, CRC-32 of a code or id modulo {partitions} (each channel says
of which), and records have no key.

**Order.** `pos` is dense within a partition, begins at 1, and is in the order in which the
producer's transactions were committed; `prev` is the `ce_id` of the record at `pos` - 1 (the nil
UUID before the first). Between partitions and topics there is no order. What concerns one
community, or one round on `registry.rounds.v1`, is in one partition, so it is read in the order in
which it happened.

**Delivery.** At least once. A record may come again, also with others in between: apply `pos` if it
is one more than the last one applied, pass over what is not beyond it, and where a position is
missing ask the producer for it (`GET /v1/outbox/{{topic}}/{{partition}}?after=`), whose outbox is
the log of record; Kafka carries copies. Offsets mean nothing. A message is whole: it was one step
of one transaction, and all messages of a transaction are in the outbox or none is.

**Lives.** `incarnation` is a UUIDv7 of the producer's database. A greater one is a new life, after
a restored backup: positions go on from the backup, and a snapshot between `…_snapshot_begun` and
`…_snapshot_ended` tells the partition anew.

**Versions.** Contracts are additive: pass over members that are not known here. Members at their
default are left out. What could not be said so is a type, or a topic, of a new version.
""".strip().format(partitions=PARTITIONS)

CHANNELS: Mapping[str, tuple[str, str]] = {
    ROUNDS: (
        "Areas, numbers from outside, and rounds",
        "Partitioned by the district's code (areas, denominators) or the round's id (all else).",
    ),
    ROLL: (
        "Who stands where in the account",
        "Partitioned by the community's code. The account folds from this alone, by both sides.",
    ),
    HANDS: (
        "In whose hands people are",
        "Partitioned by the community in which the case was opened; the newest `revision` holds.",
    ),
    VISITS: (
        "What happens to visits",
        "Partitioned by the code of the community in which the case was opened; it stays there.",
    ),
}
"""Title and description of each topic."""

_REF = "#/components/schemas/{name}"
_UUID = {"type": "string", "format": "uuid"}
_HEADERS = {
    "type": "object",
    "required": [
        "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type", "pos",
        "prev", "incarnation",
    ],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {**_UUID, "description": "of this event, wherever it is read"},
        "ce_source": {"type": "string", "description": "whose outbox it is from"},
        "ce_type": {"type": "string", "description": "says which schema the data has"},
        "ce_time": {
            "type": "string", "format": "date-time", "description": "when it was recorded",
        },
        "content-type": {"const": "application/json"},
        "pos": {
            "type": "string", "pattern": "^[1-9][0-9]*$",
            "description": "position in this partition, dense",
        },
        "prev": {**_UUID, "description": "`ce_id` of the position before"},
        "traceparent": {
            "type": "string", "description": "W3C: of what announced it, if that was traced",
        },
        "incarnation": {**_UUID, "description": "the producer's life; UUIDv7, the greatest holds"},
    },
}  # fmt: skip


def document() -> str:
    """Describe the topics, as JSON text."""
    names, messages = list(MESSAGES), list(MESSAGES.values())
    payloads, schemas = msgspec.json.schema_components(messages, ref_template=_REF)
    made = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lastmetre",
            "version": "1",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": _channels(),
        "operations": {
            f"announce.{topic}": {
                "action": "send",
                "summary": f"{_producer(topic)} announces",
                "channel": {"$ref": f"#/channels/{topic}"},
            }
            for topic in CHANNELS
        },
        "components": {
            "schemas": {
                name: _draft_7(dedented(schema))
                for name, schema in ({"Headers": _HEADERS} | schemas).items()
            },
            "messages": {
                name: _message(message, payload)
                for name, message, payload in zip(names, messages, payloads, strict=True)
            },
        },
    }
    return json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _channels() -> dict[str, Any]:
    by_topic: dict[str, list[str]] = defaultdict(list)
    for name, message in MESSAGES.items():
        by_topic[message.topic].append(name)
    return {
        topic: {
            "address": topic,
            "title": CHANNELS[topic][0],
            "description": CHANNELS[topic][1],
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
            "bindings": {
                "kafka": {"topic": topic, "partitions": PARTITIONS, "bindingVersion": "0.5.0"}
            },
        }
        for topic, names in by_topic.items()
    }


def _message(message: type[Message], payload: Mapping[str, Any]) -> dict[str, Any]:
    source = {"const": SOURCE.format(service=_producer(message.topic))}
    return {
        "name": message.type,
        "title": message.__name__,
        "summary": cleandoc(message.__doc__ or "").partition("\n")[0],
        "contentType": "application/json",
        "headers": {
            "allOf": [{"$ref": "#/components/schemas/Headers"}],
            "properties": {"ce_type": {"const": message.type}, "ce_source": source},
        },
        "payload": payload,
        "bindings": {"kafka": {"key": {"type": "null"}, "bindingVersion": "0.5.0"}},
    }


def _producer(topic: str) -> str:
    return topic.partition(".")[0]


def _draft_7(schema: Any) -> Any:
    """Say in draft 7 what msgspec says in 2020-12: arrays whose places have meanings."""
    if isinstance(schema, list):
        return [_draft_7(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    said = {name: _draft_7(each) for name, each in schema.items()}
    if "prefixItems" in said:
        rest = said.pop("items", True)
        said |= {"items": said.pop("prefixItems"), "additionalItems": rest}
    return said


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
