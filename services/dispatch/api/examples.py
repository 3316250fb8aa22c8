"""An example of every route of dispatch, in the order of a team's day."""

from services.dispatch.domain import (
    RoundNotOpen,
    TeamCannotServe,
    VisitAlreadyFinished,
    VisitNotAssigned,
    VisitNotOpen,
    VisitNotYours,
)
from services.dispatch.wiring import TOPICS
from shared import outbox, parked
from shared.contracts.registry import ROUNDS
from shared.errors import IdReused
from shared.examples import Example, Examples

WANG = "0f8fad5b-d9cb-469f-a165-70867728950e"
LI = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
ROUND = "3b241101-e2bb-4255-8caf-4136c566a962"
VISIT, OTHER_VISIT = "01973e6a-1c00-7000-8000-000000000001", "01973e6a-1c00-7000-8000-000000000002"
TEAM = "chaohe-1"

EXAMPLES: Examples = {
    ("PUT", "/v1/teams/{team_id}"): Example(
        path={"team_id": TEAM},
        body={
            "name": "潮河第一联合小组",
            "areas": ["410171001"],
            "members": [
                {"id": "m-0117", "role": "medic"},
                {"id": "m-0233", "role": "community_cadre"},
            ],
            "shift": {"starts": "2022-01-14T08:00:00+08:00", "until": "2022-01-14T14:00:00+08:00"},
            "capacity": 40,
        },
        gives={"team_id": "/id"},
    ),
    ("GET", "/v1/teams"): Example(gives={"team_id": "/items/0/id", "cursor": "/next_cursor"}),
    ("GET", "/v1/cases"): Example(
        query={"round": ROUND, "office": "410171001", "state": "open"},
        gives={"round": "/items/0/round", "cursor": "/next_cursor"},
    ),
    ("GET", "/v1/visits"): Example(
        query={"round": ROUND, "status": "planned"},
        gives={"visit_id": "/items/0/id", "round": "/items/0/round", "cursor": "/next_cursor"},
    ),
    ("GET", "/v1/visits/{visit_id}"): Example(path={"visit_id": VISIT}),
    ("POST", "/v1/visits/{visit_id}:assign"): Example(
        path={"visit_id": VISIT},
        body={"team": TEAM},
        problems=[RoundNotOpen, TeamCannotServe, VisitNotOpen],
    ),
    ("GET", "/v1/teams/{team_id}/worklist"): Example(
        path={"team_id": TEAM}, gives={"visit_id": "/items/0/visit"}
    ),
    ("GET", "/v1/hands/totals"): Example(query={"round": ROUND}),
    ("POST", "/v1/visits/{visit_id}:start"): Example(
        path={"visit_id": VISIT}, problems=[VisitNotAssigned, VisitNotOpen, VisitNotYours]
    ),
    ("POST", "/v1/visits/{visit_id}:finish"): Example(
        path={"visit_id": VISIT},
        body={
            "report_id": "9a7b330a-a736-4f6e-8f5d-2d3b6c1f0e55",
            "outcome": "sampled",
            "at": "2022-01-14T09:40:00+08:00",
            "sample": {
                "sample_id": "d3b07384-d9a0-4e9b-8f6e-1c0f2a9b7c11",
                "sampled_at": "2022-01-14T09:40:00+08:00",
                "tube_code": "ZZ-0142-0003",
            },
        },
        problems=[IdReused, VisitAlreadyFinished, VisitNotAssigned, VisitNotYours],
    ),
    ("POST", "/v1/visits/{visit_id}:cancel"): Example(
        path={"visit_id": OTHER_VISIT}, problems=[VisitNotOpen]
    ),
    **outbox.examples(TOPICS[0]),
    **parked.examples(ROUNDS),
}
