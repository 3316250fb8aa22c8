"""Metrics by name: those that the code has, and those that an expression asks for."""

from collections.abc import Set as AbstractSet

import promql_parser
from prometheus_client import REGISTRY

import services.dispatch.__main__
import services.registry.__main__
import services.reporting.__main__  # noqa: F401 - imported for the metrics they register

_PARTS = ("", "_total", "_bucket", "_count", "_sum")
PROMETHEUS_OWN = {"up", "ALERTS"}


def known() -> AbstractSet[str]:
    """Names of the series that our processes serve."""
    return {f"{metric.name}{part}" for metric in REGISTRY.collect() for part in _PARTS}


def asked_for(expression: str) -> AbstractSet[str]:
    """Names of the series that an expression of PromQL reads.

    Raises:
        ValueError: it is none.

    """
    names: set[str] = set()

    def note(part: object) -> None:
        if isinstance(part, promql_parser.VectorSelector):
            assert part.name, f"{expression}: a metric without a name"
            names.add(part.name)

    promql_parser.walk(promql_parser.parse(expression), note)
    return names
