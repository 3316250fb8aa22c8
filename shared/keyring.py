"""The file with the keys that seal what is stored: several by id, one of them current.

    {"current": "k1", "keys": {"k1": "<base64, 32 bytes>"}, "index": "<base64, 32 bytes>"}

`index` is the key of the blind index. Nothing here is printed, logged or told: errors say what is
wrong with the file, never what is in it.
"""

import base64
import binascii
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import msgspec

from shared.files import UnreadableFile, read_secret

KEY_BYTES = 32
ID_CHARACTERS = 64
"""Longest id of a key."""
ID = re.compile(rf"^[A-Za-z0-9._-]{{1,{ID_CHARACTERS}}}$")

_WHAT = "keys"


class WrongKeys(UnreadableFile):
    """The keys file is there, and breaks a rule. Names the rule and ids, never a key."""


class _File(msgspec.Struct):
    current: str
    keys: dict[str, str]
    index: str


@dataclass(frozen=True)
class Keyring:
    """Keys by id, the one that seals, and the key of the blind index."""

    current: str
    keys: Mapping[str, bytes] = field(repr=False)
    index: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not all(map(ID.fullmatch, self.keys)):
            raise WrongKeys(f"an id of a key is not 1 to {ID_CHARACTERS} of A-Z a-z 0-9 . _ -")
        if any(len(key) != KEY_BYTES for key in (*self.keys.values(), self.index)):
            raise WrongKeys(f"a key is not {KEY_BYTES} bytes long")
        if len(set(self.keys.values())) != len(self.keys):
            raise WrongKeys("one key stands under two ids")
        if self.current not in self.keys:
            raise WrongKeys("the current key is not among the keys")

    @classmethod
    def new(cls) -> Self:
        """Make one of a single key."""
        return cls("k1", {"k1": _key()}, _key())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            UnreadableFile: it is not there, not ours to read, or wrong

        """
        text = read_secret(path, _WHAT)
        try:
            file = msgspec.convert(json.loads(text, object_pairs_hook=_once), _File)
            keys = {name: _decoded(key) for name, key in file.keys.items()}
            return cls(file.current, keys, _decoded(file.index))
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            # Not `from` it: what cannot be parsed may be quoted by the error of its parser.
            raise WrongKeys(f"the file with keys is wrong: {_place(error)}") from None

    def text(self) -> str:
        """Write it as the file has it."""
        keys = {name: _encoded(key) for name, key in self.keys.items()}
        file = {"current": self.current, "keys": keys, "index": _encoded(self.index)}
        return json.dumps(file, indent=2)

    def with_new(self, name: str) -> Self:
        """Add a key that nobody has seen; the current one stays.

        Raises:
            WrongKeys: there is one of that id, or it cannot be an id

        """
        if name in self.keys:
            raise WrongKeys(f"there is a key {name} already")
        return replace(self, keys={**self.keys, name: _key()})

    def using(self, name: str) -> Self:
        """Make another key current.

        Raises:
            WrongKeys: there is none of that id

        """
        return replace(self, current=name)

    def without(self, name: str) -> Self:
        """Take a key away.

        Raises:
            WrongKeys: there is none of that id, or it is current

        """
        if name not in self.keys:
            raise WrongKeys(f"there is no key {name}")
        return replace(self, keys={each: key for each, key in self.keys.items() if each != name})

    def check_follows(self, former: "Keyring") -> None:
        """Check that processes which run with `former` may go on with this one.

        Raises:
            WrongKeys: an id stands for another key, or the key of the blind index is another

        """
        if self.index != former.index:
            raise WrongKeys("the key of the blind index is another: nobody would be found by it")
        if any(former.keys.get(name, key) != key for name, key in self.keys.items()):
            raise WrongKeys("an id stands for another key than before")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise WrongKeys("a name stands there twice")
    return found


def _decoded(key: str) -> bytes:
    try:
        return base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise WrongKeys("a key is not base64") from None


def _encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def _place(error: Exception) -> str:
    return "it is no JSON" if isinstance(error, json.JSONDecodeError) else "its members"
