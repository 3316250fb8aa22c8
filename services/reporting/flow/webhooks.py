"""Who wants to be told of milestones subscribes here; and they are told, until they have heard it.

At least once, under one id at every attempt and to every receiver, in no promised order.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from secrets import token_bytes
from uuid import UUID

import httpx

from services.reporting import metrics
from services.reporting.clients import post
from services.reporting.domain.webhooks import (
    SECRET_BYTES,
    Attempt,
    Delivery,
    DeliveryState,
    Webhook,
    WebhookUnknown,
    delay_after,
)
from services.reporting.store import webhooks
from shared import audit
from shared.auth import Caller
from shared.database import Database, Transaction
from shared.errors import IdReused

AT_ONCE = 16
"""Deliveries that a worker has under way."""
HOLD = timedelta(seconds=60)
"""How long a claimed delivery is left to its worker; longer than an attempt may take."""
JITTER = 0.1


async def subscribe(
    tx: Transaction, wanted: Webhook, caller: Caller
) -> tuple[Webhook, bytes | None]:
    """Subscribe to milestones; the secret is told here and never again.

    Raises:
        Forbidden: an area is not within the caller's
        IdReused: the id was used for another webhook

    """
    for area in wanted.areas:
        caller.require(area)
    secret = token_bytes(SECRET_BYTES)
    if await webhooks.add(tx, wanted, secret):
        await audit.record(tx, caller, "subscribe webhook", [wanted.id], areas=len(wanted.areas))
        return wanted, secret
    known = await webhooks.find(tx, wanted.id, caller.areas)
    if known is None or known.ended_at is not None or not _same(known, wanted):
        raise IdReused("id: it was used for another webhook")
    return known, None


def _same(known: Webhook, wanted: Webhook) -> bool:
    return (known.url, list(known.areas), list(known.milestones)) == (
        wanted.url, list(wanted.areas), list(wanted.milestones),
    )  # fmt: skip


async def unsubscribe(tx: Transaction, webhook_id: UUID, caller: Caller) -> None:
    """End a webhook; what is still owed to it is dropped. Ending it again changes nothing.

    Raises:
        WebhookUnknown: there is none within the caller's areas

    """
    await _known(tx, webhook_id, caller)
    if await webhooks.end(tx, webhook_id):
        await audit.record(tx, caller, "end webhook", [webhook_id])


async def redrive(tx: Transaction, webhook_id: UUID, caller: Caller) -> Webhook:
    """Try again, for another day, what was given up.

    Raises:
        WebhookUnknown: there is none within the caller's areas, or it has ended

    """
    if (await _known(tx, webhook_id, caller)).ended_at is not None:
        raise WebhookUnknown
    if revived := await webhooks.revive(tx, webhook_id):
        await audit.record(tx, caller, "redrive webhook", [webhook_id], deliveries=revived)
    return await _known(tx, webhook_id, caller)


async def show_deliveries(
    tx: Transaction, webhook_id: UUID, caller: Caller, *, before: int, limit: int
) -> Sequence[tuple[int, Delivery]]:
    """List the deliveries of a webhook with their numbers, the newest first.

    Raises:
        WebhookUnknown: there is none within the caller's areas

    """
    await _known(tx, webhook_id, caller)
    return await webhooks.deliveries(tx, webhook_id, before, limit)


async def _known(tx: Transaction, webhook_id: UUID, caller: Caller) -> Webhook:
    known = await webhooks.find(tx, webhook_id, caller.areas)
    if known is None:
        raise WebhookUnknown
    return known


async def deliver(database: Database, receivers: httpx.AsyncClient) -> int:
    """Send what is due, until nothing is; say how many attempts were made."""
    made = 0
    while attempts := await database.transact(webhooks.claim, AT_ONCE, HOLD):
        async with asyncio.TaskGroup() as tasks:
            for attempt in attempts:
                tasks.create_task(_attempt(database, receivers, attempt))
        made += len(attempts)
    async with database.begin(readonly=True) as tx:
        metrics.OWED.set(await webhooks.states(tx))
    return made


async def _attempt(database: Database, receivers: httpx.AsyncClient, attempt: Attempt) -> None:
    # No transaction is open while somebody else is waited for.
    said = await post(receivers, attempt, datetime.now(UTC))
    state, retry_at = _verdict(said, attempt.number)
    last = str(said)
    await database.transact(webhooks.settle, attempt, state, last, retry_at)
    metrics.WEBHOOK_ATTEMPTS.labels("failed" if state == "pending" else state).inc()


def _verdict(said: int | str, number: int) -> tuple[DeliveryState, datetime | None]:
    if isinstance(said, int) and httpx.codes.is_success(said):
        return "delivered", None
    delay = delay_after(number)
    # Gone for good: who says so is not asked again.
    if delay is None or said == httpx.codes.GONE:
        return "dead", None
    spread = 1 + random.uniform(-JITTER, JITTER)  # noqa: S311 - spreads, guards nothing
    return "pending", datetime.now(UTC) + delay * spread
