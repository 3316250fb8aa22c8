"""A batch of samples and results while it is decided row by row (R21). No I/O.

The use case asks the batch what to look up, looks it up, and hands back what it found:
check → match ids → correct → match swabs. Rows that are still pending at the end are accepted.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.registry.domain.answers import RowAnswer, RowStatus
from services.registry.domain.entries import Entry
from services.registry.domain.errors import (
    NothingToCorrect,
    ResidentUnknown,
)
from services.registry.domain.rounds import Round
from shared.errors import IdReused, ProblemError, RoundUnknown

Submission = tuple[UUID, str, int, UUID]
"""id, kind (`S` a swab, `R` a row with an id of its own), digest, round."""

Known = Mapping[UUID, tuple[str, int]]
"""Ids that came before: their kind and digest."""


class Target(NamedTuple):
    """What a correction names: a swab, or one report about it."""

    sample: UUID
    resident: UUID
    is_sample: bool


class Batch:
    """Rows sent in together, each about one person.

    Args:
        entries: the rows
        people: by ordinal, whom a row is about; rows about strangers are left out

    """

    def __init__(self, entries: Sequence[Entry], people: Mapping[int, UUID]) -> None:
        self._entries = entries
        self._people = people
        self._settled: dict[int, RowAnswer] = {}
        self._twins: dict[int, int] = {}
        self._new_swabs: dict[UUID, Entry] = {}
        self._superseded: dict[UUID, list[tuple[UUID, UUID]]] = defaultdict(list)
        self._claimed: set[UUID] = set()

    # --- the rules ---

    def check(self, rounds: Mapping[UUID, Round], now: datetime) -> None:
        """Hold each row against its round, its resident, and the rows before it."""
        first: dict[UUID, Entry] = {}
        for entry in self._entries:
            try:
                self._check(entry, rounds.get(entry.round), now)
            except ProblemError as reason:
                self._settle(entry, "rejected", reason)
                continue
            twin = first.setdefault(entry.id, entry)
            if twin is entry:
                continue
            if self._digest(twin) == self._digest(entry):
                self._twins[entry.ordinal] = twin.ordinal
            else:
                self._settle(entry, "rejected", IdReused("id: used twice in this batch"))

    def _check(self, entry: Entry, where: Round | None, now: datetime) -> None:
        if where is None:
            raise RoundUnknown("round_id: no such round")
        if entry.ordinal not in self._people:
            raise ResidentUnknown("resident: not on file")
        entry.check(where, now)

    # --- rows with an id of their own ---

    def rows(self) -> list[Submission]:
        """Ids to claim for rows that may be new."""
        return [
            (entry.result, "R", self._digest(entry), entry.round)
            for entry in self._pending()
            if entry.result
        ]

    def unclaimed(self, free: AbstractSet[UUID]) -> list[UUID]:
        """Ids that came before, or of rows already refused: a repeat of an old row is no error."""
        return [
            entry.id
            for entry in self._entries
            if entry.ordinal in self._people
            and (entry.ordinal in self._settled or (entry.result and entry.result not in free))
        ]

    def match(self, free: AbstractSet[UUID], known: Known) -> None:
        """Tell repeats from reused ids."""
        self._claimed = set(free)
        for entry in self._entries:
            before = known.get(entry.id)
            if before is None or entry.ordinal in self._twins or entry.id in free:
                continue
            if before == self._identity(entry):
                self._settle(entry, "duplicate")
            elif entry.ordinal not in self._settled:
                self._settle(entry, "rejected", IdReused("id: came before with other content"))

    # --- corrections and voids (R10) ---

    def corrections(self) -> Iterator[tuple[UUID, list[UUID]]]:
        """By round, what corrections name."""
        named: dict[UUID, list[UUID]] = defaultdict(list)
        for entry in self._pending():
            if entry.corrects:
                named[entry.round].append(entry.corrects)
        yield from named.items()

    def correct(self, round_id: UUID, on_file: Mapping[UUID, Target]) -> None:
        """Match corrections with what they name, on file or in this batch.

        Originals are known whatever the order of the rows, corrections from their own row on.
        """
        targets = dict(on_file)
        ours = [entry for entry in self._pending() if entry.round == round_id]
        for entry in ours:
            if not entry.corrects:
                targets |= self._targets(entry)
        for entry in ours:
            if entry.corrects and self._corrected(entry, targets.get(entry.corrects)):
                targets |= self._targets(entry)

    def _targets(self, entry: Entry) -> dict[UUID, Target]:
        """Tell what a later row may name of this one; a void leaves nothing behind."""
        person = self._people[entry.ordinal]
        found: dict[UUID, Target] = {}
        if entry.void:
            return found
        if not entry.corrects:
            found[entry.sample] = Target(entry.sample, person, is_sample=True)
        if entry.result and entry.outcome:
            found[entry.result] = Target(entry.sample, person, is_sample=False)
        return found

    def _corrected(self, entry: Entry, target: Target | None) -> bool:
        wanted = (entry.sample, self._people[entry.ordinal])
        if target is None or (target.sample, target.resident) != wanted:
            reason = NothingToCorrect("corrects: no sample or result of this person and swab")
        elif not entry.void and (target.is_sample or entry.outcome is None):
            reason = NothingToCorrect("corrects: a swab can be voided, an outcome also replaced")
        else:
            self._supersede(entry)
            return True
        self._settle(entry, "rejected", reason)
        return False

    def _supersede(self, entry: Entry) -> None:
        # What the laboratory has not released has no effect, nor has it as a correction (R10).
        if entry.corrects and (entry.void or entry.released_at):
            self._superseded[entry.round].append((entry.corrects, entry.id))

    # --- swabs ---

    def swabs(self) -> list[Submission]:
        """Ids to claim for swabs that may be new."""
        for entry in self._pending():
            if not entry.void:
                self._new_swabs.setdefault(entry.sample, entry)
        return [
            (swab, "S", entry.swab_digest(self._people[entry.ordinal]), entry.round)
            for swab, entry in self._new_swabs.items()
        ]

    def match_swabs(self, free: AbstractSet[UUID], known: Known) -> None:
        """Keep new swabs; a row about an old one must agree with it in all that names it."""
        first = {swab: self._swab_identity(entry) for swab, entry in self._new_swabs.items()}
        self._new_swabs = {s: entry for s, entry in self._new_swabs.items() if s in free}
        for entry in list(self._pending()):
            if entry.void:
                continue
            agreed = first[entry.sample] if entry.sample in free else known[entry.sample]
            if agreed != self._swab_identity(entry):
                self._settle(entry, "rejected", IdReused("sample_id: names another swab"))
            elif entry.result is None and self._new_swabs.get(entry.sample) is not entry:
                self._settle(entry, "duplicate")

    def released(self) -> list[UUID]:
        """Ids that were claimed by rows which were refused in the end: not remembered."""
        refused = {a.ordinal for a in self._settled.values() if a.status == "rejected"}
        return [
            entry.result
            for entry in self._entries
            if entry.ordinal in refused and entry.result in self._claimed
        ]

    # --- what came of it ---

    def samples(self, now: datetime) -> list[tuple[object, ...]]:
        """Rows of `sample`: the new swabs of accepted rows."""
        return [
            (e.round, e.sample, self._people[e.ordinal], e.sampled_at, e.channel, e.site,
             e.tube_code, now)
            for e in self._new_swabs.values()
        ]  # fmt: skip

    def reports(self, now: datetime) -> list[tuple[object, ...]]:
        """Rows of `report`: the outcomes of accepted rows, released or not."""
        return [
            (e.round, e.result, e.sample, e.outcome, e.resulted_at, e.released_at, now, e.corrects)
            for e in self._pending()
            if e.outcome and not e.void
        ]

    def superseded(self) -> Iterator[tuple[UUID, list[tuple[UUID, UUID]]]]:
        """By round, what accepted rows outrank: (what, by which row)."""
        accepted = {entry.id for entry in self._pending()}
        for round_id, named in self._superseded.items():
            if standing := [(what, by) for what, by in named if by in accepted]:
                yield round_id, standing

    def touched(self) -> Iterator[tuple[UUID, list[UUID]]]:
        """By round, in order, whose account has to be settled."""
        touched: dict[UUID, list[UUID]] = defaultdict(list)
        for entry in self._pending():
            touched[entry.round].append(self._people[entry.ordinal])
        yield from sorted(touched.items())

    def answers(self) -> list[RowAnswer]:
        """One answer per row, in the order of the request."""
        answers: dict[int, RowAnswer] = dict(self._settled)
        for entry in self._entries:
            answers.setdefault(entry.ordinal, RowAnswer(entry.ordinal, "accepted", entry.id))
        for ordinal, twin in self._twins.items():
            original = answers[twin]
            if original.status == "rejected":
                answers[ordinal] = RowAnswer(ordinal, "rejected", original.id, original.reason)
            else:
                answers[ordinal] = RowAnswer(ordinal, "duplicate", original.id)
        return [answers[entry.ordinal] for entry in self._entries]

    # --- helpers ---

    def _pending(self) -> Iterator[Entry]:
        for entry in self._entries:
            if entry.ordinal not in self._settled and entry.ordinal not in self._twins:
                yield entry

    def _settle(self, entry: Entry, status: RowStatus, reason: ProblemError | None = None) -> None:
        self._settled[entry.ordinal] = RowAnswer(entry.ordinal, status, entry.id, reason)

    def _digest(self, entry: Entry) -> int:
        return entry.digest(self._people[entry.ordinal])

    def _identity(self, entry: Entry) -> tuple[str, int]:
        return ("R", self._digest(entry)) if entry.result else self._swab_identity(entry)

    def _swab_identity(self, entry: Entry) -> tuple[str, int]:
        return "S", entry.swab_digest(self._people[entry.ordinal])
