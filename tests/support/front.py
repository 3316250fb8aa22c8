"""The embedded PostgreSQL, guarded: a password is asked for, and a front speaks TLS for it.

It was built without TLS. The front answers a client's request for TLS as a server does that knows
it, and hands on what follows. Behind it is the real server; before it is the real client.
"""

import asyncio
import contextlib
import os
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from deploy.local import folders, servers
from tests.support.certificates import Authority, Identity

_REQUEST = struct.pack(">ii", 8, 80877103)
"""A client asks for TLS (PostgreSQL's protocol, SSLRequest)."""


@contextmanager
def asking(user: str, password: str) -> Iterator[servers.Postgres]:
    """Run a PostgreSQL that asks this user, whom everything is allowed, for a password."""
    with folders.scratch(Path(tempfile.gettempdir())) as home:
        data = home.path / "postgres"
        with servers.postgres(data, durable=False, keep_open=(home.descriptor,)) as server:
            access = data / "pg_hba.conf"
            owner = access.stat()
            access.write_text(f"local all {user} scram-sha-256\n{access.read_text()}")
            os.chown(access, owner.st_uid, owner.st_gid)
            server.execute(
                "SELECT pg_reload_conf()",
                f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{password}'",
            )
            yield server


@asynccontextmanager
async def front(
    socket_folder: Path, shows: Callable[[], Identity], authority: Authority | None = None
) -> AsyncIterator[int]:
    """Stand before a server; yield the port.

    Args:
        socket_folder: that of the server
        shows: gives the certificate, for every connection
        authority: of clients, who then must show a certificate

    """
    guests: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        guest = asyncio.current_task()
        assert guest is not None
        guests.add(guest)
        raw = writer.transport
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await lead_in(reader, writer)
        finally:
            # At once: TLS would wait for the other side's goodbye.
            writer.transport.abort()
            raw.abort()

    async def lead_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(8)
        if first == _REQUEST:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(shows().both)
            if authority is not None:
                context.load_verify_locations(authority.certificate)
                context.verify_mode = ssl.CERT_REQUIRED
            writer.write(b"S")
            await writer.start_tls(context)
            first = b""
        behind = await asyncio.open_unix_connection(socket_folder / ".s.PGSQL.5432")
        try:
            behind[1].write(first)
            await asyncio.gather(_hand_on(reader, behind[1]), _hand_on(behind[0], writer))
        finally:
            behind[1].transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for guest in guests:
            guest.cancel()
        await asyncio.gather(*guests, return_exceptions=True)


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    writer.close()
