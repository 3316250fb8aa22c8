"""What several answers have in common: rows, rounds, and as of when (R22)."""

from collections.abc import Iterable
from datetime import date, datetime
from hashlib import sha256
from typing import Annotated, Any

import msgspec
from fastapi import Header, Query
from pydantic import BaseModel, ConfigDict

from services.reporting.domain.freshness import Edition

RoundParameter = Annotated[
    str | None,
    Query(
        alias="round",
        max_length=64,
        description="id; without: the newest open one, else the newest that is closed or sealed,"
        " else the newest draft",
    ),
]
IfNoneMatch = Annotated[str | None, Header(description="`ETag` of the answer one has")]
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "Nothing changed; `As-Of` says how fresh that is"}
}


class Answer(BaseModel):
    """Base of answers: made from domain objects, field by field."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class RoundAnswer(Answer):
    """The round that figures are of."""

    id: str
    campaign: str
    number: int
    name: str
    state: str
    opens_at: datetime
    closes_at: datetime
    clock_at: datetime | None
    """Time of the manual clock; null on the wall clock."""


class AsOfAnswer(Answer):
    """How old figures are."""

    time: datetime | None
    """Everything registry recorded before is counted; null: not known yet."""
    hands_as_of: datetime | None
    """Everything dispatch announced of hands before is counted."""
    visits_as_of: datetime | None
    """Everything dispatch announced of visits before is counted."""
    positions: dict[str, list[int]]
    """Positions counted, by topic; the index is the partition."""


class OutsideAnswer(Answer):
    """Coverage against a number from outside, beside ours (R3)."""

    source: str
    people: int
    """How many it counts here. An area without a number of its own, or seen in part, has the sum of
    its parts' numbers if every one of them has one."""
    as_of: date
    """The day of the number; of a sum, of its oldest part."""
    coverage: float | None
    """Sampled by people, never capped; null when that is nobody."""
    over: bool
    """More were sampled than there should be: one of the two numbers is wrong."""


class Row(Answer):
    """One line of figures. Null: this figure is not kept by what the rows stand for."""

    code: str
    name: str
    """`unassigned`: people whose community, or even office, is not known (R5)."""
    roll: int | None
    excluded: int | None
    excluded_by_reason: dict[str, int] | None
    sampled: int
    """People with a valid sample inside the round, each once (R1)."""
    resulted: int | None
    """The sampled whose result was released; the next four sum to it (R4)."""
    negative: int | None
    positive: int | None
    inconclusive: int | None
    invalid: int | None
    in_hand: int | None
    in_hand_by_kind: dict[str, int] | None
    unaccounted: int | None
    """Neither sampled, nor excluded, nor in anybody's hands."""
    visitors: int | None
    """Sampled here, living in no office of the round; beside the account."""
    visits_open: int | None
    visits_done: int | None
    coverage: float | None
    """Sampled by roll less excluded (R2); null when that is nobody."""
    outside: list[OutsideAnswer] | None


def heading_of(edition: Edition, areas: Iterable[str]) -> dict[str, Any]:
    """Tell what an answer is of, for which areas, and as of when."""
    return {
        "round": RoundAnswer.model_validate(edition.view.round),
        "areas": list(areas),
        "as_of": AsOfAnswer.model_validate(edition.as_of),
    }


def tag_of(edition: Edition, *question: object) -> str:
    """Weak entity tag over all that an answer depends on; its age is not part of it."""
    view = edition.view
    content = (
        view.generation, view.round.id, edition.decisions, edition.as_of.positions, *question,
        view.areas,
    )  # fmt: skip
    return tag_over(*content)


def tag_over(*content: object) -> str:
    """Weak entity tag over whatever an answer depends on."""
    return f'W/"{sha256(msgspec.json.encode(content)).hexdigest()[:24]}"'


def headers_of(edition: Edition, tag: str) -> dict[str, str]:
    """Headers of an answer and of a 304 alike."""
    headers = {"ETag": tag, "Cache-Control": "private", "Vary": "Authorization"}
    if edition.as_of.time is not None:
        headers["As-Of"] = edition.as_of.time.isoformat()
    return headers


def same(if_none_match: str | None, tag: str) -> bool:
    """Say whether the asker has this answer already (RFC 9110, 13.1.2: weak comparison)."""
    if if_none_match is None:
        return False
    opaque = tag.removeprefix("W/")
    known = (each.strip().removeprefix("W/") for each in if_none_match.split(","))
    return any(each in {"*", opaque} for each in known)
