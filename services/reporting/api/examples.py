"""An example of every route of reporting."""

from services.reporting.domain import RebuildRunning
from shared import parked
from shared.contracts.registry import ROLL
from shared.errors import RoundUnknown
from shared.examples import Example, Examples

ROUND = "3b241101-e2bb-4255-8caf-4136c566a962"

EXAMPLES: Examples = {
    ("GET", "/v1/coverage"): Example(
        query={"round": ROUND, "by": "community"},
        problems=[RoundUnknown],
        gives={"round": "/round/id"},
    ),
    ("GET", "/v1/coverage/series"): Example(
        query={"round": ROUND, "by": "office", "step": "5m"}, problems=[RoundUnknown]
    ),
    ("GET", "/v1/ledger"): Example(query={"round": ROUND, "max_age": 0}, problems=[RoundUnknown]),
    ("POST", "/v1/rebuild"): Example(problems=[RebuildRunning]),
    ("GET", "/v1/rebuild"): Example(),
    **parked.examples(ROLL),
}
