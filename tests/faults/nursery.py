"""Processes to be killed: forked from one that has imported everything, by the dozen a second.

    python -m tests.faults.nursery

It reads where the town is, then one task a line, and answers each with how its process ended. No
process does more than one task, so each begins as a fresh one does: no connection, no memory.
"""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import uvloop
from fastapi import FastAPI
from sqlalchemy import event

from deploy.local import children
from shared.database import Database
from tests.faults.statements import Statements, aside, die
from tests.faults.works import WORKS, database_of
from tests.support.issuer import Issuer
from tests.support.town import Ground

ROOT = Path(__file__).resolve().parents[2]
JSON = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What one process is to do; the work is named as in `works.WORKS`."""

    work: str
    service: str
    databases: Mapping[str, str]
    """Which database a service is given, by service, instead of that of the town."""
    settings: JSON = field(default_factory=dict)
    fatal: int | None = None
    """The statement that it dies before. If the work ends first, it dies before it says so."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    killed: bool
    complete: bool
    """Whether the work was done; if killed then, nobody was told what came of it."""
    statements: int
    answer: Any


class Nursery:
    """The parent of the processes, as tests see it."""

    def __init__(self, ground: Ground, log: Path) -> None:
        spec = {
            "jwks": str(ground.issuer.jwks),
            "keys_file": str(ground.keys_file),
            "token_file": str(ground.token_file),
            "databases": ground.databases,
            "log": str(log),
        }
        self._log = log
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._say(spec)

    def run(self, task: Task) -> Ended:
        """Have a process do a task, and wait until it has ended."""
        self._say(asdict(task))
        assert self._parent.stdout is not None
        told = self._parent.stdout.readline()
        assert told, self._words()
        ended = Ended(**json.loads(told))
        assert ended.killed or ended.complete, self._words()
        return ended

    def _words(self) -> str:
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    def _say(self, thing: JSON) -> None:
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(thing) + "\n")
        self._parent.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.communicate()
        assert self._parent.returncode == 0


# --- the parent itself ---


def main() -> None:
    """Take tasks until there are no more."""
    told = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed is no answer
    spec = json.loads(sys.stdin.readline())
    ground = Ground(
        Issuer(None, Path(spec["jwks"])),  # type: ignore[arg-type] # it signs nothing here
        Path(spec["keys_file"]),
        Path(spec["token_file"]),
        spec["databases"],
    )
    apps, switches = ground.apps()
    for service, switch in switches.items():
        switch.app = aside(apps[service])
    statements = Statements()
    statements.install()
    asyncio.run(_warm(apps, ground.token_file.read_text()))
    gc.freeze()  # what is never collected is never written to, and stays shared
    for line in iter(sys.stdin.readline, ""):
        ended = _bring_up(Task(**json.loads(line)), apps, statements, Path(spec["log"]))
        os.write(told, json.dumps(asdict(ended)).encode() + b"\n")


async def _warm(apps: Mapping[str, FastAPI], token: str) -> None:
    """Do once what every process would do first; leave nothing open."""
    bearer = {"Authorization": f"Bearer {token}"}
    for app in apps.values():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            (await client.get("http://warm/v1/status", headers=bearer)).raise_for_status()
        await database_of(app).close()


def _bring_up(task: Task, apps: Mapping[str, FastAPI], statements: Statements, log: Path) -> Ended:
    ear, mouth = os.pipe()

    def live() -> int:
        os.close(ear)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_live(task, apps, statements, lambda said: os.write(mouth, said)))
        return 0

    pid = children.fork(live, log, name="lastmetre mortal")
    os.close(mouth)
    with os.fdopen(ear) as heard:
        said = [json.loads(line) for line in heard]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    last = said[-1] if said else {"statements": 0, "answer": None}
    return Ended(killed=status == -signal.SIGKILL, complete=bool(said), **last)


async def _live(
    task: Task,
    apps: Mapping[str, FastAPI],
    statements: Statements,
    say: Callable[[bytes], object],
) -> None:
    for service, name in task.databases.items():
        _give(database_of(apps[service]), name)
    async with AsyncExitStack() as stack:
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        # Connections are there before it counts: their set-up is no statement of the work.
        engine = database_of(apps[task.service]).engine
        async with engine.connect(), engine.connect(), engine.connect():
            pass
        work: Callable[[], Awaitable[Any]] = await WORKS[task.work](
            apps, task.service, **task.settings
        )
        statements.arm(task.fatal)
        answer = await work()
        statements.disarm()
        told = {"statements": statements.sent}
        if task.fatal is not None:
            say(json.dumps({**told, "answer": None}).encode() + b"\n")
            die()
        say(json.dumps({**told, "answer": answer}).encode() + b"\n")


def _give(database: Database, name: str) -> None:
    @event.listens_for(database.engine.sync_engine, "do_connect")
    def elsewhere(_dialect: Any, _record: Any, _args: Any, parameters: JSON) -> None:
        parameters["database"] = name


if __name__ == "__main__":
    main()
