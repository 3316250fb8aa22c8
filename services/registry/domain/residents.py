"""Residents: who they are, how a row that was sent in finds its person."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Literal, Self
from uuid import UUID, uuid4, uuid5

from stdnum.iso7064 import mod_11_2

from services.registry.domain.answers import RowAnswer
from services.registry.domain.errors import BadDocument, IdentityConflict, ResidentUnknown
from shared.contracts.vocabulary import Need
from shared.errors import ProblemError

HOUSEHOLDS = UUID("6f1d8a52-5a0e-5c55-9f43-2f6a1f5d7c10")
"""Namespace of household ids: one door, one household."""

DocumentType = Literal["cn_ric", "passport", "hk_macau_permit", "taiwan_permit", "other"]
Sex = Literal["male", "female"]


@dataclass(frozen=True, slots=True)
class Document:
    """An identity document, normalised: upper case, no spaces."""

    type: DocumentType
    number: str

    @classmethod
    def of(cls, kind: DocumentType, number: str) -> Self:
        """Normalise and check a document.

        Raises:
            BadDocument: the number cannot be one of this type.

        """
        plain = "".join(number.split()).upper()
        if kind == "cn_ric" and not _is_ric(plain):
            raise BadDocument("id_document.number: not a valid resident identity number")
        return cls(kind, plain)


RIC_LENGTH = 18


def _is_ric(number: str) -> bool:
    """GB 11643: 6 digits of region (not judged), 8 of birth, 3 of order, ISO 7064 MOD 11-2."""
    if len(number) != RIC_LENGTH or not number[:17].isascii() or not number[:17].isdigit():
        return False
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return bool(mod_11_2.is_valid(number))


@dataclass(frozen=True, slots=True)
class NeedSpan:
    """A need and when it holds; no bound means always."""

    code: Need
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Say whether the need holds at a moment."""
        return (self.since is None or self.since <= now) and (
            self.until is None or now < self.until
        )


@dataclass(frozen=True, slots=True)
class Resident:
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
    needs: tuple[NeedSpan, ...] = ()
    alive: bool = True

    @property
    def household(self) -> UUID:
        """The household: everybody behind the same door (户)."""
        return uuid5(HOUSEHOLDS, "\x1f".join((self.community, self.building, self.unit, self.door)))

    def age(self, today: date) -> int | None:
        """Age in completed years."""
        born = self.birth_date
        if born is None:
            return None
        return today.year - born.year - ((today.month, today.day) < (born.month, born.day))

    def needs_now(self, now: datetime) -> list[Need]:
        """List the needs that hold, sorted, so that equal sets are equal rows."""
        return sorted({need.code for need in self.needs if need.holds(now)})

    def differences(self, other: "Resident") -> list[str]:
        """Name the fields in which another record of the same person differs."""
        return [name for name in COMPARED if getattr(self, name) != getattr(other, name)]


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


@dataclass(frozen=True, slots=True)
class Draft:
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


class Register:
    """The residents concerned by a batch: those on file, and those it brings.

    Rows are entered in their order, so a person who comes twice is new once and then compared.
    """

    def __init__(self, on_file: Iterable[Resident], now: datetime) -> None:
        self._now = now
        self._by_id = {resident.id: resident for resident in on_file}
        self._by_document = {r.document: r.id for r in self._by_id.values() if r.document}
        self.before = dict(self._by_id)
        self.touched: set[UUID] = set()

    def enter(self, draft: Draft) -> RowAnswer:
        """Match a row to a resident, or make a new one of it, and say what became of it."""
        try:
            known = self._match(draft)
            if known is None:
                return self._add(draft)
            return self._change(draft, known)
        except ProblemError as reason:
            return RowAnswer(draft.ordinal, "rejected", draft.id, reason)

    def now(self, resident: UUID) -> Resident:
        """Tell how a resident stands after the batch."""
        return self._by_id[resident]

    def _match(self, draft: Draft) -> Resident | None:
        by_id = draft.id if draft.id in self._by_id else None
        by_document = self._by_document.get(draft.document) if draft.document else None
        if draft.id is not None and by_document is not None and by_document != draft.id:
            raise IdentityConflict("id_document: belongs to another resident than id")
        found = by_id or by_document
        return self._by_id[found] if found else None

    def _add(self, draft: Draft) -> RowAnswer:
        missing = [name for name in ("name", "community") if name not in draft.stated]
        if missing:
            raise ResidentUnknown(f"{missing[0]}: needed for a resident who is not on file yet")
        # The first residence we know of has no beginning, whatever was sent.
        resident = Resident(id=draft.id or uuid4(), **{**draft.stated, "since": None})
        self._keep(resident)
        return RowAnswer(draft.ordinal, "accepted", resident.id)

    def _change(self, draft: Draft, known: Resident) -> RowAnswer:
        changed = replace(known, **draft.stated)
        fields = known.differences(changed)
        if not fields:
            return RowAnswer(draft.ordinal, "duplicate", known.id)
        moved = "community" in fields
        since = (draft.stated.get("since") or self._now) if moved else known.since
        self._keep(replace(changed, since=since))
        return RowAnswer(draft.ordinal, "accepted", known.id, changed=fields)

    def _keep(self, resident: Resident) -> None:
        self._by_id[resident.id] = resident
        if resident.document:
            self._by_document[resident.document] = resident.id
        self.touched.add(resident.id)
