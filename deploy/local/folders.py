"""Folders that belong to one stack at a time, and scratch folders that never pile up.

A claim is an `flock` on a file in the folder. Every process of a stack inherits the descriptor, so
the lock is free exactly when the last of them has gone, however it went: by then nothing can write
there any more, and pid files of the dead need no guessing.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deploy.local.errors import FolderBusyError

_LOCK = "lastmetre.lock"
_PREFIX = "lastmetre-"


class Claim(NamedTuple):
    """A folder that is ours until the claim ends.

    `descriptor` is the lock: hand it to every child that writes in the folder.
    """

    path: Path
    descriptor: int


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alone(descriptor: int) -> bool:
    """Whether no other supervisor lives: this kind of lock is not inherited by its children."""
    try:
        os.lockf(descriptor, os.F_TLOCK, 0)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _lock_within(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)  # flock has no timeout of its own
    return True


@contextmanager
def claimed(path: Path, *, patience: float = 20.0) -> Iterator[Claim]:
    """Claim a folder that is kept; make it if need be.

    Where a stack lives, that is told at once. The last processes of one that was killed take a
    moment to leave: they are waited for, up to `patience` seconds.

    Raises:
        FolderBusyError: it is in use.

    """
    path.mkdir(mode=0o711, parents=True, exist_ok=True)
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not (_alone(descriptor) and _lock_within(descriptor, patience)):
            raise FolderBusyError(f"{path} is in use by another stack; stop that one first")
        yield Claim(path, descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def scratch(base: Path) -> Iterator[Claim]:
    """Make and claim a folder below `base` that is removed at the end.

    What earlier stacks could not remove, because they were killed, is removed first.
    """
    _sweep(base)
    claim = _make(base)
    try:
        yield claim
    finally:
        shutil.rmtree(claim.path, ignore_errors=True)
        os.close(claim.descriptor)


def _make(base: Path) -> Claim:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        # Servers that run as another user have to pass through; nobody may list.
        path.chmod(0o711)
        lock = path / _LOCK
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if lock.exists():  # else a sweeper came between the last two lines
            return Claim(path, descriptor)
        os.close(descriptor)


def _sweep(base: Path) -> None:
    for path in base.glob(f"{_PREFIX}*"):
        try:
            if path.is_symlink() or path.stat().st_uid != os.geteuid():
                continue
            descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # not ours to judge: no lock, or removed meanwhile
            continue
        try:
            if _try_lock(descriptor):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)
