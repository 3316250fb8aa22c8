"""Identity numbers at rest: encrypted, and found again by a keyed blind index.

Ciphertexts carry the id of their key. The keys are in a file (`shared.keyring`), which is read
again while we run, so that they are rotated without a restart (ADR 0023).
"""

import hmac
import os
import time
from copy import copy
from pathlib import Path
from typing import Self

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from prometheus_client import Gauge

from services.registry.domain.documents import Document, DocumentType
from shared.errors import TransientError
from shared.files import UnreadableFile
from shared.keyring import Keyring

NONCE_BYTES = 12
INDEX_BYTES = 16
LOOK_SECONDS = 2.0
"""The file is read again on use, at most so often."""

KEYS = Gauge(
    "lastmetre_registry_key",
    "Keys for identity numbers that this process knows; 1: the one that it seals with.",
    ["key"],
)
KEYS_REFUSED = Gauge(
    "lastmetre_registry_keys_file_refused",
    "1 while the keys file cannot be read or is wrong, and this process goes on with what it has.",
)

log = structlog.get_logger(__name__)


class KeyUnknown(TransientError):
    """A number is sealed under a key that is not in our file; once it is there, all is well."""


class Vault:
    """Seals identity numbers and computes their blind index. Holds the keys in memory only.

    Args:
        keys_file: of `Keyring`
        look_seconds: how often it is read again at most; a key that is missed is looked for at once

    Raises:
        UnreadableFile: there are no keys to begin with

    """

    def __init__(self, keys_file: Path, look_seconds: float = LOOK_SECONDS) -> None:
        self._file = keys_file
        self._look_seconds = look_seconds
        self._indexes: dict[Document, bytes] | None = None
        self._refused: str | None = None
        self._take(Keyring.read(keys_file))

    @property
    def current(self) -> str:
        """Id of the key that numbers are sealed under."""
        return self._keyring().current

    @property
    def ids(self) -> list[str]:
        """Ids of all keys on file."""
        return sorted(self._keyring().keys)

    def seal(self, document: Document) -> bytes:
        """Encrypt a document's number: key id, colon, nonce, ciphertext with its tag."""
        current = self._keyring().current
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[current].encrypt(
            nonce, document.number.encode(), document.type.encode()
        )
        return mark(current) + nonce + sealed

    def reveal(self, kind: str, sealed: bytes) -> str:
        """Decrypt a number sealed under any key on file.

        Raises:
            KeyUnknown: its key is not on file
            InvalidTag: it was altered, or is of another kind

        """
        key_id, _, rest = sealed.partition(b":")
        plain = self._cipher(key_id.decode("ascii", "replace")).decrypt(
            rest[:NONCE_BYTES], rest[NONCE_BYTES:], kind.encode()
        )
        return plain.decode()

    def reseal(self, kind: DocumentType, sealed: bytes) -> bytes:
        """Seal a number under the current key; raises as `reveal` does."""
        return self.seal(Document(kind, self.reveal(kind, sealed)))

    def index(self, document: Document) -> bytes:
        """Compute the blind index: equal documents meet, nothing can be read back from it."""
        known = self._indexes
        if known is not None and document in known:
            return known[document]
        message = f"{document.type}\x1f{document.number}".encode()
        # By its name: given the constructor, hmac looks the algorithm up and takes twice as long.
        index = hmac.digest(self._keys.index, message, "sha256")[:INDEX_BYTES]
        if known is not None:
            known[document] = index
        return index

    def for_a_batch(self) -> Self:
        """Make one that remembers indexes: those of a batch are asked for to find, and to store."""
        remembering = copy(self)
        remembering._indexes = {}  # noqa: SLF001 - our own
        return remembering

    async def gauge(self) -> None:
        """Set the metrics that say which keys this process knows; also where none is in use."""
        keyring = self._keyring()
        KEYS.clear()
        for name in keyring.keys:
            KEYS.labels(name).set(name == keyring.current)
        KEYS_REFUSED.set(self._refused is not None)

    def _keyring(self) -> Keyring:
        if time.monotonic() - self._looked >= self._look_seconds:
            self.look()
        return self._keys

    def _cipher(self, key_id: str) -> AESGCM:
        self._keyring()
        if key_id not in self._ciphers:
            self.look()
        if key_id not in self._ciphers:
            raise KeyUnknown("a number is sealed under a key that is not in the keys file")
        return self._ciphers[key_id]

    def look(self) -> None:
        """Read the file again: 300 bytes, so whatever its time of change says.

        What is wrong with it is said once, and again when it is something else.
        """
        self._looked = time.monotonic()
        try:
            found = Keyring.read(self._file)
            found.check_follows(self._keys)
        except UnreadableFile as error:
            if self._refused != str(error):
                log.warning("keys_file_refused", why=str(error))
            self._refused = str(error)
            return
        if self._refused is not None or found != self._keys:
            log.info("keys_file_taken", current=found.current, keys=sorted(found.keys))
            self._take(found)

    def _take(self, keyring: Keyring) -> None:
        self._looked = time.monotonic()
        self._refused = None
        self._keys = keyring
        self._ciphers = {name: AESGCM(key) for name, key in keyring.keys.items()}


def mark(key_id: str) -> bytes:
    """Give what a number begins with that is sealed under a key."""
    return f"{key_id}:".encode()
