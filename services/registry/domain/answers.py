"""What each row that was sent in is told (R21)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from shared.errors import PermanentError

RowStatus = Literal["accepted", "duplicate", "rejected"]


@dataclass(slots=True)
class RowAnswer:
    """The answer to one row (R21)."""

    ordinal: int
    status: RowStatus
    id: UUID | None = None
    reason: PermanentError | None = None
    changed: Sequence[str] = field(default=())
    """Fields in which a resident on file differed."""
    doubts: Sequence[str] = field(default=())
    """Fields in which the resident now contradicts their own identity number."""
