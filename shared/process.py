"""One process of one service: how it starts, serves, drains and leaves.

`python -m services.<name> api|worker|relay|migrate` is a `Program`. A process has one task group:
whatever fails in it stops all of it, with a last line that says why. SIGTERM or SIGINT make it
unready, let it finish what it began, and leave with 0.

==========  ========================================
exit code   means
==========  ========================================
0           it was asked to stop, or had finished
1           something failed; the last line says what
2           wrong command line or settings
130         SIGINT twice: it left at once
==========  ========================================
"""

import argparse
import asyncio
import contextlib
import gc
import math
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.applications import Starlette

from shared import tracing
from shared.connections import Patience, protocol, watch
from shared.errors import LastmetreError
from shared.files import UnreadableFile, show
from shared.http import Ops, ops_app
from shared.settings import ServiceSettings, SettingsError
from shared.telemetry import configure_logging, describe

DRAIN_SECONDS = 10.0
"""How long a process may take to finish what it began, unless its settings say otherwise."""

KEEP_ALIVE_SECONDS = 75
"""Longer than our clients keep idle connections, so that it is never we who close one in use."""

BACKLOG = 2048
"""Connections that may wait to be taken."""

GARBAGE = (100_000, 20, 50)
"""Objects there are before the collector looks for circles among the young, and how often it looks
further. Batches of thousands of rows are made and dropped without any: at Python's own 700 it took
two fifths of the time of taking results in, at 20,000, fewer than two batches have, still a tenth.
"""

_STOPPED, _FAILED, _MISUSED, _INTERRUPTED = 0, 1, 2, 130
_log = structlog.get_logger(__name__)

S = TypeVar("S", bound=ServiceSettings)
S_contra = TypeVar("S_contra", bound=ServiceSettings, contravariant=True)


class Role(Protocol[S_contra]):
    """The work of a worker or relay.

    Runs until `stop` is set, then finishes what it began and returns. It enters its checks and
    gauges in `ops`.
    """

    def __call__(
        self, settings: S_contra, ops: Ops, stop: asyncio.Event, /
    ) -> Coroutine[Any, Any, None]:
        """Do the work."""


class ProcessError(LastmetreError):
    """A process cannot go on; the message is its last line."""


@dataclass(frozen=True)
class Program(Generic[S]):
    """The processes of one service.

    `settings` reads the environment, `api` makes the application, `worker` and `relay` do their
    work, `migrate` brings the database to the newest revision, and `await_schema` waits until
    somebody has done so. A service without one leaves it out.
    """

    name: str
    settings: Callable[[Mapping[str, str] | None], S]
    api: Callable[[S], FastAPI] | None = None
    worker: Role[S] | None = None
    relay: Role[S] | None = None
    migrate: Callable[[S], None] | None = None
    await_schema: Callable[[S, asyncio.Event], Coroutine[Any, Any, None]] | None = None

    def main(
        self, argv: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
    ) -> int:
        """Run one process to its end; return its exit code.

        Args:
            argv: command line after the program's name; None: that of this process
            environment: None: that of this process

        """
        try:
            options = self._parser().parse_args(argv)
        except SystemExit as leave:
            return _MISUSED if leave.code else _STOPPED
        configure_logging(self.name, options.process)
        try:
            settings = self.settings(environment)
        except SettingsError as error:
            return _last_line(_MISUSED, str(error))
        configure_logging(self.name, options.process, settings.log_level)
        tracing.begin(self.name, options.process)
        try:
            return self._finish(options, settings)
        finally:
            tracing.end()

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=f"python -m services.{self.name}")
        processes = parser.add_subparsers(dest="process", required=True)
        for name in ("api", "worker", "relay"):
            if getattr(self, name) is not None:
                process = processes.add_parser(name)
                process.add_argument("--host", default="127.0.0.1")
                process.add_argument("--port", type=int, default=0, help="0: any free one; logged")
        if self.migrate is not None:
            processes.add_parser("migrate")
        return parser

    def _finish(self, options: argparse.Namespace, settings: S) -> int:
        try:
            self._run(options, settings)
        except (KeyboardInterrupt, asyncio.CancelledError):
            return _last_line(_INTERRUPTED, "interrupted")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the end of this process
            first = _first(error)
            _log.critical("process_failed", failure=describe(error))
            return _last_line(_FAILED, _told(first))
        return _last_line(_STOPPED, "done")

    def _run(self, options: argparse.Namespace, settings: S) -> None:
        if options.process == "migrate":
            if self.migrate is not None:
                self.migrate(settings)
            return
        settle_memory()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._live(options, settings))

    async def _live(self, options: argparse.Namespace, settings: S) -> None:
        stop = asyncio.Event()
        address = (options.host, options.port)
        role: Role[S] | None = getattr(self, options.process)
        with _signals(stop):
            if self.await_schema is not None:
                await self.await_schema(settings, stop)
            if stop.is_set():
                return
            if options.process == "api" and self.api is not None:
                patience = Patience(settings.connections, settings.client_seconds)
                await serve(
                    self.api(settings),
                    *address,
                    stop,
                    drain=settings.drain_seconds,
                    patience=patience,
                    tls=_tls(settings),
                )
            elif role is not None:
                await work(role, settings, *address, stop)


def settle_memory() -> None:
    """Leave what was imported to itself for good, and look for garbage at our own pace."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


async def work(role: Role[S], settings: S, host: str, port: int, stop: asyncio.Event) -> None:
    """Do a role's work, with health and metrics served beside it until it has ended.

    Raises:
        ProcessError: the role ended without being asked to

    """
    ops = Ops()
    worked = asyncio.Event()

    async def do() -> None:
        await _bounded(role(settings, ops, stop), ops, stop, settings.drain_seconds)
        if not stop.is_set():
            raise ProcessError("the work ended although nobody had asked it to")
        worked.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(ops_app(ops), host, port, worked))
        tasks.create_task(do())


async def _bounded(
    job: Coroutine[Any, Any, None], ops: Ops, stop: asyncio.Event, drain: float
) -> None:
    """Run a job; once asked to stop, give it a time to finish, then cut it short."""
    async with _beside(_drain_limit(ops, stop, drain)) as limit, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(job)
        limit.add_done_callback(lambda _: task.cancel())


async def _drain_limit(ops: Ops, stop: asyncio.Event, drain: float) -> None:
    await stop.wait()
    _drain(ops)
    await asyncio.sleep(drain)
    _log.warning("drain_cut_short", seconds=drain)


@contextlib.asynccontextmanager
async def _beside(job: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a job beside the block and end it with the block."""
    task = asyncio.create_task(job)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def serve(
    app: Starlette,
    host: str,
    port: int,
    stop: asyncio.Event,
    *,
    drain: float = DRAIN_SECONDS,
    patience: Patience | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve an application, its lifespan included, until asked to stop.

    Then `/readyz` says so, no connection is taken any more, and requests that have begun are given
    `drain` seconds.

    Args:
        app: made by `create_app` or `ops_app`
        host: address to listen on
        port: 0 takes a free one; the line `serving` says which
        stop: set it to stop
        drain: seconds
        patience: what is borne of clients
        tls: with it, `https` is served and nothing else

    Raises:
        ProcessError: the address is not free

    """
    # Bound before the application opens anything: two processes on a port must fail at once.
    with _bound(host, port) as listener:
        async with app.router.lifespan_context(app):
            patience = patience or Patience()
            server = _Server(_configuration(app, drain, patience, tls))
            async with (
                _beside(_leave_when(stop, app, server)),
                _beside(watch(server.server_state, patience)),
            ):
                # From here on nobody is turned away: who comes early waits in the backlog.
                listener.listen(BACKLOG)
                bound = listener.getsockname()
                _log.info("serving", host=bound[0], port=bound[1])
                await server.serve(sockets=[listener])


async def _leave_when(stop: asyncio.Event, app: Starlette, server: uvicorn.Server) -> None:
    await stop.wait()
    _drain(app.state.ops)
    server.should_exit = True


def _drain(ops: Ops) -> None:
    if not ops.draining:
        ops.draining = True
        _log.info("draining")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own, and more than this to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _tls(settings: ServiceSettings) -> ssl.SSLContext | None:
    """Make what an API shows to its callers; without a certificate it speaks plain `http`.

    Raises:
        ProcessError: the certificate or its key cannot be read

    """
    if settings.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        show(context, settings.tls_cert_file, settings.tls_key_file)
    except UnreadableFile as error:
        raise ProcessError(str(error)) from error
    return context


def _configuration(
    app: Starlette, drain: float, patience: Patience, tls: ssl.SSLContext | None
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol(patience),
        ws="none",
        # Opened by `serve`, where its failures are exceptions and not log lines.
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(drain),
        ssl_context_factory=(lambda *_: tls) if tls else None,
    )


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ProcessError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Turn SIGTERM and SIGINT into `stop`; a second SIGINT ends the process at once."""
    loop = asyncio.get_running_loop()
    whole = asyncio.current_task()

    def interrupt() -> None:
        if stop.is_set() and whole is not None:
            whole.cancel()
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)


def _first(error: BaseException) -> BaseException:
    """Find the error that made a task group fail."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _told(error: BaseException) -> str:
    if isinstance(error, LastmetreError):
        return str(error)
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}"


def _last_line(code: int, because: str) -> int:
    log = _log.info if code == _STOPPED else _log.critical
    log("process_stopped", exit=code, because=because)
    return code
