"""The field, as stories tell of it: teams on shift, their visits, what they report from doors."""

from typing import Any
from uuid import UUID, uuid4

from tests.registry.words import hour
from tests.support.town import CHAOHE, JSON, Town


async def on_shift(
    town: Town, team: str = "t1", *, starts: float = 0, until: float = 8, **more: Any
) -> None:
    """Put a team on shift in the first office, between two hours after the opening."""
    whole = {
        "name": team,
        "areas": [CHAOHE],
        "shift": {"starts": hour(starts), "until": hour(until)},
        "members": [{"id": "m1", "role": "medic"}],
    }
    put = await town.dispatch.put(
        f"/v1/teams/{team}", json=whole | more, headers=town.headers("office")
    )
    assert put.is_success, put.text
    await town.settle()


async def visits_of(town: Town, round_id: str, resident: UUID) -> list[JSON]:
    """All visits of a resident in a round, in the order in which they were planned."""
    answer = await town.dispatch.get(
        "/v1/visits", params={"round": round_id}, headers=town.headers("office")
    )
    assert answer.is_success, answer.text
    return [visit for visit in answer.json()["items"] if visit["resident"] == str(resident)]


async def open_visits(town: Town, round_id: str, resident: UUID) -> list[JSON]:
    """Visits of a resident that nobody has made or called off."""
    over = {"finished", "cancelled"}
    return [v for v in await visits_of(town, round_id, resident) if v["status"] not in over]


async def case_of(town: Town, round_id: str, resident: UUID) -> JSON:
    """The case of a resident: who answers for the next step."""
    answer = await town.dispatch.get(
        "/v1/cases", params={"round": round_id}, headers=town.headers("office")
    )
    assert answer.is_success, answer.text
    (case,) = [each for each in answer.json()["items"] if each["resident"] == str(resident)]
    found: JSON = case
    return found


async def tour(town: Town, team: str = "t1") -> list[UUID]:
    """Whom a team visits, in the order of its tour."""
    answer = await town.dispatch.get(
        f"/v1/teams/{team}/worklist", headers=town.headers("team", areas=[CHAOHE], team=team)
    )
    assert answer.is_success, answer.text
    return [UUID(stop["resident"]) for stop in answer.json()["items"]]


def door(outcome: str, at: float | None = None) -> JSON:
    """What happened at a door, with what has to come along: a swab, or the site referred to."""
    told: JSON = {"report_id": str(uuid4()), "outcome": outcome}
    if outcome == "sampled":
        told["sample"] = {"sample_id": str(uuid4()), "sampled_at": hour(at or 0)}
    if outcome == "referred":
        told["referral"] = {"site": "绿园广场", "until": hour(6)}
    return told


async def tell(town: Town, visit: JSON, report: JSON, team: str = "t1") -> JSON:
    """A team tells what happened at a door; the visit as dispatch shows it then."""
    told: JSON = await town.sent(
        town.dispatch,
        f"/v1/visits/{visit['id']}:finish",
        report,
        town.headers("team", areas=[CHAOHE], team=team),
    )
    return told


async def knock(town: Town, visit: JSON, report: JSON, team: str = "t1") -> JSON:
    """A team tells what happened at a door, and everybody hears of it."""
    told = await tell(town, visit, report, team)
    await town.settle()
    return told
