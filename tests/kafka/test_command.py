"""`lastmetre kafka`, which `make kafka` runs."""

import contextlib
import signal
from pathlib import Path

import psutil

from deploy.local.kafka import Kafka
from tests.support.stack import lastmetre


def test_it_listens_on_the_loopback_only(one_broker: Kafka) -> None:
    process = psutil.Process(one_broker.nodes[1].process.pid)
    listening = {
        found.laddr.ip
        for found in process.net_connections("inet")
        if found.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}


async def test_it_runs_until_ctrl_c_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = await lastmetre(tmp_path, "kafka", "--port", "0", "--data", str(tmp_path / "data"))
    assert command.stderr is not None
    try:
        assert b"is up at 127.0.0.1:" in await command.stderr.readline()
        brokers = psutil.Process(command.pid).children()
        assert [broker.name() for broker in brokers] == ["java"]
        command.send_signal(signal.SIGINT)
        assert await command.stderr.readline() == b"stopped\n"
        assert await command.wait() == 0
        assert not any(broker.is_running() for broker in brokers)
    finally:
        with contextlib.suppress(ProcessLookupError):
            command.kill()
        await command.communicate()
