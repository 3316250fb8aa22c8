"""A day on the real servers, by way of Apache Kafka and TLS: each side shows its certificate."""

from pathlib import Path

import pytest

from deploy.local.kafka import Kafka
from shared.contracts import dispatch, registry
from tests.journeys.test_day import a_day
from tests.journeys.test_stack import applied
from tests.kafka.doors import MUTUAL, Doors, environment
from tests.kafka.watching import assert_all_is_on_kafka
from tests.support.live import live
from tests.support.stack import running

WORKERS = ("registry worker", "dispatch worker", "reporting worker")


async def test_a_day_travels_by_kafka_and_a_stranger_can_read_it(
    emptied: Kafka, doors: Doors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(doors.bearer("lastmetre")).items():
        monkeypatch.setenv(name, value)
    kafka = ("--kafka", emptied.at(MUTUAL))
    async with running(tmp_path / "state", tmp_path / "data", *kafka) as up:
        async with live(up) as town:
            await a_day(town)
        for worker in WORKERS:
            assert await applied(up, worker, "kafka") > 0, worker
        messages = await assert_all_is_on_kafka(up, emptied.bootstrap)
    assert {message.place[0] for message in messages} == {
        registry.ROUNDS,
        registry.ROLL,
        dispatch.HANDS,
        dispatch.VISITS,
    }
