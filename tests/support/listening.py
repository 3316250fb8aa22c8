"""A real HTTP server of a test's own, for those whom our processes call."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Take = Callable[[str, dict[str, str], bytes], tuple[int, Mapping[str, str]]]
"""Takes path, headers (by lower-case name) and body of a POST; gives status and further headers."""


@contextmanager
def listening(take: Take) -> Iterator[str]:
    """Listen on the loopback for the length of a block; gives the address, without a path."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers["content-length"]))
            status, answer = take(self.path, headers, body)
            self.send_response(status)
            for name, value in {**answer, "content-length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
