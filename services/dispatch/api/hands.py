"""Hands: how many people are in whose, to be compared with registry's account."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from services.dispatch.api.common import Reply, WiringDep
from services.dispatch.flow import lists
from shared.contracts.vocabulary import HandKind

router = APIRouter(tags=["hands"])


class HeadOut(Reply):
    """The last position announced in one partition of the hands, and its event."""

    topic: str
    partition: int
    pos: int
    id: UUID
    incarnation: UUID


class HandTotals(Reply):
    """Open hands of a round by kind, at exactly these heads (R22)."""

    round: str
    heads: list[HeadOut]
    hands: dict[HandKind, int]


@router.get("/v1/hands/totals")
async def get_totals(
    wiring: WiringDep, round_id: Annotated[str, Query(alias="round", min_length=1, max_length=64)]
) -> HandTotals:
    """Count open hands, and say after which announcements: the ledger compares them."""
    async with wiring.database.snapshot() as tx:
        heads, totals = await lists.hand_totals(tx, round_id)
    return HandTotals(
        round=round_id,
        heads=[
            HeadOut(
                topic=head.topic,
                partition=head.partition,
                pos=head.pos,
                id=head.id,
                incarnation=head.incarnation,
            )
            for head in heads
        ],
        hands=totals,
    )
