"""Kafka has lost what somebody has not read yet: the producer's own copy fills the gap."""

import asyncio
from collections.abc import Callable

import pytest

from deploy.local.kafka import Kafka
from shared import kafka
from shared.contracts.registry import ROLL
from shared.kafka import KafkaSettings
from tests.faults.streams import PATIENCE, brought, streaming
from tests.kafka import outsider
from tests.support.counting import Tell
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl
from tests.support.waiting import eventually


def records_are_deleted(bootstrap: str) -> None:
    """Up to beyond where the follower is, as when it was away for longer than the retention."""
    outsider.truncate(bootstrap, ROLL, 0, keep=5)


def topic_is_deleted(bootstrap: str) -> None:
    """The relay makes it anew, and it is shorter than where the follower is."""
    outsider.delete(bootstrap, {ROLL})


@pytest.mark.parametrize("lose", [records_are_deleted, topic_is_deleted])
async def test_whoever_was_away_while_kafka_lost_records_misses_none(
    emptied: Kafka,
    database_url: DatabaseUrl,
    issuer: Issuer,
    tell: Tell,
    monkeypatch: pytest.MonkeyPatch,
    lose: Callable[[str], None],
) -> None:
    monkeypatch.setattr(kafka, "CALL_LIMIT", 8.0)
    settings = KafkaSettings(emptied.bootstrap)
    async with streaming(database_url, issuer, settings) as stream:
        async with stream.followed():
            await stream.carried_by_kafka()
        for _ in range(20):
            await stream.say()
        await eventually(stream.all_published, PATIENCE)
        await asyncio.to_thread(lose, emptied.bootstrap)

        pulled = brought("pull")
        async with stream.followed():
            there = await stream.applied()
            carried = await stream.carried_by_kafka()
            await eventually(stream.all_published, PATIENCE)
        assert brought("pull") >= pulled + 15
        tell(f"the gap is filled after {there:.1f} s, Kafka carries on after {carried:.1f} s more")
