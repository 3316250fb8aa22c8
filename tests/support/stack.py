"""A stack in processes of its own, as `lastmetre up` runs it."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.waiting import eventually

START = 60.0  # seconds that a busy machine may take to bring a stack up

FREE_PORTS = ("--registry-port", "0", "--dispatch-port", "0", "--reporting-port", "0")


@dataclass
class Up:
    """A running `lastmetre up`, and what it says of itself."""

    process: asyncio.subprocess.Process
    state: Path

    @property
    def environment(self) -> dict[str, str]:
        """What other commands need to find it."""
        return environment(self.state)

    @property
    def note(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.state / "lastmetre" / "stack.json").read_text())
        return content

    def family(self) -> list[psutil.Process]:
        """It and everything it has started."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def member(self, name: str) -> psutil.Process:
        """The process of this name, as `ps` shows it."""
        return next(each for each in self.family() if each.name() == name)

    async def stop(self, number: signal.Signals) -> int:
        """Send a signal; give the exit code once it has ended."""
        self.process.send_signal(number)
        return await self.process.wait()


def environment(state: Path) -> dict[str, str]:
    """Ours, with a state folder of the test's own."""
    return {**os.environ, "XDG_STATE_HOME": str(state)}


async def lastmetre(state: Path, *words: str) -> asyncio.subprocess.Process:
    """Start the command with a state folder of the test."""
    return await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("lastmetre"),
        *words,
        env=environment(state),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def outcome(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """The exit code and all that was said."""
    output, errors = await process.communicate()
    return process.returncode or 0, (output + errors).decode()


@contextlib.asynccontextmanager
async def running(state: Path, data: Path, *options: str) -> AsyncIterator[Up]:
    """A stack that is ready; stopped at the end if it still runs."""
    process = await lastmetre(state, "up", "--data", str(data), *FREE_PORTS, *options)
    try:
        note = state / "lastmetre" / "stack.json"
        await eventually(lambda: note.exists() or process.returncode is not None, START)
        assert process.returncode is None, (await outcome(process))[1]
        yield Up(process, state)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.communicate()


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs any more."""
    return all(not each.is_running() or each.status() == psutil.STATUS_ZOMBIE for each in processes)
