"""The broker is slow, hangs, or is out of reach: the pull takes over, then Kafka carries again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local import servers
from shared import kafka
from shared.kafka import KafkaSettings
from tests.faults.servers import Wire, wire_to_port
from tests.faults.streams import Stream, assert_the_pull_carries_on, brought, streaming
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
