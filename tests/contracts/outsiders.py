"""What somebody is given by each route who has the role for it, but not the place: as data.

The third column of the tables in `services/*/api/access.py`. A route that is missing here fails
the walk of `test_access.py`.
"""

from dataclasses import dataclass
from typing import Literal

from tests.contracts.playing import Call

Given = Literal["forbidden", "not-found", "empty", "rejected", "area-free"]
"""403; 404; an answer that tells nothing of the place; every row refused; the same as to all."""


@dataclass(frozen=True)
class Outside:
    """What is given to those outside."""

    to_strangers: Given
    """Those of another district, and those without any area."""
    to_neighbours: Given
    """Those of another office of the same district, which takes part in the same rounds."""
    whole_to: frozenset[str] = frozenset()
    """Roles that are given the whole wherever they are."""
    why: str = ""
    """Why the place does not matter, where it does not."""


FORBIDDEN = Outside("forbidden", "forbidden")
NOT_FOUND = Outside("not-found", "not-found")
EMPTY = Outside("empty", "empty")
REJECTED = Outside("rejected", "rejected")
OWN_ROWS = Outside("not-found", "empty")
"""A round of theirs: neighbours see it, with their own rows."""

ANY_SAMPLE = Outside(
    "area-free", "area-free", why="any sample anywhere counts; the answer tells nothing (R15)"
)
ROUNDS = Outside("area-free", "area-free", why="a round is announced to everybody")
TRANSPORT = Outside(
    "area-free", "area-free", why="a service, or who runs it, has all of a partition or none"
)
OPERATING = Outside("area-free", "area-free", why="whoever runs the service runs all of it")
COUNTS = Outside(
    "area-free", "area-free", why="three or four counts of a whole round, for the ledger"
)

_CONSUMER: dict[tuple[str, str], Outside] = {
    ("GET", "/v1/status"): OPERATING,
    ("GET", "/v1/parked"): OPERATING,
    ("GET", "/v1/parked/{parked_id}"): OPERATING,
    ("POST", "/v1/parked:redrive"): OPERATING,
    ("POST", "/v1/parked/{parked_id}:mend"): OPERATING,
    ("POST", "/v1/parked/{parked_id}:try"): OPERATING,
    ("POST", "/v1/parked/{parked_id}:redrive"): OPERATING,
    ("POST", "/v1/parked/{parked_id}:discard"): OPERATING,
}
_AUDIT: dict[tuple[str, str], Outside] = {
    ("GET", "/v1/audit"): Outside("empty", "empty", frozenset({"admin"})),
    ("GET", "/v1/audit:verify"): Outside(
        "area-free", "area-free", why="a chain holds as a whole; the answer is counts and hashes"
    ),
}
KEYS = Outside(
    "area-free", "area-free", why="keys are everybody's; the answer is ids of keys and counts"
)
_PRODUCER: dict[tuple[str, str], Outside] = {
    ("GET", "/v1/outbox/heads"): TRANSPORT,
    ("GET", "/v1/outbox/unpublished"): OPERATING,
    ("GET", "/v1/outbox/{topic}/{partition}"): TRANSPORT,
    ("PUT", "/v1/outbox/consumers/{name}"): TRANSPORT,
    ("POST", "/v1/outbox:adopt"): OPERATING,
}
_REGISTRY: dict[tuple[str, str], Outside] = {
    ("GET", "/v1/areas"): EMPTY,
    ("PUT", "/v1/areas:batch"): FORBIDDEN,
    ("GET", "/v1/denominators"): EMPTY,
    ("PUT", "/v1/denominators:batch"): REJECTED,
    ("POST", "/v1/residents:batch"): REJECTED,
    ("GET", "/v1/residents"): EMPTY,
    ("GET", "/v1/residents/{resident_id}"): NOT_FOUND,
    ("PATCH", "/v1/residents/{resident_id}"): NOT_FOUND,
    ("GET", "/v1/residents/{resident_id}/results"): NOT_FOUND,
    ("POST", "/v1/residents/{resident_id}:merge"): NOT_FOUND,
    ("POST", "/v1/merges/{merge_id}:undo"): NOT_FOUND,
    ("GET", "/v1/merges/{merge_id}"): NOT_FOUND,
    ("GET", "/v1/merges"): EMPTY,
    ("POST", "/v1/residents:search"): EMPTY,
    ("POST", "/v1/residents:contacts"): EMPTY,
    ("GET", "/v1/rounds"): ROUNDS,
    ("POST", "/v1/rounds"): FORBIDDEN,
    ("GET", "/v1/rounds/{round_id}"): ROUNDS,
    ("POST", "/v1/rounds/{round_id}:open"): FORBIDDEN,
    ("POST", "/v1/rounds/{round_id}:close"): FORBIDDEN,
    ("POST", "/v1/rounds/{round_id}:seal"): FORBIDDEN,
    ("POST", "/v1/rounds/{round_id}:tick"): FORBIDDEN,
    ("GET", "/v1/rounds/{round_id}/untested"): FORBIDDEN,
    # reporting proves the whole of a round, with the token of a service.
    ("GET", "/v1/rounds/{round_id}/totals"): Outside("empty", "empty", frozenset({"system"})),
    ("GET", "/v1/rounds/{round_id}/exclusions"): EMPTY,
    ("POST", "/v1/results"): ANY_SAMPLE,
    ("POST", "/v1/results:batch"): ANY_SAMPLE,
    ("POST", "/v1/exclusions"): NOT_FOUND,
    ("POST", "/v1/exclusions:batch"): REJECTED,
    ("POST", "/v1/exclusions/{exclusion_id}:revoke"): NOT_FOUND,
    ("GET", "/v1/keys"): KEYS,
    ("POST", "/v1/keys:reseal"): KEYS,
}
_DISPATCH: dict[tuple[str, str], Outside] = {
    ("GET", "/v1/cases"): EMPTY,
    ("GET", "/v1/cases/{round_id}/{resident_id}"): NOT_FOUND,
    ("POST", "/v1/cases/{round_id}/{resident_id}:take"): NOT_FOUND,
    ("POST", "/v1/cases/{round_id}/{resident_id}:revisit"): NOT_FOUND,
    ("POST", "/v1/cases/{round_id}/{resident_id}:refer"): NOT_FOUND,
    ("GET", "/v1/waiting"): EMPTY,
    ("GET", "/v1/visits"): EMPTY,
    ("GET", "/v1/visits/{visit_id}"): NOT_FOUND,
    ("POST", "/v1/visits/{visit_id}:assign"): NOT_FOUND,
    ("POST", "/v1/visits/{visit_id}:start"): NOT_FOUND,
    ("POST", "/v1/visits/{visit_id}:finish"): NOT_FOUND,
    ("POST", "/v1/visits/{visit_id}:cancel"): NOT_FOUND,
    ("PUT", "/v1/teams/{team_id}"): FORBIDDEN,
    ("GET", "/v1/teams"): EMPTY,
    ("GET", "/v1/teams/{team_id}/worklist"): NOT_FOUND,
    ("GET", "/v1/hands/totals"): COUNTS,
}
_REPORTING: dict[tuple[str, str], Outside] = {
    ("GET", "/v1/coverage"): OWN_ROWS,
    ("GET", "/v1/coverage/series"): OWN_ROWS,
    ("GET", "/v1/coverage/work"): OWN_ROWS,
    ("GET", "/v1/ledger"): OWN_ROWS,
    ("GET", "/v1/stream"): OWN_ROWS,
    ("GET", "/v1/rebuild"): OPERATING,
    ("POST", "/v1/rebuild"): OPERATING,
    ("POST", "/v1/webhooks"): FORBIDDEN,
    ("GET", "/v1/webhooks"): EMPTY,
    ("GET", "/v1/webhooks/{webhook_id}/deliveries"): NOT_FOUND,
    ("POST", "/v1/webhooks/{webhook_id}:redrive"): NOT_FOUND,
    ("DELETE", "/v1/webhooks/{webhook_id}"): NOT_FOUND,
}

OUTSIDE: dict[Call, Outside] = {
    (service, *route): outside
    for service, table in {
        "registry": _REGISTRY | _CONSUMER | _AUDIT | _PRODUCER,
        "dispatch": _DISPATCH | _CONSUMER | _AUDIT | _PRODUCER,
        "reporting": _REPORTING | _CONSUMER | _AUDIT,
    }.items()
    for route, outside in table.items()
}
"""By service, method and path template."""

TO_OTHER_TEAMS: dict[Call, Given] = {
    ("dispatch", "GET", "/v1/visits"): "empty",
    ("dispatch", "GET", "/v1/visits/{visit_id}"): "not-found",
    ("dispatch", "POST", "/v1/visits/{visit_id}:start"): "not-found",
    ("dispatch", "POST", "/v1/visits/{visit_id}:finish"): "not-found",
    ("dispatch", "GET", "/v1/teams"): "empty",
    ("dispatch", "GET", "/v1/teams/{team_id}/worklist"): "not-found",
}
"""What a team of the same place is given of another team's work."""
