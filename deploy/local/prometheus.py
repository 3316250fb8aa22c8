"""Prometheus itself on this machine: scrapes every process of a stack, with our rules.

Its programs are Debian's: those on the PATH, or those that `make prometheus` fetches.
"""

import http.client
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from deploy.local import folders, servers
from deploy.local.errors import NoStackError, ServerError
from deploy.local.stack import Note
from deploy.local.stopping import Stop, stoppable

_PROJECT = Path(__file__).parents[2]
FETCHED = _PROJECT / "build" / "prometheus" / "usr" / "bin"
"""Where `make prometheus` puts what it fetches."""
CONFIGURATION = _PROJECT / "deploy" / "prometheus"

_LOOK_AROUND = 1.0  # seconds between two looks at where the stack is
_PATIENCE = 60.0  # seconds for it to serve


@dataclass(eq=False)
class Prometheus(servers.Server):
    """A running Prometheus, and the list of what it scrapes."""

    port: int
    targets: Path

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{servers.LOOPBACK}:{self.port}"

    def ping(self) -> None:
        """Raise `OSError` unless it is ready."""
        connection = http.client.HTTPConnection(servers.LOOPBACK, self.port, timeout=5)
        try:
            connection.request("GET", "/-/ready")
            if connection.getresponse().status != http.client.OK:
                raise OSError("not ready")
        finally:
            connection.close()

    def follow(self, note: Note) -> None:
        """Scrape the processes of this stack; what has not changed is not written again."""
        listed = json.dumps(targets(note), indent=2)
        if self.targets.exists() and self.targets.read_text() == listed:
            return
        draft = self.targets.with_suffix(".draft")
        draft.write_text(listed)
        draft.replace(self.targets)


def targets(note: Note) -> list[dict[str, object]]:
    """List the processes of a stack as Prometheus reads it from files."""
    return [
        {
            "targets": [address.removeprefix("http://")],
            "labels": dict(zip(("service", "process"), name.split(" "), strict=True)),
        }
        for name, address in note.operations.items()
    ]


@contextmanager
def prometheus(
    folder: Path, *, port: int = 0, keep_open: Sequence[int] = ()
) -> Iterator[Prometheus]:
    """Run Prometheus on the folder; `follow` tells it what to scrape.

    Args:
        folder: data and log; the caller guarantees that no other Prometheus uses it.
        port: 0: a free one.
        keep_open: descriptors that it inherits, such as the lock of the folder.

    Raises:
        ServerError: it cannot be started.

    """
    command = program("prometheus")
    port = port or servers.free_ports(1)[0]
    settings = folder / "settings"
    shutil.rmtree(settings, ignore_errors=True)
    (settings / "targets").mkdir(parents=True)
    shutil.copy(CONFIGURATION / "prometheus.yml", settings)
    shutil.copytree(CONFIGURATION / "rules", settings / "rules")
    log = folder / "prometheus.log"
    process = servers.launch(
        [
            command,
            f"--config.file={settings / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={servers.LOOPBACK}:{port}",
            "--log.level=warn",
        ],
        data=folder,
        account=None,
        stop_signal=signal.SIGTERM,
        log=log,
        inherited=keep_open,
    )
    listed = settings / "targets" / "stack.json"
    server = Prometheus("Prometheus", process, log, signal.SIGTERM, port, listed)
    try:
        servers.await_ready(server, server.ping, _PATIENCE)
        yield server
    finally:
        server.stop()


def run(data: Path | None, *, port: int, tell: Callable[[str], None]) -> None:
    """Run it in the foreground over whatever stack is up, until somebody stops it.

    Args:
        data: series are kept here; None: nowhere
        port: 0: a free one
        tell: says where it is

    Raises:
        NoStackError: nothing is up yet.
        ServerError: it cannot be started, or has ended by itself.

    """
    Note.read()
    if not servers.port_is_free(port):
        raise ServerError(f"127.0.0.1:{port} is taken; choose another --port")
    with ExitStack() as unwinding:
        unwinding.enter_context(suppress(Stop))
        unwinding.enter_context(stoppable())
        claim = unwinding.enter_context(
            folders.claimed(data) if data else folders.scratch(Path(gettempdir()))
        )
        server = unwinding.enter_context(
            prometheus(claim.path, port=port, keep_open=[claim.descriptor])
        )
        tell(f"Prometheus is up at {server.url}; stop it with Ctrl-C")
        while True:
            server.require_alive()
            # A stack that is gone stays listed: that its processes are down is to be seen.
            with suppress(NoStackError):
                server.follow(Note.read())
            time.sleep(_LOOK_AROUND)


def program(name: str) -> str:
    """Find `prometheus` or `promtool`.

    Raises:
        ServerError: it is not on this machine.

    """
    found = shutil.which(name, path=os.pathsep.join([str(FETCHED), os.environ.get("PATH", "")]))
    if found is None:
        raise ServerError(
            f"there is no `{name}` on the PATH nor in {FETCHED}; `make prometheus` fetches it"
        )
    return found
