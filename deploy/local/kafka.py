"""Apache Kafka itself on this machine: for what the embedded broker cannot stand in for.

Its jars are fetched by `make kafka` from what `deploy/kafka/pom.xml` names. Every broker is a
controller as well (KRaft), keeps its data, and comes back on the port that it had, whether it was
stopped or killed.
"""

import os
import random
import shutil
import signal
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir

from deploy.local import folders, servers
from deploy.local.errors import ServerError
from deploy.local.stopping import Stop, stoppable

_PROJECT = Path(__file__).parents[2]
JARS = _PROJECT / "build" / "kafka"
"""Where `make kafka` puts what it fetches."""
_LOGGING = _PROJECT / "deploy" / "kafka" / "log4j2.xml"

_JVM = (
    "-Xmx512m",
    # For a short life on few cores: no profiling compiler, no threads that collect garbage.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
)
_SAFE = 3
"""Brokers from which on everything is kept three times and acknowledged by two."""
_QUIET = range(15_000, 30_000)
"""Below what Linux (from 32768) and others (from 49152) give to outgoing connections."""
_LOOK_AROUND = 0.2  # seconds between two looks at the brokers
_PATIENCE = 120.0  # seconds for a broker to serve
_FAREWELL = 10.0  # seconds for a broker to leave


@dataclass(frozen=True)
class Listener:
    """One more door of every broker: by TLS, for users with passwords, or both.

    `name` is of capital letters, `protocol` one of Kafka's (`SSL`, `SASL_SSL`, `SASL_PLAINTEXT`),
    `settings` are those of this door alone, by their names in Kafka, `host` is the address where it
    opens.
    """

    name: str
    protocol: str
    settings: Mapping[str, object]
    host: str = servers.LOOPBACK


@dataclass(frozen=True)
class _Address:
    """The loopback ports of a broker: for clients and brokers, for controllers, for more doors."""

    port: int
    controller: int
    others: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Kafka:
    """Brokers of one cluster, by number from 1. `nodes` holds those that were started last."""

    folder: Path
    addresses: Mapping[int, _Address]
    inherited: Sequence[int] = ()
    listeners: Sequence[Listener] = ()
    nodes: dict[int, servers.Broker] = field(default_factory=dict)

    @property
    def bootstrap(self) -> str:
        """What clients connect to: all brokers, `host:port,host:port`."""
        return ",".join(f"127.0.0.1:{address.port}" for address in self.addresses.values())

    def at(self, listener: str) -> str:
        """What clients connect to who come by another door, `host:port,host:port`."""
        (host,) = {each.host for each in self.listeners if each.name == listener}
        ports = [address.others[listener] for address in self.addresses.values()]
        return ",".join(f"{host}:{port}" for port in ports)

    def start(self, *numbers: int, patience: float = _PATIENCE) -> None:
        """Start brokers, and wait until they serve.

        Raises:
            ServerError: one of them does not start, or there is no Java or no Kafka here.

        """
        java = _java()
        self._format(java, numbers)
        # All first: none of them serves before most of their controllers have found each other.
        for number in numbers:
            self.nodes[number] = self._launch(number, [*java, "kafka.Kafka"])
        for number in numbers:
            servers.await_ready(self.nodes[number], self.nodes[number].ping, patience)

    def kill(self, number: int) -> None:
        """End a broker as the loss of its machine would, but for the data."""
        self.nodes[number].process.kill()
        self.nodes[number].process.wait()

    def stop(self) -> None:
        """Stop every broker that runs, in good order.

        The last ones may wait in vain for a majority of controllers, and are killed: what they
        have acknowledged they find again.
        """
        for node in self.nodes.values():
            if node.alive():
                node.process.send_signal(node.stop_signal)
        for node in self.nodes.values():
            node.stop(patience=_FAREWELL)

    def require_alive(self) -> None:
        """Raise `ServerError` if a broker has ended."""
        for node in self.nodes.values():
            node.require_alive()

    def _format(self, java: Sequence[str], numbers: Sequence[int]) -> None:
        """Give the data folders of new brokers the name of the cluster."""
        cluster = self._cluster()
        formatting = []
        for number in numbers:
            home = self.folder / str(number)
            home.mkdir(mode=0o700, exist_ok=True)
            # It may hold passwords; the folder keeps them from others (0700).
            _settings_file(home).write_text(self._settings(number), encoding="utf-8")
            if (home / "data" / "meta.properties").exists():
                continue
            # Formatting writes that file last: what is there without it was interrupted.
            shutil.rmtree(home / "data", ignore_errors=True)
            command = [*java, "kafka.tools.StorageTool", "format", "--cluster-id", cluster]
            formatting.append(self._launch(number, [*command, "--config"]))
        for tool in formatting:
            if tool.process.wait() != 0:
                raise ServerError(f"{tool.name} could not be formatted\n{tool.last_words()}")

    def _cluster(self) -> str:
        """The name of the cluster, made up the first time."""
        note = self.folder / "cluster.id"
        if not note.exists():
            name = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # One in 64 would begin with a hyphen, and Kafka's tool would take it for an option.
            note.write_text(name.replace("-", "_"), "utf-8")
        return note.read_text("utf-8")

    def _launch(self, number: int, command: Sequence[str]) -> servers.Broker:
        log = self.folder / f"kafka-{number}.log"
        process = servers.launch(
            [*command, str(_settings_file(self.folder / str(number)))],
            data=self.folder,
            account=None,
            stop_signal=signal.SIGTERM,
            log=log,
            inherited=self.inherited,
        )
        port = self.addresses[number].port
        return servers.Broker(f"Kafka broker {number}", process, log, signal.SIGTERM, port)

    def _settings(self, number: int) -> str:
        """What a broker is told, as the properties file that it reads."""
        address = self.addresses[number]
        brokers = len(self.addresses)
        copies = min(brokers, _SAFE)
        acknowledged = 2 if brokers >= _SAFE else 1
        settings = {
            "process.roles": "broker,controller",
            "node.id": number,
            "controller.quorum.voters": ",".join(
                f"{each}@127.0.0.1:{other.controller}" for each, other in self.addresses.items()
            ),
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(
                [f"PLAINTEXT://127.0.0.1:{address.port}"]
                + [f"CONTROLLER://127.0.0.1:{address.controller}"]
                + [
                    f"{each.name}://{each.host}:{address.others[each.name]}"
                    for each in self.listeners
                ]
            ),
            "listener.security.protocol.map": ",".join(
                ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"]
                + [f"{each.name}:{each.protocol}" for each in self.listeners]
            ),
            **{
                f"listener.name.{each.name.lower()}.{name}": value
                for each in self.listeners
                for name, value in each.settings.items()
            },
            "log.dirs": (self.folder / str(number) / "data").absolute(),
            # A topic that is merely asked for must not come into being.
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
            "min.insync.replicas": acknowledged,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 6,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": acknowledged,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": acknowledged,
            # Waiting for more members pays off where many join at once.
            "group.initial.rebalance.delay.ms": 0,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


@contextmanager
def kafka(
    folder: Path,
    *,
    brokers: int = 1,
    port: int = 0,
    keep_open: Sequence[int] = (),
    listeners: Sequence[Listener] = (),
) -> Iterator[Kafka]:
    """Run Apache Kafka on the folder; what is kept there from before is taken up again.

    With three brokers or more every topic has three copies, and a record counts as sent when two
    of them have it.

    Args:
        folder: data, settings and logs; the caller guarantees that no other cluster uses it.
        brokers: how many.
        port: that of the first broker, 0: a free one. The other ports are free ones.
        keep_open: descriptors that the brokers inherit, such as the lock of the folder.
        listeners: further doors, beside the open one.

    Raises:
        ServerError: it cannot be started.

    """
    free = _quiet_ports()
    addresses = {
        number: _Address(
            (port if number == 1 else 0) or next(free),
            next(free),
            {listener.name: next(free) for listener in listeners},
        )
        for number in range(1, brokers + 1)
    }
    cluster = Kafka(folder, addresses, keep_open, listeners)
    try:
        cluster.start(*addresses)
        yield cluster
    finally:
        cluster.stop()


def run(data: Path | None, *, brokers: int, port: int, tell: Callable[[str], None]) -> None:
    """Run it in the foreground until somebody stops it; without a folder nothing is kept.

    Raises:
        ServerError: it cannot be started, or a broker ended by itself.

    """
    if not servers.port_is_free(port):
        raise ServerError(f"127.0.0.1:{port} is taken; choose another --port")
    with ExitStack() as unwinding:
        unwinding.enter_context(suppress(Stop))
        unwinding.enter_context(stoppable())
        claim = unwinding.enter_context(
            folders.claimed(data) if data else folders.scratch(Path(gettempdir()))
        )
        cluster = unwinding.enter_context(
            kafka(claim.path, brokers=brokers, port=port, keep_open=[claim.descriptor])
        )
        tell(f"Apache Kafka is up at {cluster.bootstrap}; stop it with Ctrl-C")
        while True:
            cluster.require_alive()
            time.sleep(_LOOK_AROUND)


def _java() -> list[str]:
    """The command that runs a class of Kafka's."""
    java = shutil.which("java")
    if java is None:
        raise ServerError("Apache Kafka needs Java 17 or newer; there is no `java` on the PATH")
    if not any(JARS.glob("kafka_*.jar")):
        raise ServerError(f"Apache Kafka is not in {JARS}; `make kafka` fetches it")
    classes = os.fspath(JARS / "*")
    return [java, *_JVM, f"-Dlog4j2.configurationFile={_LOGGING}", "-cp", classes]


def _quiet_ports() -> Iterator[int]:
    """Different loopback ports that nobody uses and that no outgoing connection is given.

    A broker listens seconds after its port was chosen, and again after it was killed. Of the ports
    that the system calls free, one may be the near end of somebody's connection by then.
    """
    ports = random.sample(_QUIET, len(_QUIET))
    return (port for port in ports if servers.port_is_free(port))


def _settings_file(home: Path) -> Path:
    return home / "server.properties"
