"""The lightest client that will do: raw HTTP/1.1 on connections that are kept.

The load generator shares the machine with what it measures, so every millisecond of its own is
missing there. A request is bytes; an answer is its status, what `Retry-After` says, and the body.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools


@dataclass(slots=True)
class Answer:
    """What came back. Status 0: nothing did, the connection broke or time was up."""

    status: int = 0
    retry_after: bytes = b""
    etag: str = ""
    body: bytes = b""


class Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._answer = Answer()
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._parser = httptools.HttpResponseParser(self)

    @property
    def open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes, seconds: float) -> Answer:
        """Send a request and wait for its answer."""
        self._answer = Answer()
        self._waiting = asyncio.get_running_loop().create_future()
        if self._transport is not None:
            self._transport.write(request)
        try:
            async with asyncio.timeout(seconds):
                return await self._waiting
        except (TimeoutError, ConnectionError, httptools.HttpParserError):
            self.close()
            return Answer()

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    # --- as asyncio and the parser call it ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and tell who waits."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note the headers that matter."""
        match name.lower():
            case b"retry-after":
                self._answer.retry_after = value
            case b"etag":
                self._answer.etag = value.decode()

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._answer.body += body

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        self._answer.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self._answer)


@dataclass
class Lines:
    """Connections to one service, as many as are needed at a time, up to `most`."""

    url: str
    most: int = 256
    seconds: float = 20.0
    _idle: list[Line] = field(default_factory=list)
    _made: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._made = asyncio.Semaphore(self.most)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 80

    async def ask(self, request: bytes) -> Answer:
        """Send a request on a free connection."""
        async with self._made:
            line = await self._line()
            if line is None:
                return Answer()
            answer = await line.ask(request, self.seconds)
            if line.open:
                self._idle.append(line)
            return answer

    async def _line(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if line.open:
                return line
        try:
            _, made = await asyncio.get_running_loop().create_connection(Line, *self.address)
        except OSError:
            return None
        return made

    def close(self) -> None:
        """Hang up everywhere."""
        for line in self._idle:
            line.close()


class Stream(asyncio.Protocol):
    """One connection on which server-sent events come, as long as it is open.

    Args:
        request: what is asked
        hear: is called with the data of every event

    """

    def __init__(self, request: bytes, hear: Callable[[bytes], None]) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Of the answer; 0 when the connection was lost before there was one."""
        self._request = request
        self._hear = hear
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None
        self._parser = httptools.HttpResponseParser(self)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    # --- as asyncio and the parser call it ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as asyncio calls it
        """End."""
        if not self.status.done():
            self.status.set_result(0)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        """Note the status."""
        self.status.set_result(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        """Cut it into events."""
        *events, self._rest = (self._rest + body).split(b"\n\n")
        for event in events:
            self._hear(event.removeprefix(b"data: "))


def request(
    method: str, path: str, token: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """Write a request."""
    told = {
        "host": "lastmetre",
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
