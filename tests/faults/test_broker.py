"""The broker is slow, hangs, or is out of reach: the pull takes over, then Kafka carries again."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.local import servers
from shared import kafka
from shared.contracts.envelope import PARTITIONS
from shared.contracts.registry import ROLL
from shared.kafka import KafkaSettings
from tests.faults.servers import Wire, wire_to_port
from tests.faults.streams import Stream, assert_the_pull_carries_on, brought, streaming
from tests.shared.test_relay import partitions_on
from tests.support.counting import Tell
from tests.support.issuer import Issuer
from tests.support.networks import Network
from tests.support.servers import DatabaseUrl


@pytest.fixture
async def wired(
    database_url: DatabaseUrl, issuer: Issuer, tmp_path: Path
) -> AsyncIterator[tuple[Stream, Wire]]:
    """A stream whose both ends reach the broker by a wire."""
    own, known = servers.free_ports(2)
    broker = servers.start_broker(tmp_path, port=own, advertised=known)
    try:
        async with wire_to_port(own, at=known) as (wire, _):
            settings = KafkaSettings(f"{servers.LOOPBACK}:{known}", idempotent=False)
            async with streaming(database_url, issuer, settings) as stream, stream.followed():
                yield stream, wire
                wire.mend()
    finally:
        broker.stop()


async def test_a_slow_broker_carries_all_the_same(wired: tuple[Stream, Wire], tell: Tell) -> None:
    stream, wire = wired
    await stream.carried_by_kafka()
    wire.delay = 0.1
    times, carried = [], brought("kafka")
    for _ in range(5):
        await stream.say()
        times.append(await stream.applied())
    assert brought("kafka") == carried + 5
    wire.mend()
    tell(f"each piece of the line takes 100 ms: a number is there after {max(times):.1f} s at most")


async def test_a_broker_that_hangs_is_given_up_and_found_again(
    wired: tuple[Stream, Wire], tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "CALL_LIMIT", 8.0)
    stream, wire = wired
    await assert_the_pull_carries_on(stream, wire.hang, wire.mend, tell)


async def test_a_broker_behind_a_network_that_drops_everything_is_found_again(
    database_url: DatabaseUrl,
    issuer: Issuer,
    tmp_path: Path,
    network: Network,
    tell: Tell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka, "CALL_LIMIT", 8.0)
    with network.beyond():
        broker = servers.start_broker(tmp_path, host=network.there)
    try:
        settings = KafkaSettings(broker.bootstrap, idempotent=False)
        async with streaming(database_url, issuer, settings) as stream, stream.followed():
            await assert_the_pull_carries_on(stream, network.part, network.join, tell)
    finally:
        broker.stop()


class Mortal:
    """A broker that can be taken away and brought back, empty, at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.broker = servers.start_broker(folder)

    def kill(self) -> None:
        self.broker.process.kill()
        self.broker.process.wait()

    def start(self) -> None:
        self.broker = servers.start_broker(self._folder, port=self.broker.port)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    made = Mortal(tmp_path)
    yield made
    made.kill()


async def test_a_broker_that_dies_and_comes_back_empty_costs_nothing(
    database_url: DatabaseUrl,
    issuer: Issuer,
    mortal: Mortal,
    tell: Tell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka, "CALL_LIMIT", 8.0)
    settings = KafkaSettings(mortal.broker.bootstrap, idempotent=False)
    async with streaming(database_url, issuer, settings) as stream, stream.followed():
        await assert_the_pull_carries_on(stream, mortal.kill, mortal.start, tell)
        # Nobody else has made the topic anew, with a number of partitions of their own.
        assert await partitions_on(settings.bootstrap, ROLL) == PARTITIONS
