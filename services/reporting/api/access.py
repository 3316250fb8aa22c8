"""Who may use what: role by route."""

from shared import audit, parked
from shared.http import PUBLIC, Access

READERS = {"office", "supervisor", "district", "system", "admin"}
_OPERATORS = {"supervisor", "district", "system", "admin"}
_SUBSCRIBERS = {"district", "admin"}

ACCESS: Access = {
    ("GET", "/v1/coverage"): READERS,
    ("GET", "/v1/coverage/series"): READERS,
    ("GET", "/v1/coverage/work"): READERS,
    ("GET", "/v1/ledger"): READERS,
    ("GET", "/v1/stream"): READERS,
    ("GET", "/v1/rebuild"): _OPERATORS,
    ("POST", "/v1/rebuild"): {"admin"},
    ("POST", "/v1/webhooks"): _SUBSCRIBERS,
    ("GET", "/v1/webhooks"): _SUBSCRIBERS,
    ("GET", "/v1/webhooks/{webhook_id}/deliveries"): _SUBSCRIBERS,
    ("POST", "/v1/webhooks/{webhook_id}:redrive"): _SUBSCRIBERS,
    ("DELETE", "/v1/webhooks/{webhook_id}"): _SUBSCRIBERS,
    **parked.ROUTES,
    **audit.ROUTES,
}

DECIDERS = parked.ROUTES["POST", "/v1/parked/{parked_id}:redrive"]
"""Who may decide on dead letters, on the page as by the API."""

LETTERS = (
    "/operations/parked/{service}/{parked_id}",
    "/operations/parked/{service}/{parked_id}/{action}",
)
"""Pages of one dead letter."""

PAGES: Access = {
    ("GET", "/"): READERS,
    ("GET", "/office/{code}"): READERS,
    ("GET", "/map"): READERS,
    ("GET", "/map/communities"): READERS,
    ("GET", "/map/{code}"): READERS,
    ("GET", "/ledger"): READERS,
    ("GET", "/operations"): parked.ROUTES["GET", "/v1/parked"],
    **{(method, path): DECIDERS for method in ("GET", "POST") for path in LETTERS},
    ("GET", "/public"): PUBLIC,
    ("GET", "/sign-in"): PUBLIC,
    ("POST", "/sign-in"): PUBLIC,
    ("POST", "/sign-out"): PUBLIC,
    ("GET", "/page/{version}/{name}"): PUBLIC,
}
"""Of the page, for browsers; not part of the API that other systems build on."""
