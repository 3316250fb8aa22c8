"""What a test tried, told in the terminal's summary: a search is worth what it has searched."""

import time
from collections.abc import Callable

import pytest

Tell = Callable[[str], None]
"""Say in one line what was tried and how often."""

Watch = Callable[[], float]
"""The seconds since it was started."""

_TOLD = "told"


def watch() -> Watch:
    """Start a watch, for times that are told and never asserted."""
    began = time.monotonic()
    return lambda: time.monotonic() - began


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Have a line printed at the end; it travels with the report, also from another process."""
    return lambda line: record_property(_TOLD, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests told."""
    lines = [
        (report.nodeid.split("::")[-1], line)
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        if report.when == "call"
        for name, line in report.user_properties
        if name == _TOLD
    ]
    if lines:
        terminalreporter.section("tried")
        for test, line in lines:
            terminalreporter.write_line(f"{test}: {line}")
