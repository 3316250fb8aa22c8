"""Identity numbers at rest: sealed, found by a blind index, shown masked."""

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from services.registry.api.masking import masked
from services.registry.domain.documents import Document
from services.registry.vault import Vault
from tests.registry.words import ric

DOCUMENT = Document("cn_ric", ric())


def keys(path: Path, *names: str, index: bytes = b"i" * 32) -> Path:
    """A keys file whose last key is the current one; keys of one name are equal."""
    made = {name: base64.b64encode(name.encode() * 16).decode() for name in names}
    content = {"current": names[-1], "keys": made, "index": base64.b64encode(index).decode()}
    path.write_text(json.dumps(content))
    return path


def test_what_is_sealed_is_revealed_and_never_looks_the_same_twice(tmp_path: Path) -> None:
    vault = Vault(keys(tmp_path / "keys", "k1"))
    sealed = vault.seal(DOCUMENT)
    assert vault.reveal("cn_ric", sealed) == DOCUMENT.number
    assert sealed != vault.seal(DOCUMENT)
    assert DOCUMENT.number.encode() not in sealed


def test_keys_rotate_and_old_numbers_stay_readable(tmp_path: Path) -> None:
    old = Vault(keys(tmp_path / "old", "k1")).seal(DOCUMENT)
    rotated = Vault(keys(tmp_path / "new", "k1", "k2"))
    assert rotated.reveal("cn_ric", old) == DOCUMENT.number
    assert rotated.seal(DOCUMENT).startswith(b"k2:")


def test_a_sealed_number_belongs_to_its_type_and_cannot_be_altered(tmp_path: Path) -> None:
    vault = Vault(keys(tmp_path / "keys", "k1"))
    sealed = vault.seal(DOCUMENT)
    for kind, content in (("passport", sealed), ("cn_ric", sealed[:-1] + b"\x00")):
        with pytest.raises(InvalidTag):
            vault.reveal(kind, content)


def test_the_index_meets_equal_documents_only_and_needs_its_key(tmp_path: Path) -> None:
    vault = Vault(keys(tmp_path / "keys", "k1"))
    same = Document.of("cn_ric", f" {DOCUMENT.number.lower()}")
    assert vault.index(same) == vault.index(DOCUMENT)
    assert vault.index(Document("other", DOCUMENT.number)) != vault.index(DOCUMENT)
    stranger = Vault(keys(tmp_path / "other", "k1", index=os.urandom(32)))
    assert stranger.index(DOCUMENT) != vault.index(DOCUMENT)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("410171195001010017", "4101**********0017"),
        ("E12345678", "E1*****78"),
        ("1234", "1**4"),
        ("123", "***"),
        ("", ""),
    ],
)
def test_at_most_half_of_a_number_is_shown(number: str, shown: str) -> None:
    assert masked(number) == shown
