"""Prometheus' own programs; without them no test here means anything."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.errors import ServerError
from deploy.local.prometheus import program

Promtool = Callable[..., str]


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Run promtool; what it says, if it is content, and a failed test if it is not."""
    try:
        command = program("promtool")
    except ServerError as error:
        pytest.exit(str(error), returncode=1)

    def run(*words: str | Path, said: bytes | None = None) -> str:
        done = subprocess.run(
            [command, *map(str, words)], input=said, capture_output=True, check=False
        )
        told = (done.stdout + done.stderr).decode()
        assert done.returncode == 0, told
        return told

    return run
