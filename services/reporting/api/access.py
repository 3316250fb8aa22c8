"""Who may use what: role by route."""

from shared import audit, parked
from shared.http import Access

_READERS = {"office", "supervisor", "district", "system", "admin"}
_OPERATORS = {"supervisor", "district", "system", "admin"}

ACCESS: Access = {
    ("GET", "/v1/coverage"): _READERS,
    ("GET", "/v1/coverage/series"): _READERS,
    ("GET", "/v1/ledger"): _READERS,
    ("GET", "/v1/rebuild"): _OPERATORS,
    ("POST", "/v1/rebuild"): {"admin"},
    **parked.ROUTES,
    **audit.ROUTES,
}
