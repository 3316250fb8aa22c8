"""Webhooks: who wants to be told of milestones, and how a delivery is signed and repeated.

Signed as Standard Webhooks has it: HMAC-SHA256 over `id.timestamp.body`, in `webhook-signature`.
"""

import base64
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

from services.reporting.domain.milestones import Milestone, Turn
from shared.errors import NotFound

DELAYS = (5, 60, 300, 1800, 7200, 18_000, 28_800, 30_600)
"""Seconds to wait after each attempt that failed. A day altogether; then a delivery is dead."""

SECRET_BYTES = 32

DeliveryState = Literal["pending", "delivered", "dead"]


class WebhookUnknown(NotFound):
    """There is no such webhook, or not for this caller."""

    slug = "webhook-unknown"
    title = "No such webhook"
    cause = "The id names no webhook, or one with areas that the token does not cover."
    cure = "List them with `GET /v1/webhooks`."


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver, and what it is told of."""

    id: UUID
    url: str
    areas: Sequence[str]
    """Code prefixes of offices."""
    milestones: Sequence[Milestone]
    created_by: str
    """`sub` of a token."""
    created_at: datetime
    ended_at: datetime | None = None
    """Nothing is sent from then on."""
    pending: int = 0
    """Deliveries that are still tried."""
    dead: int = 0
    """Deliveries that were given up."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One turn of a milestone on its way to one receiver."""

    id: UUID
    """Of the turn: the same to every receiver and at every attempt."""
    round: str
    office: str
    milestone: Milestone
    turn: Turn
    at: datetime
    """When it turned."""
    state: DeliveryState
    attempts: int
    next_at: datetime | None
    """When it is tried again."""
    last: str | None
    """Status that was answered last, or the kind of failure."""
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is sent now: claimed by one worker, for a while."""

    webhook: UUID
    id: UUID
    url: str
    secret: bytes
    body: str
    number: int
    """1: the first."""

    def headers(self, now: datetime) -> dict[str, str]:
        """Headers of an attempt at this moment."""
        timestamp = str(int(now.timestamp()))
        return {
            "content-type": "application/json",
            "user-agent": "lastmetre",
            "webhook-id": str(self.id),
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{self._signature(timestamp)}",
        }

    def _signature(self, timestamp: str) -> str:
        signed = f"{self.id}.{timestamp}.{self.body}".encode()
        return base64.b64encode(hmac.digest(self.secret, signed, sha256)).decode()


def delay_after(attempt: int) -> timedelta | None:
    """Tell how long to wait after an attempt that failed; None: it was the last."""
    return timedelta(seconds=DELAYS[attempt - 1]) if attempt <= len(DELAYS) else None


def shown(secret: bytes) -> str:
    """Write a secret as libraries for Standard Webhooks read it."""
    return f"whsec_{base64.b64encode(secret).decode()}"


def may_be_told(url: str) -> bool:
    """Tell whether an address may be sent to: https, and plain http on the loopback only.

    Receivers in a private network are the rule, so private addresses are no reason to refuse. What
    is refused by its address is what no receiver has: link-local (where clouds keep the secrets of
    a machine), multicast, none. A name may still lead there: against that stands the network's own
    policy, and that nobody is shown more of an answer than its status.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment or not _is_plain(url):
        return False
    loopback = host == "localhost"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            return False
        loopback = address.is_loopback
    return parts.scheme == "https" or (parts.scheme == "http" and loopback)


def _is_plain(url: str) -> bool:
    return url.isascii() and url.isprintable() and " " not in url
