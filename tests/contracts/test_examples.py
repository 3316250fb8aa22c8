"""Every route has an example; each fits the schema of its route, and is true."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, cast

import jsonschema
import pytest

from shared.auth import ROLES
from shared.bodies import JSON, NDJSON
from tests.contracts.openapi import documents
from tests.contracts.playing import EXAMPLES, Player, agrees, calls, content
from tests.support.guards import assert_guarded
from tests.support.town import DISTRICT, Town

DOCUMENTS = {service: json.loads(text) for service, text in documents().items()}


def operations() -> Iterator[Any]:
    for service, document in DOCUMENTS.items():
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                yield pytest.param(
                    service, method.upper(), path, operation, id=f"{service} {method} {path}"
                )


def valid(service: str, value: Any, schema: dict[str, Any]) -> None:
    """Hold a value against a schema of a service's document."""
    whole = {**schema, "components": DOCUMENTS[service]["components"]}
    jsonschema.Draft202012Validator(
        whole, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    ).validate(value)


@pytest.mark.parametrize(("service", "method", "path", "operation"), list(operations()))
def test_the_example_fits_the_schema_of_its_route(
    service: str, method: str, path: str, operation: dict[str, Any]
) -> None:
    assert (method, path) in EXAMPLES[service], "add it to api/examples.py"
    example = EXAMPLES[service][method, path]
    parameters = operation.get("parameters", [])
    for parameter in parameters:
        assert "example" in parameter or not parameter["required"], parameter["name"]
        if "example" in parameter:
            valid(service, parameter["example"], parameter["schema"])
    assert {p["name"] for p in parameters} >= {*example.path, *example.query}
    body = operation.get("requestBody", {}).get("content", {}).get(JSON)
    assert (body is None) == (example.body is None)
    if body is not None:
        valid(service, body["examples"]["example"]["value"], body["schema"])
    (answer,) = (a for status, a in operation["responses"].items() if status.startswith("2"))
    for media, told in answer.get("content", {}).items():
        if media in {JSON, NDJSON} or media in example.forms:
            shown = json.loads(told["example"]) if media == NDJSON else told["example"]
            valid(service, shown, told["schema"])


def test_an_example_belongs_to_a_route_and_links_to_parameters() -> None:
    for service, examples in EXAMPLES.items():
        paths = DOCUMENTS[service]["paths"]
        known = {
            parameter["name"]
            for methods in paths.values()
            for operation in methods.values()
            for parameter in operation.get("parameters", [])
        }
        for (method, path), example in examples.items():
            assert method.lower() in paths[path]
            assert known >= set(example.gives), path


async def test_examples_are_true(town: Town) -> None:
    """Played as one day, every example is answered as it says."""
    player = Player(town)
    for call, example in calls():
        answer = await player.play(call, example)
        assert_guarded(answer)
        told, shown = content(answer), example.reply
        if answer.headers.get("content-type") == NDJSON:
            shown = [json.loads(cast("str", shown))]
        assert agrees(told, shown), f"{call} is answered: {json.dumps(told, ensure_ascii=False)}"
        for media, text in example.forms.items():
            asker = town.headers(*ROLES, areas=[DISTRICT])
            form = await player.ask(call, example, {**asker, "Accept": media})
            assert agrees(lines(form.text), lines(text)), f"{call} is answered: {form.text}"


def lines(text: str) -> list[dict[str, str]]:
    """Read the lines of a CSV file by its heading."""
    return list(csv.DictReader(io.StringIO(text, newline="")))
