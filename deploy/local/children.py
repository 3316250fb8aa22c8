"""Processes forked from the supervisor: started, named, asked how they are, reaped.

Forking shares what the supervisor has imported. The supervisor must have neither threads nor an
event loop then, which the child would get copies of in an unusable state.
"""

import http.client
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from deploy.local import lifeline

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""By which somebody asks a process to stop: Ctrl-C, a service manager, a closed terminal."""

_PAUSE = 0.02  # seconds between two looks at a process that is about to end


@dataclass
class Child:
    """One process of a service, through all its lives.

    `port` stays the same; `pid` is None while it is dead.
    """

    service: str
    role: str
    log: Path
    work: Callable[[], int]
    port: int = 0
    pid: int | None = None
    started: float = 0.0
    deaths: int = 0
    due: float = 0.0

    @property
    def name(self) -> str:
        """As people call it: `registry api`."""
        return f"{self.service} {self.role}"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Fork it."""
        self.pid = fork(self.work, self.log, name=self.name)
        self.started = time.monotonic()

    def reap(self) -> int | None:
        """Give its exit code if it has died since the last look; negative: killed by a signal."""
        if self.pid is None:
            return None
        status = exit_status(self.pid)
        if status is not None:
            self.pid = None
        return status

    def wait(self) -> int:
        """Wait until it ends; give its exit code."""
        while (status := self.reap()) is None:
            time.sleep(_PAUSE)
        return status

    def ready(self) -> bool:
        """Whether it says that it is."""
        return ready(self.port)

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])


def ready(port: int) -> bool:
    """Whether the process that serves on a loopback port says that it is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def fork(work: Callable[[], int], log: Path | None, *, name: str) -> int:
    """Run the work in a forked child, tied to our life; return its pid.

    The child writes to the log; without one it keeps our terminal. Ctrl-C reaches the supervisor
    only, who stops the children in order. `name` is what `ps` and `top` show.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    parent = os.getpid()
    # Held back, or a Ctrl-C at the wrong moment would have the child unwind the parent's stack.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _be_child(work, parent, log, name)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _be_child(work: Callable[[], int], parent: int, log: Path | None, name: str) -> NoReturn:
    """Never returns: leaving by `os._exit` keeps the supervisor's unwinding out of the child."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        os.setpgid(0, 0)
        if log is not None:
            _redirect(log)
        lifeline.tie_to_parent(parent, signal.SIGKILL)
        lifeline.call_it(name)
        status = work()
    except KeyboardInterrupt:
        status = 130
    except BaseException:  # noqa: BLE001 - the last frame of this process: report, then leave
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _redirect(log: Path) -> None:
    with log.open("ab", buffering=0) as output, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)


def exit_status(pid: int) -> int | None:
    """Give the exit code of a child of ours that has ended; negative: killed by that signal."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def wait(pid: int, patience: float) -> None:
    """Wait for a child to leave; kill it after `patience` seconds."""
    deadline = time.monotonic() + patience
    while exit_status(pid) is None:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(_PAUSE)
