"""The report of a run, as Markdown."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

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
    kinds: dict[str, list[float | None]] = {"none": list(outcome.undisturbed)}
    for struck in sorted(outcome.struck, key=lambda struck: struck.kind):
        kinds.setdefault(struck.kind, []).append(struck.recovered)
    held = (
        "every answered result was there once, and nothing else; the figures of every community\n"
        "  were those of the plan"
        if outcome.good
        else f"**does not hold:** {'; '.join(outcome.findings)}"
    )
    table = "\n".join(_line(kind, times) for kind, times in kinds.items())
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

| fault | times | well again after, median, s | at the longest, s |
|---|---:|---:|---:|
{table}
"""


def command(outcome: Outcome) -> str:
    """Name the command that makes the same run again."""
    options = outcome.options
    brokers = f" --brokers {options.brokers}" if options.brokers > 1 else ""
    return (
        f'make chaos ARGS="--broker {options.broker}{brokers} --results {options.results}'
        f' --kills {options.kills} --seed {options.seed}"'
    )


def _line(kind: str, times: Sequence[float | None]) -> str:
    known = [time for time in times if time is not None]
    middle = median(known) if known else None
    longest = max(known) if known and len(known) == len(times) else None
    return f"| {kind} | {len(times)} | {_seconds(middle)} | {_seconds(longest)} |"


def _seconds(time: float | None) -> str:
    return "never" if time is None else f"{time:.1f}"
