"""The report of a run, as Markdown."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tests.chaos.faults import Struck
from tests.chaos.run import SITES, Outcome


def write(outcome: Outcome, path: Path) -> None:
    """Put the report between the marks of its broker, if the file has them; else make the file."""
    begin, end = (f"<!-- {mark}chaos {outcome.options.broker} -->\n" for mark in ("", "/"))
    text = path.read_text("utf-8") if path.exists() else ""
    if begin in text and end in text:
        before, rest = text.split(begin, 1)
        path.write_text(f"{before}{begin}{render(outcome)}{end}{rest.split(end, 1)[1]}", "utf-8")
    else:
        path.write_text(f"{begin}{render(outcome)}{end}", "utf-8")


def render(outcome: Outcome) -> str:
    """Say what was done, what came of it, and how long each kind of fault took to be made good."""
    options = outcome.options
    machine = ", ".join(
        text if name in {"machine", "broker"} else f"{name} {text}"
        for name, text in outcome.versions.items()
    )
    rows, again = sum(outcome.statuses.values()), outcome.statuses.get("duplicate", 0)
    clients = options.rounds * (SITES + 1)
    kinds: dict[str, list[Struck]] = {}
    for struck in sorted(outcome.struck, key=lambda struck: struck.kind):
        kinds.setdefault(struck.kind, []).append(struck)
    held = (
        "every answered result was there once, and nothing else; the figures of every community\n"
        "  were those of the plan"
        if outcome.good
        else f"**does not hold:** {'; '.join(outcome.findings)}"
    )
    table = "\n".join(_line(kind, faults, outcome.struck) for kind, faults in kinds.items())
    calm = max(outcome.undisturbed, default=0.0)
    return f"""\
`{command(outcome)}`,
{datetime.now(UTC):%Y-%m-%d}; {machine}.

- {rows:,} rows of {options.residents:,} residents answered in {options.rounds} rounds,
  in {outcome.seconds:,.0f} s ({rows / max(outcome.seconds, 1):,.0f}/s); beside them \
{outcome.visits:,} visits
- {again:,} of these answers said `duplicate`: the row was recorded, but its first answer lost
- {outcome.lives} lives of {clients} clients
- {held}
- the ledgers of all rounds were true {_seconds(outcome.ledger_after)} s after the last fault

Seconds until all was well again; without any fault that took {calm:.1f} s at the most. *Alone* are
those during which no other fault was there.

| fault | times | median | longest | alone | median, alone |
|---|---:|---:|---:|---:|---:|
{table}
"""


def command(outcome: Outcome) -> str:
    """Name the command that makes the same run again."""
    options = outcome.options
    words: list[object] = [
        "--broker",
        options.broker,
        "--results",
        options.results,
        "--kills",
        options.kills,
    ]
    words += ["--rounds", options.rounds, "--seed", options.seed]
    if options.brokers > 1:
        words += ["--brokers", options.brokers]
    return f'make chaos ARGS="{" ".join(map(str, words))}"'


def _line(kind: str, faults: Sequence[Struck], all_faults: Sequence[Struck]) -> str:
    alone = [struck for struck in faults if struck.alone(all_faults)]
    cells = [len(faults), _middle(faults), _longest(faults), len(alone), _middle(alone)]
    return f"| {kind} | {' | '.join(map(str, cells))} |"


def _middle(faults: Sequence[Struck]) -> str:
    known = [struck.recovered for struck in faults if struck.recovered is not None]
    return f"{median(known):.1f}" if known else ""


def _longest(faults: Sequence[Struck]) -> str:
    known = [struck.recovered for struck in faults if struck.recovered is not None]
    return _seconds(max(known) if len(known) == len(faults) else None)


def _seconds(time: float | None) -> str:
    return "never" if time is None else f"{time:.1f}"
