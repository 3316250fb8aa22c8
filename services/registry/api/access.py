"""Who may use which route of registry."""

from shared import adoption, audit, outbox, parked
from shared.http import Access

EVERYBODY = {"site", "team", "office", "supervisor", "district", "system", "admin"}
WATCHING = {"office", "supervisor", "district", "system", "admin"}
RUNNING = {"district", "admin"}
"""Whoever answers for a round."""
SENDING = {"site", "team", "office", "district", "system", "admin"}
"""Whoever takes samples or sends results; any of them, wherever the resident lives."""

ACCESS: Access = {
    ("GET", "/v1/areas"): EVERYBODY,
    ("PUT", "/v1/areas:batch"): {"district", "system", "admin"},
    ("GET", "/v1/denominators"): WATCHING,
    ("PUT", "/v1/denominators:batch"): {"district", "system", "admin"},
    ("POST", "/v1/residents:batch"): {"office", "district", "system", "admin"},
    ("GET", "/v1/residents"): {"office", "district", "system", "admin"},
    ("GET", "/v1/residents/{resident_id}"): {"office", "district", "system", "admin"},
    ("PATCH", "/v1/residents/{resident_id}"): {"office", "district", "system", "admin"},
    ("GET", "/v1/residents/{resident_id}/results"): {"office", "district", "system", "admin"},
    ("POST", "/v1/residents/{resident_id}:merge"): {"office", "district", "admin"},
    ("POST", "/v1/merges/{merge_id}:undo"): {"office", "district", "admin"},
    ("GET", "/v1/merges/{merge_id}"): {"office", "district", "admin"},
    ("GET", "/v1/merges"): {"office", "district", "admin"},
    ("POST", "/v1/residents:search"): {"office", "district", "system", "admin"},
    ("POST", "/v1/residents:contacts"): {"team", "office", "supervisor", "system"},
    ("GET", "/v1/rounds"): EVERYBODY,
    ("POST", "/v1/rounds"): RUNNING,
    ("GET", "/v1/rounds/{round_id}"): EVERYBODY,
    ("POST", "/v1/rounds/{round_id}:open"): RUNNING,
    ("POST", "/v1/rounds/{round_id}:close"): RUNNING,
    ("POST", "/v1/rounds/{round_id}:seal"): RUNNING,
    ("POST", "/v1/rounds/{round_id}:tick"): RUNNING,
    ("GET", "/v1/rounds/{round_id}/untested"): WATCHING,
    ("GET", "/v1/rounds/{round_id}/totals"): WATCHING,
    ("GET", "/v1/rounds/{round_id}/exclusions"): WATCHING,
    ("POST", "/v1/results"): SENDING,
    ("POST", "/v1/results:batch"): SENDING,
    ("POST", "/v1/exclusions"): {"office", "district", "system", "admin"},
    ("POST", "/v1/exclusions:batch"): {"office", "district", "system", "admin"},
    ("POST", "/v1/exclusions/{exclusion_id}:revoke"): {"office", "district", "system", "admin"},
    ("GET", "/v1/keys"): {"admin"},
    ("POST", "/v1/keys:reseal"): {"admin"},
    **outbox.ROUTES,
    **adoption.ROUTES,
    **parked.ROUTES,
    **audit.ROUTES,
}
