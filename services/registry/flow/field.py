"""What dispatch reports from the field: in whose hands people are, and swabs taken at doors."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.registry import messages
from services.registry.flow.results import record
from services.registry.flow.settle import announce, settle
from services.registry.store import account, locks, residents, rounds, sight
from services.registry.vault import Vault
from shared.contracts.dispatch import HandsChanged, VisitChange, VisitsChanged, VisitsRetold
from shared.contracts.envelope import Event
from shared.database import Transaction


async def take_hands(tx: Transaction, events: Sequence[Event[HandsChanged]]) -> None:
    """Take in whose hands people came into or out of; the account of each is settled anew."""
    await sight.whole(tx)
    by_round: dict[tuple[UUID, UUID], list[tuple[Any, ...]]] = defaultdict(list)
    for event in events:
        round_id, incarnation, hands = messages.hands(event)
        by_round[round_id, incarnation] += hands
    await locks.share_rounds(tx, {round_id for round_id, _ in by_round})
    for (round_id, incarnation), hands in sorted(by_round.items()):
        where = await rounds.load(tx, round_id)
        if where.state == "sealed":
            continue  # final: nothing moves a sealed account
        on_file = await residents.lock(tx, (hand[0] for hand in hands))
        newer = await account.take_hands(
            tx, round_id, incarnation, [hand for hand in hands if hand[0] in on_file]
        )
        await settle(tx, where, newer)


async def take_visits(
    vault: Vault, tx: Transaction, events: Sequence[Event[VisitsChanged] | Event[VisitsRetold]]
) -> None:
    """Record the swabs that teams took at doors, and answer each visit that brought one.

    The answer comes also when the account does not move: until then the person stays in the
    team's hands, and a refusal makes somebody answerable for it.
    """
    by_round: dict[UUID, list[VisitChange]] = defaultdict(list)
    for event in events:
        if visits := messages.sampled_at_doors(event):
            by_round[UUID(event.data.round)] += visits
    await locks.share_rounds(tx, by_round)
    for round_id, visits in sorted(by_round.items()):
        entries = [messages.entry_of(round_id, n, visit) for n, visit in enumerate(visits)]
        answers = await record(tx, vault, entries, datetime.now(UTC))
        announce(tx, messages.visits_answered(round_id, visits, answers))
