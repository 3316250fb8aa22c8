"""An example of every route of reporting."""

from typing import Any

from services.reporting.api.sheets import CSV
from services.reporting.domain.generations import RebuildRunning
from services.reporting.domain.webhooks import SECRET_BYTES, WebhookUnknown, shown
from shared import audit, parked
from shared.contracts.registry import ROUNDS
from shared.errors import IdReused, NotAcceptable, RoundUnknown
from shared.examples import Example, Examples

ROUND = "3b241101-e2bb-4255-8caf-4136c566a962"
SET_ASIDE = '{"areas":[{"code":"410171001","name":"潮河办事处","kind":"office","parent":"410171"}]}'

WEBHOOK: dict[str, Any] = {
    "id": "b0c1f5de-5b0e-4b3f-9d0c-6a4f0f5c8e21",
    "url": "https://bulletin.example/milestones",
    "areas": ["410171"],
    "milestones": ["coverage", "unaccounted"],
    "created_by": "somebody",
    "created_at": "2022-01-14T02:00:07.826798Z",
    "pending": 0,
    "dead": 0,
}
WORK: dict[str, Any] = {
    "visits": {"planned": 0, "assigned": 1, "started": 0, "finished": 1, "cancelled": 1},
    "outcomes": {"sampled": 1},
    "waiting": {"visits": 0, "since": None, "by_need": {}},
    "hands": {
        "visit": {"people": 1, "past_due": 0, "first_due": "2022-01-14T06:00:00Z"},
        "referral": {"people": 0, "past_due": 0, "first_due": None},
        "revisit": {"people": 0, "past_due": 0, "first_due": None},
        "escalation": {"people": 0, "past_due": 0, "first_due": None},
        "session": {"people": 0, "past_due": 0, "first_due": None},
    },
}
SPREADSHEET = (
    "\ufeffcode 代码,name 名称,roll 应检,excluded 免检,sampled 已采样,resulted 已出结果,"
    "negative 阴性,positive 阳性,inconclusive 可疑,invalid 无效,in_hand 有人负责,"
    "unaccounted 未落实,visitors 外来人员,visits_open 未完成上门任务,visits_done 已完成上门任务,"
    "coverage 覆盖率,in_hand.visit 有人负责·上门,in_hand.referral 有人负责·督促,"
    "in_hand.revisit 有人负责·复访,in_hand.escalation 有人负责·上报,"
    "in_hand.session 有人负责·专场,round 轮次,as_of 截至,outside.police_list.people 外部人数,"
    "outside.police_list.as_of 外部人数日期,outside.police_list.coverage 外部覆盖率,"
    "outside.police_list.over 超过外部人数\r\n"
    "410171001001,绿园社区,3,0,2,1,1,0,0,0,1,0,0,1,1,0.6666666666666666,1,0,0,0,0,"
    f"{ROUND},,2,2021-12-31,1.0,false\r\n"
    f"total,total,3,0,2,1,1,0,0,0,1,0,0,1,1,0.6666666666666666,1,0,0,0,0,{ROUND},,,,,\r\n"
)

EXAMPLES: Examples = {
    ("GET", "/v1/coverage"): Example(
        query={"round": ROUND, "by": "community"},
        problems=[RoundUnknown, NotAcceptable],
        forms={CSV: SPREADSHEET},
        gives={"round": "/round/id"},
        reply={
            "round": {
                "id": ROUND,
                "campaign": "2022-01",
                "number": 1,
                "name": "经开区第一轮全员核酸检测",
                "state": "open",
                "opens_at": "2022-01-14T00:00:00Z",
                "closes_at": "2022-01-14T12:00:00Z",
                "clock_at": "2022-01-14T02:00:00Z",
            },
            "by": "community",
            "areas": ["410171"],
            "as_of": {
                "time": None,
                "hands_as_of": None,
                "visits_as_of": None,
                "positions": {
                    "dispatch.visits.v1": [2, 2, 2, 2, 2, 2, 2, 2, 2, 11, 2, 2],
                    "registry.roll.v1": [0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0],
                    "registry.rounds.v1": [0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 3],
                },
            },
            "rows": [
                {
                    "code": "410171001001",
                    "name": "绿园社区",
                    "roll": 3,
                    "excluded": 0,
                    "excluded_by_reason": {},
                    "sampled": 2,
                    "resulted": 1,
                    "negative": 1,
                    "positive": 0,
                    "inconclusive": 0,
                    "invalid": 0,
                    "in_hand": 1,
                    "in_hand_by_kind": {"visit": 1},
                    "unaccounted": 0,
                    "visitors": 0,
                    "visits_open": 1,
                    "visits_done": 1,
                    "coverage": 0.6666666666666666,
                    "outside": [
                        {
                            "source": "police_list",
                            "people": 2,
                            "as_of": "2021-12-31",
                            "coverage": 1.0,
                            "over": False,
                        }
                    ],
                }
            ],
            "total": {
                "code": "total",
                "name": "total",
                "roll": 3,
                "excluded": 0,
                "excluded_by_reason": {},
                "sampled": 2,
                "resulted": 1,
                "negative": 1,
                "positive": 0,
                "inconclusive": 0,
                "invalid": 0,
                "in_hand": 1,
                "in_hand_by_kind": {"visit": 1},
                "unaccounted": 0,
                "visitors": 0,
                "visits_open": 1,
                "visits_done": 1,
                "coverage": 0.6666666666666666,
                "outside": [],
            },
        },
    ),
    ("GET", "/v1/coverage/series"): Example(
        query={"round": ROUND, "by": "office", "step": "5m"},
        problems=[RoundUnknown],
        reply={
            "round": {
                "id": ROUND,
                "campaign": "2022-01",
                "number": 1,
                "name": "经开区第一轮全员核酸检测",
                "state": "open",
                "opens_at": "2022-01-14T00:00:00Z",
                "closes_at": "2022-01-14T12:00:00Z",
                "clock_at": "2022-01-14T02:00:00Z",
            },
            "by": "office",
            "step": "5m",
            "areas": ["410171"],
            "as_of": {
                "time": None,
                "hands_as_of": None,
                "visits_as_of": None,
                "positions": {
                    "dispatch.visits.v1": [2, 2, 2, 2, 2, 2, 2, 2, 2, 11, 2, 2],
                    "registry.roll.v1": [0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0],
                    "registry.rounds.v1": [0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 3],
                },
            },
            "rows": [
                {
                    "code": "410171001",
                    "name": "潮河办事处",
                    "points": [
                        {"at": "2022-01-14T01:30:00Z", "sampled": 1, "cumulative": 1},
                        {"at": "2022-01-14T01:40:00Z", "sampled": 1, "cumulative": 2},
                    ],
                }
            ],
        },
    ),
    ("GET", "/v1/coverage/work"): Example(
        query={"round": ROUND, "by": "office"},
        problems=[RoundUnknown],
        reply={
            "round": {
                "id": ROUND,
                "campaign": "2022-01",
                "number": 1,
                "name": "经开区第一轮全员核酸检测",
                "state": "open",
                "opens_at": "2022-01-14T00:00:00Z",
                "closes_at": "2022-01-14T12:00:00Z",
                "clock_at": "2022-01-14T02:00:00Z",
            },
            "by": "office",
            "areas": ["410171"],
            "as_of": {
                "time": None,
                "hands_as_of": None,
                "visits_as_of": None,
                "positions": {
                    "dispatch.visits.v1": [2, 2, 2, 2, 2, 2, 2, 2, 2, 11, 2, 2],
                    "registry.roll.v1": [0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0],
                    "registry.rounds.v1": [0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 3],
                },
            },
            "rows": [{"code": "410171001", "name": "潮河办事处", **WORK}],
            "total": {"code": "total", "name": "total", **WORK},
        },
    ),
    ("GET", "/v1/ledger"): Example(
        query={"round": ROUND, "max_age": 0},
        problems=[RoundUnknown],
        reply={
            "round": ROUND,
            "balanced": True,
            "reasons": [],
            "as_of": "2022-01-14T02:00:07.716242Z",
            "cut": {"registry.roll.v1": [0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0]},
            "differing": 0,
            "differences": [],
            "parked": {"registry": 0, "dispatch": 0, "reporting": 0},
            "hands": {"balanced": True, "registry": {"visit": 1}, "dispatch": {"visit": 1}},
            "account": {
                "code": "total",
                "name": "total",
                "roll": 3,
                "excluded": 0,
                "excluded_by_reason": {},
                "sampled": 2,
                "resulted": 1,
                "negative": 1,
                "positive": 0,
                "inconclusive": 0,
                "invalid": 0,
                "in_hand": 1,
                "in_hand_by_kind": {"visit": 1},
                "unaccounted": 0,
                "visitors": 0,
                "visits_open": 0,
                "visits_done": 0,
                "coverage": 0.6666666666666666,
                "outside": [],
            },
        },
    ),
    ("GET", "/v1/stream"): Example(
        query={"view": "district", "round": ROUND, "limit": 1},
        problems=[RoundUnknown],
        # Who has no edition yet loads the page first.
        reply=[{"reload": True}],
    ),
    ("POST", "/v1/rebuild"): Example(
        problems=[RebuildRunning],
        reply={
            "id": 2,
            "state": "building",
            "started_at": "2022-01-14T02:00:07.826798Z",
            "swapped_at": None,
            "applied": 0,
            "target": 19,
        },
    ),
    ("GET", "/v1/rebuild"): Example(
        reply={
            "generations": [
                {
                    "id": 2,
                    "state": "building",
                    "started_at": "2022-01-14T02:00:07.826798Z",
                    "swapped_at": None,
                    "applied": 0,
                    "target": 19,
                },
                {
                    "id": 1,
                    "state": "current",
                    "started_at": "2022-01-14T02:00:07.120010Z",
                    "swapped_at": "2022-01-14T02:00:07.120010Z",
                    "applied": 19,
                    "target": 19,
                },
            ]
        },
    ),
    ("POST", "/v1/webhooks"): Example(
        body={
            "id": WEBHOOK["id"],
            "url": WEBHOOK["url"],
            "areas": ["410171"],
            "milestones": ["coverage", "unaccounted"],
        },
        problems=[IdReused],
        gives={"webhook_id": "/id"},
        reply={**WEBHOOK, "secret": shown(bytes(range(SECRET_BYTES)))},
    ),
    ("GET", "/v1/webhooks"): Example(
        gives={"webhook_id": "/items/0/id"}, reply={"items": [WEBHOOK], "next_cursor": None}
    ),
    ("GET", "/v1/webhooks/{webhook_id}/deliveries"): Example(
        path={"webhook_id": WEBHOOK["id"]},
        problems=[WebhookUnknown],
        reply={"items": [], "next_cursor": None},
    ),
    ("POST", "/v1/webhooks/{webhook_id}:redrive"): Example(
        path={"webhook_id": WEBHOOK["id"]}, problems=[WebhookUnknown], reply=WEBHOOK
    ),
    ("DELETE", "/v1/webhooks/{webhook_id}"): Example(
        path={"webhook_id": WEBHOOK["id"]}, problems=[WebhookUnknown]
    ),
    **parked.examples("reporting", ROUNDS, "lastmetre.registry.areas_changed.v1", SET_ASIDE),
    **audit.examples(),
}
