"""A day on the real servers, by way of Apache Kafka."""

from pathlib import Path

from deploy.local.kafka import Kafka
from shared.contracts import dispatch, registry
from tests.journeys.test_day import a_day
from tests.journeys.test_stack import applied
from tests.kafka.watching import assert_all_is_on_kafka
from tests.support.live import live
from tests.support.stack import running

WORKERS = ("registry worker", "dispatch worker", "reporting worker")


async def test_a_day_travels_by_kafka_and_a_stranger_can_read_it(
    one_broker: Kafka, tmp_path: Path
) -> None:
    bootstrap = one_broker.bootstrap
    async with running(tmp_path / "state", tmp_path / "data", "--kafka", bootstrap) as up:
        async with live(up) as town:
            await a_day(town)
        for worker in WORKERS:
            assert await applied(up, worker, "kafka") > 0, worker
        messages = await assert_all_is_on_kafka(up, bootstrap)
    assert {message.place[0] for message in messages} == {
        registry.ROUNDS,
        registry.ROLL,
        dispatch.HANDS,
        dispatch.VISITS,
    }
