"""What every decision takes and gives: the scene it is taken in, and the step that comes of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

import msgspec
from msgspec.structs import replace

from services.dispatch.domain.hands import Hand
from services.dispatch.domain.people import Person
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.rounds import Round
from services.dispatch.domain.visits import Visit


@dataclass(frozen=True, slots=True)
class Scene:
    """What a decision is taken in: the round, its time, the policy, and fresh ids for visits."""

    round: Round
    now: datetime
    policy: Policy
    new_id: Callable[[], UUID]

    def due_in(self, delay: timedelta) -> datetime:
        """Tell what is due so much later; never after the round's closing."""
        return self.round.cap(self.now + delay)


class Step(msgspec.Struct, frozen=True):
    """What one decision changed: a person before and after, and each visit that moved."""

    before: Person
    after: Person
    visits: tuple[tuple[Visit | None, Visit], ...] = ()

    @property
    def hand_changed(self) -> bool:
        """Tell whether registry has to hear of a hand."""
        return self.after.hand_revision != self.before.hand_revision

    def moved_visits(self) -> Iterator[tuple[Visit | None, Visit]]:
        """Give the visits others have to hear of."""
        return (
            (before, after)
            for before, after in self.visits
            if before is None or before.revision != after.revision
        )

    # --- building it ---

    def so(self, after: Person) -> Self:
        """Let the person be so afterwards."""
        return replace(self, after=after)

    def hold(self, hand: Hand | None) -> Self:
        """Put the person into a hand, or out of one. Announced when kind or due changed."""
        known = self.before.hand
        changed = (hand and hand.told) != (known and known.told)
        revision = self.before.hand_revision + changed
        return self.so(replace(self.after, hand=hand, hand_revision=revision))

    def put(self, visit: Visit, *, current: bool) -> Self:
        """Move a visit on; `current` keeps it as the person's visit, else they have none."""
        before = self._before(visit)
        visit = _revised(before, visit)
        others = (pair for pair in self.visits if pair[1].id != visit.id)
        after = replace(self.after, visit=visit if current else None)
        return replace(self, after=after, visits=(*others, (before, visit)))

    def put_aside(self, before: Visit, after: Visit) -> Self:
        """Change a visit that is over and not the person's current one."""
        return replace(self, visits=(*self.visits, (before, _revised(before, after))))

    def _before(self, visit: Visit) -> Visit | None:
        """Find a visit as it was before the step; None if the step plans it."""
        for before, after in self.visits:
            if after.id == visit.id:
                return before
        known = self.before.visit
        return known if known is not None and known.id == visit.id else None


def _revised(before: Visit | None, after: Visit) -> Visit:
    """Count a visit's announced changes: its revision orders them for others."""
    told = before is None or _announced(before) != _announced(after)
    revision = (before.revision if before else 0) + told
    return after if after.revision == revision else replace(after, revision=revision)


def _announced(visit: Visit) -> tuple[object, ...]:
    """What others hear of a visit; registry's answer came from registry and is not told back."""
    return visit.status, visit.team, visit.outcome, visit.sample, visit.waits
