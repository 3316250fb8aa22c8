"""Every alert fires when it should and not before; rules and settings are what Prometheus reads."""

import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.prometheus import CONFIGURATION
from tests.metrics.conftest import Promtool
from tests.support import rules

SCENES: list[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("alerts.yml").read_text(encoding="utf-8")
)
ALERTS = {alert["alert"]: alert for alert in rules.alerts()}
_NUMBERS = count(1)
_NANS = re.compile(r"NaNx(\d+)")


def _spelt_out(run: re.Match[str]) -> str:
    """Promtool knows how to repeat numbers, but not what is none."""
    return " ".join(["NaN"] * (int(run[1]) + 1))


def played(scene: dict[str, Any]) -> dict[str, Any]:
    """Turn a scene into a test as promtool reads it."""
    alert = ALERTS[scene["alert"]]
    fired = {
        "exp_labels": alert["labels"] | scene["labels"],
        "exp_annotations": alert["annotations"]
        | {name: scene[name] for name in ("summary", "description") if name in scene},
    }
    moments: list[tuple[str, list[object]]] = [(at, []) for at in scene["silent"]] + [
        (scene["fires"], [fired])
    ]
    return {
        "name": scene["story"],
        "interval": "15s",
        "input_series": [
            {"series": series, "values": _NANS.sub(_spelt_out, values)}
            for series, values in scene["series"].items()
        ],
        "alert_rule_test": [
            {"eval_time": at, "alertname": scene["alert"], "exp_alerts": expected}
            for at, expected in moments
        ],
    }


def test_every_alert_has_its_scene() -> None:
    assert ALERTS.keys() == {scene["alert"] for scene in SCENES}
    assert all(scene["silent"] for scene in SCENES)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene['alert']}-{next(_NUMBERS)}")
def test_it_fires_when_it_should_and_not_before(
    scene: dict[str, Any], promtool: Promtool, tmp_path: Path
) -> None:
    suite = {
        "rule_files": [str(path) for path in rules.FILES],
        "evaluation_interval": "15s",
        "tests": [played(scene)],
    }
    file = tmp_path / "suite.yml"
    file.write_text(yaml.safe_dump(suite, allow_unicode=True), encoding="utf-8")
    promtool("test", "rules", file)


def test_the_rules_are_good(promtool: Promtool) -> None:
    told = promtool("check", "rules", "--lint-fatal", *rules.FILES)
    assert told.count("SUCCESS") == len(rules.FILES)


def test_the_settings_are_good(promtool: Promtool) -> None:
    promtool("check", "config", "--lint-fatal", CONFIGURATION / "prometheus.yml")


def test_the_settings_for_kubernetes_are_good(promtool: Promtool, tmp_path: Path) -> None:
    """But for who asks Kubernetes: Debian's Prometheus is built without it."""
    settings = yaml.safe_load((CONFIGURATION / "kubernetes.yml").read_text(encoding="utf-8"))
    (job,) = settings["scrape_configs"]
    assert job.pop("kubernetes_sd_configs")
    settings["rule_files"] = [str(path) for path in rules.FILES]
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    promtool("check", "config", "--lint-fatal", file)
