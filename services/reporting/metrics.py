"""What Prometheus is told of the campaign itself.

Served by the worker alone: it knows when something was counted, and one process should say it.
Gauges are rendered from the last survey, so that those of a round that is long over disappear.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.reporting.domain.coverage import Line

_BUCKETS = (
    0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0,
    60.0, 300.0, 3600.0,
)  # fmt: skip
_PENDING = float("nan")


class Freshness(Collector):
    """Histogram of seconds from accepted to counted, of every single result.

    One event stands for up to a thousand results, so it is observed with a weight, which the
    client library's own histogram has no word for.
    """

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, results: int) -> None:
        """Note how long so many results took."""
        self._counts[bisect_left(_BUCKETS, seconds)] += results
        self._sum += seconds * results

    def counted(self, accepted: Iterable[tuple[datetime, int]], now: datetime) -> None:
        """Note results that are counted now, by when registry accepted them."""
        for accepted_at, results in accepted:
            if results:
                # Two machines' clocks may differ by more than the way took.
                self.observe(max(0.0, (now - accepted_at).total_seconds()), results)

    def collect(self) -> Iterator[Metric]:
        """Render it."""
        bounds = [*map(str, _BUCKETS), "+Inf"]
        yield HistogramMetricFamily(
            "lastmetre_freshness_seconds",
            "From accepted by registry to counted by reporting, of every result.",
            buckets=list(zip(bounds, accumulate(self._counts), strict=True)),
            sum_value=self._sum,
        )


@dataclass(frozen=True, slots=True)
class Survey:
    """The figures of every round that is still shown: its offices, and whether it balances."""

    offices: Mapping[str, Sequence[Line]] = field(default_factory=dict)
    balanced: Mapping[str, bool | None] = field(default_factory=dict)


class Campaign(Collector):
    """Gauges per round and office, never per resident or community."""

    def __init__(self) -> None:
        self.survey = Survey()

    def collect(self) -> Iterator[Metric]:
        """Render the last survey."""
        labels = ["round", "office"]
        coverage = GaugeMetricFamily(
            "lastmetre_coverage_ratio", "Sampled by those on the roll and not excluded.",
            labels=labels,
        )  # fmt: skip
        unaccounted = GaugeMetricFamily(
            "lastmetre_unaccounted", "Neither tested, nor excluded, nor in anybody's hands.",
            labels=labels,
        )  # fmt: skip
        for round_id, lines in self.survey.offices.items():
            for line in lines:
                place = [round_id, line.code]
                if line.coverage is not None:
                    coverage.add_metric(place, line.coverage)
                unaccounted.add_metric(place, line.unaccounted or 0)
        ledger = GaugeMetricFamily(
            "lastmetre_ledger_balanced",
            "1: fold = recount, proven; 0: they differ or something is parked; NaN: pending.",
            labels=["round"],
        )
        for round_id, balanced in self.survey.balanced.items():
            ledger.add_metric([round_id], _PENDING if balanced is None else float(balanced))
        yield from (coverage, unaccounted, ledger)


FRESHNESS = Freshness()
CAMPAIGN = Campaign()
REGISTRY.register(FRESHNESS)
REGISTRY.register(CAMPAIGN)
