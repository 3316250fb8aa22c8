"""Why an event could not be applied, what that means for the figures, and what to do about it.

Said from the event's type, its data and the reason it was set aside for. Names fields and rules,
rounds and communities; no value else leaves the data.
"""

import re
from typing import Any, Literal

import msgspec

from shared.bodies import explain_invalid
from shared.contracts.envelope import Message

Kind = Literal["unreadable", "duplicate", "refused"]
"""Of failure: the data does not fit its type; a unique key stood in the way; the handler failed."""

MOST_COMMUNITIES = 100

_CODE = re.compile(r"[0-9]{12}")
_ROUND = re.compile(r"[\w-]{1,64}", re.ASCII)
_READ = {
    "unreadable": "Its data cannot be read as an event of its type, so nothing of it was applied.",
    "duplicate": "A unique key stood in its way each time it was tried, so nothing was applied.",
    "refused": "It can be read, but what was to be done about it failed, so nothing was applied.",
}
_FIGURES = (
    " It is in no figure of this service. Until it is decided on, no ledger is balanced; a"
    " discarded one leaves a difference, unless what it said comes again or is there already."
)
_NEXT = {
    "unreadable": (
        "Correct the data so that it fits the schema of its type, and mend the event with it.",
        "If its producer sends the same again, whole, discard it.",
    ),
    "duplicate": (
        "Look whether what it says is there already: if so, discard it.",
        "If not, mend its data, or take away what stands in its way; then re-drive it.",
    ),
    "refused": (
        "Find `handler_failed` in the worker's log at the time it was parked: it names the place.",
        "Mend the software or the event's data; a try says whether that helped. Then re-drive it.",
    ),
}
_READABLE_NOW = "This version can read it: try it, and re-drive it."
_MENDED = "It was mended: try it, and re-drive it."


class Explanation(msgspec.Struct, frozen=True):
    """What is wrong with a parked event, for whoever has to decide about it."""

    kind: Kind
    field: str | None
    """Where in the data, as a path; "" is all of it; null: it is not the data's fault."""
    rule: str | None
    """The rule broken there, or the class of the handler's error."""
    round: str | None
    """The round it speaks of, as far as that can be read."""
    communities: list[str]
    """The communities it speaks of, as far as they can be read; a hundred at most."""
    means: str
    next: list[str]


def kind_of(reason: str) -> Kind:
    """Tell the kind of failure from the reason an event was set aside for."""
    if reason.startswith("unreadable "):
        return "unreadable"
    return "duplicate" if reason.endswith("UniqueViolationError") else "refused"


def explain(
    message: type[Message] | None, data: bytes, reason: str, *, mended: bool = False
) -> Explanation:
    """Explain a parked event."""
    kind = kind_of(reason)
    fault = _fault(message, data) if kind == "unreadable" else None
    place, rule = fault or (None, None)
    if kind != "unreadable":
        rule = reason.rpartition(": ")[2]
    following = list(_NEXT[kind])
    if mended:
        following = [_MENDED, following[-1]]
    elif kind == "unreadable" and fault is None:
        following = [_READABLE_NOW]
    spoken = _laxly(data)
    return Explanation(
        kind, place, rule, _round(spoken), _communities(spoken), _READ[kind] + _FIGURES, following
    )


def _fault(message: type[Message] | None, data: bytes) -> tuple[str, str] | None:
    """Find the first place where data does not fit its type."""
    try:
        msgspec.json.decode(data, type=message or Any)
    except msgspec.ValidationError as error:
        return explain_invalid(error)
    except UnicodeDecodeError:
        return "", "is not UTF-8"
    except (msgspec.DecodeError, RecursionError):
        return "", "is not JSON"
    return None


def _laxly(data: bytes) -> dict[str, Any]:
    try:
        read = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _round(spoken: dict[str, Any]) -> str | None:
    found = spoken.get("round")
    return found if isinstance(found, str) and _ROUND.fullmatch(found) else None


def _communities(spoken: dict[str, Any]) -> list[str]:
    """Find communities where the contracts have them: as keys, or as members of rows."""
    named = spoken.get("communities")
    codes = set(named) if isinstance(named, dict) else set()
    for rows in (named, spoken.get("visits")):
        if isinstance(rows, list):
            codes |= {row.get("community") for row in rows if isinstance(row, dict)}
    told = (code for code in codes if isinstance(code, str) and _CODE.fullmatch(code))
    return sorted(told)[:MOST_COMMUNITIES]
