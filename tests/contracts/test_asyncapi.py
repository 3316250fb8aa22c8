"""What others read our topics by: current, well-formed, and true of what is announced."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import snapshot
from shared.contracts.envelope import PARTITIONS, Message
from tests.contracts.asyncapi import PAGE, document
from tests.contracts.test_snapshots import FEW, TYPES
from tests.support.town import JSON

DOCUMENT = json.loads(document())


def only(required: JSON, **optional: JSON) -> JSON:
    """Describe an object that has these members and no others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | optional,
        "additionalProperties": False,
    }


def each(schema: JSON) -> JSON:
    """Describe a map whose keys are names of components."""
    names = {"pattern": r"^[\w.-]+$"}
    return {"type": "object", "propertyNames": names, "additionalProperties": schema}


TEXT: JSON = {"type": "string"}
OBJECT: JSON = {"type": "object"}
SOMEWHERE = only({"$ref": {"type": "string", "pattern": "^#/"}})
VERSIONED = {"bindingVersion": {"const": "0.5.0"}}
MESSAGE = only(
    {"name": TEXT, "title": TEXT, "summary": TEXT, "headers": OBJECT, "payload": OBJECT},
    contentType={"const": "application/json"},
    bindings=only({"kafka": only({**VERSIONED, "key": OBJECT})}),
)
CHANNEL = only(
    {"address": TEXT, "title": TEXT, "description": TEXT, "messages": each(SOMEWHERE)},
    bindings=only({"kafka": only({**VERSIONED, "topic": TEXT, "partitions": {"minimum": 1}})}),
)
SHAPE = only(
    {
        "asyncapi": {"const": "3.0.0"},
        "info": only({"title": TEXT, "version": TEXT}, description=TEXT, license=OBJECT),
        "channels": each(CHANNEL),
        "operations": each(only({"action": {"const": "send"}, "channel": SOMEWHERE}, summary=TEXT)),
        "components": only({"schemas": each(OBJECT), "messages": each(MESSAGE)}),
    },
    defaultContentType=TEXT,
)
"""What AsyncAPI 3.0 says of the parts that we use. Its own schema is in no package of Python."""


def test_the_committed_document_is_that_of_the_contracts() -> None:
    committed = PAGE.read_text(encoding="utf-8")
    assert committed == document(), "renew with python -m tests.contracts.asyncapi"


def test_it_has_the_shape_of_asyncapi_3() -> None:
    """Members and their kinds, as the specification has them, and no others."""
    jsonschema.Draft202012Validator(SHAPE).validate(DOCUMENT)


def test_every_reference_leads_somewhere() -> None:
    references = list(refs(DOCUMENT))
    assert references
    for reference in references:
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from refs(part)


def test_every_message_is_on_the_channel_of_its_topic_and_every_channel_is_announced_on() -> None:
    channels = DOCUMENT["channels"].items()
    on = {name: topic for topic, channel in channels for name in channel["messages"]}
    assert on == {name: message.topic for name, message in snapshot.MESSAGES.items()}
    for topic, channel in channels:
        assert channel["address"] == channel["bindings"]["kafka"]["topic"] == topic
        assert channel["bindings"]["kafka"]["partitions"] == PARTITIONS
    announced = {told["channel"]["$ref"] for told in DOCUMENT["operations"].values()}
    assert announced == {f"#/channels/{topic}" for topic, _ in channels}


@pytest.mark.parametrize("name", TYPES)
@FEW
@given(data=st.data())
def test_messages_fit_the_schema_that_the_document_has_of_them(
    name: str, data: st.DataObject
) -> None:
    message: type[Message] = snapshot.MESSAGES[name]
    sent = msgspec.json.decode(msgspec.json.encode(data.draw(st.from_type(message))))
    schema = DOCUMENT["components"]["messages"][name]["payload"]
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft7Validator.check_schema(whole)
    jsonschema.Draft7Validator(whole).validate(sent)


def test_a_change_with_a_member_too_few_is_none() -> None:
    """Places of arrays have meanings, also in draft 7."""
    payload = DOCUMENT["components"]["messages"]["lastmetre.registry.roll_changed.v1"]["payload"]
    validator = jsonschema.Draft7Validator({**payload, "components": DOCUMENT["components"]})
    good = {"round": "r", "communities": {"410171001001": [["r1", 1, None, {}]]}}
    assert validator.is_valid(good)
    changes: list[list[Any]] = [["r1", 1, None], ["r1", "1", None, {}], ["r1", 1, None, None]]
    for change in changes:
        assert not validator.is_valid({**good, "communities": {"410171001001": [change]}})
