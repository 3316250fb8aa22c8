"""Somebody who receives webhooks: a real HTTP server, which answers what it is told to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook


@dataclass
class Receiver:
    """What came, and what it is answered with: these statuses in turn, then 204."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The id of every call, in their order."""
        return [headers["webhook-id"] for headers, _ in self.came]

    def told(self, secret: str) -> list[dict[str, Any]]:
        """What was said, verified by the reference library of Standard Webhooks."""
        return [Webhook(secret).verify(body, headers) for headers, body in self.came]

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Take a call in, and say how to answer it."""
        self.came.append((headers, body))
        json.loads(body)
        return self.statuses.pop(0) if self.statuses else 204


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens on the loopback for the length of a block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(receiver.take(headers, self.rfile.read(length)))
            # Whoever follows it comes by once more.
            self.send_header("location", receiver.url)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/milestones?token=t0p"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
