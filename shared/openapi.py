"""What FastAPI cannot know of our routes, told to its OpenAPI document.

Bulk routes read raw bodies, so they declare rows and answers as msgspec structs; every operation
gets its roles and the problem documents it may answer with.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from shared.bodies import JSON, NDJSON

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
_PROBLEM = {
    "description": "A problem",
    "content": {PROBLEM_JSON: {"schema": {"$ref": _REF.format(name="Problem")}}},
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
    answer: type, status: int = 200, description: str = "OK"
) -> dict[int | str, dict[str, Any]]:
    """Declare an answer written by `json_reply`, for `responses=`."""
    schema, components = _schema(answer)
    content = {JSON: {"schema": schema}}
    return {status: {"description": description, "content": content, _COMPONENTS: components}}


def _schema(struct: type) -> tuple[dict[str, Any], dict[str, Any]]:
    (schema,), components = msgspec.json.schema_components([struct], ref_template=_REF)
    return schema, components


def document(app: FastAPI, access: Mapping[tuple[str, str], AbstractSet[str]]) -> dict[str, Any]:
    """Put the document of an application together."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for method, path, operation in _operations(made):
        _complete(operation, access[method, path])
        schemas.update(operation.pop(_COMPONENTS, {}))
        for answer in operation["responses"].values():
            schemas.update(answer.pop(_COMPONENTS, {}))
    # FastAPI's own shape of a 422, which we never answer with.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = _PROBLEM_SCHEMA
    made["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    return made


def _operations(made: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in made.get("paths", {}).items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _complete(operation: dict[str, Any], roles: AbstractSet[str]) -> None:
    answers = operation.setdefault("responses", {})
    answers.pop("422", None)
    answers.setdefault("default", _PROBLEM)
    if "public" not in roles:
        operation["security"] = [{"bearer": []}]
        operation["x-roles"] = sorted(roles)
