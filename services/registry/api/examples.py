"""An example of every route of registry, in the order of a testing day.

The people are made up: numbers of documents have a right check digit and a region that does not
exist.
"""

from services.registry.domain.errors import (
    AreaUnknown,
    BadDocument,
    CannotMerge,
    ClockRunsForward,
    ExclusionUnknown,
    FromTheFuture,
    IdentityConflict,
    KeyNotCurrent,
    MergeUnknown,
    NothingToCorrect,
    NumberTaken,
    OutsideWindow,
    ResidentUnknown,
    RoundNotOpen,
    RoundsOverlap,
    WrongState,
)
from shared import adoption, audit, outbox, parked
from shared.contracts.dispatch import HANDS
from shared.contracts.registry import ROLL
from shared.errors import Forbidden, IdReused, RoundUnknown
from shared.examples import Example, Examples

WANG = "0f8fad5b-d9cb-469f-a165-70867728950e"
LI = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
ZHAO = "e02fd0e4-00fd-490a-8bb3-0a7d0c2b8c11"
ROUND = "3b241101-e2bb-4255-8caf-4136c566a962"
SAMPLE, RESULT = "b6c54489-38a0-4f50-a60a-fd8d76219cae", "5e8b0f3c-6a1d-4c0e-9d8e-9b1c7f0a2d34"
MERGE = "c56a4180-65aa-42ec-a945-5fd21dec0538"
EXCLUSION = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"

ANNOUNCED = (
    f'{{"round":"{ROUND}","communities":{{"410171001001":[["{LI}",2,{{}},{{}}]]}}}}'.encode()
)
SET_ASIDE = f'{{"round":"{ROUND}","hands":[{{"resident":"{WANG}","revision":1}}]}}'

NUMBER = {"type": "cn_ric", "number": "999900195403124008"}
MERGED = {
    "id": MERGE,
    "absorbed": ZHAO,
    "into": LI,
    "merged_by": "li.na",
    "merged_at": "2022-01-13T17:05:00+08:00",
    "gained_needs": [],
}
ROUND_DRAFTED = {
    "id": ROUND,
    "campaign": "2022-01",
    "number": 1,
    "name": "经开区第一轮全员核酸检测",
    "opens_at": "2022-01-14T08:00:00+08:00",
    "closes_at": "2022-01-14T20:00:00+08:00",
    "offices": ["410171"],
    "manual_clock": True,
}

EXAMPLES: Examples = {
    ("PUT", "/v1/areas:batch"): Example(
        body=[
            {"code": "410171", "name": "经开区", "kind": "district"},
            {
                "code": "410171001",
                "name": "潮河办事处",
                "kind": "office",
                "parent": "410171",
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [
                        [[113.72, 34.7], [113.78, 34.7], [113.75, 34.74], [113.72, 34.7]]
                    ],
                },
            },
            {
                "code": "410171001001",
                "name": "绿园社区",
                "kind": "community",
                "parent": "410171001",
                "geometry": {"type": "Point", "coordinates": [113.75, 34.72]},
            },
        ],
        reply={"areas": 3, "changed": 2},
    ),
    ("GET", "/v1/areas"): Example(
        reply={
            "items": [
                {"code": "410171", "name": "经开区", "kind": "district"},
                {"code": "410171001", "name": "潮河办事处", "kind": "office", "parent": "410171"},
                {
                    "code": "410171001001",
                    "name": "绿园社区",
                    "kind": "community",
                    "parent": "410171001",
                },
            ]
        },
    ),
    ("PUT", "/v1/denominators:batch"): Example(
        body=[
            {"code": "410171001", "source": "census", "people": 3, "as_of": "2020-11-01"},
            {
                "code": "410171001001",
                "source": "police_list",
                "people": 2,
                "as_of": "2021-12-31",
            },
        ],
        reasons=[AreaUnknown, Forbidden],
        reply={
            "accepted": 2,
            "duplicate": 0,
            "rejected": 0,
            "rows": [{"ref": "0", "status": "accepted"}, {"ref": "1", "status": "accepted"}],
        },
    ),
    ("GET", "/v1/denominators"): Example(
        gives={"cursor": "/next_cursor"},
        reply={
            "items": [
                {"code": "410171001", "source": "census", "people": 3, "as_of": "2020-11-01"},
                {
                    "code": "410171001001",
                    "source": "police_list",
                    "people": 2,
                    "as_of": "2021-12-31",
                },
            ],
            "next_cursor": None,
        },
    ),
    ("POST", "/v1/residents:batch"): Example(
        body=[
            {
                "id": WANG,
                "name": "王某英",
                "sex": "female",
                "birth_date": "1954-03-12",
                "id_document": NUMBER,
                "phone": "13900000001",
                "address": {
                    "community_code": "410171001001",
                    "building": "3",
                    "unit": "2",
                    "door": "501",
                },
                "needs": [{"code": "mobility"}],
            },
            {
                "id": LI,
                "name": "李某",
                "address": {
                    "community_code": "410171001001",
                    "building": "3",
                    "unit": "2",
                    "door": "502",
                },
                "needs": [{"code": "quarantine"}],
            },
            {
                "id": ZHAO,
                "name": "赵某某",
                "address": {"community_code": "410171001001"},
                "needs": [],
            },
        ],
        reasons=[AreaUnknown, BadDocument, Forbidden, IdentityConflict, ResidentUnknown],
        gives={"resident_id": "/rows/0/id"},
        reply={
            "accepted": 3,
            "duplicate": 0,
            "rejected": 0,
            "rows": [
                {"ref": WANG, "status": "accepted", "id": WANG},
                {"ref": LI, "status": "accepted", "id": LI},
                {"ref": ZHAO, "status": "accepted", "id": ZHAO},
            ],
        },
    ),
    ("GET", "/v1/residents"): Example(
        query={"office": "410171001", "need": "mobility", "limit": 100},
        gives={"resident_id": "/items/0/id", "cursor": "/next_cursor"},
        reply={
            "items": [
                {
                    "id": WANG,
                    "household": "ae92713f-4c56-53bb-9d0f-127edd42ddef",
                    "name": "王某英",
                    "address": {
                        "community_code": "410171001001",
                        "building": "3",
                        "unit": "2",
                        "door": "501",
                    },
                    "needs": [{"code": "mobility"}],
                    "sex": "female",
                    "birth_date": "1954-03-12",
                    "id_document": {"type": "cn_ric", "number": "9999**********4008"},
                    "phone": "139****0001",
                }
            ],
            "next_cursor": None,
        },
    ),
    ("GET", "/v1/residents/{resident_id}"): Example(
        path={"resident_id": WANG},
        problems=[ResidentUnknown],
        reply={
            "id": WANG,
            "household": "ae92713f-4c56-53bb-9d0f-127edd42ddef",
            "name": "王某英",
            "address": {
                "community_code": "410171001001",
                "building": "3",
                "unit": "2",
                "door": "501",
            },
            "needs": [{"code": "mobility"}],
            "sex": "female",
            "birth_date": "1954-03-12",
            "id_document": {"type": "cn_ric", "number": "9999**********4008"},
            "phone": "13900000001",
        },
    ),
    ("PATCH", "/v1/residents/{resident_id}"): Example(
        path={"resident_id": WANG},
        body={"phone": "13900000002", "needs": [{"code": "mobility"}, {"code": "elderly_alone"}]},
        problems=[AreaUnknown, BadDocument, IdentityConflict, ResidentUnknown],
        reply={
            "id": WANG,
            "household": "ae92713f-4c56-53bb-9d0f-127edd42ddef",
            "name": "王某英",
            "address": {
                "community_code": "410171001001",
                "building": "3",
                "unit": "2",
                "door": "501",
            },
            "needs": [{"code": "elderly_alone"}, {"code": "mobility"}],
            "sex": "female",
            "birth_date": "1954-03-12",
            "id_document": {"type": "cn_ric", "number": "9999**********4008"},
            "phone": "13900000002",
        },
    ),
    ("POST", "/v1/residents:search"): Example(
        body={"id_document": NUMBER},
        problems=[BadDocument],
        gives={"resident_id": "/items/0/id"},
        reply={
            "items": [
                {
                    "id": WANG,
                    "household": "ae92713f-4c56-53bb-9d0f-127edd42ddef",
                    "name": "王某英",
                    "address": {
                        "community_code": "410171001001",
                        "building": "3",
                        "unit": "2",
                        "door": "501",
                    },
                    "needs": [{"code": "elderly_alone"}, {"code": "mobility"}],
                    "sex": "female",
                    "birth_date": "1954-03-12",
                    "id_document": {"type": "cn_ric", "number": "9999**********4008"},
                    "phone": "13900000002",
                }
            ],
            "next_cursor": None,
        },
    ),
    ("POST", "/v1/residents:contacts"): Example(
        body={"ids": [WANG]},
        reply={
            "contacts": [
                {
                    "id": WANG,
                    "household": "ae92713f-4c56-53bb-9d0f-127edd42ddef",
                    "name": "王某英",
                    "phone": "13900000002",
                    "age": 72,
                    "sex": "female",
                    "address": {
                        "community_code": "410171001001",
                        "community_name": "绿园社区",
                        "building": "3",
                        "unit": "2",
                        "door": "501",
                        "lat": None,
                        "lon": None,
                    },
                    "needs": ["elderly_alone", "mobility"],
                }
            ]
        },
    ),
    ("POST", "/v1/residents/{resident_id}:merge"): Example(
        path={"resident_id": ZHAO},
        body={"id": MERGE, "into": LI},
        problems=[ResidentUnknown, CannotMerge, IdReused],
        gives={"merge_id": "/id"},
        reply=MERGED,
    ),
    ("GET", "/v1/merges"): Example(
        query={"resident": LI, "limit": 100},
        gives={"merge_id": "/items/0/id", "cursor": "/next_cursor"},
        reply={"items": [MERGED], "next_cursor": None},
    ),
    ("GET", "/v1/merges/{merge_id}"): Example(
        path={"merge_id": MERGE}, problems=[MergeUnknown], reply=MERGED
    ),
    ("POST", "/v1/merges/{merge_id}:undo"): Example(
        path={"merge_id": MERGE},
        problems=[MergeUnknown],
        reply=MERGED | {"undone_by": "li.na", "undone_at": "2022-01-13T17:30:00+08:00"},
    ),
    ("POST", "/v1/rounds"): Example(
        body=ROUND_DRAFTED,
        problems=[AreaUnknown, IdReused, NumberTaken, RoundsOverlap],
        gives={"round_id": "/id"},
        reply={
            "id": ROUND,
            "campaign": "2022-01",
            "number": 1,
            "name": "经开区第一轮全员核酸检测",
            "state": "draft",
            "opens_at": "2022-01-14T08:00:00+08:00",
            "closes_at": "2022-01-14T20:00:00+08:00",
            "offices": ["410171000", "410171001", "410171002"],
            "manual_clock": True,
            "automatic": True,
            "clock_at": "2022-01-14T08:00:00+08:00",
        },
    ),
    ("GET", "/v1/rounds"): Example(
        query={"state": "draft"},
        gives={"round_id": "/items/0/id"},
        reply={
            "items": [
                {
                    "id": ROUND,
                    "campaign": "2022-01",
                    "number": 1,
                    "name": "经开区第一轮全员核酸检测",
                    "state": "draft",
                    "opens_at": "2022-01-14T00:00:00Z",
                    "closes_at": "2022-01-14T12:00:00Z",
                    "offices": ["410171000", "410171001", "410171002"],
                    "manual_clock": True,
                    "automatic": True,
                    "clock_at": "2022-01-14T00:00:00Z",
                }
            ]
        },
    ),
    ("GET", "/v1/rounds/{round_id}"): Example(
        path={"round_id": ROUND},
        problems=[RoundUnknown],
        reply={
            "id": ROUND,
            "campaign": "2022-01",
            "number": 1,
            "name": "经开区第一轮全员核酸检测",
            "state": "draft",
            "opens_at": "2022-01-14T00:00:00Z",
            "closes_at": "2022-01-14T12:00:00Z",
            "offices": ["410171000", "410171001", "410171002"],
            "manual_clock": True,
            "automatic": True,
            "clock_at": "2022-01-14T00:00:00Z",
        },
    ),
    ("POST", "/v1/rounds/{round_id}:open"): Example(
        path={"round_id": ROUND},
        problems=[RoundUnknown, RoundsOverlap, WrongState],
        reply={
            "id": ROUND,
            "campaign": "2022-01",
            "number": 1,
            "name": "经开区第一轮全员核酸检测",
            "state": "open",
            "opens_at": "2022-01-14T00:00:00Z",
            "closes_at": "2022-01-14T12:00:00Z",
            "offices": ["410171000", "410171001", "410171002"],
            "manual_clock": True,
            "automatic": True,
            "clock_at": "2022-01-14T00:00:00Z",
            "opened_at": "2022-01-14T00:00:00Z",
        },
    ),
    ("POST", "/v1/rounds/{round_id}:tick"): Example(
        path={"round_id": ROUND},
        body={"clock_at": "2022-01-14T10:00:00+08:00"},
        problems=[ClockRunsForward, RoundUnknown],
        reply={
            "id": ROUND,
            "campaign": "2022-01",
            "number": 1,
            "name": "经开区第一轮全员核酸检测",
            "state": "open",
            "opens_at": "2022-01-14T00:00:00Z",
            "closes_at": "2022-01-14T12:00:00Z",
            "offices": ["410171000", "410171001", "410171002"],
            "manual_clock": True,
            "automatic": True,
            "clock_at": "2022-01-14T10:00:00+08:00",
            "opened_at": "2022-01-14T00:00:00Z",
        },
    ),
    ("POST", "/v1/exclusions"): Example(
        body={
            "id": EXCLUSION,
            "round_id": ROUND,
            "resident": {"id": ZHAO},
            "reason": "vaccinated_48h",
        },
        problems=[IdReused, ResidentUnknown, RoundNotOpen, RoundUnknown],
        gives={"exclusion_id": "/id"},
        reply={"id": EXCLUSION, "status": "accepted"},
    ),
    ("POST", "/v1/exclusions:batch"): Example(
        body=[
            {
                "id": EXCLUSION,
                "round_id": ROUND,
                "resident": {"id": ZHAO},
                "reason": "vaccinated_48h",
            },
        ],
        reasons=[IdReused, ResidentUnknown, RoundNotOpen, RoundUnknown],
        gives={"exclusion_id": "/rows/0/id"},
        reply={
            "accepted": 0,
            "duplicate": 1,
            "rejected": 0,
            "rows": [{"ref": EXCLUSION, "status": "duplicate", "id": EXCLUSION}],
        },
    ),
    ("GET", "/v1/rounds/{round_id}/exclusions"): Example(
        path={"round_id": ROUND},
        problems=[RoundUnknown],
        gives={"exclusion_id": "/items/0/id", "cursor": "/next_cursor"},
        reply={
            "items": [
                {
                    "id": EXCLUSION,
                    "resident": {"id": ZHAO},
                    "community": "410171001001",
                    "reason": "vaccinated_48h",
                    "filed_by": "tester",
                    "filed_at": "2022-01-14T02:00:07.386219Z",
                }
            ],
            "next_cursor": None,
        },
    ),
    ("POST", "/v1/exclusions/{exclusion_id}:revoke"): Example(
        path={"exclusion_id": EXCLUSION},
        problems=[ExclusionUnknown, ResidentUnknown, RoundNotOpen],
        reply={"id": EXCLUSION, "status": "accepted"},
    ),
    ("POST", "/v1/results"): Example(
        body={
            "sample_id": SAMPLE,
            "resident": {"id": ZHAO},
            "round_id": ROUND,
            "sampled_at": "2022-01-14T09:30:00+08:00",
            "channel": "site",
            "tube_code": "ZZ-0142-0007",
        },
        reasons=[
            BadDocument,
            FromTheFuture,
            IdReused,
            NothingToCorrect,
            OutsideWindow,
            ResidentUnknown,
            RoundNotOpen,
            RoundUnknown,
        ],
        reply={
            "accepted": 1,
            "duplicate": 0,
            "rejected": 0,
            "rows": [{"ref": SAMPLE, "status": "accepted", "id": SAMPLE}],
        },
    ),
    ("POST", "/v1/results:batch"): Example(
        body=[
            {
                "sample_id": SAMPLE,
                "result_id": RESULT,
                "resident": {"id": ZHAO},
                "round_id": ROUND,
                "sampled_at": "2022-01-14T09:30:00+08:00",
                "channel": "site",
                "tube_code": "ZZ-0142-0007",
                "outcome": "negative",
                "resulted_at": "2022-01-14T09:50:00+08:00",
                "released_at": "2022-01-14T09:55:00+08:00",
            }
        ],
        reasons=[
            BadDocument,
            FromTheFuture,
            IdReused,
            NothingToCorrect,
            OutsideWindow,
            ResidentUnknown,
            RoundNotOpen,
            RoundUnknown,
        ],
        reply={
            "accepted": 1,
            "duplicate": 0,
            "rejected": 0,
            "rows": [{"ref": RESULT, "status": "accepted", "id": RESULT}],
        },
    ),
    ("GET", "/v1/residents/{resident_id}/results"): Example(
        path={"resident_id": ZHAO},
        problems=[ResidentUnknown],
        reply={
            "items": [
                {
                    "sample_id": SAMPLE,
                    "round_id": ROUND,
                    "sampled_at": "2022-01-14T01:30:00Z",
                    "channel": "site",
                    "valid_until": "2022-01-16T01:30:00Z",
                    "tube_code": "ZZ-0142-0007",
                    "result_id": RESULT,
                    "outcome": "negative",
                    "resulted_at": "2022-01-14T01:50:00Z",
                    "released_at": "2022-01-14T01:55:00Z",
                }
            ]
        },
    ),
    ("GET", "/v1/rounds/{round_id}/untested"): Example(
        path={"round_id": ROUND},
        query={"community": "410171001001"},
        problems=[RoundUnknown],
        reply='{"id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","community":"410171001001","needs":["quarantine"],"status":"in_hand","hand":"visit","due":"2022-01-14T06:00:00Z"}\n',
    ),
    ("GET", "/v1/rounds/{round_id}/totals"): Example(
        path={"round_id": ROUND},
        query={"max_age": 0},
        problems=[RoundUnknown],
        reply={
            "round": ROUND,
            "state": "open",
            "as_of": "2022-01-14T02:00:07.126816Z",
            "heads": [
                {
                    "topic": "registry.roll.v1",
                    "partition": 9,
                    "pos": 10,
                    "id": "9d1d3940-c5ff-41b7-ac70-39570f94c9e0",
                    "incarnation": "01a20709-5fa6-7389-aacc-963a8824e3be",
                    "recorded_at": "2022-01-14T02:00:07.624183Z",
                },
                {
                    "topic": "registry.rounds.v1",
                    "partition": 6,
                    "pos": 3,
                    "id": "277900b4-2766-4d0a-b057-1af11b1907b2",
                    "incarnation": "01a20709-5fa6-7389-aacc-963a8824e3be",
                    "recorded_at": "2022-01-14T02:00:07.697895Z",
                },
            ],
            "applied": [
                {"topic": "dispatch.hands.v1", "partition": 9, "pos": 6},
                {"topic": "dispatch.visits.v1", "partition": 9, "pos": 7},
            ],
            "communities": {
                "410171001001": {
                    "roll": 3,
                    "sampled": 2,
                    "resulted": 1,
                    "negative": 1,
                    "channel.site": 1,
                    "in_hand": 1,
                    "in_hand.visit": 1,
                    "need.quarantine.roll": 1,
                    "need.quarantine.in_hand": 1,
                    "channel.home_visit": 1,
                    "need.elderly_alone.roll": 1,
                    "need.elderly_alone.sampled": 1,
                    "need.mobility.roll": 1,
                    "need.mobility.sampled": 1,
                }
            },
            "series": {"410171001001": {"5473748": 1, "5473746": 1}},
            "due": {"410171001001": {"visit": {"5473800": 1}}},
            "hands": {"visit": 1},
        },
    ),
    ("POST", "/v1/rounds/{round_id}:close"): Example(
        path={"round_id": ROUND},
        problems=[RoundUnknown, WrongState],
        reply={
            "id": ROUND,
            "campaign": "2022-01",
            "number": 1,
            "name": "经开区第一轮全员核酸检测",
            "state": "closed",
            "opens_at": "2022-01-14T00:00:00Z",
            "closes_at": "2022-01-14T02:00:00Z",
            "offices": ["410171000", "410171001", "410171002"],
            "manual_clock": True,
            "automatic": True,
            "clock_at": "2022-01-14T02:00:00Z",
            "opened_at": "2022-01-14T00:00:00Z",
            "closed_at": "2022-01-14T02:00:00Z",
        },
    ),
    ("POST", "/v1/rounds/{round_id}:seal"): Example(
        path={"round_id": ROUND},
        problems=[RoundUnknown, WrongState],
        reply={
            "id": ROUND,
            "campaign": "2022-01",
            "number": 1,
            "name": "经开区第一轮全员核酸检测",
            "state": "sealed",
            "opens_at": "2022-01-14T00:00:00Z",
            "closes_at": "2022-01-14T02:00:00Z",
            "offices": ["410171000", "410171001", "410171002"],
            "manual_clock": True,
            "automatic": True,
            "clock_at": "2022-01-14T02:00:00Z",
            "opened_at": "2022-01-14T00:00:00Z",
            "closed_at": "2022-01-14T02:00:00Z",
            "sealed_at": "2022-01-14T02:00:00Z",
        },
    ),
    ("GET", "/v1/keys"): Example(
        reply={
            "current": "k1",
            "keys": [{"id": "k1", "on_file": True, "residents": 1}],
            "left": 0,
        },
    ),
    ("POST", "/v1/keys:reseal"): Example(
        query={"key": "k1"},
        problems=[KeyNotCurrent],
        reply={"resealed": 0, "damaged": [], "following": None},
    ),
    **outbox.examples(ROLL, "lastmetre.registry.roll_changed.v1", ANNOUNCED),
    **adoption.examples(),
    **parked.examples("registry", HANDS, "lastmetre.dispatch.hands_changed.v1", SET_ASIDE),
    **audit.examples(),
}
