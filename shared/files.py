"""Secrets are files: never on a command line, which everybody on the machine can read.

They are replaced while we run (a password is rotated, a certificate renewed), so whoever uses one
can tell that it is another now.
"""

import ssl
from collections.abc import Iterable
from pathlib import Path

from shared.errors import TransientError

Stamp = tuple[tuple[int, int] | None, ...]
"""By which a replaced file is told from the one it was."""


class UnreadableFile(TransientError):
    """A file that we were told of cannot be read now. Names what it is for, never what is in it."""


def read_secret(path: Path, what: str) -> str:
    """Read a secret; the line's end that editors leave is not part of it.

    Raises:
        UnreadableFile: it is not there, or not ours to read

    """
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"the file with {what} cannot be read") from error


def trust(
    authorities: Path | None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Make what a client needs to trust a server by its name, and to be trusted by it.

    Args:
        authorities: who signs servers' certificates (PEM); None: whom this machine trusts
        certificate: our own, with those between it and its authority (PEM); None: we show none
        key: of our certificate; None: it is in the same file

    Raises:
        UnreadableFile: one of the files is not there, or not what it should be

    """
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:  # of which ssl's own errors are
        raise UnreadableFile("the file with certificate authorities cannot be read") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        show(context, certificate, key)
    return context


def show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Have a certificate of ours shown to the other side.

    Raises:
        UnreadableFile: it or its key is not there, or not what it should be

    """
    try:
        # Without a password to give, OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key, password=_refuse)
    except (OSError, ValueError) as error:
        raise UnreadableFile("our certificate or its key cannot be read") from error


def _refuse() -> str:
    raise ValueError("keys are kept without a password, in a file of their own")


def stamp(paths: Iterable[Path]) -> Stamp:
    """Take the stamps of files; None for one that is not there."""
    return tuple(map(_stamp, paths))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_ino)
