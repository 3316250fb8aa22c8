"""One trace leads from an accepted result to the counter; without the variables there is none."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from shared import tracing
from tests.support.collector import Collector, collecting
from tests.support.live import live
from tests.support.stack import running
from tests.support.town import CHAOHE, LUYUAN, Town
from tests.support.waiting import eventually

BATCH, SINGLE = "POST /v1/results:batch", "POST /v1/results"
APPLY = "apply lastmetre.registry.roll_changed.v1"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Somebody to send to, and the variables that say so."""
    with collecting() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def traced(collector: Collector) -> Iterator[Collector]:
    """Traces of this process."""
    tracing.begin("town", "test")
    try:
        yield collector
    finally:
        tracing.end()


async def test_a_result_is_followed_through_outbox_and_pull_into_the_counters(
    town: Town, traced: Collector
) -> None:
    """A need makes dispatch plan a visit and registry hear of it: that is of the same trace."""
    (person,) = await town.people({"needs": [{"code": "mobility"}]})
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.results(town.result(round_id, person))
    await town.expect(round_id, sampled=1)
    await asyncio.to_thread(tracing.end)
    (sent,) = traced.named(BATCH)
    trace = traced.trace(sent.trace)
    assert sent.parent == ""
    assert sent.attributes["http.response.status_code"] == "200"
    applied = {span.attributes["messaging.consumer.group.name"] for span in trace[1:]}
    assert applied >= {"dispatch", "reporting"}
    (counted,) = (
        span
        for span in trace
        if span.name == APPLY and span.attributes["messaging.consumer.group.name"] == "reporting"
    )
    assert counted.parent == sent.id
    assert sent.start < counted.start < counted.end
    # What dispatch announced because of it came back to registry, still in this trace.
    assert "lastmetre.dispatch.visits_changed.v1" in {
        span.attributes.get("lastmetre.type") for span in trace
    }


async def test_scans_that_are_written_together_are_linked(town: Town, traced: Collector) -> None:
    people = await town.people({}, {}, {})
    round_id = await town.round()
    await town.tick(round_id, 2)
    site = town.headers("site")
    rows = [town.result(round_id, person) for person in people]
    await asyncio.gather(*(town.sent(town.registry, "/v1/results", row, site) for row in rows))
    await town.settle()
    await asyncio.to_thread(tracing.end)
    requests = {span.trace for span in traced.named(SINGLE)}
    assert len(requests) == 3
    works = traced.named("gathered")
    assert {trace for work in works for trace in (work.trace, *work.links)} == requests
    counted = {span.trace for span in traced.named(APPLY)}
    assert {work.trace for work in works} <= counted


async def test_a_trace_that_somebody_began_goes_on_and_holds_nobody(
    town: Town, traced: Collector
) -> None:
    """Ids of people, their names and messages of errors are in no span."""
    begun = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {
        **town.headers("district"), "traceparent": f"00-{begun}-00f067aa0ba902b7-01",
    }  # fmt: skip
    resident = uuid4()
    row = {
        "id": str(resident), "name": "王某英",
        "address": {"community_code": LUYUAN, "building": "1", "unit": "1", "door": "1"},
    }  # fmt: skip
    await town.sent(town.registry, "/v1/residents:batch", [row], headers)
    shown = await town.registry.get(f"/v1/residents/{resident}", headers=headers)
    missing = await town.registry.get(f"/v1/residents/{uuid4()}", headers=headers)
    assert (shown.status_code, missing.status_code) == (200, 404)
    bad = {**headers, "traceparent": "00-wang-x-01"}
    assert (await town.registry.get("/v1/rounds", headers=bad)).status_code == 200
    await asyncio.to_thread(tracing.end)
    trace = traced.trace(begun)
    assert [span.attributes.get("http.response.status_code") for span in trace][:3] == [
        "200", "200", "404",
    ]  # fmt: skip
    assert {span.parent for span in trace if span.name.startswith(("GET", "POST"))} == {
        "00f067aa0ba902b7"
    }
    said = "".join(span.said for span in traced.spans)
    assert str(resident) not in said
    assert "王某英" not in said
    assert "Traceback" not in said


async def test_a_real_stack_tells_one_trace_by_way_of_kafka(
    collector: Collector, tmp_path: Path
) -> None:
    async with running(tmp_path / "state", tmp_path / "data") as up, live(up) as town:
        people = await town.people({}, {})
        round_id = await town.round(offices=[CHAOHE])
        await town.tick(round_id, 2)
        for number, person in enumerate(people, 1):
            await town.results(town.result(round_id, person))
            await town.expect(round_id, sampled=number)
        await eventually(lambda: len(collector.named(BATCH)) == len(people))
        sent = max(collector.named(BATCH), key=lambda span: span.start)

        def whole() -> bool:
            return {(span.service, span.name) for span in collector.trace(sent.trace)} >= {
                ("lastmetre-registry api", BATCH),
                ("lastmetre-registry relay", "publish registry.roll.v1"),
                ("lastmetre-reporting worker", APPLY),
                ("lastmetre-dispatch worker", APPLY),
            }

        await eventually(whole)
    # Shown in docs/tracing.md.
    print(collector.told(sent.trace))  # noqa: T201


def test_off_nothing_of_it_is_imported() -> None:
    """Every process of every service, as it starts without the variables."""
    # FastAPI imports OpenTelemetry's interface, behind which there is nothing without the SDK.
    asked = (
        "import sys, services.registry.__main__, services.dispatch.__main__,"
        " services.reporting.__main__\n"
        "from shared import tracing\n"
        "tracing.begin('registry', 'api')\n"
        "assert not tracing.on() and tracing.current() is None\n"
        "ours = ('shared.spans', 'opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "assert not [name for name in sys.modules if name.startswith(ours)]"
    )
    subprocess.run([sys.executable, "-c", asked], check=True)


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_SERVICE_NAME": "registry"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], *, on: bool) -> None:
    assert tracing.wanted(environment) is on
