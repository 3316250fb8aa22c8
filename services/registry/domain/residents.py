"""Residents: who they are, how a row that was sent in finds its person."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Self
from unicodedata import normalize
from uuid import UUID, uuid4, uuid5

from msgspec import Struct
from msgspec.structs import replace

from services.registry.domain.answers import RowAnswer
from services.registry.domain.areas import is_unassigned, place
from services.registry.domain.documents import Document, Sex
from services.registry.domain.errors import IdentityConflict, ResidentUnknown
from services.registry.domain.rounds import Round, time_where
from shared.contracts.vocabulary import Need
from shared.errors import Forbidden, ProblemError

HOUSEHOLDS = UUID("6f1d8a52-5a0e-5c55-9f43-2f6a1f5d7c10")
"""Namespace of household ids: one door, one household."""


class NeedSpan(Struct, frozen=True):
    """A need and when it holds; no bound means always."""

    code: Need
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Say whether the need holds at a moment."""
        return (self.since is None or self.since <= now) and (
            self.until is None or now < self.until
        )


class Resident(Struct, frozen=True):
    """One person on the roll. Belongs to the community where they live (R5)."""

    id: UUID
    name: str
    community: str
    building: str = ""
    unit: str = ""
    door: str = ""
    lat: float | None = None
    lon: float | None = None
    sex: Sex | None = None
    birth_date: date | None = None
    document: Document | None = None
    phone: str | None = None
    since: datetime | None = None
    """When they moved to this community; None: they always lived there, as far as we know."""
    noted_at: datetime | None = None
    """When that residence was put on file; rounds that closed before do not know it."""
    needs: tuple[NeedSpan, ...] = ()
    held: tuple[Need, ...] = ()
    """The needs that held when they were last judged: what the account counts."""
    turns_at: datetime | None = None
    """When a need begins or ends next; None: none of them ever will."""
    alive: bool = True
    """Whether they count as alive: not a record that was merged into another."""
    merged_into: UUID | None = None
    """The record of the same person that was kept instead of this one."""

    def but(self, **changes: Any) -> Self:  # noqa: ANN401 - fields of ours
        """Say the same of them, but for some fields."""
        return replace(self, **changes)

    @property
    def household(self) -> UUID:
        """The household: everybody behind the same door (户).

        Whoever has no door on file, or none in a known community (R5), is a household of their own:
        nobody knows with whom they live, and strangers would share a tube (R7).
        """
        if is_unassigned(self.community):
            return self.id
        return _behind(self.community, self.building, self.unit, self.door) or self.id

    def age(self, today: date) -> int | None:
        """Age in completed years."""
        born = self.birth_date
        if born is None:
            return None
        return today.year - born.year - ((today.month, today.day) < (born.month, born.day))

    def needs_now(self, now: datetime) -> tuple[Need, ...]:
        """List the needs that hold, sorted, so that equal sets are equal rows."""
        if not self.needs:
            return ()
        return tuple(sorted({need.code for need in self.needs if need.holds(now)}))

    def judged(self, now: datetime) -> Self:
        """Note which needs hold at a moment, and until when that is so."""
        turns = [
            moment
            for need in self.needs
            for moment in (need.since, need.until)
            if moment is not None and moment > now
        ]
        held, turns_at = self.needs_now(now), min(turns, default=None)
        if (held, turns_at) == (self.held, self.turns_at):
            return self
        return self.but(held=held, turns_at=turns_at)

    @property
    def doubts(self) -> list[str]:
        """Name the fields that contradict the identity number.

        Neither is taken for the wrong one: numbers are mistyped, and birth dates celebrated by the
        moon are registered by the sun.
        """
        if self.document is None:
            return []
        return [
            name
            for name in IN_NUMBERS
            if (stated := getattr(self, name))
            and (number := getattr(self.document, name))
            and number != stated
        ]

    @property
    def on_the_roll(self) -> tuple[object, ...]:
        """What of a resident the account depends on."""
        return self.community, self.since, self.alive, self.held

    def differences(self, other: "Resident") -> list[str]:
        """Name the fields in which another record of the same person differs."""
        return [name for name in COMPARED if getattr(self, name) != getattr(other, name)]


@lru_cache(maxsize=1000)
def _behind(community: str, building: str, unit: str, door: str) -> UUID | None:
    """Name the household behind a door, if it is one. Those who live together come together."""
    if not (door := _folded(door)):
        return None
    return uuid5(HOUSEHOLDS, "\x1f".join((community, _folded(building), _folded(unit), door)))


def _folded(part: str) -> str:
    """Make parts of an address equal that are but typed differently."""
    return "".join(normalize("NFKC", part).split()).casefold()


COMPARED = (
    "name",
    "sex",
    "birth_date",
    "document",
    "phone",
    "community",
    "building",
    "unit",
    "door",
    "lat",
    "lon",
    "needs",
    "alive",
)
"""Fields whose change is a change of the resident; `since` only dates a move."""
ADDRESS = {"community", "building", "unit", "door", "lat", "lon"}
"""Fields that belong together: half of one address and half of another are no address."""
IN_NUMBERS = ("birth_date", "sex")
"""Fields that an identity number may contain."""


_BYTES = attrgetter("bytes")
"""Ids in the order that PostgreSQL has them in, without a comparison in Python."""


class Draft(Struct, frozen=True):
    """A resident as sent in: what was stated, and nothing about what was not.

    `stated` holds fields of `Resident`; fields that are left out keep their value on file.
    """

    ordinal: int
    id: UUID | None
    stated: Mapping[str, Any]

    @property
    def document(self) -> Document | None:
        """The stated document."""
        return self.stated.get("document")


@dataclass(frozen=True, slots=True)
class Desk:
    """Where and when rows are entered: what decides about what a row leaves open.

    `home` takes those who came without any code (R5), `covers` says which communities whoever
    sends the rows answers for, `rounds` are those under way.
    """

    now: datetime
    noted_at: datetime
    areas: Collection[str]
    home: str | None
    rounds: Sequence[Round]
    covers: Callable[[str], bool]

    def moved_at(self, known: Resident, community: str) -> datetime | None:
        """Tell since when somebody lives at a new address that was sent without a time.

        An address that was unknown and gets mapped is no move: they lived there all along.
        """
        return (
            known.since if is_unassigned(known.community) else self.time(known.community, community)
        )

    def time(self, *communities: str) -> datetime:
        """Tell the time in some communities: what the clock of a drill shows there, or now."""
        there = (r for r in self.rounds if any(r.covers(code) for code in communities))
        return time_where(there, self.now)


class Register:
    """The residents concerned by a batch: those on file, and those it brings.

    Rows are entered in their order, so a person who comes twice is new once and then compared.
    """

    def __init__(self, on_file: Iterable[Resident], desk: Desk) -> None:
        self._desk = desk
        # The same few communities come again and again.
        self._time, self._covers = cache(desk.time), cache(desk.covers)
        self._by_id = {resident.id: resident for resident in on_file}
        self._by_document = {r.document: r.id for r in self._by_id.values() if r.document}
        self._before = dict(self._by_id)
        self._touched: set[UUID] = set()
        self.left: list[Resident] = []
        """Residents as they were when they left a community, in the order of the rows."""

    @property
    def added(self) -> list[Resident]:
        """Residents who were not on file, in order of their ids."""
        new = self._touched - self._before.keys()
        return [self._by_id[i] for i in sorted(new, key=_BYTES)]

    @property
    def changed(self) -> list[tuple[Resident, Resident]]:
        """Residents who changed, before and after, in order of their ids."""
        return [
            (self._before[i], self._by_id[i])
            for i in sorted(self._touched & self._before.keys(), key=_BYTES)
        ]

    def enter(self, draft: Draft) -> RowAnswer:
        """Match a row to a resident, or make a new one of it, and say what became of it."""
        try:
            named = self._match(draft)
            stated = dict(draft.stated)
            if "community" in stated or named is None:
                stated["community"] = place(
                    stated.get("community"), self._desk.areas, self._desk.home
                )
            if named is None:
                return self._add(draft, _completed(stated))
            known = self._kept(named)
            return self._change(draft, _completed(self._news(stated, named, known), known), known)
        except ProblemError as reason:
            return RowAnswer(draft.ordinal, "rejected", draft.id, reason)

    def _match(self, draft: Draft) -> Resident | None:
        by_id = self._by_id.get(draft.id) if draft.id else None
        owner = self._by_document.get(draft.document) if draft.document else None
        by_document = self._by_id[owner] if owner else None
        if by_id and by_document and self._kept(by_id) != self._kept(by_document):
            raise IdentityConflict("id_document: belongs to another resident than id")
        return by_id or by_document

    def _kept(self, named: Resident) -> Resident:
        """Find the record that stands for a person whose records were merged."""
        return self._by_id[named.merged_into] if named.merged_into else named

    def _news(self, stated: dict[str, Any], named: Resident, known: Resident) -> Mapping[str, Any]:
        """Leave out what a row about a record that was absorbed says as that record always did.

        So a repeat stays a repeat (R19), and the next import of an old list undoes nothing. The
        absorbed record keeps its document: either of the two finds the person.
        """
        if self._by_document.get(stated.get("document"), known.id) != known.id:  # type: ignore[arg-type]
            del stated["document"]
        if named is known:
            return stated
        news = {name for name in stated.keys() & COMPARED if stated[name] != getattr(named, name)}
        if news & ADDRESS:
            news |= ADDRESS | {"since"}
        return {name: value for name, value in stated.items() if name in news}

    def _add(self, draft: Draft, stated: Mapping[str, Any]) -> RowAnswer:
        if "name" not in stated:
            raise ResidentUnknown("name: needed for a resident who is not on file yet")
        self._must_cover(stated["community"])
        # The first residence we know of has no beginning, whatever was sent.
        first = {"since": None, "noted_at": self._desk.noted_at}
        resident = Resident(id=draft.id or uuid4(), **{**stated, **first})
        self._keep(resident)
        return RowAnswer(draft.ordinal, "accepted", resident.id, doubts=resident.doubts)

    def _change(self, draft: Draft, stated: Mapping[str, Any], known: Resident) -> RowAnswer:
        changed = _with(known, stated)
        # Whoever leaves may be sent by the office they leave as well as by the one they come to.
        self._must_cover(known.community, changed.community)
        fields = known.differences(changed)
        if not fields:
            return RowAnswer(draft.ordinal, "duplicate", known.id, doubts=known.doubts)
        if "community" in fields:
            since = stated.get("since") or self._desk.moved_at(known, changed.community)
            changed = changed.but(since=since, noted_at=self._desk.noted_at)
            self.left.append(known)
        else:
            changed = changed.but(since=known.since)
        self._keep(changed)
        return RowAnswer(draft.ordinal, "accepted", known.id, changed=fields, doubts=changed.doubts)

    def _must_cover(self, *communities: str) -> None:
        if not any(map(self._covers, communities)):
            raise Forbidden("address.community_code: outside the sender's areas")

    def _keep(self, resident: Resident) -> None:
        resident = resident.judged(self._time(resident.community))
        self._by_id[resident.id] = resident
        if resident.document:
            self._by_document[resident.document] = resident.id
        self._touched.add(resident.id)


def _with(known: Resident, stated: Mapping[str, Any]) -> Resident:
    """Say of somebody what was stated; what is on file already makes no new record."""
    if all(getattr(known, name) == value for name, value in stated.items()):
        return known
    return known.but(**stated)


def _completed(stated: Mapping[str, Any], known: Resident | None = None) -> Mapping[str, Any]:
    """Take from a stated identity number what neither the row nor the file says."""
    document: Document | None = stated.get("document")
    if document is None:
        return stated
    told = {
        name: value
        for name in IN_NUMBERS
        if name not in stated
        and (known is None or getattr(known, name) is None)
        and (value := getattr(document, name)) is not None
    }
    return {**stated, **told} if told else stated
