"""The statement hook, for tests only: a process that dies before its nth statement.

It sits at asyncpg's protocol, below every way to send something: BEGIN and COMMIT pass here as
COPY does. Product code knows nothing of it.
"""

import os
import signal
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from asyncpg.protocol import Protocol
from starlette.types import ASGIApp, Receive, Scope, Send

SENDING = ("query", "execute", "bind_execute", "bind_execute_many", "copy_in", "copy_out")
"""What makes the server do something. `prepare` and `bind` only make it ready to."""


_ASIDE: ContextVar[bool] = ContextVar("aside", default=False)


def aside(app: ASGIApp) -> ASGIApp:
    """Have an application's own statements not counted: they are no statements of who calls it."""

    async def uncounted(scope: Scope, receive: Receive, send: Send) -> None:
        token = _ASIDE.set(True)
        try:
            await app(scope, receive, send)
        finally:
            _ASIDE.reset(token)

    return uncounted


class Statements:
    """Counts the statements that this process sends, from the moment it is armed.

    `fatal` is the number of the statement that is never sent: the process is gone before. Without
    one it only counts.
    """

    def __init__(self) -> None:
        self.sent = 0
        self._fatal: int | None = None
        self._armed = False

    def install(self) -> None:
        """Stand between asyncpg and the wire, for the rest of this process's life."""
        for name in SENDING:
            setattr(Protocol, name, self._counted(getattr(Protocol, name)))

    def arm(self, fatal: int | None) -> None:
        """Begin to count."""
        self._fatal = fatal
        self._armed = True

    def disarm(self) -> None:
        """Count no more."""
        self._armed = False

    def _counted(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def counted(protocol: Any, *args: Any, **kwargs: Any) -> Any:
            if self._armed and not _ASIDE.get():
                if self.sent + 1 == self._fatal:
                    die()
                self.sent += 1
            return send(protocol, *args, **kwargs)

        return counted


def die() -> None:
    """Be gone at once, as by a power cut: nothing is closed, rolled back or said."""
    os.kill(os.getpid(), signal.SIGKILL)
