"""What the use cases share: the scene of a decision, and taking the steps that were decided."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from services.dispatch import messages
from services.dispatch.domain import clock
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.rounds import Round
from services.dispatch.domain.steps import Scene, Step
from services.dispatch.domain.visits import Visit
from services.dispatch.store import people, visits
from shared.auth import Caller
from shared.database import Transaction
from shared.errors import NotFound

BATCH = 2_000
"""Visits assigned, or hands ended, in one transaction at most."""


def scene_of(round_: Round, policy: Policy) -> Scene:
    """Set the scene of decisions in a round, by its own time."""
    return Scene(round_, round_.time(datetime.now(UTC)), policy, visits.new_id)


async def take(tx: Transaction, decided: Iterable[Step | None]) -> int:
    """Save and announce what was decided; say how many steps changed anything."""
    steps = [step for step in decided if step and (step.after != step.before or step.visits)]
    await people.save(tx, steps)
    await visits.save(tx, steps)
    messages.announce(tx, steps)
    return len(steps)


async def end_hands_past(tx: Transaction, scene: Scene, limit: int | None) -> int:
    """End hands that are past their time; say how many."""
    residents = await people.hands_past(tx, scene.round.id, scene.now, limit)
    persons = await people.lock(tx, scene.round.id, residents)
    return await take(tx, (clock.expire(person, scene) for person in persons.values()))


def fingerprint_of(*told: object) -> bytes:
    """Digest what was told under a client-made id, to know a repeat from a reuse (R19)."""
    return hashlib.sha256(msgspec.json.encode(told)).digest()


def acting_team(caller: Caller) -> str | None:
    """Name the team a caller acts as; None for those who act for an office.

    A team's token without a team acts as none that exists.
    """
    if caller.has("office", "supervisor", "district", "system", "admin"):
        return None
    return caller.team or ""


async def visit_for(tx: Transaction, visit_id: UUID, caller: Caller) -> Visit:
    """Find a visit the caller may act on: round and resident of a visit never change."""
    visit = await visits.find(tx, visit_id, caller.area_patterns, acting_team(caller))
    if visit is None:
        raise NotFound("no such visit within the token's areas")
    return visit
