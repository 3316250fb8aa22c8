"""The ledger: whether the account is proven, and what differs."""

import asyncio
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from services.reporting.api.answers import Answer, RoundParameter, Row
from services.reporting.domain.cells import add
from services.reporting.domain.coverage import area_line
from services.reporting.domain.ledger import Ledger
from services.reporting.flow import figures, ledger
from services.reporting.wiring import Wiring
from shared.auth import CallerDep
from shared.contracts.registry import ROLL

SHOWN = 1000
"""Differences listed at most; `differing` counts all of them."""


MaxAge = Annotated[
    float, Query(ge=0, le=3600, description="seconds the recount may be old; 0: count now")
]


class DifferenceAnswer(Answer):
    """A cell of a community on which registry's recount and our fold differ."""

    community: str
    cell: str
    """`account` is the remainder of roll less its four classes, which must be zero."""
    registry: int
    reporting: int


class HandsAnswer(Answer):
    """dispatch's open hands against those registry knows of."""

    balanced: bool | None
    """Null: not at one position; that alone leaves the ledger's verdict as it is."""
    registry: dict[str, int] | None
    dispatch: dict[str, int] | None


class LedgerAnswer(Answer):
    """roll = sampled + excluded + in hand + unaccounted, folded and recounted at one cut."""

    round: str
    balanced: bool | None
    """True: every partition was compared at an equal position and agrees, and nothing is parked at
    any consumer. Null: cannot be said yet. False: see `reasons`."""
    reasons: list[str]
    """Why it is not true: cells_differ, hands_differ, parked; not_reached, other_incarnation,
    cut_too_old, registry_unreachable, dispatch_unreachable."""
    as_of: datetime | None
    """When registry recounted."""
    cut: dict[str, list[int]] | None
    """Positions the two were compared at; the index is the partition."""
    differing: int
    """Cells that differ, in the token's areas."""
    differences: list[DifferenceAnswer]
    parked: dict[str, int | None]
    """Events set aside and not decided on, by service; null: it did not answer."""
    hands: HandsAnswer
    account: Row
    """The account as folded, in the token's areas."""


class _Flights:
    """One proof of a round at a time, however many ask for it meanwhile."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._under_way: dict[tuple[str, float], asyncio.Task[Ledger]] = {}

    async def reconcile(self, round_id: str, max_age: float) -> Ledger:
        """Prove the account of a round, or join who is at it."""
        flight = (round_id, max_age)
        task = self._under_way.get(flight)
        if task is None:
            task = asyncio.create_task(
                ledger.reconcile(self._wiring.database, self._wiring.peers, round_id, max_age)
            )
            self._under_way[flight] = task
            task.add_done_callback(lambda _: self._under_way.pop(flight))
        # Who goes away must not take the others' answer along.
        return await asyncio.shield(task)


def router(wiring: Wiring) -> APIRouter:
    """Build the routes of the ledger."""
    routes = APIRouter(tags=["ledger"])
    flights = _Flights(wiring)

    @routes.get("/v1/ledger")
    async def get_ledger(
        caller: CallerDep, round_id: RoundParameter = None, max_age: MaxAge = 0
    ) -> LedgerAnswer:
        """Compare what reporting folded with what registry recounts, now or a moment ago."""
        async with wiring.database.snapshot() as tx:
            view = await figures.view_of(tx, round_id, caller.areas)
        return _answer(await flights.reconcile(view.round.id, max_age), caller.areas)

    return routes


def _answer(proven: Ledger, areas: tuple[str, ...]) -> LedgerAnswer:
    differences = [each for each in proven.differences if each.community.startswith(areas)]
    account = add(
        cells for community, cells in proven.communities.items() if community.startswith(areas)
    )
    return LedgerAnswer(
        round=proven.round,
        balanced=proven.balanced,
        reasons=list(proven.reasons),
        as_of=proven.as_of,
        cut={ROLL: list(proven.cut)} if proven.cut is not None else None,
        differing=len(differences),
        differences=[DifferenceAnswer.model_validate(each) for each in differences[:SHOWN]],
        parked=dict(proven.parked),
        hands=HandsAnswer.model_validate(proven.hands),
        account=Row.model_validate(area_line("total", "total", account, {})),
    )
