"""Secrets in files: read, replaced, and never told when something is wrong with them."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from shared.errors import TransientError
from shared.files import UnreadableFile, read_secret, stamp, trust
from tests.support.certificates import Authority


def test_a_secret_is_read_without_the_end_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(" 开门 \r\n")
    assert read_secret(path, "the password") == " 开门 "


def test_an_unreadable_secret_is_a_fault_of_the_moment_and_names_its_purpose(
    tmp_path: Path,
) -> None:
    path = tmp_path / "password"
    with pytest.raises(TransientError, match="the file with the password cannot be read"):
        read_secret(path, "the password")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UnreadableFile):
        read_secret(path, "the password")


def test_a_replaced_file_has_another_stamp_and_a_missing_one_none(tmp_path: Path) -> None:
    path, draft = tmp_path / "password", tmp_path / "draft"
    assert stamp([path]) == (None,)
    path.write_text("one")
    before = stamp([path])
    assert before == stamp([path]) != (None,)
    draft.write_text("two")
    draft.replace(path)
    assert stamp([path]) != before


def test_trust_needs_files_that_are_what_they_should_be(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, other = authority.vouch("own"), authority.vouch("other")
    assert trust(authority.certificate, own.both).check_hostname
    for files in (
        (tmp_path / "none",),
        (own.key,),
        (authority.certificate, tmp_path / "none"),
        (authority.certificate, own.certificate),
        (authority.certificate, own.certificate, other.key),
    ):
        with pytest.raises(UnreadableFile):
            trust(*files)


def test_a_key_that_has_a_password_of_its_own_is_refused_not_asked_about(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.vouch("own")
    key = load_pem_private_key(own.key.read_bytes(), None)
    sealed = BestAvailableEncryption(b"secret")
    own.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))
    with pytest.raises(UnreadableFile, match="key cannot be read"):
        trust(authority.certificate, own.certificate, own.key)
