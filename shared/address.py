"""Where a database is, who we are to it, and how we know that it is the one we mean.

Its URL holds no secret: the password is a file, as are the certificates. All are read again for
every connection, so that what was replaced is taken up by the next one.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from shared.errors import PermanentError, TransientError
from shared.files import read_secret, trust
from shared.settings import ServiceSettings

_VERIFIED, _UNENCRYPTED = "verify-full", "disable"


class UnknowingEncryption(PermanentError):
    """The URL asks for TLS with whoever answers. That keeps out nobody who can answer."""


@dataclass(frozen=True, slots=True)
class Address:
    """A database by URL (`postgresql+asyncpg://`), and the files that belong to it.

    With a CA file, or with `?ssl=verify-full` in the URL, the server must show a certificate for
    its name, signed by that authority, or by one that this machine trusts.

    Raises:
        UnknowingEncryption: the URL asks for less

    """

    url: str
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what only looks safe, before anything relies on it."""
        mode = dict(parse_qsl(urlsplit(self.url).query)).get("ssl", _UNENCRYPTED)
        if mode not in (_VERIFIED, _UNENCRYPTED):
            raise UnknowingEncryption(f"a database's ssl is {_VERIFIED} or {_UNENCRYPTED}")

    @classmethod
    def of(cls, url: str, settings: ServiceSettings) -> Self:
        """Complete a service's URL by its settings."""
        return cls(
            url,
            settings.database_password_file,
            settings.database_ca_file,
            settings.database_cert_file,
            settings.database_key_file,
        )

    @classmethod
    def at(cls, place: "str | Address") -> "Address":
        """Take an address as it is, and a URL as one that needs no files."""
        return cls(place) if isinstance(place, str) else place

    async def open(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect without a pool.

        Raises:
            TransientError: we and the server do not trust each other, or a file cannot be read
            OSError, asyncpg.PostgresError: the server is not there, or refuses

        """
        parts = urlsplit(self.url)
        query = dict(parse_qsl(parts.query))
        mode = query.pop("ssl", None)
        plain = parts._replace(scheme="postgresql", query=urlencode(query))
        return await self.connect(dsn=urlunsplit(plain), **({"ssl": mode} if mode else {}))

    async def connect(self, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":  # noqa: ANN401
        """Connect by asyncpg's options (SQLAlchemy's creator of connections); raises as `open`."""
        mode = options.pop("ssl", None)
        if mode == _VERIFIED or self.ca_file is not None or self.cert_file is not None:
            options["ssl"] = trust(self.ca_file, self.cert_file, self.key_file)
        elif mode == _UNENCRYPTED:
            options["ssl"] = False
        if self.password_file is not None:
            options["password"] = read_secret(self.password_file, "the database's password")
        try:
            connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(**options)
        except ssl.SSLCertVerificationError as error:
            raise TransientError(
                f"database: certificate refused: {error.verify_message}"
            ) from error
        except asyncpg.InvalidAuthorizationSpecificationError as error:
            raise TransientError(f"database: {type(error).__name__}") from error
        except ConnectionError as error:
            if type(error) is ConnectionError and "ssl" in options:
                # So asyncpg says that the server knows no TLS; all else has a class of its own.
                raise TransientError("database: the server offers no TLS") from error
            raise
        return connection
