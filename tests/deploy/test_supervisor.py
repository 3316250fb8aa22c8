"""`lastmetre up`: comes up, looks after its own, leaves nothing behind, finds its data again."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deploy.local.stack import SERVICES
from tests.support.waiting import eventually

START = 60.0  # seconds that a busy machine may take to bring a stack up

FREE_PORTS = ("--registry-port", "0", "--dispatch-port", "0", "--reporting-port", "0")


@dataclass
class Up:
    """A running `lastmetre up`, and what it says of itself."""

    process: asyncio.subprocess.Process
    state: Path

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


async def lastmetre(state: Path, *words: str) -> asyncio.subprocess.Process:
    """Start the command with a state folder of the test."""
    return await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("lastmetre"),
        *words,
        env={**os.environ, "XDG_STATE_HOME": str(state)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def outcome(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """The exit code and all that was said."""
    output, errors = await process.communicate()
    return process.returncode or 0, (output + errors).decode()


@contextlib.asynccontextmanager
async def running(state: Path, data: Path) -> AsyncIterator[Up]:
    """A stack that is ready; stopped at the end if it still runs."""
    process = await lastmetre(state, "up", "--data", str(data), *FREE_PORTS)
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


async def ready(url: str) -> bool:
    """Whether a process answers that it is ready."""
    async with httpx.AsyncClient() as client:
        with contextlib.suppress(httpx.TransportError):
            return (await client.get(f"{url}/readyz")).is_success
    return False


async def test_a_life_of_a_stack(tmp_path: Path) -> None:
    state, data = tmp_path / "state", tmp_path / "data"

    # It comes up whole, and other commands find it.
    async with running(state, data) as up:
        operations = up.note["operations"]
        assert len(operations) == 8
        assert all([await ready(url) for url in operations.values()])
        status, said = await outcome(await lastmetre(state, "status"))
        assert all(service in said for service in SERVICES)
        keys = (data / "keys.json").read_bytes()

        # Who dies is started again, on the same port; so is the broker.
        worker = up.member("dispatch worker")
        broker = up.member("tansu")
        worker.kill()
        broker.kill()
        await eventually(lambda: gone([worker, broker]))
        await eventually(lambda: any(each.name() == "tansu" for each in up.family()))
        await eventually(lambda: ready(operations["dispatch worker"]), START)

        # The folder is taken.
        status, said = await outcome(
            await lastmetre(tmp_path / "other", "up", "--data", str(data), *FREE_PORTS)
        )
        assert status == 1
        assert "in use by another stack" in said

        # Killed without a chance to say goodbye: the kernel takes the rest along.
        family = up.family()
        await up.stop(signal.SIGKILL)
        await eventually(lambda: gone(family))
        status, said = await outcome(await lastmetre(state, "status"))
        assert (status, "the stack is gone" in said) == (1, True)
        (state / "lastmetre" / "stack.json").unlink()

    # Its data are found again, with the keys they were encrypted with.
    async with running(state, data) as up:
        assert (data / "keys.json").read_bytes() == keys

        # Ctrl-C: all of it leaves, in good order.
        family = up.family()
        assert await up.stop(signal.SIGINT) == 0
        assert gone(family)
        assert not (state / "lastmetre" / "stack.json").exists()


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        up = await lastmetre(tmp_path, "up", *FREE_PORTS, "--registry-port", port)
        status, said = await outcome(up)
    assert status == 1
    assert f"127.0.0.1:{port}" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--postgres", "postgresql://127.0.0.1:1/"], "--postgres needs --data"),
        (["--postgres", "mysql://127.0.0.1/", "--data", "DATA"], "an address like postgresql://"),
        (["--postgres", "postgresql://127.0.0.1:1/", "--data", "DATA"], "PostgreSQL at 127.0.0.1"),
    ],
)
async def test_what_cannot_work_is_refused_in_a_sentence(
    tmp_path: Path, words: list[str], why: str
) -> None:
    given = [str(tmp_path / "data") if word == "DATA" else word for word in words]
    status, said = await outcome(await lastmetre(tmp_path, "up", *FREE_PORTS, *given))
    assert status == 1
    assert why in said
    assert "Traceback" not in said
