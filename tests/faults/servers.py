"""Servers that can be harmed: PostgreSQL of a test's own, and lines that hang, crawl or are cut."""

import asyncio
import contextlib
import os
import pwd
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.local import servers
from tests.support.town import Ground

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
CHUNK = 4096


class Wire:
    """A line to a server, which stands between it and its clients.

    `hang()`: connections stay open and are taken, and nothing comes through: what a machine does
    that lost its network or its disk. `delay`: seconds that every piece of up to 4 KiB takes.
    `cut()`: everything is hung up on, and nobody new is taken until `mend()`.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut = False
        self.delay = 0.0

    def hang(self) -> None:
        self._open.clear()

    def cut(self) -> None:
        self._cut = True
        for writer in list(self._writers):
            writer.transport.abort()

    def mend(self) -> None:
        self._cut, self.delay = False, 0.0
        self._open.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one client's bytes there and back until either side has enough."""
        if self._cut:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            self._writers.add(writer)
            there, back = await self._connect()
            self._writers.add(back)
            pumps = [
                asyncio.create_task(self._pump(reader, back)),
                asyncio.create_task(self._pump(there, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                back.transport.abort()
                self._writers.discard(back)
        writer.transport.abort()
        self._writers.discard(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._open.wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def wire_to_postgres(server: servers.Postgres) -> AsyncIterator[tuple[Wire, Path]]:
    """A line to PostgreSQL, and the socket folder where it begins."""
    address = str(server.socket_folder / ".s.PGSQL.5432")
    wire = Wire(lambda: asyncio.open_unix_connection(address))
    with tempfile.TemporaryDirectory() as folder:
        listener = await asyncio.start_unix_server(wire.carry, f"{folder}/.s.PGSQL.5432")
        async with listening(listener, wire):
            yield wire, Path(folder)


@asynccontextmanager
async def wire_to_port(port: int, at: int = 0) -> AsyncIterator[tuple[Wire, int]]:
    """A line to a loopback port, and the port where it begins (`at`; 0: a free one)."""
    wire = Wire(lambda: asyncio.open_connection("127.0.0.1", port))
    listener = await asyncio.start_server(wire.carry, "127.0.0.1", at)
    async with listening(listener, wire):
        yield wire, listener.sockets[0].getsockname()[1]


@asynccontextmanager
async def listening(listener: asyncio.Server, wire: Wire) -> AsyncIterator[None]:
    """Listen for the length of a block."""
    try:
        yield
    finally:
        listener.close()
        wire.cut()


def through(ground: Ground, folder: Path, *services: str, **settings: Any) -> Ground:
    """The same ground, some services reaching their databases by another socket folder."""
    databases = {
        name: f"{url.split('?')[0]}?host={quote(str(folder))}" if name in services else url
        for name, url in ground.databases.items()
    }
    return replace(ground, databases=databases, settings={**ground.settings, **settings})


@dataclass(frozen=True)
class Disk:
    """The disk of one database, which can be full."""

    fill: Callable[[], None]
    empty: Callable[[], None]


@contextmanager
def disk_of(server: servers.Postgres, database: str) -> Iterator[Disk]:
    """Put a database on a disk of its own, before anybody is connected to it.

    The disk is real and small where we may mount one, as root. Elsewhere the database says of every
    new resident what PostgreSQL says on a full disk: all but the disk itself is tried there too.
    """
    with _real_disk(server, database) if os.geteuid() == 0 else _said_disk(server, database) as it:
        yield it


@contextmanager
def _real_disk(server: servers.Postgres, database: str) -> Iterator[Disk]:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        disk, space = Path(folder, "disk"), f"disk_{database}"
        disk.mkdir()
        options = f"size=64m,mode=0700,uid={nobody.pw_uid},gid={nobody.pw_gid}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)  # noqa: S607 - wherever it is
        try:
            server.execute(
                f"CREATE TABLESPACE {space} LOCATION '{disk}'",
                f'ALTER DATABASE "{database}" SET TABLESPACE {space}',
            )
            filler = disk / "filler"
            yield Disk(lambda: _fill(filler), filler.unlink)
            server.execute(
                f'ALTER DATABASE "{database}" SET TABLESPACE pg_default',
                f"DROP TABLESPACE {space}",
            )
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)  # noqa: S607 - wherever it is


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(CHUNK))


@contextmanager
def _said_disk(server: servers.Postgres, database: str) -> Iterator[Disk]:
    full = (
        """CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE disk_full; END $$""",
        """CREATE TRIGGER full_disk BEFORE INSERT ON residents
           FOR EACH STATEMENT EXECUTE FUNCTION disk_is_full()""",
    )
    yield Disk(
        lambda: server.execute(*full, database=database),
        lambda: server.execute("DROP FUNCTION disk_is_full CASCADE", database=database),
    )
