"""A network between here and servers of a test's own, which can be parted: packets get lost.

A namespace of the kernel's with one cable to ours. Nobody else is on it, and what runs beyond
listens on the namespace's own addresses only.
"""

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
_NOBODY = "02:00:00:00:00:01"
"""An address of the cable that nobody has: what is sent there is lost without a word."""


@dataclass(frozen=True)
class Network:
    """`here` is our end, `there` the other; names of namespace and interfaces begin with `name`."""

    name: str
    here: str
    there: str

    @contextmanager
    def beyond(self) -> Iterator[None]:
        """Do something on the other side: what is started in this block runs there for good."""
        ours, theirs = Path("/proc/self/ns/net"), Path("/run/netns", self.name)
        with ours.open() as here, theirs.open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    def part(self) -> None:
        """Lose every packet from now on, in both directions; nothing is refused."""
        _ip("neighbour", "replace", self.there, "lladdr", _NOBODY, "nud", "permanent",
            "dev", f"{self.name}a")  # fmt: skip
        _ip("-netns", self.name, "neighbour", "replace", self.here, "lladdr", _NOBODY,
            "nud", "permanent", "dev", f"{self.name}b")  # fmt: skip

    def join(self) -> None:
        """Let everything through again."""
        _ip("neighbour", "delete", self.there, "dev", f"{self.name}a")
        _ip("-netns", self.name, "neighbour", "delete", self.here, "dev", f"{self.name}b")


@pytest.fixture
def network() -> Iterator[Network]:
    """A network of this test's own; the test is skipped where that is not allowed."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network of a test's own needs root and `ip` (iproute2)")
    # Link-local, and never routed: a cable of two ends among 16,000 such.
    first = secrets.choice(range(256, 255 * 256, 4))
    here, there = (f"169.254.{(first + n) // 256}.{(first + n) % 256}" for n in (1, 2))
    made = Network(f"lm{secrets.token_hex(4)}", here, there)
    try:
        _ip("netns", "add", made.name)
    except subprocess.CalledProcessError:
        pytest.skip("network namespaces are not allowed here")
    try:
        _lay(made)
        yield made
    finally:
        # Both ends of the cable go with it.
        _ip("netns", "delete", made.name)


def _lay(network: Network) -> None:
    name, near, far = network.name, f"{network.name}a", f"{network.name}b"
    _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
    _ip("address", "add", f"{network.here}/30", "dev", near)
    _ip("link", "set", near, "up")
    _ip("-netns", name, "address", "add", f"{network.there}/30", "dev", far)
    for device in ("lo", far):
        _ip("-netns", name, "link", "set", device, "up")


def _enter(namespace: int) -> None:
    """Move this thread, and what it starts; the sockets that it has stay where they are."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)  # noqa: S607 - wherever it is
