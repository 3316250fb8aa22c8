"""How far an import is: which batches are answered, and how. So that one that broke can go on.

A journal is for one import: this file to the byte, this map, this round and these rows, into this
registry. It is kept in the state folder and not beside the file, which may lie where nobody may
write. The registry is known by the life its outbox names, not by its address: in another database
at the same address, or in one restored from a backup and adopted, nothing has been answered yet.

Each line is written before the next batch can be. A line that is torn was not written: its batch
is sent again, and what registry took of it is a duplicate then. Lines of rows that were rejected
hold line, reason and detail, and no value (R20).
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

import msgspec

from deploy.local.errors import JournalError

FORM = 1
"""Of what is written. One of another form is not read."""
KEPT_DAYS = 30
"""How long a journal waits to be gone on with."""


class Begun(msgspec.Struct, frozen=True, tag="run"):
    """A process has begun to import, or gone on. `rejects` is the file it lists rows in."""

    file: str
    rejects: str | None = None


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """A batch is on its way."""

    kind: str
    batch: int


class Answered(msgspec.Struct, frozen=True, tag="answered", omit_defaults=True):
    """What became of a batch.

    `again` are the duplicates of one that had been sent before, `listed` the bytes of the file of
    rejects once this batch's are in it.
    """

    kind: str
    batch: int
    rows: int
    accepted: int
    duplicate: int
    rejects: list[tuple[int, str, str]] = []
    again: int = 0
    listed: int = 0


_Line = Begun | Sent | Answered


def fingerprint(file: Path, *further: object, **named: object) -> str:
    """Name an import by everything that it depends on.

    The whole file is read: a size and a time stay the same when a cell is mended by a careful tool,
    and rows that nobody sent would be passed over. It takes about a second for a gigabyte.
    """
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    what = msgspec.json.encode([FORM, file.name, digest, *further, named])
    return hashlib.sha256(what).hexdigest()[:32]


class Journal:
    """One import's journal, held by this process until it is closed or finished."""

    def __init__(self, path: Path, *, afresh: bool = False) -> None:
        """Open it, or begin it. Raises `JournalError`."""
        self.path = path
        self.runs: list[Begun] = []
        self.answered: dict[tuple[str, int], Answered] = {}
        self.sent: set[tuple[str, int]] = set()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(path.parent)
            self._file = _held(path)
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from error
        if afresh:
            self._file.truncate(0)
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def resumed(self) -> bool:
        """Whether a run before this one broke off."""
        return bool(self.sent or self.answered)

    @property
    def listed(self) -> int:
        """Bytes of the file of rejects that belong to batches that were answered."""
        return max((each.listed for each in self.answered.values()), default=0)

    def of(self, kind: str) -> Mapping[int, Answered]:
        """What is answered of one kind of row, by batch."""
        return {batch: each for (which, batch), each in self.answered.items() if which == kind}

    def begin(self, run: Begun) -> None:
        """Note that this process is at it."""
        self.runs.append(run)
        self._write(run)

    def send(self, kind: str, batch: int) -> bool:
        """Note that a batch goes out; whether it had before, and nobody knows what became of it."""
        known = (kind, batch) in self.sent
        if not known:
            self.sent.add((kind, batch))
            self._write(Sent(kind, batch))
        return known

    def note(self, answer: Answered) -> None:
        """Note what became of a batch."""
        self.answered[answer.kind, answer.batch] = answer
        self._write(answer)

    def finish(self) -> None:
        """Forget it: every row has its answer. Importing the file again sends all of it again."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        whole = 0
        self._file.seek(0)
        for line in self._file.read().splitlines(keepends=True):
            try:
                self._take(_decoder.decode(line))
            except msgspec.MsgspecError:
                break
            if not line.endswith(b"\n"):
                break
            whole += len(line)
        self._file.truncate(whole)
        self._file.seek(whole)

    def _take(self, line: _Line) -> None:
        match line:
            case Begun():
                self.runs.append(line)
            case Sent():
                self.sent.add((line.kind, line.batch))
            case Answered():
                self.answered[line.kind, line.batch] = line

    def _write(self, line: _Line) -> None:
        # One write a line: it is with the kernel when it returns, and outlives a process killed.
        self._file.write(msgspec.json.encode(line) + b"\n")


_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Line)


def _held(path: Path) -> IO[bytes]:
    """Open a file that no other process has. Raises `JournalError`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "r+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise JournalError(
            f"this import is under way in another process, which holds {path}"
        ) from None
    return file


def _sweep(folder: Path) -> None:
    """Remove journals that nobody came back for."""
    old = time.time() - KEPT_DAYS * 24 * 3600
    for each in folder.glob("*.journal"):
        with suppress(OSError):
            if each.stat().st_mtime < old:
                each.unlink()
