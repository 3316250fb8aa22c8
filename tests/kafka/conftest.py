"""Fixtures: Apache Kafka, one broker for the whole run, and three for those who break them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import folders
from deploy.local.errors import ServerError
from deploy.local.kafka import Kafka, kafka
from shared.contracts import dispatch, registry
from tests.kafka import outsider
from tests.kafka.doors import Doors

TOPICS = {registry.ROUNDS, registry.ROLL, dispatch.HANDS, dispatch.VISITS}


def _running(brokers: int, doors: Doors) -> Iterator[Kafka]:
    with folders.scratch(Path(tempfile.gettempdir())) as home:
        try:
            cluster = kafka(
                home.path,
                brokers=brokers,
                keep_open=[home.descriptor],
                listeners=doors.listeners(),
            )
            with cluster as running:
                yield running
        except ServerError as error:
            # One sentence for everything: without it no test here means anything.
            pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Doors:
    """What lies beside the secured doors of all brokers."""
    return Doors.made(tmp_path_factory.mktemp("doors"))


@pytest.fixture(scope="session")
def one_broker(doors: Doors) -> Iterator[Kafka]:
    """Apache Kafka with one broker. Use topics or groups of your own, and leave it running."""
    yield from _running(1, doors)


@pytest.fixture
def emptied(one_broker: Kafka) -> Kafka:
    """The same, without what the stack of another test has said on it."""
    outsider.delete(one_broker.bootstrap, TOPICS)
    return one_broker


@pytest.fixture
def three_brokers(doors: Doors) -> Iterator[Kafka]:
    """Apache Kafka with three brokers, of this test's own."""
    yield from _running(3, doors)
