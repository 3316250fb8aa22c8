"""Rows that were sent in together, and the answer to each (R21)."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, UnsetType

from services.registry.domain.answers import RowAnswer
from services.registry.domain.documents import Document, DocumentType
from services.registry.domain.errors import BadDocument
from shared.bodies import Given, Rows
from shared.errors import PermanentError, RuleError

T = TypeVar("T")
D = TypeVar("D")


class Reason(msgspec.Struct, frozen=True):
    """Why a row was rejected: the problem type, and the field with the rule it breaks."""

    type: str
    detail: str


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one row. `ref` is the row's own id, or its number from 0."""

    ref: str
    status: Literal["accepted", "duplicate", "rejected"]
    id: UUID | None = None
    reason: Reason | None = None
    changed: Sequence[str] = ()
    """Fields in which a resident on file differed from the row."""
    doubts: Sequence[str] = ()
    """Fields in which the resident now contradicts their own identity number."""


class BatchAnswer(msgspec.Struct, frozen=True):
    """Answers in the order of the request; accepted + duplicate + rejected = rows."""

    accepted: int
    duplicate: int
    rejected: int
    rows: list[Answer]


Time = Annotated[datetime, Meta(tz=True)]
"""RFC 3339 with an offset."""
Short = Annotated[str, Meta(max_length=64)]
Text = Annotated[str, Meta(max_length=200)]
AreaCode = Annotated[str, Meta(pattern=r"^\d{6}(\d{3}(\d{3})?)?$")]

EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def check_times(**times: datetime | UnsetType | None) -> None:
    """Keep times to those that every calendar can shift into another time zone.

    Raises:
        RuleError: one of them is no time of this job.

    """
    for name, moment in times.items():
        if isinstance(moment, datetime) and not EARLIEST <= moment <= LATEST:
            raise RuleError(f"{name}: between the years 1900 and 2200")


class DocumentIn(Given, frozen=True):
    """An identity document."""

    type: DocumentType
    number: str

    def checked(self) -> Document:
        """Normalise it.

        Raises:
            BadDocument: the number cannot be one of its type.

        """
        if not 1 <= len(self.number) <= LONGEST_NUMBER:
            raise BadDocument("id_document.number: 1 to 64 characters")
        return Document.of(self.type, self.number)


LONGEST_NUMBER = 64


def translated(rows: Rows[T], translate: Callable[[int, T], D]) -> tuple[list[D], list[RowAnswer]]:
    """Translate good rows; those that cannot be are answered like those that were not decoded."""
    good: list[D] = []
    refused: list[RowAnswer] = []
    for ordinal, row in rows.numbered():
        try:
            good.append(translate(ordinal, row))
        except PermanentError as reason:
            refused.append(RowAnswer(ordinal, "rejected", None, reason))
    return good, refused


def answered(
    rows: Rows[Any], answers: Iterable[RowAnswer], refs: Callable[[Any], object]
) -> BatchAnswer:
    """Put all answers in the order of the request."""
    named = {ordinal: refs(row) for ordinal, row in rows.numbered()}
    by_ordinal = {
        answer.ordinal: Answer(
            ref=str(named[answer.ordinal] or answer.ordinal),
            status=answer.status,
            id=answer.id if answer.status != "rejected" else None,
            reason=Reason(**answer.reason.reason()) if answer.reason else None,
            changed=tuple(answer.changed),
            doubts=tuple(answer.doubts),
        )
        for answer in answers
    }
    for error in rows.errors:
        by_ordinal[error.index] = Answer(
            ref=str(error.ref or error.index), status="rejected", reason=Reason(**error.reason())
        )
    ordered = [by_ordinal[ordinal] for ordinal in range(rows.count)]
    totals = Counter(answer.status for answer in ordered)
    return BatchAnswer(totals["accepted"], totals["duplicate"], totals["rejected"], ordered)
