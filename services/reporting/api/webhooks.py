"""Webhooks: subscribing to milestones, and how deliveries fare."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from services.reporting.api.answers import Answer
from services.reporting.domain.milestones import Milestone, Turn
from services.reporting.domain.webhooks import DeliveryState, Webhook, may_be_told, shown
from services.reporting.flow import webhooks
from services.reporting.store import webhooks as rows
from services.reporting.wiring import Wiring
from shared.auth import CallerDep
from shared.paging import Cursor, Limit, Page, pack_cursor, unpack_cursor

FIRST, LAST = UUID(int=0), 2**63 - 1


def _may_be_told(url: str) -> str:
    if not may_be_told(url):
        raise PydanticCustomError("https_or_loopback", "https, or http on the loopback")
    return url


OfficeCode = Annotated[str, StringConstraints(pattern="^[0-9]{2,9}$")]


class WebhookIn(BaseModel):
    """Who is told of which milestones."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    id: UUID
    """Made by the client."""
    url: Annotated[str, Field(max_length=2000), AfterValidator(_may_be_told)]
    """`https`; plain `http` on the loopback only. Without user, password and fragment."""
    areas: list[OfficeCode] = Field(min_length=1, max_length=100)
    """Codes of offices, or starts of them."""
    milestones: list[Milestone] = Field(
        default=["coverage", "unaccounted"], min_length=1, max_length=2
    )
    """`coverage`: it is at 95 % (a setting) or above; `unaccounted`: it is zero."""


class WebhookAnswer(Answer):
    """A webhook, and how its deliveries fare."""

    id: UUID
    url: str
    areas: list[str]
    milestones: list[Milestone]
    created_by: str
    created_at: datetime
    pending: int
    """Deliveries that are still tried."""
    dead: int
    """Deliveries that were given up after a day, or because the receiver is gone."""


class SubscribedAnswer(WebhookAnswer):
    """A webhook that was just made."""

    secret: str | None
    """Signs deliveries, as `whsec_` and base64. Shown once: null when the webhook was there."""


class DeliveryAnswer(Answer):
    """A turn of a milestone on its way to a receiver."""

    id: UUID
    """`webhook-id` of every attempt."""
    round: str
    office: str
    milestone: Milestone
    turn: Turn
    at: datetime
    state: DeliveryState
    attempts: int
    next_at: datetime | None
    """When it is tried again."""
    last: str | None
    """Status that was answered last, or the kind of failure."""
    delivered_at: datetime | None


def router(wiring: Wiring) -> APIRouter:
    """Build the routes of webhooks."""
    routes = APIRouter(tags=["webhooks"])
    database = wiring.database

    @routes.post("/v1/webhooks", status_code=201)
    async def post_webhook(caller: CallerDep, body: WebhookIn) -> SubscribedAnswer:
        """Subscribe to milestones of offices: the receiver is told of every turn, once.

        Deliveries are POSTs, signed as Standard Webhooks has it, and repeated for a day until they
        are answered with 2xx.
        """
        wanted = Webhook(
            id=body.id,
            url=body.url,
            areas=sorted(set(body.areas)),
            milestones=sorted(set(body.milestones)),
            created_by=caller.sub,
            created_at=datetime.now(UTC),
        )
        made, secret = await database.transact(webhooks.subscribe, wanted, caller)
        answer = WebhookAnswer.model_validate(made).model_dump()
        return SubscribedAnswer(**answer, secret=None if secret is None else shown(secret))

    @routes.get("/v1/webhooks")
    async def get_webhooks(
        caller: CallerDep, limit: Limit = 100, cursor: Cursor = None
    ) -> Page[WebhookAnswer]:
        """List the webhooks whose areas the token covers."""
        after = unpack_cursor(cursor, tuple[UUID])[0] if cursor else FIRST
        async with database.snapshot() as tx:
            found = await rows.listed(tx, caller.areas, after, limit + 1)
        items = [WebhookAnswer.model_validate(each) for each in found[:limit]]
        more = len(found) > limit
        return Page(items=items, next_cursor=pack_cursor(items[-1].id) if more else None)

    @routes.get("/v1/webhooks/{webhook_id}/deliveries")
    async def get_deliveries(
        caller: CallerDep, webhook_id: UUID, limit: Limit = 100, cursor: Cursor = None
    ) -> Page[DeliveryAnswer]:
        """List what a webhook was told, and what it was not, the newest first."""
        before = unpack_cursor(cursor, tuple[int])[0] if cursor else LAST
        async with database.snapshot() as tx:
            found = await webhooks.show_deliveries(
                tx, webhook_id, caller, before=before, limit=limit + 1
            )
        items = [DeliveryAnswer.model_validate(each) for _, each in found[:limit]]
        more = len(found) > limit
        return Page(items=items, next_cursor=pack_cursor(found[limit - 1][0]) if more else None)

    @routes.post("/v1/webhooks/{webhook_id}:redrive")
    async def post_webhook_redrive(caller: CallerDep, webhook_id: UUID) -> WebhookAnswer:
        """Try again, for another day, what was given up."""
        webhook = await database.transact(webhooks.redrive, webhook_id, caller)
        return WebhookAnswer.model_validate(webhook)

    @routes.delete("/v1/webhooks/{webhook_id}", status_code=204)
    async def delete_webhook(caller: CallerDep, webhook_id: UUID) -> Response:
        """End a webhook; what is still owed to it is dropped."""
        await database.transact(webhooks.unsubscribe, webhook_id, caller)
        return Response(status_code=204)

    return routes
