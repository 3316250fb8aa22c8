"""A file goes in by processes that are killed, into a stack of real ones, and counts once."""

import re
import signal
from pathlib import Path

from tests.support.live import live
from tests.support.stack import START, Up, lastmetre, outcome, running
from tests.support.town import DISTRICT, OPENS
from tests.support.waiting import eventually

PEOPLE = 11_000
"""Two batches and a part of one."""
TALLY = re.compile(r"([\d,]+) accepted \+ ([\d,]+) duplicate \+ ([\d,]+) rejected = ([\d,]+) rows")


async def done(up: Up, *words: str) -> str:
    """Run a command that succeeds; what it said."""
    status, said = await outcome(await lastmetre(up.state, *words))
    assert status == 0, said
    return said


async def broken_off(up: Up, number: signal.Signals, *words: str) -> tuple[int, str]:
    """Import until one batch is answered, then send a signal; how it ended and what it said."""
    process = await lastmetre(up.state, "import", *words, "--at-once", "1")
    journals = up.state / "lastmetre" / "imports"

    def begun() -> bool:
        return process.returncode is not None or any(
            b'"answered"' in path.read_bytes() for path in journals.glob("*.journal")
        )

    await eventually(begun, START)
    assert process.returncode is None, (await outcome(process))[1]
    process.send_signal(number)
    return await outcome(process)


def counted(said: str) -> tuple[int, int]:
    """Rows that are accepted or duplicates, and rows that were answered before."""
    tally = TALLY.search(said)
    assert tally is not None, said
    accepted, duplicate, rejected, rows = (int(n.replace(",", "")) for n in tally.groups())
    assert (rejected, rows) == (0, PEOPLE)
    before = re.search(r"([\d,]+) were answered before", said)
    return accepted + duplicate, int(before[1].replace(",", "")) if before else 0


async def test_killed_and_interrupted_imports_go_on_and_everybody_counts_once(
    tmp_path: Path,
) -> None:
    people, swabs = tmp_path / "people.csv.gz", tmp_path / "swabs.parquet"
    async with running(tmp_path / "state", tmp_path / "data") as up, live(up) as town:
        await done(up, "generate", "residents", "--count", str(PEOPLE), "--out", str(people))
        residents = ("residents", str(people), "--area", DISTRICT)
        status, _ = await broken_off(up, signal.SIGKILL, *residents)
        assert status == -signal.SIGKILL
        total, before = counted(await done(up, "import", *residents))
        assert total == PEOPLE
        assert before >= 5_000

        round_id = await town.round()
        await town.tick(round_id, 3)
        await town.expect(round_id, roll=PEOPLE, sampled=0)
        window = ("--from", OPENS.isoformat(), "--until", OPENS.replace(hour=2).isoformat())
        made = ("--round", round_id, *window, "--hours", "0", "--out", str(swabs))
        await done(up, "generate", "results", "--residents", str(people), *made)

        status, said = await broken_off(up, signal.SIGINT, "results", str(swabs))
        assert status == 1
        assert "stopped: by SIGINT" in said
        assert "not answered" not in said
        total, before = counted(await done(up, "import", "results", str(swabs)))
        assert total == PEOPLE
        assert before >= 5_000
        await town.expect(round_id, roll=PEOPLE, sampled=PEOPLE)

        again = await done(up, "import", "results", str(swabs))
        assert f"0 accepted + {PEOPLE:,} duplicate" in again
        await town.expect(round_id, sampled=PEOPLE)
