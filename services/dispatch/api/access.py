"""Who may do what in dispatch: one table, which a test walks.

A `team` sees and moves its own visits only; everybody is limited to the areas of their token.
"""

from shared import adoption, audit, outbox, parked
from shared.http import Access

_OFFICES = frozenset({"office", "supervisor", "district", "system", "admin"})
_DECIDE = frozenset({"office", "district", "system", "admin"})
_FIELD = _OFFICES | {"team"}

ACCESS: Access = {
    ("GET", "/v1/cases"): _OFFICES,
    ("GET", "/v1/cases/{round_id}/{resident_id}"): _OFFICES,
    ("POST", "/v1/cases/{round_id}/{resident_id}:take"): _DECIDE,
    ("POST", "/v1/cases/{round_id}/{resident_id}:revisit"): _DECIDE,
    ("POST", "/v1/cases/{round_id}/{resident_id}:refer"): _DECIDE,
    ("GET", "/v1/waiting"): _OFFICES,
    ("GET", "/v1/visits"): _FIELD,
    ("GET", "/v1/visits/{visit_id}"): _FIELD,
    ("POST", "/v1/visits/{visit_id}:assign"): _DECIDE,
    ("POST", "/v1/visits/{visit_id}:start"): _DECIDE | {"team"},
    ("POST", "/v1/visits/{visit_id}:finish"): _DECIDE | {"team"},
    ("POST", "/v1/visits/{visit_id}:cancel"): _DECIDE,
    ("PUT", "/v1/teams/{team_id}"): _DECIDE,
    ("GET", "/v1/teams"): _FIELD,
    ("GET", "/v1/teams/{team_id}/worklist"): _FIELD,
    ("GET", "/v1/hands/totals"): frozenset({"supervisor", "district", "system", "admin"}),
    **outbox.ROUTES,
    **adoption.ROUTES,
    **parked.ROUTES,
    **audit.ROUTES,
}
