"""Real processes, and the signals that end them."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from shared import process
from shared.http import Ops
from tests.shared import toy
from tests.support.issuer import Issuer
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]


@dataclass
class Started:
    """A process and what it has said."""

    process: asyncio.subprocess.Process
    marks: Path
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def listen(self) -> None:
        """Collect its log until it ends."""
        if self.process.stderr is None:
            raise AssertionError
        async for line in self.process.stderr:
            with contextlib.suppress(json.JSONDecodeError):
                self.lines.append(json.loads(line))

    async def client(self) -> httpx.AsyncClient:
        """Make a client of it, once it serves."""
        serving = await self.says("serving")
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{serving['port']}")

    async def says(self, event: str) -> dict[str, Any]:
        """Wait for a line of its log."""

        def said() -> dict[str, Any]:
            return next((line for line in self.lines if line["event"] == event), {})

        return await eventually(said, hint=event)

    async def left(self) -> tuple[int, dict[str, Any]]:
        """Wait for its end: exit code and last line."""
        code = await self.process.wait()
        last = await self.says("process_stopped")
        assert last is self.lines[-1]
        return code, last


@contextlib.asynccontextmanager
async def started(
    marks: Path, issuer: Issuer, *arguments: str, **environment: str
) -> AsyncIterator[Started]:
    variables = {
        "LASTMETRE_JWKS": str(issuer.jwks),
        "LASTMETRE_TOY_MARKS": str(marks),
        **environment,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.shared.toy", *arguments,
        cwd=ROOT,
        env={**os.environ, **variables},
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    it = Started(child, marks)
    listening = asyncio.create_task(it.listen())
    try:
        yield it
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        await listening


async def test_an_api_asked_to_stop_answers_what_it_began_and_leaves(
    tmp_path: Path, issuer: Issuer
) -> None:
    async with started(tmp_path, issuer, "api") as api, await api.client() as client:
        assert (await client.get("/readyz")).status_code == 200
        slow = asyncio.create_task(client.get("/slow", timeout=30))
        await eventually((tmp_path / "asked").exists)
        api.process.send_signal(signal.SIGTERM)
        assert (await slow).json() == {"answered": "while draining"}
        code, last = await api.left()
    assert code == 0
    assert last["because"] == "done"
    assert (tmp_path / "closed").exists()


async def test_a_worker_finishes_its_work_and_serves_its_health_meanwhile(
    tmp_path: Path, issuer: Issuer
) -> None:
    async with started(tmp_path, issuer, "worker") as worker, await worker.client() as client:
        assert (await client.get("/readyz")).json()["checks"] == {"always": "ok"}
        assert "lastmetre_parked_events" in (await client.get("/metrics")).text
        worker.process.send_signal(signal.SIGINT)
        code, last = await worker.left()
    assert (code, last["exit"]) == (0, 0)
    assert (tmp_path / "finished").exists()


async def test_work_that_fails_stops_the_process_with_a_clear_last_line(
    tmp_path: Path, issuer: Issuer
) -> None:
    async with started(tmp_path, issuer, "relay") as relay:
        code, last = await relay.left()
    assert code == 1
    assert last["because"] == "builtins.ValueError"
    assert "Zhang" not in json.dumps(relay.lines)


async def test_a_port_that_is_taken_is_said_before_anything_is_opened(
    tmp_path: Path, issuer: Issuer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with started(tmp_path, issuer, "api", "--port", str(port)) as api:
            code, last = await api.left()
    assert code == 1
    assert last["because"] == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    assert not (tmp_path / "closed").exists()


async def test_a_wrong_variable_is_named_in_the_last_line(tmp_path: Path, issuer: Issuer) -> None:
    wrong = {"LASTMETRE_DRAIN_SECONDS": "soon"}
    async with started(tmp_path, issuer, "api", **wrong) as api:
        code, last = await api.left()
    assert code == 2
    assert last["because"] == "LASTMETRE_DRAIN_SECONDS: float parsing"


async def test_migrating_ends_by_itself(tmp_path: Path, issuer: Issuer) -> None:
    async with started(tmp_path, issuer, "migrate") as migrating:
        code, _ = await migrating.left()
    assert code == 0
    assert (tmp_path / "migrated").exists()


async def test_a_second_interrupt_ends_it_at_once(tmp_path: Path, issuer: Issuer) -> None:
    (tmp_path / "stuck").touch()
    async with started(tmp_path, issuer, "worker") as worker, await worker.client() as client:
        worker.process.send_signal(signal.SIGINT)
        await worker.says("draining")
        assert (await client.get("/readyz")).json()["status"] == "draining"
        worker.process.send_signal(signal.SIGINT)
        code, last = await worker.left()
    assert code == 130
    assert last["because"] == "interrupted"


@pytest.mark.parametrize("arguments", [[], ["dance"], ["api", "--port", "x"]])
def test_a_wrong_command_line_is_2(arguments: list[str]) -> None:
    assert toy.PROGRAM.main(arguments, {}) == 2


async def test_work_that_does_not_finish_in_time_is_cut_short(
    tmp_path: Path, issuer: Issuer
) -> None:
    (tmp_path / "stuck").touch()
    settings = toy.Settings(jwks=str(issuer.jwks), marks=tmp_path, drain_seconds=0.05)
    stop = asyncio.Event()
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(process.work(toy.work, settings, "127.0.0.1", 0, stop))
            await eventually(lambda: any(line["event"] == "serving" for line in logs))
            stop.set()
    assert any(line["event"] == "drain_cut_short" for line in logs)
    assert not (tmp_path / "finished").exists()


async def test_requests_that_outlast_the_drain_are_told_so(tmp_path: Path, issuer: Issuer) -> None:
    (tmp_path / "stuck").touch()
    drain = {"LASTMETRE_DRAIN_SECONDS": "0.2"}
    async with started(tmp_path, issuer, "api", **drain) as api, await api.client() as client:
        slow = asyncio.create_task(client.get("/slow", timeout=30))
        await eventually((tmp_path / "asked").exists)
        api.process.send_signal(signal.SIGTERM)
        answer = await slow
        code, _ = await api.left()
    assert code == 0
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/unavailable"


async def test_work_that_ends_unasked_is_a_failure(tmp_path: Path, issuer: Issuer) -> None:
    async def tired(_settings: toy.Settings, _ops: Ops, _stop: asyncio.Event) -> None:
        return

    settings = toy.Settings(jwks=str(issuer.jwks), marks=tmp_path)
    with pytest.raises(ExceptionGroup) as caught:
        await process.work(tired, settings, "127.0.0.1", 0, asyncio.Event())
    assert caught.group_contains(process.ProcessError, match="nobody had asked")
