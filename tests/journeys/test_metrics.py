"""What is promised to dashboards: each metric, on its process, of its type and labels.

Names are interfaces: rename one only with a version. Processes of a stack share what was imported,
so all of them know all names; what counts is who has something to tell.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.journeys.test_stack import play
from tests.support.stack import START, Up, running
from tests.support.waiting import eventually

APIS = ("registry api", "dispatch api", "reporting api")
WORKERS = ("registry worker", "dispatch worker", "reporting worker")
RELAYS = ("registry relay", "dispatch relay")
EVERY = (*APIS, *WORKERS, *RELAYS)
REGISTRY = ("registry api", "registry worker", "registry relay")
REPORTING = ("reporting worker",)
DISPATCH = ("dispatch worker",)
CLASSES = ("sampled", "excluded", "in_hand", "unaccounted")


@dataclass(frozen=True)
class Promise:
    """A metric as others rely on it; no labels: it has none."""

    name: str
    type: str
    labels: str
    processes: tuple[str, ...]


PROMISES = [
    Promise("lastmetre_results_accepted_total", "counter", "channel status", ("registry api",)),
    Promise("lastmetre_http_request_duration_seconds", "histogram", "service method route status",
            APIS),
    Promise("lastmetre_http_in_work", "gauge", "service lane", APIS),
    Promise("lastmetre_http_waiting", "gauge", "service lane", APIS),
    Promise("lastmetre_database_pool_size", "gauge", "", EVERY),
    Promise("lastmetre_database_pool_in_use", "gauge", "", EVERY),
    Promise("lastmetre_database_pool_waiting", "gauge", "", EVERY),
    Promise("lastmetre_database_pool_refused_total", "counter", "", EVERY),
    Promise("lastmetre_audit_records", "gauge", "service", APIS),
    Promise("lastmetre_outbox_unpublished", "gauge", "service topic", RELAYS),
    Promise("lastmetre_outbox_oldest_unpublished_seconds", "gauge", "service topic", RELAYS),
    Promise("lastmetre_outbox_publish_seconds", "histogram", "service topic", RELAYS),
    Promise("lastmetre_outbox_published_total", "counter", "topic", RELAYS),
    Promise("lastmetre_outbox_bytes", "gauge", "service topic", RELAYS),
    Promise("lastmetre_relay_leader", "gauge", "", RELAYS),
    Promise("lastmetre_consumer_applied_total", "counter", "service topic source", WORKERS),
    Promise("lastmetre_consumer_lag_positions", "gauge", "service topic partition", WORKERS),
    Promise("lastmetre_oldest_unapplied_seconds", "gauge", "service topic", WORKERS),
    Promise("lastmetre_parked_events", "gauge", "service topic", WORKERS),
    Promise("lastmetre_oldest_parked_seconds", "gauge", "service topic", WORKERS),
    Promise("lastmetre_consumer_stopped_partitions", "gauge", "service topic", WORKERS),
    Promise("lastmetre_registry_key", "gauge", "key", REGISTRY),
    Promise("lastmetre_registry_keys_file_refused", "gauge", "", REGISTRY),
    Promise("lastmetre_coverage_ratio", "gauge", "round office", REPORTING),
    Promise("lastmetre_unaccounted", "gauge", "round office", REPORTING),
    Promise("lastmetre_roll", "gauge", "round office", REPORTING),
    Promise("lastmetre_excluded", "gauge", "round office", REPORTING),
    Promise("lastmetre_sampled", "gauge", "round office", REPORTING),
    Promise("lastmetre_resulted", "gauge", "round office", REPORTING),
    Promise("lastmetre_in_hand", "gauge", "round office kind", REPORTING),
    Promise("lastmetre_visits_open", "gauge", "round office", REPORTING),
    Promise("lastmetre_visits_done", "gauge", "round office", REPORTING),
    Promise("lastmetre_results_late", "gauge", "round office", REPORTING),
    Promise("lastmetre_round_open", "gauge", "round", REPORTING),
    Promise("lastmetre_round_info", "gauge", "round campaign number name", REPORTING),
    Promise("lastmetre_office_info", "gauge", "office name", REPORTING),
    Promise("lastmetre_ledger_balanced", "gauge", "round", REPORTING),
    Promise("lastmetre_freshness_seconds", "histogram", "", REPORTING),
    Promise("lastmetre_visits_waiting", "gauge", "round office", DISPATCH),
    Promise("lastmetre_oldest_waiting_seconds", "gauge", "round office", DISPATCH),
]  # fmt: skip


async def told_by(up: Up) -> dict[str, dict[str, Metric]]:
    """What each process tells, by name."""
    told = {}
    async with httpx.AsyncClient(timeout=30) as client:
        for process, address in up.note["operations"].items():
            text = (await client.get(f"{address}/metrics")).text
            told[process] = {
                f"{each.name}_total" if each.type == "counter" else each.name: each
                for each in text_string_to_metric_families(text)
            }
    return told


def broken(told: dict[str, dict[str, Metric]]) -> Iterator[str]:
    """Promises that are not kept."""
    for promise in PROMISES:
        for process in promise.processes:
            metric = told[process].get(promise.name)
            if metric is None or not metric.samples:
                yield f"{process} tells no {promise.name}"
            elif metric.type != promise.type:
                yield f"{process} tells {promise.name} as a {metric.type}"
            else:
                labels = set().union(*(each.labels for each in metric.samples)) - {"le"}
                if labels != set(promise.labels.split()):
                    yield f"{process} tells {promise.name} by {sorted(labels)}"


async def test_every_process_tells_what_is_promised(tmp_path: Path) -> None:
    async with running(tmp_path / "state", tmp_path / "data") as up:
        assert set(up.note["operations"]) == set(EVERY)
        assert "balanced: true" in await play(up)

        async def looked_for() -> bool:
            """Some is looked at only now and then."""
            figures = (await told_by(up))["reporting worker"]
            ledger = [each.value for each in figures["lastmetre_ledger_balanced"].samples]
            return bool(figures["lastmetre_results_late"].samples) and ledger == [1]

        await eventually(looked_for, START)
        told = await told_by(up)

    assert list(broken(told)) == []
    (figures,) = (told[process] for process in REPORTING)
    account: Counter[tuple[str, str]] = Counter()
    for name, sign in (("roll", 1), *((name, -1) for name in CLASSES)):
        for each in figures[f"lastmetre_{name}"].samples:
            account[each.labels["round"], each.labels["office"]] += sign * int(each.value)
    assert account
    assert not any(account.values())  # roll = sampled + excluded + in hand + unaccounted
    # Nobody can be found in a metric: no label is an area below an office.
    codes = {
        label
        for metrics in told.values()
        for metric in metrics.values()
        for each in metric.samples
        for label in each.labels.values()
        if label.isdigit() and len(label) > len("410171001")
    }
    assert not codes
