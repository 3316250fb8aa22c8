"""PostgreSQL by TLS and with a password from a file; the server that takes it is the real one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from deploy.local import servers
from shared import migrating
from shared.address import Address, UnknowingEncryption
from shared.database import Database, Transaction
from shared.errors import TransientError
from tests.support.certificates import Authority
from tests.support.front import asking, front

USER = "clerk"
HERE = Path(__file__).parents[2] / "services" / "reporting" / "migrations"


@pytest.fixture(scope="module")
def guarded() -> Iterator[servers.Postgres]:
    """A PostgreSQL that asks for a password, and a database on it."""
    with asking(USER, "none yet") as server:
        server.create_databases("desk")
        yield server


@pytest.fixture
def password(guarded: servers.Postgres, tmp_path: Path) -> Path:
    path = tmp_path / "password"
    change(guarded, path, "first")
    return path


def change(server: servers.Postgres, path: Path, password: str) -> None:
    """Give the user another password, and tell it in the file."""
    server.execute(f"ALTER ROLE {USER} PASSWORD '{password}'")
    path.write_text(f"{password}\n")


def by_socket(server: servers.Postgres) -> str:
    folder = quote(str(server.socket_folder))
    return f"postgresql+asyncpg://{USER}@/desk?host={folder}"


async def who(tx: Transaction) -> str:
    return str(await tx.value("SELECT current_user"))


async def asked(address: Address) -> str:
    """Connect as a service does, and ask who we are."""
    database = Database(address, pool_size=1)
    try:
        return await database.transact(who)
    finally:
        await database.close()


async def test_a_password_comes_from_its_file_for_every_connection(
    guarded: servers.Postgres, password: Path
) -> None:
    address = Address(by_socket(guarded), password)
    assert await asked(address) == USER
    await asyncio.to_thread(change, guarded, password, "second")
    assert await asked(address) == USER
    password.write_text("wrong")
    with pytest.raises(TransientError, match="database: InvalidPasswordError"):
        await asked(address)
    password.unlink()
    with pytest.raises(TransientError, match="file with the database's password"):
        await asked(address)


async def test_a_server_is_verified_by_its_name_and_authority(
    guarded: servers.Postgres, password: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    shown = [authority.vouch("server")]
    async with front(guarded.socket_folder, lambda: shown[-1]) as port:
        url = f"postgresql+asyncpg://{USER}@127.0.0.1:{port}/desk"
        address = Address(url, password, authority.certificate)
        assert await asked(address) == USER
        # For the schema and for administration it is the same way in.
        await asyncio.to_thread(migrating.upgrade, address, HERE)
        connection = await address.open()
        assert await connection.fetchval("SELECT current_user") == USER
        await connection.close()

        # Asked for verification without naming an authority, we ask those of the machine.
        for stranger in (
            Address(f"{url}?ssl=verify-full", password),
            Address(url, password, Authority(tmp_path, "another").certificate),
        ):
            with pytest.raises(TransientError, match="refused: unable to get local issuer"):
                await asked(stranger)
        with pytest.raises(TransientError, match=r"refused: .* 'localhost'"):
            await asked(Address(url.replace("127.0.0.1", "localhost"), password, address.ca_file))
        with pytest.raises(TransientError, match="authorities cannot be read"):
            await asked(Address(url, password, tmp_path / "none"))


async def test_a_client_may_have_to_show_a_certificate(
    guarded: servers.Postgres, password: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    server, own = authority.vouch("server"), authority.vouch("reporting")
    async with front(guarded.socket_folder, lambda: server, authority) as port:
        url = f"postgresql+asyncpg://{USER}@127.0.0.1:{port}/desk"
        files = (password, authority.certificate)
        assert await asked(Address(url, *files, own.certificate, own.key)) == USER
        with pytest.raises(TransientError, match="database: "):
            await asked(Address(url, *files))


async def test_a_server_without_tls_gets_no_password(
    password: Path, tmp_path: Path, unused_port: int
) -> None:
    authority = Authority(tmp_path)
    heard: list[bytes] = []
    left = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readexactly(8))
        writer.write(b"N")
        heard.append(await reader.read())
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(refuse, "127.0.0.1", unused_port)
    async with server:
        url = f"postgresql+asyncpg://{USER}@127.0.0.1:{unused_port}/desk"
        with pytest.raises(TransientError, match="offers no TLS"):
            await asked(Address(url, password, authority.certificate))
        await left.wait()
    assert heard[1:] == [b""]


@pytest.fixture
def unused_port() -> int:
    return servers.free_ports(1)[0]


@pytest.mark.parametrize("mode", ["require", "prefer", "allow", "verify-ca"])
def test_tls_with_whoever_answers_is_refused(mode: str) -> None:
    with pytest.raises(UnknowingEncryption, match="verify-full or disable"):
        Address(f"postgresql+asyncpg://clerk@database/desk?ssl={mode}")
