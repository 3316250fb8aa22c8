"""What a client may cost us by being slow, large or many: uvicorn's protocol, with an eye on time.

uvicorn waits for ever: for the end of a head, for the rest of a body, for somebody to read an
answer. Here a connection has *patience*. It runs down second by second while it is the client's
turn to send or to read, is given back by the bytes that move, and when it is used up the connection
is cut. So a head or body that drips, a reader who does not read and a connection that never says
anything end alike, whatever stage they are in; and nobody is blamed for our own slowness.

Heads are bounded (431), and so is what is thrown away of a body that was refused. When there are
too many connections an idle one makes room; if there is none, the new one is told to come again.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from shared.bodies import BODY_LIMIT, encode
from shared.errors import HeadTooLarge, LastmetreError, Overloaded, ProblemError
from shared.headers import guarded
from shared.openapi import PROBLEM_JSON
from shared.telemetry import HTTP_CUT

LOOK_SECONDS = 1.0
"""How often connections are looked at, at most."""

PIPELINED = 16
"""Requests that a client may send ahead of the answers."""


@dataclass(frozen=True)
class Patience:
    """What is borne of clients.

    `connections` is how many there may be; `seconds` how long one may stand still, and `rate` the
    bytes per second that are called moving; `head` is bytes of a request line and its headers.
    """

    connections: int = 800
    seconds: float = 10.0
    rate: int = 1024
    head: int = 32 * 1024


def protocol(patience: Patience) -> type["Connection"]:
    """Make the protocol for a server; uvicorn makes one of it for each connection."""
    return type("Connection", (Connection,), {"patience": patience})


async def watch(state: ServerState, patience: Patience) -> None:
    """Look at all connections of a server again and again."""
    pause = min(LOOK_SECONDS, patience.seconds / 10)
    last = time.monotonic()
    while True:
        await asyncio.sleep(pause)
        now = time.monotonic()
        # A process that stood still itself has seen nobody move.
        passed = min(now - last, 2 * pause)
        last = now
        for each in list(state.connections):
            cast("Connection", each).look(passed)


class Connection(HttpToolsProtocol):
    """One connection."""

    patience = Patience()

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as uvicorn has them
        super().__init__(*args, **kwargs)
        self._left = self.patience.seconds
        self._coming = False
        """A message has begun and not ended."""
        self._headed = False
        """Its head has ended."""
        self._came = 0
        self._unread = 0
        self._head = 0
        self._discarded = 0
        self._fault: ProblemError = ProblemError("this is not HTTP/1.1")

    def look(self, passed: float) -> None:
        """Take from its patience what has passed while we were waiting for the client."""
        unread = self.transport.get_write_buffer_size()
        if unread:
            reason, moved = "reading", max(0, self._unread - unread)
        elif self._sending():
            reason, moved = "sending", self._came
        else:
            reason, moved, self._left = "", 0, self.patience.seconds
        self._unread, self._came = unread, 0
        if reason:
            self._left += moved / self.patience.rate - passed
            self._left = min(self._left, self.patience.seconds)
            if self._left <= 0:
                self._cut(reason)

    def _sending(self) -> bool:
        """Whether it is the client's turn to send."""
        if self._coming:
            return not self.flow.read_paused
        answered = self.cycle is None or self.cycle.response_complete
        # Between requests uvicorn has a timer of its own, until anything comes.
        return answered and self.timeout_keep_alive_task is None

    def _cut(self, reason: str) -> None:
        if not self.transport.is_closing():
            HTTP_CUT.labels(reason).inc()
        self.transport.abort()

    # --- as asyncio and the parser call it ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there is room or an idle one can make room."""
        super().connection_made(transport)
        if len(self.connections) <= self.patience.connections:
            return
        others = (cast("Connection", each) for each in self.connections if each is not self)
        idle = next((each for each in others if each.timeout_keep_alive_task is not None), None)
        if idle is not None:
            idle.transport.close()
            self.connections.discard(idle)
        else:
            HTTP_CUT.labels("connections").inc()
            self._tell(Overloaded("there are too many connections"))

    def data_received(self, data: bytes) -> None:
        """Count what comes, above all what comes of a head that does not end."""
        if self.transport.is_closing():
            return
        self._came += len(data)
        in_head = self._coming and not self._headed
        super().data_received(data)
        if in_head and self._coming and not self._headed:
            self._head += len(data)
            if self._head > self.patience.head and not self.transport.is_closing():
                self._tell(self._too_large())

    def on_message_begin(self) -> None:
        """Begin a message."""
        if len(self.pipeline) >= PIPELINED:
            self._cut("pipelined")
            raise httptools.HttpParserError
        self._coming, self._headed, self._head = True, False, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the head."""
        self._headed = True
        self._discarded = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; of one that was refused, throw away so much and no more."""
        if self.cycle.response_complete:
            self._discarded += len(body)
            if self._discarded > BODY_LIMIT:
                self._cut("discarding")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a message."""
        self._coming = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Tell what is wrong as a problem; uvicorn has only words for it."""
        del msg
        if not self.transport.is_closing():
            self._tell(self._fault)

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > self.patience.head:
            self._fault = self._too_large()
            raise httptools.HttpParserError

    def _too_large(self) -> HeadTooLarge:
        return HeadTooLarge(f"the head is larger than {self.patience.head} bytes")

    def _tell(self, error: LastmetreError) -> None:
        """Answer without an application, and close."""
        content = encode(error.problem())
        headers = {
            **error.headers,
            "content-type": PROBLEM_JSON,
            "content-length": str(len(content)),
            "connection": "close",
        }
        told = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        lines = [b"%s: %s\r\n" % each for each in guarded(told, {"scheme": self.scheme})]
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, b"\r\n", content]))
        self.transport.close()
