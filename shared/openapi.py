"""What FastAPI cannot know of our routes, told to its OpenAPI document.

Bulk routes read raw bodies, so they declare rows and answers as msgspec structs; every operation
gets its roles, an example, links to the routes that its answer leads to, and the problem documents
it may answer with, each with its cause and cure.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from shared.bodies import JSON, NDJSON
from shared.errors import (
    BadBody,
    BadCursor,
    BadInput,
    Forbidden,
    LastmetreError,
    NotFound,
    Overloaded,
    TooLarge,
    TooManyRequests,
    TransientError,
    Unauthorised,
    Unavailable,
    UnsupportedMedia,
)
from shared.examples import Example, Examples

PROBLEM_JSON = "application/problem+json"

_REF = "#/components/schemas/{name}"
_COMPONENTS = "x-components"
"""Where the helpers below leave the schemas they refer to, until the document is put together."""

_PROBLEM_SCHEMA = {
    "title": "Problem",
    "description": "RFC 9457. `type` is stable; the list of them is in `docs/problems.md`.",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"location": {"type": "string"}, "rule": {"type": "string"}},
            },
        },
    },
    "additionalProperties": True,
}


def openapi_body(row: type, *, list_: bool = True) -> dict[str, Any]:
    """Declare a raw body, for `openapi_extra=`.

    Args:
        row: msgspec struct of the body, or of one row of it
        list_: whether the route takes a JSON array or NDJSON lines of rows

    """
    schema, components = _schema(row)
    content: dict[str, Any] = {JSON: {"schema": schema}}
    if list_:
        content = {
            JSON: {"schema": {"type": "array", "items": schema}},
            NDJSON: {"schema": schema},
        }
    return {"requestBody": {"required": True, "content": content}, _COMPONENTS: components}


def openapi_reply(
    answer: type, status: int = 200, description: str = "OK", *, media: str = JSON
) -> dict[int | str, dict[str, Any]]:
    """Declare an answer written by `json_reply`, or lines of it, for `responses=`."""
    schema, components = _schema(answer)
    content = {media: {"schema": schema}}
    return {status: {"description": description, "content": content, _COMPONENTS: components}}


def _schema(struct: type) -> tuple[dict[str, Any], dict[str, Any]]:
    (schema,), components = msgspec.json.schema_components([struct], ref_template=_REF)
    return schema, components


def document(
    app: FastAPI, access: Mapping[tuple[str, str], AbstractSet[str]], examples: Examples
) -> dict[str, Any]:
    """Put the document of an application together."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
    )
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    told: set[type[LastmetreError]] = set()
    for method, path, operation in _operations(made):
        example = examples.get((method, path), Example())
        _admit(operation, access[method, path])
        _illustrate(operation, example)
        told |= _refuse(operation, example)
        schemas.update(operation.pop(_COMPONENTS, {}))
        for answer in operation["responses"].values():
            schemas.update(answer.pop(_COMPONENTS, {}))
    _link(made, examples)
    # FastAPI's own shape of a 422, which we never answer with.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = _PROBLEM_SCHEMA
    components["examples"] = {error.slug: _told(error) for error in told}
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    return made


def _operations(made: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in made.get("paths", {}).items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _admit(operation: dict[str, Any], roles: AbstractSet[str]) -> None:
    if "public" not in roles:
        operation["security"] = [{"bearer": []}]
        operation["x-roles"] = sorted(roles)


def _illustrate(operation: dict[str, Any], example: Example) -> None:
    """Write the example in: parameters, body and answer."""
    given = {"path": example.path, "query": example.query}
    for parameter in operation.get("parameters", ()):
        values = given.get(parameter["in"], {})
        if parameter["name"] in values:
            parameter["example"] = values[parameter["name"]]
    body = operation.get("requestBody", {}).get("content", {}).get(JSON)
    if body is not None and example.body is not None:
        body["examples"] = {"example": {"value": example.body}}
    for media, content in _good(operation).get("content", {}).items():
        shown = example.forms.get(media, example.reply if media in {JSON, NDJSON} else None)
        if shown is not None:
            content["example"] = shown


def _good(operation: Mapping[str, Any]) -> dict[str, Any]:
    """Give the answer of a call that went well."""
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            good: dict[str, Any] = answer
            return good
    raise AssertionError("an operation without a good answer")


def _refuse(operation: dict[str, Any], example: Example) -> set[type[LastmetreError]]:
    """Declare every problem the operation may answer with, by status; return them."""
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
    by_status: dict[int, set[type[LastmetreError]]] = defaultdict(set)
    for error in (*_usual(operation), *example.problems):
        by_status[error.status].add(error)
    for status, errors in sorted(by_status.items()):
        declared = answers.setdefault(str(status), {"description": HTTPStatus(status).phrase})
        declared.setdefault("content", {})[PROBLEM_JSON] = _content(errors)
    if example.reasons:
        reasons: set[type[LastmetreError]] = {BadInput, *example.reasons}
        operation["x-row-problems"] = sorted(error.type_uri() for error in reasons)
    return {error for errors in by_status.values() for error in errors} | set(example.reasons)


def _usual(operation: Mapping[str, Any]) -> Iterator[type[LastmetreError]]:
    """Tell which problems follow from what an operation is and takes."""
    yield from (BadInput, LastmetreError, TransientError, Unavailable)
    if "security" in operation:
        yield from (Unauthorised, Forbidden, Overloaded, TooManyRequests)
    parameters = operation.get("parameters", ())
    if any(parameter["in"] == "path" for parameter in parameters):
        yield NotFound
    if any(parameter["name"] == "cursor" for parameter in parameters):
        yield BadCursor
    if "requestBody" in operation:
        yield from (BadBody, TooLarge, UnsupportedMedia)


def _content(errors: Iterable[type[LastmetreError]]) -> dict[str, Any]:
    told = sorted(errors, key=lambda error: error.slug)
    types = {"type": {"enum": [error.type_uri() for error in told]}}
    return {
        "schema": {"allOf": [{"$ref": _REF.format(name="Problem")}, {"properties": types}]},
        "examples": {error.slug: {"$ref": f"#/components/examples/{error.slug}"} for error in told},
    }


def _told(error: type[LastmetreError]) -> dict[str, Any]:
    value = {"type": error.type_uri(), "title": error.title, "status": error.status}
    return {
        "summary": error.title,
        "description": f"{error.cause} {error.cure}",
        "value": value | {"request_id": "0f9c2f6f1d3a4a0e9a52c1a0b7c4d1e8"},
    }


def _link(made: dict[str, Any], examples: Examples) -> None:
    """Tell which routes take what an answer gives: ids come from somewhere."""
    takers: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for _, _, operation in _operations(made):
        for parameter in operation.get("parameters", ()):
            place = f"{parameter['in']}.{parameter['name']}"
            takers[parameter["name"]].append((operation["operationId"], place))
    for method, path, operation in _operations(made):
        links = {
            f"{taker}.{name}": {
                "operationId": taker,
                "parameters": {place: f"$response.body#{pointer}"},
            }
            for name, pointer in examples.get((method, path), Example()).gives.items()
            for taker, place in takers[name]
        }
        if links:
            _good(operation)["links"] = links
