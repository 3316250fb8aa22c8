"""Prometheus' rules, as they are written down."""

from collections.abc import Iterator
from typing import Any

import yaml

from deploy.local.prometheus import CONFIGURATION

FILES = sorted((CONFIGURATION / "rules").glob("*.yml"))


def rules() -> Iterator[dict[str, Any]]:
    """Every rule of every file."""
    for file in FILES:
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


def alerts() -> list[dict[str, Any]]:
    """Those that call somebody."""
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> set[str]:
    """Names of the series that rules record."""
    return {rule["record"] for rule in rules() if "record" in rule}
