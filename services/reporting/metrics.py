"""What Prometheus is told of the campaign itself.

Served by the worker alone: it knows when something was counted, and one process should say it.
Gauges are rendered from the last survey, so that those of a round that is long over disappear.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import get_args

from prometheus_client import REGISTRY, Counter
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.reporting.domain.coverage import Line
from services.reporting.domain.rounds import Round
from shared.contracts.vocabulary import HandKind

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


_FIGURES = (
    ("roll", "Everybody who should be tested."),
    ("excluded", "Not to be tested, for a stated reason."),
    ("sampled", "Of whom a swab was taken in the round."),
    ("resulted", "Sampled, and their result was released."),
    ("unaccounted", "Neither tested, nor excluded, nor in anybody's hands."),
    ("visits_open", "Visits planned, assigned or started."),
    ("visits_done", "Visits finished, whatever came of them."),
)
"""Figures of an office, by their names in a line. What people were tested as, or why they are
excluded, is not told: whoever reaches the port may read this, and small numbers tell of persons."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The figures of every round that is still shown: its offices, and whether it balances."""

    rounds: Sequence[Round] = ()
    offices: Mapping[str, Sequence[Line]] = field(default_factory=dict)
    balanced: Mapping[str, bool | None] = field(default_factory=dict)


Overdue = Mapping[str, Mapping[str, int]]
"""By round and office: how many results are late."""


class Campaign(Collector):
    """Gauges per round and office, never per resident or community."""

    def __init__(self) -> None:
        self.survey = Survey()
        self.overdue: Overdue = {}

    def collect(self) -> Iterator[Metric]:
        """Render the last survey."""
        yield from self._rounds()
        for name, tells in _FIGURES:
            yield _by_office(f"lastmetre_{name}", tells, self._figures(name))
        yield _by_office(
            "lastmetre_coverage_ratio",
            "Sampled by those on the roll and not excluded.",
            self._figures("coverage"),
        )
        yield self._hands()
        yield _by_office(
            "lastmetre_results_late",
            "Sampled longer ago than a result may take, and not resulted: at least so many.",
            (
                ((round_id, office), late)
                for round_id, offices in self.overdue.items()
                for office, late in offices.items()
            ),
        )

    def _lines(self) -> Iterator[tuple[str, Line]]:
        for round_id, lines in self.survey.offices.items():
            for line in lines:
                yield round_id, line

    def _figures(self, name: str) -> Iterator[tuple[tuple[str, str], float]]:
        for round_id, line in self._lines():
            figure = getattr(line, name)
            if figure is not None:
                yield (round_id, line.code), figure

    def _hands(self) -> Metric:
        hands = GaugeMetricFamily(
            "lastmetre_in_hand", "In somebody's hands, by kind.", labels=["round", "office", "kind"]
        )
        for round_id, line in self._lines():
            for kind in get_args(HandKind):
                hands.add_metric(
                    [round_id, line.code, kind], (line.in_hand_by_kind or {}).get(kind, 0)
                )
        return hands

    def _rounds(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "lastmetre_round_info", "What a round is called; always 1.",
            labels=["round", "campaign", "number", "name"],
        )  # fmt: skip
        opened = GaugeMetricFamily(
            "lastmetre_round_open", "1 while a round is open, 0 when it is closed or sealed.",
            labels=["round"],
        )  # fmt: skip
        closes = GaugeMetricFamily(
            "lastmetre_round_closes_timestamp_seconds",
            "When a round closes, of those that go by the clock on the wall.",
            labels=["round"],
        )
        for each in self.survey.rounds:
            info.add_metric([each.id, each.campaign, str(each.number), each.name], 1)
            opened.add_metric([each.id], each.state == "open")
            if each.clock_at is None:
                closes.add_metric([each.id], each.closes_at.timestamp())
        offices = GaugeMetricFamily(
            "lastmetre_office_info", "What an office is called; always 1.",
            labels=["office", "name"],
        )  # fmt: skip
        for code, name in {line.code: line.name for _, line in self._lines()}.items():
            offices.add_metric([code, name], 1)
        ledger = GaugeMetricFamily(
            "lastmetre_ledger_balanced",
            "1: fold = recount, proven; 0: they differ or something is parked; NaN: pending.",
            labels=["round"],
        )
        for round_id, balanced in self.survey.balanced.items():
            ledger.add_metric([round_id], _PENDING if balanced is None else float(balanced))
        yield from (info, opened, closes, offices, ledger)


def _by_office(
    name: str, tells: str, figures: Iterable[tuple[tuple[str, str], float]]
) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, tells, labels=["round", "office"])
    for place, figure in figures:
        gauge.add_metric(place, figure)
    return gauge


class Owed(Collector):
    """Deliveries of webhooks that were not delivered, by state."""

    def __init__(self) -> None:
        self._states: Mapping[str, int] = {}

    def set(self, states: Mapping[str, int]) -> None:
        """Note how many there are."""
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """Render them."""
        family = GaugeMetricFamily(
            "lastmetre_webhook_deliveries",
            "Deliveries of webhooks that are still tried, or were given up.",
            labels=["state"],
        )
        for state in ("pending", "dead"):
            family.add_metric([state], self._states.get(state, 0))
        yield family


WEBHOOK_ATTEMPTS = Counter(
    "lastmetre_webhook_attempts_total", "Calls of webhooks, by what came of them.", ["outcome"]
)
"""`outcome`: delivered, failed (tried again), dead (given up)."""

FRESHNESS = Freshness()
CAMPAIGN = Campaign()
OWED = Owed()
REGISTRY.register(FRESHNESS)
REGISTRY.register(CAMPAIGN)
REGISTRY.register(OWED)
