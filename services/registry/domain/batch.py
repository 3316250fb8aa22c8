"""A batch of samples and results while it is decided row by row (R21). No I/O.

The use case asks the batch what to look up, looks it up, and hands back what it found:
check → match ids → match swabs → decide. Rows that are still pending at the end are accepted.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from uuid import UUID

from services.registry.domain.answers import RowAnswer, RowStatus
from services.registry.domain.entries import Entry
from services.registry.domain.errors import ResidentUnknown
from services.registry.domain.rounds import Round
from services.registry.domain.swabs import Filed, Said, Swab
from shared.errors import IdReused, ProblemError, RoundUnknown

Submission = tuple[UUID, str, int, UUID]
"""id, kind (`S` a swab, `R` a row with an id of its own), digest, round."""

Known = Mapping[UUID, tuple[str, int]]
"""Ids that came before: their kind and digest; of a swab, as it stands."""


class Batch:
    """Rows sent in together, each about one person.

    Args:
        entries: the rows
        named: by ordinal, whom a row names; rows about strangers are left out
        kept: of records that were merged into another, that other one
        now: the time

    """

    def __init__(
        self,
        entries: Sequence[Entry],
        named: Mapping[int, UUID],
        kept: Mapping[UUID, UUID],
        now: datetime,
    ) -> None:
        self._entries = entries
        self._named = named
        self._kept = kept
        self._now = now
        self._settled: dict[int, RowAnswer] = {}
        self._twins: dict[int, int] = {}
        self._claimed: set[UUID] = set()
        self._new_swabs: dict[UUID, Entry] = {}
        self._waiting: list[Entry] = []
        self._repeated: list[Entry] = []
        self._filed = Filed({}, {}, {})

    # --- the rules ---

    def check(self, rounds: Mapping[UUID, Round]) -> None:
        """Hold each row against its round, its resident, and the rows before it."""
        first: dict[UUID, Entry] = {}
        for entry in self._entries:
            try:
                self._check(entry, rounds.get(entry.round))
            except ProblemError as reason:
                self._settle(entry, "rejected", reason)
                continue
            twin = first.setdefault(entry.id, entry)
            if twin is entry:
                continue
            if self._digest(twin) == self._digest(entry):
                self._twins[entry.ordinal] = twin.ordinal
            elif entry.result or twin.result:
                self._settle(entry, "rejected", IdReused("id: used twice in this batch"))

    def _check(self, entry: Entry, where: Round | None) -> None:
        if where is None:
            raise RoundUnknown("round_id: no such round")
        if entry.ordinal not in self._named:
            raise ResidentUnknown("resident: not on file")
        entry.check(where, self._now)

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
            if entry.ordinal in self._named
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
                if entry.result:
                    self._settle(entry, "rejected", IdReused("id: came before with other content"))
            elif before[0] == "S" and not entry.result:
                self._repeated.append(entry)

    # --- swabs ---

    def swabs(self) -> list[Submission]:
        """Ids to claim for swabs that may be new; what corrects another row brings none along."""
        for entry in self._pending():
            if not entry.corrects:
                self._new_swabs.setdefault(entry.sample, entry)
        return [
            (swab, "S", self._swab_digest(entry), entry.round)
            for swab, entry in self._new_swabs.items()
        ]

    def match_swabs(self, free: AbstractSet[UUID], known: Known) -> None:
        """Keep new swabs, and tell repeats of old ones.

        A row that tells of a swab otherwise than it stands has to wait for what is on file.
        """
        brought = self._new_swabs
        self._new_swabs = {swab: entry for swab, entry in brought.items() if swab in free}
        for entry in list(self._pending()):
            first = self._new_swabs.get(entry.sample)
            if entry.corrects:
                self._waiting.append(entry)
            elif first is entry:
                continue
            elif self._swab_identity(entry) != (
                self._swab_identity(first) if first else known[entry.sample]
            ):
                self._wait(entry, known)
            elif not entry.result:
                self._settle(entry, "duplicate")

    def _wait(self, entry: Entry, known: Known) -> None:
        if entry.sample in known and known[entry.sample][0] != "S":
            self._settle(entry, "rejected", IdReused("sample_id: names no swab"))
        else:
            self._waiting.append(entry)

    def waits(self) -> bool:
        """Say whether rows have to be held against their swabs, one by one."""
        return bool(self._waiting or self._repeated)

    def unsure(self) -> set[UUID]:
        """Those of their swabs that are on file."""
        return {e.sample for e in (*self._waiting, *self._repeated)} - self._new_swabs.keys()

    def corrected_reports(self) -> set[UUID]:
        """What corrections name besides swabs."""
        return {e.corrects for e in self._waiting if e.corrects and e.corrects != e.sample}

    def decide(
        self, swabs: Mapping[UUID, Swab], reports: Mapping[UUID, UUID], rounds: Mapping[UUID, Round]
    ) -> None:
        """Hold the waiting rows against their swabs.

        Originals are known whatever the order of the rows, corrections from their own row on.
        """
        ours = {
            swab: Swab(swab, [self._said(self._new_swabs[swab])])
            for swab in {entry.sample for entry in self._waiting} & self._new_swabs.keys()
        }
        waiting = {entry.ordinal for entry in self._waiting}
        passed = {
            entry.result: entry.sample
            for entry in self._pending()
            if entry.result and entry.outcome and entry.ordinal not in waiting
        }
        self._filed = Filed({**swabs, **ours}, {**reports, **passed}, rounds)
        for entry in self._repeated:
            if self._filed.repeats(entry, self._said(entry)):
                self._settle(entry, "duplicate")
        originals = {
            entry.ordinal
            for entry in self._waiting
            if not entry.corrects and self._filed.knows(entry, self._said(entry))
        }
        for entry in sorted(self._waiting, key=lambda entry: entry.ordinal not in originals):
            self._decide(entry)

    def _decide(self, entry: Entry) -> None:
        said = self._said(entry)
        try:
            if entry.corrects:
                self._filed.correct(entry, said)
            elif self._filed.repeats(entry, said):
                self._settle(entry, "duplicate")
            else:
                self._filed.take(entry, said)
        except ProblemError as reason:
            self._settle(entry, "rejected", reason)

    def released(self) -> list[UUID]:
        """Ids that were claimed by rows which were refused in the end: not remembered."""
        refused = {a.ordinal for a in self._settled.values() if a.status == "rejected"}
        return [
            entry.result
            for entry in self._entries
            if entry.ordinal in refused and entry.result in self._claimed
        ]

    # --- what came of it ---

    def samples(self) -> list[tuple[object, ...]]:
        """Rows of `sample`: the new swabs of accepted rows."""
        return [
            (e.round, e.sample, self._person(e), e.sampled_at, e.channel, e.site, e.tube_code,
             self._now, self._filed_for(e))
            for e in self._new_swabs.values()
        ]  # fmt: skip

    def corrected(self) -> list[Swab]:
        """Swabs that stand otherwise than on file, new ones included."""
        return self._filed.corrected()

    def reports(self) -> list[tuple[object, ...]]:
        """Rows of `report`: the outcomes of accepted rows, released or not."""
        return [
            (self._place(e)[0], e.result, e.sample, e.outcome, e.resulted_at, e.released_at,
             self._now, e.corrects)
            for e in self._pending()
            if e.outcome and not e.void
        ]  # fmt: skip

    def superseded(self) -> Iterator[tuple[UUID, list[tuple[UUID, UUID]]]]:
        """By round, what accepted rows outrank: (what, by which row)."""
        return self._filed.superseded()

    def touched(self) -> Iterator[tuple[UUID, list[UUID]]]:
        """By round, in order, whose account has to be settled."""
        touched: dict[UUID, list[UUID]] = defaultdict(list)
        for entry in self._pending():
            round_id, person = self._place(entry)
            touched[round_id].append(person)
        for swab in self.corrected():
            touched[swab.was.round].append(swab.was.person)
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

    def _person(self, entry: Entry) -> UUID:
        named = self._named[entry.ordinal]
        return self._kept.get(named, named)

    def _filed_for(self, entry: Entry) -> UUID | None:
        named = self._named[entry.ordinal]
        return named if named in self._kept else None

    def _said(self, entry: Entry) -> Said:
        return Said.by(entry, self._named[entry.ordinal], self._person(entry), self._now)

    def _place(self, entry: Entry) -> tuple[UUID, UUID]:
        """Tell in which round, and of whom, the swab of a row stands."""
        if stands := self._filed.stands(entry.sample):
            return stands.round, stands.person
        return entry.round, self._person(entry)

    # Made of whom a row names, not of who stands for them: a repeat is one after a merge, too.

    def _digest(self, entry: Entry) -> int:
        return entry.digest(self._named[entry.ordinal])

    def _swab_digest(self, entry: Entry) -> int:
        return entry.swab_digest(self._named[entry.ordinal])

    def _identity(self, entry: Entry) -> tuple[str, int]:
        return ("R", self._digest(entry)) if entry.result else self._swab_identity(entry)

    def _swab_identity(self, entry: Entry) -> tuple[str, int]:
        return "S", self._swab_digest(entry)
