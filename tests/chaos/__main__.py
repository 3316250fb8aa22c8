"""`make chaos`: the command."""

import argparse
import sys
from pathlib import Path

from tests.chaos.report import command, render, write
from tests.chaos.run import Options, play

WITHIN = {"embedded": 20.0, "apache": 10.0}
"""Seconds from the last fault to the true ledger that are promised."""


def _options() -> tuple[Options, Path | None]:
    known = Options()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--broker", choices=sorted(WITHIN), default=known.broker)
    parser.add_argument("--brokers", type=int, default=known.brokers, help="of Apache Kafka")
    parser.add_argument("--results", type=int, default=known.results)
    parser.add_argument("--kills", type=int, default=known.kills, help="besides, a tenth of pauses")
    parser.add_argument("--seed", type=int, default=known.seed)
    parser.add_argument("--rounds", type=int, default=known.rounds)
    parser.add_argument("--within", type=float, help="seconds from the last fault to the ledger")
    parser.add_argument("--deadline", type=float, default=known.deadline, help="seconds, of it all")
    parser.add_argument("--report", type=Path, help="Markdown; between its marks if it has them")
    given = vars(parser.parse_args())
    report: Path | None = given.pop("report")
    given["within"] = given["within"] or WITHIN[given["broker"]]
    return Options(**given), report


def main() -> int:
    """Run; 0 only if all holds."""
    options, report = _options()
    outcome = play(options, lambda text: print(text, flush=True))
    print(render(outcome))
    if report:
        write(outcome, report)
    if outcome.good:
        print(f"chaos: all holds; {command(outcome)}")
        return 0
    print(f"chaos: {len(outcome.findings)} findings; the first: {outcome.findings[0]}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
