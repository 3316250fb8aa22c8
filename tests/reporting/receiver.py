"""Somebody who receives webhooks: a real HTTP server, which answers what it is told to."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

from tests.support.listening import listening


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

    def take(_path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        # Whoever follows it comes by once more.
        return receiver.take(headers, body), {"location": receiver.url}

    with listening(take) as origin:
        receiver.url = f"{origin}/milestones?token=t0p"
        yield receiver
