"""Rules and dashboards ask for what there is, and every alert has its runbook."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from deploy.grafana.boards import command, operations
from deploy.grafana.panels import FOLDER, queries, text
from deploy.local.prometheus import CONFIGURATION, targets
from deploy.local.stack import Addresses, Note
from deploy.local.supervisor import PROCESSES
from tests.support import rules
from tests.support.metrics import PROMETHEUS_OWN, asked_for, known
from tests.test_operations import DOCS, TEXT, anchors

RULES = list(rules.rules())
ALERTS = rules.alerts()
BOARDS = [command.BOARD, operations.BOARD]
PROMISED = {"page", "ticket", "office"}


def name(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_every_rule_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    asked = asked_for(rule["expr"])
    assert asked
    assert asked <= known() | rules.recorded() | PROMETHEUS_OWN


@pytest.mark.parametrize("alert", ALERTS, ids=name)
def test_every_alert_says_what_is_to_be_done(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in PROMISED
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}
    page, anchor = alert["annotations"]["runbook"].split("#")
    assert page == "docs/operations.md"
    assert anchor in anchors(TEXT)
    # The page's table leads there too.
    (line,) = (line for line in TEXT.splitlines() if f"`{alert['alert']}`" in line)
    assert f"(#{anchor})" in line


def test_a_rule_is_recorded_once_and_an_alert_has_one_name() -> None:
    names = [name(rule) for rule in RULES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_every_dashboard_is_written_down_as_the_code_makes_it(board: dict[str, Any]) -> None:
    written = (FOLDER / f"{board['uid']}.json").read_text(encoding="utf-8")
    assert written == text(board), "renew it: python -m deploy.grafana"


def test_there_is_no_other_dashboard() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {board["uid"] for board in BOARDS}


@pytest.mark.parametrize(
    ("board", "query"),
    [(path.stem, query) for path in sorted(FOLDER.glob("*.json"))
     for query in sorted(set(queries(json.loads(path.read_text(encoding="utf-8")))))],
)  # fmt: skip
def test_every_query_of_a_dashboard_asks_for_what_there_is(board: str, query: str) -> None:
    asked = asked_for(query.replace("$__rate_interval", "5m").replace("$round", "r1"))
    assert asked, board
    assert asked <= known() | rules.recorded() | PROMETHEUS_OWN


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_panels_lie_beside_each_other(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        place = {
            (at["x"] + across, at["y"] + down)
            for across in range(at["w"])
            for down in range(at["h"])
        }
        assert not place & taken, panel["title"]
        taken |= place
    assert max(x for x, _ in taken) < 24


def test_every_metric_is_on_a_dashboard_or_in_an_alert() -> None:
    """What nobody would see is not worth measuring."""
    seen = set().union(
        *(asked_for(rule["expr"]) for rule in RULES),
        *(
            asked_for(query.replace("$__rate_interval", "5m").replace("$round", "r1"))
            for board in BOARDS
            for query in queries(board)
        ),
    )
    ours = {each.name for each in REGISTRY.collect() if each.name.startswith("lastmetre_")}
    unseen = {
        each
        for each in ours
        if not seen & {each, *(f"{each}_{part}" for part in ("total", "bucket", "count"))}
    }
    assert not unseen


def test_compose_has_every_process_scraped() -> None:
    listed = json.loads((CONFIGURATION / "targets" / "compose.json").read_text())
    compose = yaml.safe_load((DOCS.parent / "deploy" / "compose.yaml").read_text())
    for target in listed:
        (address,) = target["targets"]
        service = address.removesuffix(":8000")
        labels = target["labels"]
        assert compose["services"][service]["command"][:2] == [
            f"services.{labels['service']}", labels["process"],
        ]  # fmt: skip
    assert {(each["labels"]["service"], each["labels"]["process"]) for each in listed} == {
        (service, role) for service, roles in PROCESSES.items() for role in roles
    }


def test_what_compose_mounts_for_them_is_there() -> None:
    compose = yaml.safe_load((DOCS.parent / "deploy" / "compose.yaml").read_text())
    for watcher in ("prometheus", "grafana"):
        service = compose["services"][watcher]
        assert service["profiles"] == ["monitoring"]
        mounts = [each for each in service["volumes"] if each.startswith("./")]
        assert mounts
        for mount in mounts:
            assert (DOCS.parent / "deploy" / Path(mount.split(":")[0])).exists(), mount


def test_a_stack_is_told_by_its_note() -> None:
    note = Note(1, Addresses("", "", ""), "", {"registry relay": "http://127.0.0.1:4711"})
    assert targets(note) == [
        {
            "targets": ["127.0.0.1:4711"],
            "labels": {"service": "registry", "process": "relay"},
        }
    ]
