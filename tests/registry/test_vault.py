"""Identity numbers at rest: sealed, found by a blind index, shown masked."""

import base64
import json
import os
import time
from pathlib import Path

import pytest
import structlog
from cryptography.exceptions import InvalidTag
from prometheus_client import REGISTRY

from services.registry.api.masking import masked
from services.registry.domain.documents import Document
from services.registry.vault import LOOK_SECONDS, KeyUnknown, Vault
from shared.errors import TransientError
from shared.files import UnreadableFile
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


def test_old_and_new_processes_read_what_either_of_them_seals(tmp_path: Path) -> None:
    file = keys(tmp_path / "keys", "k1")
    late, early = Vault(file, look_seconds=3600), Vault(file, look_seconds=0)
    keys(file, "k1", "k2")
    sealed = early.seal(DOCUMENT)
    assert sealed.startswith(b"k2:")
    assert late.seal(DOCUMENT).startswith(b"k1:")
    assert late.reveal("cn_ric", sealed) == DOCUMENT.number
    assert late.current == "k2"
    assert early.reveal("cn_ric", Vault(keys(tmp_path / "old", "k1")).seal(DOCUMENT))


def test_the_file_is_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    vault = Vault(keys(tmp_path / "keys", "k1"))
    keys(tmp_path / "keys", "k1", "k2")
    now += LOOK_SECONDS / 2
    assert vault.current == "k1"
    now += LOOK_SECONDS
    assert vault.current == "k2"


KEY, OTHER, THIRD = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))


def written(keys: str, current: str = "k1", index: str = OTHER) -> str:
    """A keys file, as its members are written."""
    return f'{{"current": "{current}", "keys": {{{keys}}}, "index": "{index}"}}'


RIGHT = written(f'"k1": "{KEY}"')
WRONG = {
    "gone": None,
    "empty": "",
    "truncated": RIGHT[:50],
    "no object": "[]",
    "no index": f'{{"current": "k1", "keys": {{"k1": "{KEY}"}}}}',
    "current missing": written(f'"k1": "{KEY}"', current="k2"),
    "id twice": written(f'"k1": "{KEY}", "k1": "{THIRD}"'),
    "key twice": written(f'"k1": "{KEY}", "k2": "{KEY}"'),
    "too short": written(f'"k1": "{KEY[4:]}"'),
    "no base64": written(f'"k1": "!{KEY[1:]}"'),
    "bad id": written(f'"k:1": "{KEY}"', current="k:1"),
    "another key": written(f'"k1": "{THIRD}"'),
    "another index": written(f'"k1": "{KEY}"', index=THIRD),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_file_leaves_the_keys_as_they_are_and_shows(
    wrong: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(RIGHT)
    vault = Vault(file, look_seconds=0)
    sealed = vault.seal(DOCUMENT)
    file.unlink() if wrong is None else file.write_text(wrong)
    with structlog.testing.capture_logs() as logs:
        assert vault.reveal("cn_ric", sealed) == DOCUMENT.number
        assert vault.reveal("cn_ric", vault.seal(DOCUMENT)) == DOCUMENT.number
    assert [line["event"] for line in logs] == ["keys_file_refused"]
    assert not any(secret[:9] in str(logs) for secret in (KEY, OTHER, THIRD))
    await vault.gauge()
    assert shown() == {"lastmetre_registry_key k1": 1, "lastmetre_registry_keys_file_refused": 1}

    file.write_text(RIGHT.replace('"k1":', f'"k2": "{THIRD}", "k1":'))
    await vault.gauge()
    assert shown() == {
        "lastmetre_registry_key k1": 1,
        "lastmetre_registry_key k2": 0,
        "lastmetre_registry_keys_file_refused": 0,
    }


@pytest.mark.parametrize("wrong", [w for name, w in WRONG.items() if "another" not in name])
def test_a_process_does_not_begin_with_a_wrong_file(wrong: str | None, tmp_path: Path) -> None:
    if wrong is not None:
        (tmp_path / "keys").write_text(wrong)
    with pytest.raises(UnreadableFile) as refused:
        Vault(tmp_path / "keys")
    assert KEY[:9] not in str(refused.getrepr(showlocals=False))


def shown() -> dict[str, float]:
    """The metrics about keys."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name.startswith("lastmetre_registry_key")
    }


@pytest.mark.parametrize("sealed", [b"k2:" + b"x" * 40, b"", b"\xff:" + b"x" * 40])
def test_a_number_under_an_unknown_key_is_asked_for_again_later(
    sealed: bytes, tmp_path: Path
) -> None:
    vault = Vault(keys(tmp_path / "keys", "k1"))
    with pytest.raises(KeyUnknown):
        vault.reveal("cn_ric", sealed)
    assert issubclass(KeyUnknown, TransientError)


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
