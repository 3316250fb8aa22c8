"""A short run of `make chaos` on Apache Kafka."""

from tests.chaos.report import render
from tests.chaos.run import Options, play
from tests.chaos.test_chaos import UNHURRIED


def test_a_short_run_on_apache_kafka_loses_nothing_and_counts_nothing_twice() -> None:
    options = Options(
        broker="apache", results=6_000, kills=9, rounds=2, seed=5, within=UNHURRIED, deadline=540
    )
    outcome = play(options, print)
    assert outcome.good, render(outcome)
    assert sum(outcome.statuses.values()) == options.results
