"""The network to Apache Kafka drops every packet in the middle of a day, and is mended."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from deploy.local import folders
from deploy.local.kafka import Kafka, Listener, kafka
from tests.journeys.test_stack import applied
from tests.kafka.watching import assert_all_is_on_kafka
from tests.support.counting import Tell, watch
from tests.support.live import live
from tests.support.networks import Network
from tests.support.stack import START, Up, running
from tests.support.waiting import eventually

FAR = "FAR"
"""The door of a broker that is reached by the network."""


@pytest.fixture
def far(network: Network) -> Iterator[Kafka]:
    """A broker beyond a network, on its addresses alone."""
    with ExitStack() as unwinding:
        home = unwinding.enter_context(folders.scratch(Path(tempfile.gettempdir())))
        doors = [Listener(FAR, "PLAINTEXT", {}, host=network.there)]
        with network.beyond():
            cluster = unwinding.enter_context(
                kafka(home.path, keep_open=[home.descriptor], listeners=doors)
            )
        yield cluster


async def unready(up: Up) -> list[str]:
    """Processes that say they are not ready."""
    addresses = {**up.note["addresses"], **up.note["operations"]}
    async with httpx.AsyncClient() as client:
        return [
            name
            for name, url in addresses.items()
            if (await client.get(f"{url}/readyz")).status_code != httpx.codes.OK
        ]


async def test_a_day_goes_on_while_the_network_to_kafka_drops_everything(
    far: Kafka, network: Network, tmp_path: Path, tell: Tell
) -> None:
    bootstrap = far.at(FAR)
    async with (
        running(tmp_path / "state", tmp_path / "data", "--kafka", bootstrap) as up,
        live(up) as town,
    ):
        people = iter(await town.people(*[{} for _ in range(100)]))
        round_id = await town.round()
        await town.tick(round_id, 2)
        sampled = 0

        async def one_more() -> float:
            """Another one is sampled and counted; the seconds until reporting says so."""
            nonlocal sampled
            sampled, seconds = sampled + 1, watch()
            await town.results(town.result(round_id, next(people)))
            await town.expect(round_id, roll=100, sampled=sampled)
            return seconds()

        async def by_kafka() -> bool:
            before = await applied(up, "reporting worker", "kafka")
            await one_more()
            return await applied(up, "reporting worker", "kafka") > before

        await eventually(by_kafka, START)
        network.part()
        pulled = await applied(up, "reporting worker", "pull")
        took = await one_more()
        assert await applied(up, "reporting worker", "pull") > pulled
        assert await unready(up) == []

        network.join()
        seconds = watch()
        await eventually(by_kafka, START)
        tell(f"counted after {took:.1f} s; by Kafka again {seconds():.1f} s later")
        await assert_all_is_on_kafka(up, bootstrap)
