"""How many people others say there are, and coverage against that (R3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from services.reporting.domain.areas import AREA_WIDTH, TOTAL, above

_OFFICE = AREA_WIDTH["office"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Coverage against a number from outside, beside ours (R3).

    `coverage` is sampled ÷ people, never capped, and None when that is nobody; `over` flags that
    more were sampled than there should be.
    """

    source: str
    people: int
    as_of: date
    coverage: float | None
    over: bool


@dataclass(frozen=True, slots=True)
class Outside:
    """How many people somebody outside (`census`, `police_list`) counts in a place (R3)."""

    source: str
    people: int
    as_of: date
    """Of a sum: the day of its oldest part."""

    def measure(self, sampled: int) -> Measured:
        """Hold the sampled against this number: flagged above 100 %, never capped."""
        coverage = sampled / self.people if self.people else None
        return Measured(self.source, self.people, self.as_of, coverage, over=sampled > self.people)


@dataclass(frozen=True)
class Scope:
    """What a round's figures stand for as one caller sees them: offices, cut to the token's areas.

    A number from outside counts everybody of its area. So an area is measured by its own number
    only where our figures are of the whole of it: the round has all its offices on file, and the
    caller sees all of it. Else, and where it has no number of its own, the numbers of its parts in
    scope are summed, if every one of them has one: a community on file without a number leaves its
    office without one, because a sum that leaves people out would flatter us. The total is measured
    in the same way, as the place that all districts of the scope are parts of.
    """

    offices: Sequence[str]
    """Of the round."""
    areas: Sequence[str]
    """Code prefixes that the caller sees."""
    codes: Sequence[str]
    """Every district, office and community on file of the round's districts."""

    def outside(self, given: Mapping[tuple[str, str], Outside]) -> dict[str, list[Outside]]:
        """Tell the numbers that measure each area, and `TOTAL`, in the order of sources."""
        found: dict[str, list[Outside]] = {}
        for source in sorted({source for _, source in given}):
            own = {code: each for (code, named), each in given.items() if named == source}
            for code, number in self._by_code(own).items():
                found.setdefault(code, []).append(number)
        return found

    def _by_code(self, own: Mapping[str, Outside]) -> dict[str, Outside]:
        """Measure by one source, from communities up."""
        measured: dict[str, Outside] = {}
        for code in self._from_below:
            number = own.get(code) if self._is_whole(code) else None
            number = number or _sum([measured.get(part) for part in self._parts.get(code, ())])
            if number is not None:
                measured[code] = number
        return measured

    @cached_property
    def _from_below(self) -> Sequence[str]:
        """Areas of which the figures count somebody, wholly or in part; `TOTAL` is the last one."""
        counted = [
            code
            for code in self.codes
            if (code[:_OFFICE] in self._own or code in self._districts)
            and any(code.startswith(area) or area.startswith(code) for area in self.areas)
        ]
        return [*sorted(counted, key=len, reverse=True), TOTAL]

    @cached_property
    def _parts(self) -> Mapping[str, Sequence[str]]:
        """Areas by the one that they are parts of."""
        parts: dict[str, list[str]] = {}
        for code in self._from_below[:-1]:
            parts.setdefault(above(code), []).append(code)
        return parts

    def _is_whole(self, code: str) -> bool:
        seen = code.startswith(tuple(self.areas))
        return seen and not any(office.startswith(code) for office in self._left_out)

    @cached_property
    def _own(self) -> frozenset[str]:
        return frozenset(self.offices)

    @cached_property
    def _districts(self) -> frozenset[str]:
        return frozenset(office[: AREA_WIDTH["district"]] for office in self.offices)

    @cached_property
    def _left_out(self) -> list[str]:
        """Offices on file that the round does not have."""
        return [code for code in self.codes if len(code) == _OFFICE and code not in self._own]


def _sum(parts: Sequence[Outside | None]) -> Outside | None:
    """Sum the numbers of parts, if there are any and every one of them has one."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    people, as_of = sum(part.people for part in known), min(part.as_of for part in known)
    return Outside(known[0].source, people, as_of)
