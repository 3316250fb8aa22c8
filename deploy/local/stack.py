"""Where a running stack answers, and the note by which other commands find it."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deploy.local.errors import NoStackError
from deploy.local.tokens import state_folder

SERVICES = ("registry", "dispatch", "reporting")


@dataclass(frozen=True)
class Addresses:
    """Base URLs of the three services' APIs, without a slash at the end."""

    registry: str
    dispatch: str
    reporting: str

    @classmethod
    def parse(cls, text: str) -> "Addresses":
        """Read `URL,URL,URL`: registry, dispatch, reporting.

        Raises:
            NoStackError: it is not three http or https addresses.

        """
        urls = [part.strip().rstrip("/") for part in text.split(",")]
        if len(urls) != len(SERVICES) or not all(
            url.startswith(("http://", "https://")) for url in urls
        ):
            raise NoStackError("three addresses are needed: registry,dispatch,reporting")
        return cls(*urls)

    @classmethod
    def running(cls) -> "Addresses":
        """Those of the stack that `lastmetre up` runs for this user.

        Raises:
            NoStackError: there is none.

        """
        return Note.read().addresses

    def of(self, service: str) -> str:
        """The address of one service by name."""
        return {"registry": self.registry, "dispatch": self.dispatch, "reporting": self.reporting}[
            service
        ]


@dataclass(frozen=True)
class Note:
    """What a stack says of itself: its supervisor, where it answers, where its files are.

    `operations` are the addresses of workers' and relays' health and metrics, by process.
    """

    pid: int
    addresses: Addresses
    data: str
    operations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> "Note":
        """Read the note of this user's stack.

        Raises:
            NoStackError: there is none, or its supervisor is gone.

        """
        try:
            content = json.loads(_path().read_text())
        except FileNotFoundError:
            raise NoStackError("no stack is running; start one with: lastmetre up") from None
        note = cls(**{**content, "addresses": Addresses(**content["addresses"])})
        if not _alive(note.pid):
            raise NoStackError("the stack is gone; start it again with: lastmetre up")
        return note

    def post(self) -> None:
        """Leave the note for other commands; the last stack to start is the one they find."""
        path = _path()
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        draft.write_text(json.dumps(asdict(self), indent=2))
        draft.replace(path)

    def withdraw(self) -> None:
        """Take the note away, if it is still ours."""
        try:
            content = json.loads(_path().read_text())
        except FileNotFoundError:
            return
        if content["pid"] == self.pid:
            _path().unlink(missing_ok=True)


def _path() -> Path:
    return state_folder() / "stack.json"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
