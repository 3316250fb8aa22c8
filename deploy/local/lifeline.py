"""Tie a process to the life of its parent, and start servers that way.

On Linux the kernel can send a process a signal when its parent dies (`PR_SET_PDEATHSIG`). It is
the only thing that also works when the parent is killed by SIGKILL, so nothing that the supervisor
starts can outlive it. Three traps of the call decide the shape of this module:

- the kernel forgets the setting when the process changes its user, so it is made after that;
- a parent that died before the call never signals, so the parent's pid is compared afterwards;
- "parent" means the *thread* that forked, so start children from a thread that stays.

As a script it is a launcher: it changes user, ties itself to its parent and becomes the command.
That is done here, in a fresh interpreter, and not between fork and exec of the caller, because
running Python code there is not safe once the caller has threads. It uses the standard library
only and is started without site-packages, which takes some 20 ms.
"""

import ctypes
import json
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

DATA = "{data}"
"""Stands for the data folder in a command given to the launcher."""


def tie_to_parent(parent: int, death_signal: signal.Signals) -> None:
    """Ask the kernel for `death_signal` when `parent` dies; leave at once if it is dead already.

    Does nothing on systems other than Linux: there a SIGKILL of the parent leaves children running.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit("the process that asked for this server is gone")


def call_it(name: str) -> None:
    """Give this process the name that `ps` and `top` show; the kernel keeps 15 bytes of it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def _become(account: tuple[int, int]) -> None:
    uid, gid = account
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _reach(folder: str, account: tuple[int, int] | None) -> str:
    """Change user, if asked; return a path by which the folder can be reached afterwards.

    A folder below somebody's closed home is out of reach for another user, by path. An open
    descriptor carries the right to enter it, so that nobody has to open up the home for us.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    if account:
        _become(account)
    if os.access(folder, os.X_OK):
        os.close(descriptor)
        return folder
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - takes no keyword
    return f"/proc/self/fd/{descriptor}"


def main() -> None:
    """Launch: `lifeline.py {"parent": …, "death_signal": …, "account": …, "data": …} COMMAND…`."""
    order = json.loads(sys.argv[1])
    account = tuple(order["account"]) if order["account"] else None
    folder = _reach(order["data"], account)
    os.umask(0o077)
    tie_to_parent(order["parent"], signal.Signals(order["death_signal"]))
    command = [word.replace(DATA, folder) for word in sys.argv[2:]]
    os.execv(command[0], command)  # noqa: S606 - becoming the command is the purpose, no shell


if __name__ == "__main__":
    main()
