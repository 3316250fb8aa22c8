"""dispatch and registry together: what happens at a door while registry's account moves on.

Told over HTTP, with the ledger after every step: the fold is the recount, and nobody is lost
between the two.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.town import CHAOHE, DISTRICT, DONGFANG, JSON, LANQIAO, LUYUAN, OPENS, Town

MOBILITY = [{"code": "mobility"}]


def lives(community: str = LUYUAN, *needs: JSON) -> JSON:
    """Somebody who lives in a community, and cannot come to a site if nothing else is said."""
    return {
        "address": {"community_code": community, "building": "1", "door": "1"},
        "needs": list(needs) or MOBILITY,
    }


@dataclass
class Field:
    """Teams and offices in one round of a town."""

    town: Town
    round: str

    async def team(self, name: str = "t1", until: float = 8, **more: Any) -> None:
        """A team goes on shift, or is changed; its visits are handed out."""
        team = {
            "name": name, "areas": [DISTRICT], "members": [{"id": "m1", "role": "medic"}],
            "shift": {"starts": (OPENS - timedelta(hours=1)).isoformat(),
                      "until": (OPENS + timedelta(hours=until)).isoformat()},
        } | more  # fmt: skip
        put = await self.town.dispatch.put(
            f"/v1/teams/{name}", json=team, headers=self.town.headers("office")
        )
        assert put.is_success, put.text
        await self.town.settle()

    async def case(self, resident: UUID) -> JSON:
        """An office looks at a case."""
        answer = await self.town.dispatch.get(
            f"/v1/cases/{self.round}/{resident}", headers=self.town.headers("office")
        )
        assert answer.is_success, answer.text
        case: JSON = answer.json()
        return case

    async def door(self, resident: UUID) -> str:
        """The visit that is open for somebody."""
        visit: str = (await self.case(resident))["visit"]["id"]
        return visit

    async def start(self, visit: str, team: str = "t1") -> None:
        """The team is at the door."""
        await self._acts(visit, "start", None, team)

    async def finish(self, visit: str, report: JSON, team: str = "t1", *, times: int = 1) -> JSON:
        """The team reports, perhaps again and again; the answers are the same."""
        answers = [await self._acts(visit, "finish", report, team) for _ in range(times)]
        assert all(answer == answers[0] for answer in answers)
        await self.town.settle()
        return answers[0]

    async def _acts(self, visit: str, verb: str, body: JSON | None, team: str) -> JSON:
        headers = self.town.headers("team", team=team)
        acted: JSON = await self.town.sent(
            self.town.dispatch, f"/v1/visits/{visit}:{verb}", body, headers
        )
        return acted

    async def decide(self, resident: UUID, verb: str, **more: Any) -> None:
        """An office settles a case."""
        await self.town.sent(
            self.town.dispatch, f"/v1/cases/{self.round}/{resident}:{verb}",
            {"id": str(uuid4())} | more,
        )  # fmt: skip


def swab(hours: float = 1) -> JSON:
    """A report: sampled at the door, so many hours after the opening."""
    at = (OPENS + timedelta(hours=hours)).isoformat()
    return {
        "report_id": str(uuid4()),
        "outcome": "sampled",
        "at": at,
        "sample": {"sample_id": str(uuid4()), "sampled_at": at},
    }


def said(outcome: str, **more: Any) -> JSON:
    """A report without a swab."""
    return {"report_id": str(uuid4()), "outcome": outcome} | more


async def field_of(town: Town, offices: Iterable[str] = (DISTRICT,)) -> Field:
    """An open round with a team on shift, an hour after its opening."""
    field = Field(town, await town.round(offices=offices))
    await town.tick(field.round, 1)
    await field.team()
    return field


async def test_r15_sampled_at_a_site_while_the_team_is_at_the_door(town: Town) -> None:
    (ann,) = await town.people(lives())
    field = await field_of(town)
    await town.expect(field.round, in_hand=1, visits_open=1)
    visit = await field.door(ann)
    await field.start(visit)
    await town.results(town.result(field.round, ann, 0.5))
    await town.expect(field.round, sampled=1, in_hand=0, visits_open=0)

    finished = await field.finish(visit, swab())

    assert (finished["status"], finished["outcome"]) == ("cancelled", "sampled")
    # R1: two swabs of one person count once; and both are on file.
    await town.expect(field.round, sampled=1, in_hand=0, unaccounted=0)
    held = await town.registry.get(f"/v1/residents/{ann}/results", headers=town.headers("office"))
    assert {item["channel"] for item in held.json()["items"]} == {"site", "home_visit"}


async def test_r19_an_offline_device_is_heard_hours_later_when_another_team_is_on_its_way(
    town: Town,
) -> None:
    ann, bob = await town.people(lives(), lives())
    field = await field_of(town)
    visits = {each: await field.door(each) for each in (ann, bob)}
    await field.team(active=False)
    await town.expect(field.round, in_hand=0, unaccounted=2)
    await field.team("t2")
    await town.tick(field.round, 5)
    await field.start(visits[bob], "t2")

    # The first team comes back into the network: ann was swabbed, bob was not there.
    await field.finish(visits[ann], swab(), times=2)
    await field.finish(visits[bob], said("absent"), times=2)
    await town.expect(field.round, sampled=1, in_hand=1, unaccounted=0)

    await field.finish(visits[bob], swab(4), "t2", times=2)
    await town.expect(field.round, sampled=2, in_hand=0, visits_open=0, visits_done=2)


@pytest.mark.parametrize(
    ("becomes", "status"),
    [
        ({"address": {"community_code": LANQIAO}}, "finished"),
        ({"address": {"community_code": None}}, "cancelled"),
        ({"address": {"community_code": DONGFANG}}, "cancelled"),
        ({"alive": False}, "cancelled"),
        ({"needs": []}, "finished"),
    ],
    ids=["moves", "is nowhere", "leaves", "dies", "recovers"],
)
async def test_life_goes_on_while_a_team_is_at_the_door(
    town: Town, becomes: JSON, status: str
) -> None:
    (ann,) = await town.people(lives())
    field = await field_of(town, offices=[CHAOHE])
    visit = await field.door(ann)
    await field.start(visit)
    await town.sent(town.registry, "/v1/residents:batch", [{"id": str(ann)} | becomes])
    await town.settle()
    await town.assert_balanced(field.round)

    finished = await field.finish(visit, swab(0.5), times=2)

    assert finished["status"] == status
    # Swabbed before registry was told: they lived here then, and count here.
    await town.expect(field.round, roll=1, sampled=1, in_hand=0, visits_open=0)


async def test_excluded_while_assigned_and_revoked_again(town: Town) -> None:
    (ann,) = await town.people(lives())
    field = await field_of(town)
    visit = await field.door(ann)
    filed = {"id": str(uuid4()), "round_id": field.round, "resident": {"id": str(ann)},
             "reason": "recovered"}  # fmt: skip
    await town.sent(town.registry, "/v1/exclusions", filed)
    await town.expect(field.round, excluded=1, in_hand=0, visits_open=0)
    # The team did not hear of it in time, and was refused at the door.
    assert (await field.finish(visit, said("refused")))["status"] == "cancelled"
    await town.expect(field.round, excluded=1, in_hand=0)
    await town.sent(town.registry, f"/v1/exclusions/{filed['id']}:revoke")
    # Somebody is sent again at once.
    await town.expect(field.round, excluded=0, in_hand=1, visits_open=1)
    assert await field.door(ann) != visit


async def test_two_records_of_one_person_get_one_visit(town: Town) -> None:
    ann, twin = await town.people(lives(LUYUAN), lives(LANQIAO, {"code": "dialysis"}))
    field = await field_of(town)
    await town.expect(field.round, roll=2, in_hand=2, visits_open=2)
    at_the_twins = await field.door(twin)
    await field.start(at_the_twins)
    merge = {"id": str(uuid4()), "into": str(ann)}
    await town.sent(town.registry, f"/v1/residents/{twin}:merge", merge)
    await town.expect(field.round, roll=1, in_hand=1, visits_open=1)
    assert (await field.case(ann))["needs"] == ["dialysis", "mobility"]

    # The team is at the other record's door still, and swabs: it is the same person.
    finished = await field.finish(at_the_twins, swab())
    assert (finished["status"], finished["sample"]["answer"]) == ("cancelled", "awaited")
    await town.expect(field.round, roll=1, sampled=1, in_hand=0, visits_open=0)

    # It was a mistake: they are two, and the one who was not swabbed is visited.
    await town.sent(town.registry, f"/v1/merges/{merge['id']}:undo")
    await town.expect(field.round, roll=2, sampled=1, in_hand=1, visits_open=1)


async def test_a_round_that_closes_while_the_team_is_at_the_door_counts_its_swab(
    town: Town,
) -> None:
    ann, bob = await town.people(lives(), lives(DONGFANG))
    field = await field_of(town)
    visits = {each: await field.door(each) for each in (ann, bob)}
    await field.start(visits[ann])
    await town.step(field.round, "close")
    await town.expect(field.round, in_hand=1, unaccounted=1, visits_open=1)

    await field.finish(visits[ann], swab(0.9))
    late = await field.finish(visits[bob], swab(0.8))

    # Bob's visit was called off with the round; the swab is of its time (R19).
    assert late["status"] == "cancelled"
    await town.expect(field.round, sampled=2, in_hand=0, unaccounted=0, visits_open=0)


async def test_the_clock_closes_and_seals_a_round_with_teams_at_the_doors(town: Town) -> None:
    ann, bob = await town.people(lives(), lives())
    field = await field_of(town)
    await field.team(until=20)
    visits = {each: await field.door(each) for each in (ann, bob)}
    for visit in visits.values():
        await field.start(visit)

    # The shift is longer than the round: everything is due at its closing, with an hour of grace.
    await town.tick(field.round, 12)
    await town.expect(field.round, in_hand=2, visits_open=2)
    await field.finish(visits[ann], swab(11.9))
    await town.expect(field.round, sampled=1, in_hand=1, visits_open=1)

    # Opening, closing and sealing lie behind; bob's team has not been heard of.
    await town.tick(field.round, 12 + 73)
    await town.expect(field.round, sampled=1, in_hand=0, unaccounted=1, visits_open=0)
    late = await field.finish(visits[bob], swab(11.8))
    assert late["status"] == "cancelled"
    shown = await town.dispatch.get(f"/v1/visits/{visits[bob]}", headers=town.headers("office"))
    # Final: the swab is refused with its reason, and the office can read it.
    assert shown.json()["sample"]["answer"] == "refused"
    assert shown.json()["sample"]["refusal"] == "round-not-open"
    await town.expect(field.round, sampled=1, in_hand=0, unaccounted=1)


async def test_a_swab_registry_refuses_is_an_escalation_an_office_settles(town: Town) -> None:
    (ann,) = await town.people(lives())
    field = await field_of(town)
    # A device whose clock is wrong: later than the round's own time.
    await field.finish(await field.door(ann), swab(7))
    case = await field.case(ann)
    assert (case["hand"]["kind"], case["hand"]["reason"]) == (
        "escalation", "sample_refused:from-the-future",
    )  # fmt: skip
    assert case["hand"]["owner"] == CHAOHE
    await town.expect(field.round, in_hand=1, unaccounted=0)
    assert (await town.coverage(field.round))["in_hand_by_kind"] == {"escalation": 1}

    await field.decide(ann, "revisit")
    # At once with a team again.
    await town.expect(field.round, in_hand=1, visits_open=1)
    assert (await town.coverage(field.round))["in_hand_by_kind"] == {"visit": 1}
    await field.finish(await field.door(ann), said("refused"))
    until = (OPENS + timedelta(hours=3)).isoformat()
    await field.decide(ann, "refer", site="site-9", until=until)
    await town.settle()
    assert (await town.coverage(field.round))["in_hand_by_kind"] == {"referral": 1}
    # Nobody came: the referral ends by the clock, and a team goes.
    await town.tick(field.round, 3)
    assert (await town.coverage(field.round))["in_hand_by_kind"] == {"visit": 1}
    await town.assert_balanced(field.round)


async def test_r17_a_quarantine_that_ends_by_itself_ends_the_visit_nobody_began(
    town: Town,
) -> None:
    until = (OPENS + timedelta(hours=3)).isoformat()
    ann, bob = await town.people(
        lives(LUYUAN, {"code": "quarantine", "until": until}),
        lives(LUYUAN, {"code": "quarantine", "until": until}, {"code": "mobility"}),
    )
    field = await field_of(town)
    await town.expect(field.round, in_hand=2, visits_open=2)
    await town.tick(field.round, 3)
    # Ann can come to a site now; bob still cannot, and is an ordinary visit.
    await town.expect(field.round, in_hand=1, unaccounted=1, visits_open=1)
    assert (await field.case(ann))["reason"] == "need_ended"
    shown = await town.dispatch.get(
        f"/v1/visits/{await field.door(bob)}", headers=town.headers("office")
    )
    assert shown.json()["quarantined"] is False


async def test_nobody_is_in_a_forgotten_hand(town: Town) -> None:
    """A day on which nothing ends as it should: every hand ends by the clock all the same."""
    people = await town.people(*(lives() for _ in range(4)))
    field = await field_of(town)
    doors = [await field.door(each) for each in people]
    await field.start(doors[0])
    await field.team(capacity=0)
    await field.finish(doors[1], said("absent"))
    site = {"site": "site-9", "until": (OPENS + timedelta(hours=6)).isoformat()}
    await field.finish(doors[2], said("referred", referral=site))
    await field.finish(doors[3], said("refused"))

    async def hands() -> JSON:
        await town.assert_balanced(field.round)
        by_kind: JSON = (await town.coverage(field.round))["in_hand_by_kind"]
        return by_kind

    assert await hands() == {"visit": 1, "revisit": 1, "referral": 1, "escalation": 1}
    await town.tick(field.round, 5)
    assert await hands() == {"visit": 1, "referral": 1, "escalation": 1}
    await town.tick(field.round, 8.5)
    # The shift is over; the team at the door has an hour more.
    assert await hands() == {"visit": 1, "escalation": 1}
    await town.tick(field.round, 9)
    assert await hands() == {"escalation": 1}
    await town.tick(field.round, 12)
    await town.expect(field.round, in_hand=0, unaccounted=4)
