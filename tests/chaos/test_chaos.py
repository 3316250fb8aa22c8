"""A short run of `make chaos`, on the embedded broker."""

import pytest

from tests.chaos.faults import DECK, deal
from tests.chaos.report import render
from tests.chaos.run import Options, play

UNHURRIED = 170.0
"""Seconds to the true ledger, where others use the machine as well. `make chaos` is strict."""


def test_a_short_run_on_the_embedded_broker_loses_nothing_and_counts_nothing_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = Options(results=6_000, kills=9, rounds=2, seed=4, within=UNHURRIED, deadline=540)
    outcome = play(options, print)
    assert outcome.good, render(outcome) + capsys.readouterr().out
    assert sum(outcome.statuses.values()) == options.results


def test_everybody_is_struck_about_as_often_and_the_last_fault_is_no_client_s() -> None:
    faults = deal(1, kills=100, results=1_000)
    killed = [fault.victim for fault in faults if not fault.pause]
    assert len(killed) == 100
    assert {killed.count(victim) for victim in DECK} <= {7, 8, 9}
    assert sum(1 for fault in faults if fault.pause) == 10
    assert [fault.due for fault in faults] == sorted(fault.due for fault in faults)
    assert faults[-1].due == 1_000
    assert faults == deal(1, kills=100, results=1_000)
