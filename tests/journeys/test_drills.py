"""The operators' drills, on a small scale: what `docs/operations.md` tells them to do works."""

import re
import subprocess
import sys

from deploy.drills.stage import PROJECT
from tests.support.counting import Tell

NOTICED_WITHIN = 10.0
"""Seconds from when a producer with an older backup answers until its consumers have stopped."""


def test_the_next_version_comes_up_beside_the_last_and_nothing_is_refused() -> None:
    drill = subprocess.run(
        [sys.executable, "-m", "deploy.drills.upgrade", "--residents", "400"],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert drill.returncode == 0, drill.stdout + drill.stderr
    *_, before, last = drill.stdout.splitlines()
    assert "calls refused: 0" in before
    assert last == "ledger: balanced: true"


def test_registry_comes_back_from_an_older_backup_and_the_day_is_sent_again(
    tell: Tell,
) -> None:
    drill = subprocess.run(
        [sys.executable, "-m", "deploy.drills.restore", "--residents", "400"],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert drill.returncode == 0, drill.stdout + drill.stderr
    (noticed,) = re.findall(r"noticed ([\d.]+) s after", drill.stdout)
    assert float(noticed) < NOTICED_WITHIN
    tell(f"noticed after {noticed} s")
    assert drill.stdout.splitlines()[-1] == "ledger: balanced: true"
