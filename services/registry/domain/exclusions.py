"""Exclusions: stated reasons not to be tested in a round (免检)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.registry.domain.answers import RowAnswer
from services.registry.domain.entries import digest_of
from services.registry.domain.errors import ResidentUnknown, RoundNotOpen
from services.registry.domain.rounds import Round
from shared.errors import IdReused, ProblemError, RoundUnknown

KIND = "E"
"""What tells an exclusion's id from those of samples and results."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A stated reason not to be tested in a round, as it is filed."""

    ordinal: int
    id: UUID
    round: UUID
    resident: UUID
    """As named by whoever files it: a record that was merged into another stays named."""
    reason: str
    filed_by: str

    @property
    def digest(self) -> int:
        """Digest of what was filed: the same id with another digest is not a repeat."""
        return digest_of(self.round, self.resident, self.reason)


class Filing:
    """Exclusions sent in together, while they are decided row by row (R21). No I/O.

    Args:
        rows: the exclusions
        rounds: by id, those that exist
        people: by the id that was named, the record that stands for them; strangers are left out,
            and so is whoever the sender does not answer for

    """

    def __init__(
        self,
        rows: Sequence[Exclusion],
        rounds: Mapping[UUID, Round],
        people: Mapping[UUID, UUID],
    ) -> None:
        self._rows = rows
        self._rounds = rounds
        self._people = people
        self._refused: dict[int, ProblemError] = {}
        self._repeats: set[int] = set()
        self._first: dict[UUID, Exclusion] = {}
        for row in rows:
            self._check(row)

    def _check(self, row: Exclusion) -> None:
        if row.round not in self._rounds:
            self._refused[row.ordinal] = RoundUnknown("round_id: no such round")
        elif row.resident not in self._people:
            self._refused[row.ordinal] = ResidentUnknown(
                "resident: not on file in the caller's areas"
            )
        elif self._first.setdefault(row.id, row).digest != row.digest:
            self._refused[row.ordinal] = IdReused("id: used twice in this batch")

    def claims(self) -> list[tuple[UUID, str, int, UUID]]:
        """Ids to claim: id, kind, digest, round. A sealed round takes nothing new."""
        return [
            (row.id, KIND, row.digest, row.round)
            for row in self._first.values()
            if self._rounds[row.round].state != "sealed"
        ]

    def unclaimed(self, free: AbstractSet[UUID]) -> set[UUID]:
        """Ids that may have come before."""
        return self._first.keys() - free

    def match(self, free: AbstractSet[UUID], known: Mapping[UUID, tuple[str, int]]) -> None:
        """Tell what is new from what came before, under an id of its own or another's.

        What was filed in time is a duplicate for ever after, also once the round is sealed.
        """
        for row in self._first.values():
            if row.id in free:
                continue
            before = known.get(row.id)
            if before is None:
                self._refused[row.ordinal] = RoundNotOpen("round_id: the round is sealed")
            elif before == (KIND, row.digest):
                self._repeats.add(row.ordinal)
            else:
                self._refused[row.ordinal] = IdReused("id: came before with other content")

    def rows(self, now: datetime) -> list[tuple[object, ...]]:
        """Rows of `exclusion`: id, round, resident, for whom it was filed, reason, by whom, when.

        For whom: the record that was named, if another one stands for it.
        """
        return [
            (row.id, row.round, stands, row.resident if stands != row.resident else None,
             row.reason, row.filed_by, now)
            for row in self._new()
            for stands in (self._people[row.resident],)
        ]  # fmt: skip

    def touched(self) -> Iterator[tuple[Round, list[UUID]]]:
        """By round, in order, whose account has to be settled.

        A draft has no account yet; opening it settles the exclusions that stand by then.
        """
        touched: dict[UUID, list[UUID]] = defaultdict(list)
        for row in self._new():
            touched[row.round].append(self._people[row.resident])
        for round_id, people in sorted(touched.items()):
            if self._rounds[round_id].state != "draft":
                yield self._rounds[round_id], people

    def answers(self) -> list[RowAnswer]:
        """One answer per row, in the order of the request."""
        return [self._answer(row) for row in self._rows]

    def _answer(self, row: Exclusion) -> RowAnswer:
        reason = self._refused.get(row.ordinal)
        first = self._first.get(row.id, row)
        if reason is None and first is not row:
            reason = self._refused.get(first.ordinal)
        if reason is not None:
            return RowAnswer(row.ordinal, "rejected", row.id, reason)
        repeated = first is not row or row.ordinal in self._repeats
        return RowAnswer(row.ordinal, "duplicate" if repeated else "accepted", row.id)

    def _new(self) -> Iterator[Exclusion]:
        for row in self._first.values():
            if row.ordinal not in self._refused and row.ordinal not in self._repeats:
                yield row
