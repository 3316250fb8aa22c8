"""A rejection never echoes the value (R20): canaries sent in every place are heard nowhere.

Places are found in the OpenAPI documents, so that a new field is looked at as soon as it is there.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from structlog.testing import capture_logs

from shared.auth import ROLES
from shared.bodies import JSON, NDJSON
from tests.contracts.openapi import documents
from tests.contracts.playing import EXAMPLES, content
from tests.support.town import DISTRICT, Town

CANARY = "Kanarienvogel"
CANARIES = (CANARY, f"{CANARY}\n\u0000\u202e", f"410171{CANARY}", CANARY * 60)
"""A word; one that breaks lines; one that begins like a code; a long one."""
DOCUMENTS = {service: json.loads(text) for service, text in documents().items()}
REFUSED = 400


class Cage:
    """Sends requests that hold the canary, and listens for it."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self._client = client
        self._headers = headers
        self.refused = 0

    async def send(self, method: str, path: str, place: str, **request: Any) -> None:
        """Send one; what is refused, and everything that is logged, must not hold the canary."""
        request["headers"] = self._headers | request.get("headers", {})
        with capture_logs() as logs:
            answer = await self._client.request(method, path, **request)
        where = f"{method} {path.replace(CANARY, '…')} {place}"
        assert answer.status_code < 500, (where, answer.text)
        assert CANARY not in str(logs), where
        if answer.status_code >= REFUSED or is_rejection(answer):
            self.refused += 1
            assert CANARY not in answer.text, where
            assert CANARY not in str(answer.headers), where


def is_rejection(answer: httpx.Response) -> bool:
    """Tell whether a batch was taken with its row rejected."""
    told = content(answer) if answer.headers.get("content-type") == JSON else None
    return isinstance(told, dict) and bool(told.get("rejected"))


@pytest.mark.parametrize("service", EXAMPLES)
async def test_no_rejection_and_no_log_line_holds_what_was_sent(service: str, town: Town) -> None:
    cage = Cage(getattr(town, service), town.headers(*ROLES, areas=[DISTRICT]))
    places = 0
    for path, methods in DOCUMENTS[service]["paths"].items():
        for method, operation in methods.items():
            for canary in CANARIES:
                for place, request in requests(service, method.upper(), path, operation, canary):
                    places += 1
                    await cage.send(method.upper(), request.pop("path"), place, **request)
    assert cage.refused > places / 2


def requests(
    service: str, method: str, path: str, operation: dict[str, Any], canary: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Vary the example of a route: one canary at a time, in every place."""
    example = EXAMPLES[service][method, path]
    given: dict[str, Any] = {"path": path.format(**example.path), "params": dict(example.query)}
    body = operation.get("requestBody")
    if body is not None:
        given["json"] = example.body
    flat = canary.replace("\n", "").replace("\0", "").encode("ascii", "ignore").decode()
    for name in ("if-none-match", "authorization", "accept", "content-encoding"):
        yield name, given | {"headers": {name: flat}}
    # An id of a request is meant to come back; what does not look like one is not.
    yield "x-request-id", given | {"headers": {"x-request-id": f"{flat} {flat}"}}
    for name in example.path:
        odd = path.format(**{**example.path, name: quote(canary, safe="")})
        yield f"path.{name}", given | {"path": odd}
    yield "path", given | {"path": f"{given['path']}/{flat}"}
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            name = parameter["name"]
            yield f"query.{name}", given | {"params": given["params"] | {name: canary}}
    yield "query", given | {"params": given["params"] | {flat: canary}}
    if body is not None:
        del given["json"]
        schema = body["content"][JSON]["schema"]
        for place, odd in bodies(service, example.body, schema, canary):
            yield f"body{place}", given | {"json": odd}
            if NDJSON in body["content"] and isinstance(odd, list):
                lines = "\n".join(json.dumps(row) for row in odd)
                yield (
                    f"lines{place}",
                    given | {"content": lines, "headers": {"content-type": NDJSON}},
                )
        yield "body cut short", given | {"content": f'{{"{flat}": "{flat}'}
        yield "type", given | {"content": "{}", "headers": {"content-type": f"text/{flat[:20]}"}}


def bodies(
    service: str, value: Any, schema: dict[str, Any], canary: str
) -> Iterator[tuple[str, Any]]:
    """Put the canary in place of every member the schema knows, and add one it does not know."""
    schema = resolved(service, schema)
    yield "", canary
    if schema.get("type") == "array":
        rows = value or [None]
        # Of a list in which every place is something else, the first.
        item = schema.get("prefixItems", [schema["items"]])[0]
        for place, odd in bodies(service, rows[0], item, canary):
            yield f"[0]{place}", [odd, *rows[1:]]
    elif "properties" in schema:
        value = value if isinstance(value, dict) else {}
        yield ".*", value | {canary: canary}
        for name, member in schema["properties"].items():
            for place, odd in bodies(service, value.get(name), member, canary):
                yield f".{name}{place}", value | {name: odd}


def resolved(service: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Follow references, and of alternatives take the one that has members."""
    while True:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = DOCUMENTS[service]["components"]["schemas"][name]
        elif "anyOf" in schema:
            schema = next(each for each in schema["anyOf"] if each.get("type") != "null")
        else:
            return schema
