"""Swabs as they stand, what was said of them before, and rows held against them (R10)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self
from uuid import UUID

from services.registry.domain.entries import Entry, digest_of
from services.registry.domain.errors import NothingToCorrect, RoundNotOpen
from services.registry.domain.rounds import Round
from shared.contracts.vocabulary import Channel
from shared.errors import IdReused


@dataclass(frozen=True, slots=True)
class Said:
    """What one row said of a swab: of whom, when, where and into which tube it was taken.

    `named` is the record that was meant, `person` the one that stands for it: they differ when
    two records were found to be one person.
    """

    round: UUID
    named: UUID
    person: UUID
    sampled_at: datetime
    channel: Channel
    site: str | None
    tube_code: str | None
    recorded_at: datetime

    @classmethod
    def by(cls, entry: Entry, named: UUID, person: UUID, now: datetime) -> Self:
        """Read a row."""
        return cls(
            entry.round, named, person, entry.sampled_at, entry.channel, entry.site,
            entry.tube_code, now,
        )  # fmt: skip

    @property
    def digest(self) -> int:
        """As `Entry.swab_digest` of a row that says the same."""
        return digest_of(
            self.named, self.round, self.sampled_at, self.channel, self.site, self.tube_code
        )

    def filled(self, other: Self) -> Self:
        """Take from another what this one leaves out."""
        return replace(
            self,
            site=other.site if self.site is None else self.site,
            tube_code=other.tube_code if self.tube_code is None else self.tube_code,
        )

    def is_of(self, other: Self) -> bool:
        """Say whether both tell of one person in one round."""
        same = self.named == other.named or self.person == other.person
        return same and self.round == other.round

    def is_taken_like(self, other: Self) -> bool:
        """Say whether both tell of one person, round, time and channel."""
        taken = (self.sampled_at, self.channel)
        return self.is_of(other) and taken == (other.sampled_at, other.channel)


@dataclass(slots=True)
class Swab:
    """A swab: the versions of it, the last of which stands.

    A correction replaces what was said; rows that know the swab by an earlier version still mean
    it. So reports follow the swab, whoever it turns out to be of.
    """

    id: UUID
    versions: list[Said]
    void: bool = False
    corrections: list[tuple[Said, UUID]] = field(default_factory=list)
    """Versions that were corrected just now, and by which rows."""
    was: Said = field(init=False)
    """As it stood on file."""

    def __post_init__(self) -> None:
        self.was = self.stands

    @property
    def stands(self) -> Said:
        """The version that holds."""
        return self.versions[-1]

    @property
    def changed(self) -> bool:
        """Whether it stands otherwise than on file."""
        return bool(self.corrections) or self.stands != self.was

    def is_of(self, said: Said) -> bool:
        """Say whether it is, or was said to be, of this person in this round."""
        return any(version.is_of(said) for version in self.versions)

    def agrees(self, said: Said) -> bool:
        """Say whether a row may mean this swab; site and tube may be left out by either."""
        return (
            any(version.is_taken_like(said) for version in self.versions)
            and self._allows(said.site, [version.site for version in self.versions])
            and self._allows(said.tube_code, [version.tube_code for version in self.versions])
        )

    @staticmethod
    def _allows(value: str | None, known: list[str | None]) -> bool:
        return value is None or value in known or known.count(None) == len(known)

    def lacks(self, said: Said) -> bool:
        """Say whether a row that agrees knows something that was left out so far."""
        return self.stands.filled(said) != self.stands

    def complete(self, said: Said) -> None:
        """Fill in what was left out so far."""
        self.versions[-1] = self.stands.filled(said)

    def correct(self, said: Said, by: UUID) -> None:
        """Let another version stand; what it leaves out stays as it was."""
        new = said.filled(self.stands)
        if replace(new, recorded_at=self.stands.recorded_at) != self.stands:
            self.corrections.append((self.stands, by))
            self.versions.append(new)


class Filed:
    """The swabs that some rows are held against, and what comes of it.

    Args:
        swabs: by id, those on file and those that come in with the same batch
        reports: reports that may be corrected, and the swab each is about
        rounds: the rounds in which the swabs stand

    """

    def __init__(
        self, swabs: Mapping[UUID, Swab], reports: Mapping[UUID, UUID], rounds: Mapping[UUID, Round]
    ) -> None:
        self._swabs = swabs
        self._reports = dict(reports)
        self._rounds = rounds
        self._superseded: list[Entry] = []

    def stands(self, swab: UUID) -> Said | None:
        """Tell how a swab stands, if it is one of these."""
        return self._swabs[swab].stands if swab in self._swabs else None

    def knows(self, entry: Entry, said: Said) -> bool:
        """Say whether a row means its swab as it is known so far."""
        return self._swabs[entry.sample].agrees(said)

    def repeats(self, entry: Entry, said: Said) -> bool:
        """Say whether a row about a swab alone tells nothing that is not on file."""
        swab = self._swabs[entry.sample]
        return not entry.result and swab.agrees(said) and not swab.lacks(said)

    def take(self, entry: Entry, said: Said) -> None:
        """Take a row that tells of a swab, and perhaps an outcome.

        Raises:
            IdReused: it means another swab.
            RoundNotOpen: the swab stands in a sealed round.

        """
        swab = self._swabs[entry.sample]
        if not swab.agrees(said):
            raise IdReused("sample_id: names another swab")
        self._must_be_open(swab)
        swab.complete(said)
        if entry.result and entry.outcome:
            self._reports[entry.result] = entry.sample

    def correct(self, entry: Entry, said: Said) -> None:
        """Take a row that corrects or voids a swab, or a report about one.

        Raises:
            NothingToCorrect: what it names is not on file, or void, or another person's.
            IdReused: it corrects a report and means another swab.
            RoundNotOpen: the swab stands in a sealed round.

        """
        swab = self._swabs.get(entry.sample)
        # In one text, whatever it is: who may send results is to learn nothing of the people.
        if swab is None or not self._is_there(entry, swab, said):
            raise NothingToCorrect("corrects: no swab or report that this row could correct")
        self._must_be_open(swab)
        if entry.corrects == swab.id and not entry.void:
            swab.correct(said, entry.id)
            return
        if entry.void:
            swab.void |= entry.corrects == swab.id
        elif entry.outcome is None:
            raise NothingToCorrect("outcome: needed to correct a report")
        else:
            self.take(entry, said)
        # What the laboratory has not released has no effect, nor has it as a correction (R10).
        if entry.void or entry.released_at:
            self._superseded.append(entry)

    def _is_there(self, entry: Entry, swab: Swab, said: Said) -> bool:
        if entry.corrects != swab.id:
            return self._reports.get(entry.corrects) == swab.id and swab.is_of(said)  # type: ignore[arg-type]
        # Whose swab it is may be the very thing that was wrong: the swab's own id is enough.
        return swab.is_of(said) if entry.void else not swab.void

    def _must_be_open(self, swab: Swab) -> None:
        where = self._rounds[swab.stands.round]
        if where.state == "sealed":
            raise RoundNotOpen("sample_id: stands in a round that is sealed")

    def corrected(self) -> list[Swab]:
        """List swabs that stand otherwise than on file."""
        return [swab for swab in self._swabs.values() if swab.changed]

    def superseded(self) -> Iterator[tuple[UUID, list[tuple[UUID, UUID]]]]:
        """By the round in which the swabs stand, what is outranked: (what, by which row)."""
        named: dict[UUID, list[tuple[UUID, UUID]]] = defaultdict(list)
        for entry in self._superseded:
            if entry.corrects:
                named[self._swabs[entry.sample].stands.round].append((entry.corrects, entry.id))
        yield from sorted(named.items())
