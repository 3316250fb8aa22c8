"""Contract ↔ domain, both directions. The only file of dispatch that knows both."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from services.dispatch.domain.areas import Area
from services.dispatch.domain.hands import ToldHand
from services.dispatch.domain.people import Person, Standing
from services.dispatch.domain.roll import Told, VisitAnswer
from services.dispatch.domain.rounds import Round
from services.dispatch.domain.steps import Step
from services.dispatch.domain.visits import Visit
from shared.contracts.dispatch import (
    HandChange,
    HandsChanged,
    VisitChange,
    VisitSample,
    VisitsChanged,
    VisitsCounted,
    VisitsRetold,
    Waiting,
)
from shared.contracts.envelope import Event, Message, partition_of
from shared.contracts.registry import (
    AreasChanged,
    Change,
    RollChanged,
    RollStated,
    RoundChanged,
    VisitsAnswered,
)
from shared.contracts.registry import Standing as ToldStanding
from shared.contracts.vocabulary import Need
from shared.database import Transaction

PER_MESSAGE = 1000
"""Changes in one message at most."""

T = TypeVar("T")
Keyed = tuple[Message, str]
"""A message and the key that chooses its partition."""


# --- in ---


def areas(events: Sequence[Event[AreasChanged]]) -> list[Area]:
    """Collect areas, sorted by code; what came last of each holds."""
    newest = {area.code: area for event in events for area in event.data.areas}
    return [
        Area(area.code, area.name, area.kind, area.parent) for _, area in sorted(newest.items())
    ]


def round_of(event: Event[RoundChanged]) -> Round:
    """Read a round."""
    told = event.data
    return Round(
        id=told.round,
        incarnation=event.record.incarnation,
        version=told.version,
        campaign=told.campaign,
        number=told.number,
        name=told.name,
        state=told.state,
        opens_at=told.opens_at,
        closes_at=told.closes_at,
        offices=tuple(told.offices),
        manual_clock=told.manual_clock,
        clock_at=told.clock_at,
    )


def by_round(
    events: Sequence[Event[RollChanged]],
) -> dict[str, list[tuple[UUID, str, list[Change]]]]:
    """Sort the changes of a batch by round: (incarnation, community, changes), in their order.

    Rounds come sorted, which is the order their rows are locked in.
    """
    rounds: dict[str, list[tuple[UUID, str, list[Change]]]] = {}
    for event in events:
        rounds.setdefault(event.data.round, []).extend(
            (event.record.incarnation, community, changes)
            for community, changes in event.data.communities.items()
        )
    return dict(sorted(rounds.items()))


def newest(
    groups: Iterable[tuple[UUID, str, list[Change]]],
    *,
    worthy: frozenset[Need],
    held: Container[str],
    life: str,
) -> dict[str, Told]:
    """Pick the changes that concern us, the newest of each resident.

    Of a batch of thousands of samples nearly none does: somebody does who had or has a
    visit-worthy need or a hand, or whom we hold although their case is closed (`held`). The test
    runs on every change there is, so it is written for speed. `life` is our own incarnation:
    hands of another are not ours to believe.
    """
    found: dict[str, Told] = {}
    for incarnation, community, changes in groups:
        for change in changes:
            resident = change.resident
            known = found.get(resident)
            if known is None:
                if not _concerns(change, worthy) and resident not in held:
                    continue
            elif (incarnation.int, change.rev) <= known.version:
                continue
            found[resident] = _told(change, incarnation, community, life)
    return found


def stated(
    events: Sequence[Event[RollStated]], *, worthy: frozenset[Need], life: str
) -> dict[str, tuple[dict[str, Told], set[str]]]:
    """Read where people stand, by round, rounds sorted; and who of them concerns us in any case."""
    rounds: dict[str, tuple[dict[str, Told], set[str]]] = {}
    for event in events:
        told, concern = rounds.setdefault(event.data.round, ({}, set()))
        for community, people in event.data.communities.items():
            for person in people:
                resident = person.resident
                change = Change(resident, person.rev, None, person.standing)
                told[resident] = _told(change, event.record.incarnation, community, life)
                if _concerns(change, worthy):
                    concern.add(resident)
    return dict(sorted(rounds.items()))


def answers(events: Sequence[Event[VisitsAnswered]]) -> dict[str, list[VisitAnswer]]:
    """Sort registry's answers to finished visits by round, rounds sorted."""
    rounds: dict[str, list[VisitAnswer]] = {}
    for event in events:
        rounds.setdefault(event.data.round, []).extend(
            VisitAnswer(
                visit=UUID(told.visit),
                resident=told.resident,
                sample=told.sample,
                refusal=(told.reason or "refused") if told.status == "refused" else None,
            )
            for told in event.data.answers
        )
    return dict(sorted(rounds.items()))


def _concerns(change: Change, worthy: frozenset[Need]) -> bool:
    after, before = change.after, change.before
    if after.needs and not worthy.isdisjoint(after.needs):
        return True
    if after.hand is not None and after.hand.kind is not None:
        return True
    if before is None:
        return False
    if before.needs and not worthy.isdisjoint(before.needs):
        return True
    return before.hand is not None and before.hand.kind is not None


def _told(change: Change, incarnation: UUID, community: str, life: str) -> Told:
    after = change.after
    return Told(
        resident=change.resident,
        incarnation=incarnation,
        rev=change.rev,
        standing=Standing(
            klass=after.klass,
            community=after.lived_in or after.counted_in or community,
            needs=after.needs,
            alive=after.alive,
        ),
        hand=_told_hand(after, life),
    )


def _told_hand(standing: ToldStanding, life: str) -> ToldHand | None:
    hand = standing.hand
    if hand is None or hand.incarnation != life:
        return None
    return ToldHand(hand.kind, hand.due, hand.revision)


# --- out ---


def announce(tx: Transaction, steps: Iterable[Step]) -> None:
    """Announce what steps of one round changed: hands, and visits that moved.

    Hands are keyed by the community the case was opened in and visits by the one they were made
    in: neither ever changes, and Kafka keeps order only within a partition.
    """
    hands: dict[int, list[tuple[str, HandChange]]] = {}
    visits: dict[int, list[tuple[str, VisitChange]]] = {}
    round_id = ""
    for step in steps:
        round_id = step.after.round
        if step.hand_changed:
            key = step.after.key
            hands.setdefault(partition_of(key), []).append((key, _hand_change(step)))
        for before, after in step.moved_visits():
            key = after.community
            visits.setdefault(partition_of(key), []).append((key, _visit_change(before, after)))
    for changed in _chunks(hands):
        tx.announce(HandsChanged(round_id, [hand for _, hand in changed]), key=changed[0][0])
    for moved in _chunks(visits):
        tx.announce(VisitsChanged(round_id, [visit for _, visit in moved]), key=moved[0][0])


def open_hands(round_id: str, persons: Iterable[Person]) -> Iterator[Keyed]:
    """Tell hands as they are, though none moved, each through the partition it is told in."""
    by_partition: dict[int, list[tuple[str, HandChange]]] = {}
    for person in persons:
        change = _hand_change(Step(person, person))
        by_partition.setdefault(partition_of(person.key), []).append((person.key, change))
    for chunk in _chunks(by_partition):
        yield HandsChanged(round_id, [hand for _, hand in chunk]), chunk[0][0]


def visits_counted(
    round_id: str, counts: Mapping[str, dict[str, int]], waiting: Mapping[str, dict[int, int]]
) -> Iterator[Keyed]:
    """Tell how many visits were made in each community, each through its own partition.

    Since when those that wait do is told by slot.
    """
    by_partition: dict[int, list[str]] = {}
    for community in sorted(counts):
        by_partition.setdefault(partition_of(community), []).append(community)
    for chunk in _chunks(by_partition):
        since = {code: waiting[code] for code in chunk if code in waiting}
        yield VisitsCounted(round_id, {code: counts[code] for code in chunk}, since), chunk[0]


def visits_retold(made: Iterable[Visit]) -> Iterator[Keyed]:
    """Tell visits once more, as they are, each through the partition it is told in."""
    by_place: dict[tuple[str, int], list[Visit]] = {}
    for visit in made:
        by_place.setdefault((visit.round, partition_of(visit.community)), []).append(visit)
    for (round_id, _), visits in sorted(by_place.items()):
        for start in range(0, len(visits), PER_MESSAGE):
            chunk = visits[start : start + PER_MESSAGE]
            told = [_visit_change(visit, visit) for visit in chunk]
            yield VisitsRetold(round_id, told), chunk[0].community


def _chunks(by_partition: dict[int, list[T]]) -> Iterator[list[T]]:
    for _, items in sorted(by_partition.items()):
        for start in range(0, len(items), PER_MESSAGE):
            yield items[start : start + PER_MESSAGE]


def _hand_change(step: Step) -> HandChange:
    hand = step.after.hand
    return HandChange(
        resident=step.after.resident,
        revision=step.after.hand_revision,
        kind=hand.kind if hand else None,
        due=hand.due if hand else None,
    )


def _visit_change(before: Visit | None, after: Visit) -> VisitChange:
    sample = after.sample
    return VisitChange(
        visit=str(after.id),
        resident=after.resident,
        community=after.community,
        revision=after.revision,
        before=before.status if before else None,
        after=after.status,
        outcome=after.outcome,
        team=after.team,
        at=_moved_at(after),
        sample=VisitSample(sample.id, sample.sampled_at, sample.tube_code) if sample else None,
        waits=_waiting(after),
        waited=_waiting(before),
    )


def _waiting(visit: Visit | None) -> Waiting | None:
    waits = visit.waits if visit else None
    return Waiting(*waits) if waits else None


def _moved_at(visit: Visit) -> datetime:
    return visit.ended_at or visit.started_at or visit.assigned_at or visit.planned_at
