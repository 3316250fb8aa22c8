"""Fixtures: Apache Kafka, one broker for the whole run, and three for those who break them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import folders
from deploy.local.errors import ServerError
from deploy.local.kafka import Kafka, kafka


def _running(brokers: int) -> Iterator[Kafka]:
    with folders.scratch(Path(tempfile.gettempdir())) as home:
        try:
            cluster = kafka(home.path, brokers=brokers, keep_open=[home.descriptor])
            with cluster as running:
                yield running
        except ServerError as error:
            # One sentence for everything: without it no test here means anything.
            pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def one_broker() -> Iterator[Kafka]:
    """Apache Kafka with one broker. Use topics or groups of your own, and leave it running."""
    yield from _running(1)


@pytest.fixture
def three_brokers() -> Iterator[Kafka]:
    """Apache Kafka with three brokers, of this test's own."""
    yield from _running(3)
