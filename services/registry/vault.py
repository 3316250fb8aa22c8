"""Identity numbers at rest: encrypted, and found again by a keyed blind index.

The keys file is JSON: `{"current": "k1", "keys": {"k1": "<base64, 32 bytes>"}, "index":
"<base64, 32 bytes>"}`. Ciphertexts carry the id of their key, so keys can be rotated.
"""

import base64
import hashlib
import hmac
import os
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.registry.domain.documents import Document

NONCE_BYTES = 12
INDEX_BYTES = 16


class _Keys(msgspec.Struct, frozen=True):
    current: str
    keys: dict[str, str]
    index: str


class Vault:
    """Seals identity numbers and computes their blind index. Holds the keys in memory only."""

    def __init__(self, keys_file: Path) -> None:
        keys = msgspec.json.decode(keys_file.read_bytes(), type=_Keys)
        self._current = keys.current
        self._ciphers = {name: AESGCM(base64.b64decode(key)) for name, key in keys.keys.items()}
        self._index_key = base64.b64decode(keys.index)

    def seal(self, document: Document) -> bytes:
        """Encrypt a document's number: key id, colon, nonce, ciphertext with its tag."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(
            nonce, document.number.encode(), document.type.encode()
        )
        return self._current.encode() + b":" + nonce + sealed

    def reveal(self, kind: str, sealed: bytes) -> str:
        """Decrypt a number sealed under any key on file."""
        key_id, _, rest = sealed.partition(b":")
        plain = self._ciphers[key_id.decode()].decrypt(
            rest[:NONCE_BYTES], rest[NONCE_BYTES:], kind.encode()
        )
        return plain.decode()

    def index(self, document: Document) -> bytes:
        """Compute the blind index: equal documents meet, nothing can be read back from it."""
        message = f"{document.type}\x1f{document.number}".encode()
        return hmac.digest(self._index_key, message, hashlib.sha256)[:INDEX_BYTES]
