"""Schemathesis over the three APIs: all its checks in all its phases, and nothing is found.

The services stand on real databases that hold what the examples left there: there is something of
everything. `--hypothesis-profile=long` looks a hundred times as hard.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.engine import events, from_schema
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import negative_data_rejection

from shared.auth import ROLES
from shared.bodies import NDJSON
from tests.contracts.openapi import documents
from tests.contracts.playing import EXAMPLES, Player, calls
from tests.support.town import DISTRICT, JSON, Ground

EXAMPLES_EACH, EXAMPLES_LONG = 5, 500

BEYOND_SCHEMAS = ["2xx", "3xx", "401", "403", "404", "409", "422"]
"""What requests that fit the schema may be answered with, where a schema cannot say it all.

So it is for bodies and cursors: a check digit, the order of two times, one of two members, text
without U+0000, a cursor that this list made. All other requests must be taken if they fit.
"""


@schemathesis.check
def bad_rows_are_rejected(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """Rows are answered for themselves (R21): a bad one is rejected inside a good answer.

    For batches this check stands in for `negative_data_rejection`.
    """
    if takes_rows(case.operation.definition.raw):
        try:
            negative_data_rejection(ctx, response, case)
        except AcceptedNegativeData:
            if not response.json()["rejected"]:
                raise


@pytest.fixture
def played(ground: Ground) -> Iterator[Ground]:
    """A town after its day."""

    async def day() -> None:
        async with ground.town() as town:
            player = Player(town)
            for call, example in calls():
                await player.play(call, example)

    asyncio.run(day())
    yield ground
    shutdown_lifespans()


@pytest.mark.parametrize("service", EXAMPLES)
def test_nothing_is_found(service: str, played: Ground) -> None:
    apps, _ = played.apps()
    token = played.issuer.token(*ROLES, areas=[DISTRICT])
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json",
        apps[service],
        config=schemathesis.Config.from_dict(configuration(service, token)),
    )
    tried, found = 0, {}
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError):
            found[event.label] = str(event.value)
        elif isinstance(event, events.ScenarioFinished):
            tried += len(event.recorder.interactions)
            found |= dict(failures(event))
    assert not found, "\n\n".join(found.values())
    assert tried > len(EXAMPLES[service])


def failures(event: events.ScenarioFinished) -> Iterator[tuple[str, str]]:
    """Tell every failed check once, with the request that shows it."""
    for checks in event.recorder.checks.values():
        for check in checks:
            if check.failure_info is not None:
                failure = check.failure_info.failure
                told = f"{failure.operation}: {failure}\n{check.failure_info.code_sample}"
                yield f"{check.name} {failure.operation} {failure.title}", told


def configuration(service: str, token: str) -> JSON:
    """Switch everything on, and off again what cannot hold here by design."""
    return {
        "headers": {"Authorization": f"Bearer {token}"},
        "continue-on-failure": True,
        "generation": {
            "max-examples": EXAMPLES_LONG if long() else EXAMPLES_EACH,
            "deterministic": not long(),
            "database": "none",
        },
        "operations": [{"include-name": name, **own} for name, own in bent(service).items()],
    }


def long() -> bool:
    """Tell whether the long search was asked for."""
    return settings.get_current_profile_name() == "long"


def takes_rows(operation: JSON) -> bool:
    """Tell whether an operation takes rows, each for itself."""
    return NDJSON in operation.get("requestBody", {}).get("content", {})


def bent(service: str) -> dict[str, JSON]:
    """Give what each operation has of its own: whether it is tried, and checks."""
    made: dict[str, JSON] = {}
    document = json.loads(documents()[service])
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            checks: JSON = {}
            # Whoever asks for a stream without a limit waits for its end.
            ends = "text/event-stream" not in str(operation["responses"])
            made[f"{method.upper()} {path}"] = {"checks": checks, "enabled": ends}
            taken = {parameter["name"] for parameter in operation.get("parameters", [])}
            if "requestBody" in operation or "cursor" in taken:
                checks["positive_data_acceptance"] = {"expected-statuses": BEYOND_SCHEMAS}
            if takes_rows(operation):
                checks["negative_data_rejection"] = {"enabled": False}
    return made
