"""Every benchmark in turn, and one table of what they say: `make bench`.

Each runs as a process of its own and leaves its figures in build/bench. A run that was broken off
goes on after the last benchmark that was done; `--render` makes the table of what there is.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks import report
from benchmarks.report import ROOT, Figure, Run

KEPT = ROOT / "build" / "bench"


@dataclass(frozen=True)
class Benchmark:
    """One that takes part: its module, and how it is asked in full and in short."""

    name: str
    full: str = ""
    quick: str = ""
    broker: bool = False
    """Whether a broker has a part in it: it runs on both then."""


BENCHMARKS = (
    Benchmark("bulk", quick="--residents 60000 --rows 20000 --naive-rows 1000 --turns 1"),
    Benchmark("scans", quick="--residents 50000 --turns 1 --seconds 2"),
    Benchmark(
        "carry",
        full="--rates 1000 5000 16204 --results 1000000",
        quick="--residents 100000 --rates 1000 5000 --seconds 5 --results 60000",
        broker=True,
    ),
    Benchmark(
        "opening",
        full="--residents 20000 200000 2000000",
        quick="--residents 20000 200000",
        broker=True,
    ),
    Benchmark("reads", quick="--residents 20000 100000 --turns 1 --reads 100 --seconds 3"),
    Benchmark("rebuild", quick="--residents 60000 --results 60000"),
    Benchmark("residents", quick="--residents 60000 --step 30000 --rows 10000 --turns 1"),
    Benchmark("page", quick="--turns 2 --seconds 8 --updates 500"),
    Benchmark("imports", quick="--rows 60000 --clean 10000 --bulk 40000"),
)


@dataclass(frozen=True)
class Turn:
    """One run of a benchmark that is to be done."""

    benchmark: Benchmark
    quick: bool
    apache: bool
    number: int

    @property
    def file(self) -> Path:
        """Where its run is kept."""
        parts = [
            "quick" if self.quick else "",
            self.benchmark.name,
            "apache" if self.apache else "",
            str(self.number),
        ]
        return KEPT / f"{'-'.join(filter(None, parts))}.json"

    @property
    def command(self) -> str:
        """How one runs it alone."""
        options = self.benchmark.quick if self.quick else self.benchmark.full
        apache = "--apache" if self.apache else ""
        words = ["python -m", f"benchmarks.{self.benchmark.name}", options, apache]
        return " ".join(filter(None, words))

    def known(self) -> Run | None:
        """Find what it said, if it was asked the same before."""
        try:
            run = msgspec.json.decode(self.file.read_bytes(), type=Run)
        except FileNotFoundError:
            return None
        return run if run.command == self.command else None

    def run(self) -> bool:
        """Let it run, and keep what it says; False when it fails."""
        said = self.file.with_suffix(".figures")
        said.unlink(missing_ok=True)
        began = time.monotonic()
        command = [sys.executable, *self.command.split()[1:], "--json", str(said)]
        done = subprocess.run(command, cwd=ROOT, check=False)  # noqa: S603 - our own words
        if done.returncode or not said.exists():
            return False
        figures = msgspec.json.decode(said.read_bytes(), type=list[Figure])
        run = Run(
            self.command,
            datetime.now(UTC).date().isoformat(),
            time.monotonic() - began,
            report.versions(broker=self.benchmark.broker, apache=self.apache),
            [_on_apache(each) for each in figures] if self.apache else figures,
        )
        self.file.write_bytes(msgspec.json.encode(run))
        said.unlink()
        return True


def _on_apache(figure: Figure) -> Figure:
    return msgspec.structs.replace(figure, what=f"{figure.what}, Apache Kafka")


def turns(options: argparse.Namespace) -> Iterator[Turn]:
    """List what is to be done."""
    brokers = {"both": (False, True), "embedded": (False,), "apache": (True,)}[options.broker]
    for benchmark in BENCHMARKS:
        for apache in brokers if benchmark.broker else (False,):
            for number in range(1, options.repeat + 1):
                yield Turn(benchmark, options.quick, apache, number)


def main() -> int:
    """Run; 0 only if every benchmark did what it should."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small; the document stays as it is")
    parser.add_argument(
        "--only", nargs="+", choices=[each.name for each in BENCHMARKS], default=[],
        help="run these, whether they ran before or not",
    )  # fmt: skip
    parser.add_argument("--broker", choices=["both", "embedded", "apache"], default="both")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each benchmark")
    parser.add_argument("--again", action="store_true", help="forget what was done before")
    parser.add_argument("--render", action="store_true", help="run nothing")
    options = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    planned = list(turns(options))
    failed = [] if options.render else [turn for turn in _due(planned, options) if not turn.run()]
    runs = [run for turn in planned if (run := turn.known())]
    if runs:
        sys.stdout.write(report.rendered(runs))
    if runs and not options.quick:
        report.renew(runs)
    for turn in failed:
        sys.stderr.write(f"bench: failed: {turn.command}\n")
    return 1 if failed else 0


def _due(planned: list[Turn], options: argparse.Namespace) -> Iterator[Turn]:
    """Give out what is to run now, saying so."""
    chosen = [turn for turn in planned if not options.only or turn.benchmark.name in options.only]
    if options.again or options.only or all(turn.known() for turn in chosen):
        for turn in chosen:
            turn.file.unlink(missing_ok=True)
    for turn in chosen:
        if turn.known():
            continue
        sys.stdout.write(f"\n--- {turn.command}\n")
        sys.stdout.flush()
        yield turn


if __name__ == "__main__":
    sys.exit(main())
