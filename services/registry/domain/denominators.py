"""Denominators from outside: how many people others say live in an area (R3)."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from services.registry.domain.answers import RowAnswer
from services.registry.domain.errors import AreaUnknown
from shared.errors import Forbidden, PermanentError


@dataclass(frozen=True, slots=True)
class Denominator:
    """What one source (`census`, `police_list`) says of a district, an office or a community.

    `as_of` is the day that the number was true on.
    """

    code: str
    source: str
    people: int
    as_of: date

    @property
    def key(self) -> tuple[str, str]:
        """There is one number for each area and source."""
        return self.code, self.source


@dataclass(slots=True)
class Book:
    """The numbers on file for what was sent in; of several for one key the last one holds."""

    on_file: Mapping[tuple[str, str], Denominator]
    areas: Collection[str]
    covers: Callable[[str], bool]
    """Says whether the sender answers for an area."""
    noted: dict[tuple[str, str], Denominator] = field(default_factory=dict)
    """What is new or differs."""

    def enter(self, rows: Iterable[tuple[int, Denominator]]) -> list[RowAnswer]:
        """Note numbers in the order in which they came, and answer each row (R21)."""
        return [self._answer(ordinal, given) for ordinal, given in rows]

    def _answer(self, ordinal: int, given: Denominator) -> RowAnswer:
        if refusal := self._refusal(given):
            return RowAnswer(ordinal, "rejected", None, refusal)
        known = self.noted.get(given.key) or self.on_file.get(given.key)
        if known == given:
            return RowAnswer(ordinal, "duplicate")
        self.noted[given.key] = given
        changed = [
            name
            for name in ("people", "as_of")
            if known is not None and getattr(known, name) != getattr(given, name)
        ]
        return RowAnswer(ordinal, "accepted", changed=changed)

    def _refusal(self, given: Denominator) -> PermanentError | None:
        if not self.covers(given.code):
            return Forbidden("code: outside the sender's areas")
        if given.code not in self.areas:
            return AreaUnknown("code: no district, office or community of this code is on file")
        return None
