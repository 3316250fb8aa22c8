"""Three brokers, three copies, two that must have it; one is lost in the middle of a day.

The services come by TLS, as a user with a password.
"""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource

from deploy.local.kafka import Kafka
from shared.contracts.registry import ROLL
from tests.journeys.test_stack import applied, dashboard
from tests.kafka import outsider
from tests.kafka.doors import USERS, Doors, enrol, environment
from tests.kafka.watching import assert_all_is_on_kafka
from tests.support.counting import Tell, watch
from tests.support.stack import START, Up, lastmetre, outcome, running
from tests.support.waiting import eventually

RESIDENTS = "1000"


def in_sync(bootstrap: str) -> set[int]:
    """How many copies the partitions have that are up to date, over all topics of ours."""
    return {
        len(partition.isrs)
        for topic in outsider.topics(bootstrap).values()
        for partition in topic.partitions.values()
    }


def required(bootstrap: str) -> int:
    """How many copies of the roll have to be written before it counts as sent; 0: no roll yet."""
    topic = ConfigResource(ConfigResource.Type.TOPIC, ROLL)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    try:
        settings = admin.describe_configs([topic])[topic].result(outsider.SECONDS)
    except KafkaException as error:
        # The relay has not made it yet, or the broker that was asked has not heard of it.
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return 0
        raise
    return int(settings["min.insync.replicas"].value)


def leader(bootstrap: str) -> int:
    """The broker that leads most partitions of the roll."""
    partitions = outsider.topics(bootstrap)[ROLL].partitions
    return Counter(int(each.leader) for each in partitions.values()).most_common(1)[0][0]


async def play(up: Up) -> asyncio.subprocess.Process:
    """Begin a day against a stack that is up."""
    attach = ",".join(up.note["addresses"][name] for name in ("registry", "dispatch", "reporting"))
    return await lastmetre(up.state, "demo", "--attach", attach, "--residents", RESIDENTS)


async def test_a_broker_is_killed_in_the_middle_of_a_day_and_nothing_is_lost(
    three_brokers: Kafka,
    doors: Doors,
    tmp_path: Path,
    tell: Tell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bootstrap = three_brokers.bootstrap
    enrol(bootstrap, "lastmetre", "nobody guesses")
    user = doors.user("lastmetre", doors.secret("lastmetre", "nobody guesses"))
    for name, value in environment(user).items():
        monkeypatch.setenv(name, value)
    kafka = ("--kafka", three_brokers.at(USERS))
    async with running(tmp_path / "state", tmp_path / "data", *kafka) as up:
        await eventually(lambda: in_sync(bootstrap) == {3}, START)
        assert await eventually(lambda: asyncio.to_thread(required, bootstrap), START) == 2
        day = await play(up)

        async def under_way() -> bool:
            return await applied(up, "reporting worker", "kafka") > 0

        await eventually(under_way, START)
        lost = leader(bootstrap)
        three_brokers.kill(lost)
        seconds = watch()
        assert day.returncode is None
        status, said = await outcome(day)
        assert status == 0, said
        assert "balanced: true" in said
        assert await (await dashboard(up)).balanced()
        await assert_all_is_on_kafka(up, bootstrap)
        tell(
            f"the day is over, and all of it on two brokers, {seconds():.0f} s after the third died"
        )

        # It comes back and copies what it missed.
        await asyncio.to_thread(three_brokers.start, lost)
        await eventually(lambda: in_sync(bootstrap) == {3}, START)
