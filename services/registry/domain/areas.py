"""Where people live and are counted (R5)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from services.registry.domain.errors import AreaUnknown
from shared.contracts.geometry import Geometry
from shared.contracts.vocabulary import AreaKind

DISTRICT_DIGITS = 6
OFFICE_DIGITS = 9
COMMUNITY_DIGITS = 12
UNKNOWN_IN_OFFICE = "000"
"""Ends the code of an office's row for residents whose community is unknown."""


@dataclass(frozen=True, slots=True)
class Area:
    """A city, district, office or community; `parent` is the code above it."""

    code: str
    name: str
    kind: AreaKind
    parent: str | None
    lat: float | None = None
    lon: float | None = None
    geometry: Geometry | UnsetType | None = UNSET
    """Its borders, or a point; left out, what is on file holds."""


def office_of(community: str) -> str:
    """Code of the office a community belongs to."""
    return community[:OFFICE_DIGITS]


def is_unassigned(community: str) -> bool:
    """Say whether this is the row of those whose community is unknown (R5)."""
    return community.endswith(UNKNOWN_IN_OFFICE)


def place(code: str | None, known: Collection[str], fallback: str | None) -> str:
    """Find the community a resident counts in (R5).

    A known community counts itself. Otherwise the row of its office, then of its district, takes
    the resident, explicitly: `…000` and `…000000`. Without a code, `fallback` is that area.

    Raises:
        AreaUnknown: not even the district is known.

    """
    given = code or fallback or ""
    if len(given) == COMMUNITY_DIGITS and given in known:
        return given
    if len(given) >= OFFICE_DIGITS and given[:OFFICE_DIGITS] in known:
        return given[:OFFICE_DIGITS] + UNKNOWN_IN_OFFICE
    if given[:DISTRICT_DIGITS] in known:
        return given[:DISTRICT_DIGITS] + "000" + UNKNOWN_IN_OFFICE
    raise AreaUnknown("address.community_code: no community, office or district of this code")


def scope(given: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Find the offices of a round: a district's code stands for all of its offices.

    A round with every office of a district also covers those of its residents whose office is
    unknown (`…000`, R5): somebody has to look for them.

    Raises:
        AreaUnknown: a code is no office or district on file.

    """
    offices = {code for code in known if len(code) == OFFICE_DIGITS}
    chosen: set[str] = set()
    for code in given:
        named = {office for office in offices if office.startswith(code)}
        if not named:
            raise AreaUnknown("offices: no office or district of this code")
        chosen |= named
    for district in {office[:DISTRICT_DIGITS] for office in chosen}:
        if {office for office in offices if office.startswith(district)} <= chosen:
            chosen.add(district + UNKNOWN_IN_OFFICE)
    return tuple(sorted(chosen))
