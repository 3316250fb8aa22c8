"""dispatch over HTTP, with tokens: what each role may see and do, and how it is answered."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client import REGISTRY

from services.dispatch.api.access import ACCESS
from services.dispatch.app import create_app
from services.dispatch.settings import Settings
from services.dispatch.worker import gauge_waiting
from shared.auth import ROLES
from shared.http import PUBLIC
from tests.dispatch.conftest import (
    EVENING,
    HERE,
    HOUR,
    MORNING,
    OFFICE,
    THERE,
    Day,
    change,
    standing,
)
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl

Client = Callable[..., httpx.AsyncClient]
SHIFT = {"starts": MORNING.isoformat(), "until": (MORNING + 6 * HOUR).isoformat()}
TEAM = {"name": "第一联合小组", "areas": [OFFICE], "shift": SHIFT, "capacity": 5,
        "members": [{"id": "m1", "role": "medic"}]}  # fmt: skip


class Registry(httpx.AsyncBaseTransport):
    """Registry as dispatch sees it over HTTP; `up` False: nobody is there."""

    def __init__(self) -> None:
        self.up = True
        self.status = 200
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.up:
            raise httpx.ConnectError("nobody is there")
        self.asked.append(request)
        ids = json.loads(await request.aread())["ids"]
        contacts = [{"id": each, "name": f"name of {each}", "phone": "1"} for each in ids]
        return httpx.Response(self.status, json={"contacts": contacts})


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def dispatch_settings(database_url: DatabaseUrl, issuer: Issuer) -> Settings:
    return Settings(
        jwks=str(issuer.jwks),
        database_url=database_url("dispatch"),
        kafka_bootstrap="",
        waiting_seconds=60,
    )


@pytest.fixture
async def as_(
    dispatch_settings: Settings, issuer: Issuer, registry: Registry
) -> AsyncIterator[Client]:
    """A client of the API as somebody: `as_("team", team="t1")`."""
    app = create_app(dispatch_settings, transports={"registry": registry})

    def client(*roles: str, **claims: Any) -> httpx.AsyncClient:
        token = issuer.token(*roles, **{"areas": ["410171"], **claims})
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://dispatch",
            headers={"Authorization": f"Bearer {token}"},
        )

    async with app.router.lifespan_context(app):
        yield client


async def planned(day: Day, *residents: str, needs: tuple[str, ...] = ("mobility",)) -> None:
    """An open round in which these people wait for a visit."""
    await day.areas()
    await day.round_is("open")
    await day.roll(*(change(each, standing("unaccounted", *needs)) for each in residents))


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_case_becomes_a_visit_a_team_finishes(day: Day, as_: Client) -> None:
    await planned(day, "ann")
    office, team = as_("office"), as_("team", team="t1")

    [case] = (await get(office, "/v1/cases", round="r1", office=OFFICE, state="open"))["items"]
    assert (case["resident"], case["community_name"], case["office"]) == (
        "ann", "第一社区", OFFICE,
    )  # fmt: skip
    assert (case["hand"], case["waiting_for_team"], case["why_waiting"]) == (None, True, "no_team")

    put = await office.put("/v1/teams/t1", json=TEAM)
    assert put.status_code == 200
    assert put.json()["id"] == "t1"
    visit = f"/v1/visits/{case['visit']['id']}"
    assert (await get(office, visit))["why_waiting"] is None
    assigned = await office.post(f"{visit}:assign", json={"team": "t1"})
    assert (assigned.status_code, assigned.json()["status"]) == (200, "assigned")
    assert (await team.post(f"{visit}:start")).json()["status"] == "started"
    report = {
        "report_id": str(uuid4()),
        "outcome": "sampled",
        "at": (MORNING + HOUR).isoformat(),
        "sample": {"sample_id": str(uuid4()), "sampled_at": (MORNING + HOUR).isoformat()},
    }
    finished = await team.post(f"{visit}:finish", json=report)
    assert finished.status_code == 200
    assert finished.json()["sample"]["answer"] == "awaited"
    # R19: the same again is answered the same; other content under the id is not taken.
    assert (await team.post(f"{visit}:finish", json=report)).json() == finished.json()
    reused = await team.post(f"{visit}:finish", json={**report, "at": MORNING.isoformat()})
    assert (reused.status_code, reused.json()["type"]) == (409, "/problems/id-reused")

    shown = await get(team, visit)
    assert (shown["status"], shown["outcome"], shown["needs"]) == (
        "finished", "sampled", ["mobility"],
    )  # fmt: skip
    totals = await get(as_("system"), "/v1/hands/totals", round="r1")
    assert totals["hands"] == {"visit": 1}
    assert len(totals["heads"]) == 12


async def test_a_worklist_shows_contacts_in_the_callers_own_name(
    day: Day, as_: Client, registry: Registry
) -> None:
    await planned(day, "ann", "bob")
    await day.team()
    await day.keep_house()
    team = as_("team", team="t1")

    worklist = await get(team, "/v1/teams/t1/worklist")

    assert worklist["contacts"] == "shown"
    assert {stop["contact"]["name"] for stop in worklist["items"]} == {
        "name of ann", "name of bob",
    }  # fmt: skip
    assert {stop["hand"]["owner"] for stop in worklist["items"]} == {"t1"}
    [request] = registry.asked
    assert request.url.path == "/v1/residents:contacts"
    assert request.headers["authorization"] == team.headers["authorization"]


@pytest.mark.parametrize("how", ["down", "failing", "refusing"])
async def test_a_worklist_is_answered_without_registry_and_says_so(
    day: Day, as_: Client, registry: Registry, how: str
) -> None:
    await planned(day, "ann")
    await day.team()
    await day.keep_house()
    registry.up = how != "down"
    registry.status = {"failing": 503, "refusing": 403}.get(how, 200)

    worklist = await get(as_("team", team="t1"), "/v1/teams/t1/worklist")

    assert worklist["contacts"] == ("refused" if how == "refusing" else "unavailable")
    [stop] = worklist["items"]
    assert (stop["resident"], stop["contact"]) == ("ann", None)
    assert stop["community_name"] == "第一社区"


async def test_r17_a_worklist_ends_with_the_quarantined_homes(day: Day, as_: Client) -> None:
    await planned(day, "ann", needs=("quarantine",))
    await day.roll(change("bob", standing("unaccounted", "mobility")))
    await day.team()
    await day.keep_house()
    worklist = await get(as_("team", team="t1"), "/v1/teams/t1/worklist")
    assert [stop["resident"] for stop in worklist["items"]] == ["bob", "ann"]


async def test_a_team_sees_itself_and_its_own_visits_only(day: Day, as_: Client) -> None:
    await planned(day, "ann")
    await day.team()
    await day.team("t2")
    await day.keep_house()
    own = (await day.visit_of("ann")).team
    other = "t2" if own == "t1" else "t1"
    visit = f"/v1/visits/{(await day.visit_of('ann')).id}"
    mine, stranger, nobody = as_("team", team=own), as_("team", team=other), as_("team")

    assert len((await get(mine, "/v1/visits"))["items"]) == 1
    assert [team["id"] for team in (await get(mine, "/v1/teams"))["items"]] == [own]
    for client in (stranger, nobody):
        assert (await get(client, "/v1/visits"))["items"] == []
        assert (await client.get(visit)).status_code == 404
        assert (await client.post(f"{visit}:start")).status_code == 404
        assert (await client.get(f"/v1/teams/{own}/worklist")).status_code == 404


async def test_reads_are_limited_to_the_areas_of_the_token(day: Day, as_: Client) -> None:
    await planned(day, "ann")
    await day.team()
    visit = f"/v1/visits/{(await day.visit_of('ann')).id}"
    elsewhere = as_("office", areas=[THERE[:9]])
    for path in ("/v1/cases", "/v1/visits", "/v1/teams"):
        assert (await get(elsewhere, path))["items"] == []
    assert (await elsewhere.get(visit)).status_code == 404
    assert (await elsewhere.post(f"{visit}:cancel")).status_code == 404
    forbidden = await elsewhere.put("/v1/teams/t1", json=TEAM)
    assert (forbidden.status_code, forbidden.json()["type"]) == (403, "/problems/forbidden")


async def test_lists_are_paged_to_their_end(day: Day, as_: Client) -> None:
    await planned(day, *(f"r{n}" for n in range(7)))
    for n in range(7):
        await day.team(f"t{n}")
    office = as_("office")
    for path, key in (("/v1/cases", "resident"), ("/v1/visits", "id"), ("/v1/teams", "id")):
        seen: list[str] = []
        cursor = None
        while True:
            page = await get(office, path, limit=3, **({"cursor": cursor} if cursor else {}))
            seen += [item[key] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == 7
        assert seen == sorted(seen)


async def test_lists_are_narrowed_by_what_is_asked(day: Day, as_: Client) -> None:
    await planned(day, "ann", "bob")
    await day.roll(change("bob", standing("sampled", "mobility")))
    office = as_("office")

    async def residents(path: str, **params: str) -> list[str]:
        return [item["resident"] for item in (await get(office, path, **params))["items"]]

    assert await residents("/v1/cases", state="closed") == ["bob"]
    assert await residents("/v1/cases", round="r2") == []
    assert await residents("/v1/cases", office=THERE[:9]) == []
    assert await residents("/v1/visits", status="planned") == ["ann"]
    assert await residents("/v1/visits", office=HERE) == ["ann", "bob"]
    assert await residents("/v1/visits", team="t1") == []


async def test_calling_a_visit_off_is_answered_for(day: Day, as_: Client) -> None:
    await planned(day, "ann")
    office = as_("office", sub="officer-7")
    visit = f"/v1/visits/{(await day.visit_of('ann')).id}"
    cancelled = await office.post(f"{visit}:cancel")
    assert cancelled.json()["cancelled_because"] == "by_office"
    again = await as_("office", sub="officer-8").post(f"{visit}:cancel")
    assert again.json() == cancelled.json()
    [case] = (await get(office, "/v1/cases"))["items"]
    assert (case["hand"]["kind"], case["hand"]["owner"]) == ("escalation", "officer-7")
    assert case["visit"] is None


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        (":assign", {}, "body.team"),
        (":finish", {"report_id": "x", "outcome": "absent"}, "body.report_id"),
        (":finish", {"report_id": str(uuid4()), "outcome": "asleep"}, "body.outcome"),
        (":finish", {"report_id": str(uuid4()), "outcome": "sampled"}, "sample"),
        (":finish", {"report_id": str(uuid4()), "outcome": "referred"}, "referral"),
        (
            ":finish",
            {"report_id": str(uuid4()), "outcome": "absent", "at": "2022-01-07T09:00:00"},
            "body.at",
        ),
    ],
)
async def test_a_wrong_body_is_told_by_place_and_rule(
    day: Day, as_: Client, path: str, body: dict[str, str], place: str
) -> None:
    await planned(day, "ann")
    visit = f"/v1/visits/{(await day.visit_of('ann')).id}"
    answer = await as_("office").post(visit + path, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["location"] == place


async def test_a_team_that_cannot_go_is_refused_with_the_reason(day: Day, as_: Client) -> None:
    await planned(day, "ann")
    await day.team("late", shift_from=EVENING, shift_until=EVENING + HOUR)
    visit = f"/v1/visits/{(await day.visit_of('ann')).id}"
    for team, reason in (("late", "off-shift"), ("unheard", "unknown")):
        answer = await as_("office").post(f"{visit}:assign", json={"team": team})
        assert (answer.status_code, answer.json()["reason"]) == (409, reason)


async def test_a_case_says_why_nobody_goes_yet(day: Day, as_: Client) -> None:
    await planned(day, "ann")

    async def why() -> str | None:
        [case] = (await get(as_("office"), "/v1/cases"))["items"]
        assert case["waiting_for_team"]
        reason: str | None = case["why_waiting"]
        return reason

    assert await why() == "no_team"
    await day.team(capacity=0)
    assert await why() == "teams_full"
    await day.team(capacity=1)
    assert await why() is None
    # The clock is past the closing, and registry has not closed the round yet.
    await day.tick(EVENING)
    assert await why() == "round_over"


async def test_what_dispatch_announces_can_be_pulled(day: Day, as_: Client) -> None:
    await planned(day, "ann")
    heads = (await get(as_("system"), "/v1/outbox/heads"))["heads"]
    assert sum(head["pos"] for head in heads) == 1
    assert (await get(as_("admin"), "/v1/parked"))["items"] == []
    assert (await get(as_("district"), "/v1/status"))["service"] == "dispatch"


async def test_every_route_is_closed_to_every_role_that_is_not_in_the_table(as_: Client) -> None:
    nobody = as_("office")
    del nobody.headers["Authorization"]
    for (method, path), roles in ACCESS.items():
        assert roles is not PUBLIC
        url = path.format(
            visit_id=uuid4(), team_id="t1", topic="x", partition=0, name="x", parked_id=1,
            round_id="r1", resident_id="ann",
        )  # fmt: skip
        assert (await nobody.request(method, url)).status_code == 401
        for role in ROLES:
            answer = await as_(role).request(method, url)
            assert (answer.status_code == 403) == (role not in roles), (method, path, role)


async def test_who_waits_for_a_team_is_metered_per_round_and_office(day: Day, as_: Client) -> None:
    def waiting(office: str) -> tuple[float | None, float | None]:
        place = {"round": "r1", "office": office}
        return (
            REGISTRY.get_sample_value("lastmetre_visits_waiting", place),
            REGISTRY.get_sample_value("lastmetre_oldest_waiting_seconds", place),
        )

    await planned(day, "ann", "bob")
    await day.roll(change("cyn", standing("unaccounted", "mobility")), community=THERE)
    await gauge_waiting(day.wiring)
    assert waiting(OFFICE) == (2, 0)
    assert waiting(THERE[:9]) == (1, 0)
    # By the clock of the round, which is not the one on the wall.
    await day.tick(MORNING + HOUR / 2)
    await gauge_waiting(day.wiring)
    assert waiting(OFFICE) == (2, 1800)

    # None is told as none: an alarm must not take it for silence.
    await day.roll(*(change(who, standing("sampled", "mobility")) for who in ("ann", "bob")))
    await gauge_waiting(day.wiring)
    assert waiting(OFFICE) == (0, 0)
    assert (await as_("office").get("/readyz")).json()["status"] == "ready"


async def test_nothing_personal_is_stored_or_announced(
    day: Day, as_: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    await planned(day, "ann")
    await day.team()
    await day.keep_house()
    worklist = await get(as_("team", team="t1"), "/v1/teams/t1/worklist")
    assert worklist["items"][0]["contact"]["name"] == "name of ann"
    async with day.database.begin() as tx:
        tables = await tx.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for table in tables:
            text = await tx.value(
                f"SELECT string_agg(t::text, ' ') FROM {table['tablename']} t"  # noqa: S608 - ours
            )
            assert "name of" not in (text or "")
    assert "name of" not in "".join(capfd.readouterr())


async def test_who_tells_paper_in_later_is_the_office(day: Day, as_: Client) -> None:
    await planned(day, "ann")
    visit = await day.visit_of("ann")
    body = {"report_id": str(uuid4()), "outcome": "refused"}
    answer = await as_("office").post(f"/v1/visits/{visit.id}:finish", json=body)
    assert answer.json()["outcome"] == "refused"


# --- escalations have an owner, who may settle them ---


async def escalated(day: Day, as_: Client, *residents: str) -> dict[str, str]:
    """People who refused at the door; the paths of their cases."""
    await planned(day, *residents)
    for each in residents:
        report = {"report_id": str(uuid4()), "outcome": "refused"}
        visit = await day.visit_of(each)
        await as_("office").post(f"/v1/visits/{visit.id}:finish", json=report)
    return {each: f"/v1/cases/r1/{each}" for each in residents}


async def test_r16_who_refused_is_listed_with_who_owns_it_and_by_when(
    day: Day, as_: Client
) -> None:
    await escalated(day, as_, "ann", "bob")
    await day.roll(change("cyn", standing("unaccounted", "mobility")))
    office = as_("office", sub="officer-7")

    cases = (await get(office, "/v1/cases", hand="escalation"))["items"]
    assert [(case["resident"], case["hand"]["owner"]) for case in cases] == [
        ("ann", OFFICE), ("bob", OFFICE),
    ]  # fmt: skip
    assert {case["hand"]["reason"] for case in cases} == {"refused"}
    assert {case["hand"]["due"] for case in cases} == {"2022-01-07T20:00:00Z"}

    taken = await office.post("/v1/cases/r1/ann:take", json={"id": str(uuid4())})
    assert taken.json()["hand"]["owner"] == "officer-7"
    [mine] = (await get(office, "/v1/cases", owner="officer-7"))["items"]
    assert mine == taken.json() == await get(office, "/v1/cases/r1/ann")


async def test_an_escalation_is_settled_with_a_visit_or_a_referral_before_its_time(
    day: Day, as_: Client
) -> None:
    cases = await escalated(day, as_, "ann", "bob")
    office = as_("office")

    revisit = await office.post(f"{cases['ann']}:revisit", json={"id": str(uuid4())})
    assert revisit.status_code == 200
    assert (revisit.json()["hand"]["kind"], revisit.json()["attempts"]) == ("revisit", 1)
    assert revisit.json()["why_waiting"] == "no_team"
    await day.team()
    await day.keep_house()
    assert (await get(office, cases["ann"]))["hand"]["owner"] == "t1"

    body = {"id": str(uuid4()), "site": "site-9", "until": (MORNING + 2 * HOUR).isoformat()}
    referral = await office.post(f"{cases['bob']}:refer", json=body)
    assert (referral.json()["hand"]["kind"], referral.json()["hand"]["owner"]) == (
        "referral", "site-9",
    )  # fmt: skip
    # It is checked on afterwards: bob did not go, so somebody goes to him.
    await day.tick(MORNING + 2 * HOUR)
    await day.keep_house()
    assert (await get(office, cases["bob"]))["visit"]["status"] == "assigned"


async def test_r19_a_decision_sent_again_is_one_and_its_id_is_not_used_for_another(
    day: Day, as_: Client
) -> None:
    cases = await escalated(day, as_, "ann", "bob")
    office = as_("office")
    body = {"id": str(uuid4())}
    first = await office.post(f"{cases['ann']}:revisit", json=body)
    again = await office.post(f"{cases['ann']}:revisit", json=body)
    assert (again.status_code, again.json()) == (200, first.json())
    for path in (f"{cases['ann']}:take", f"{cases['bob']}:revisit"):
        reused = await office.post(path, json=body)
        assert (reused.status_code, reused.json()["type"]) == (409, "/problems/id-reused")
    # The same moment said in another zone is the same decision.
    refer = {"id": str(uuid4()), "site": "site-9", "until": "2022-01-07T10:00:00Z"}
    await office.post(f"{cases['bob']}:refer", json=refer)
    local = await office.post(
        f"{cases['bob']}:refer", json=refer | {"until": "2022-01-07T18:00:00+08:00"}
    )
    assert local.status_code == 200


@pytest.mark.parametrize("verb", ["take", "revisit", "refer"])
async def test_what_cannot_be_decided_is_refused_with_its_cause(
    day: Day, as_: Client, verb: str
) -> None:
    cases = await escalated(day, as_, "ann")
    needy = standing("unaccounted", "mobility")
    await day.roll(change("bob", needy), change("dan", needy))
    await day.roll(change("cyn", needy), community=THERE)
    await day.roll(change("dan", standing("sampled", "mobility")))
    await day.team(areas=(HERE,))
    await day.keep_house()
    office = as_("office")
    more = {"site": "s", "until": (MORNING + HOUR).isoformat()} if verb == "refer" else {}

    async def refused(resident: str, **other: Any) -> tuple[int, str]:
        body = {"id": str(uuid4())} | more | other
        answer = await office.post(f"/v1/cases/r1/{resident}:{verb}", json=body)
        return answer.status_code, answer.json().get("type", "")

    assert await refused("bob") == (409, "/problems/case-in-hand")
    assert await refused("dan") == (409, "/problems/case-not-open")
    assert await refused("nobody") == (404, "/problems/not-found")
    elsewhere = await as_("office", areas=[THERE[:9]]).post(
        f"{cases['ann']}:{verb}", json={"id": str(uuid4())} | more
    )
    assert elsewhere.status_code == 404
    if verb == "refer":
        past = await refused("ann", until=(MORNING - HOUR).isoformat())
        assert past == (422, "/problems/bad-input")
    else:
        assert await refused("cyn") == (409, "/problems/visit-planned")


async def test_what_is_past_due_is_listed_by_the_rounds_clock(day: Day, as_: Client) -> None:
    await planned(day, "ann", "bob")
    await day.team()
    await day.keep_house()
    team, office = as_("team", team="t1"), as_("office")
    await team.post(f"/v1/visits/{(await day.visit_of('ann')).id}:start")

    async def past_due(*, said: bool) -> list[str]:
        cases = (await get(office, "/v1/cases", past_due=said))["items"]
        return [case["resident"] for case in cases]

    assert (await past_due(said=True), await past_due(said=False)) == ([], ["ann", "bob"])
    # The shift is over: ann's team is at her door and has its hour of grace, bob's has not begun.
    await day.tick(MORNING + 6.5 * HOUR)
    assert (await past_due(said=True), await past_due(said=False)) == (["ann"], [])


# --- shifts and who waits ---


async def test_a_full_team_is_given_more_only_when_the_office_says_so(
    day: Day, as_: Client
) -> None:
    await planned(day, "ann", "bob")
    await day.team(capacity=1)
    await day.keep_house()
    office = as_("office")
    [waits] = (await get(office, "/v1/visits", status="planned"))["items"]
    assert waits["why_waiting"] == "teams_full"
    path = f"/v1/visits/{waits['id']}:assign"

    full = await office.post(path, json={"team": "t1"})
    assert (full.status_code, full.json()["reason"]) == (409, "full")
    beyond = await office.post(path, json={"team": "t1", "beyond_capacity": True})
    assert (beyond.status_code, beyond.json()["team"]) == (200, "t1")


async def test_an_office_sees_how_many_wait_and_why(day: Day, as_: Client) -> None:
    await planned(day, "ann", "bob", "cyn")
    await day.roll(change("dan", standing("unaccounted", "mobility")), community=THERE)
    await day.team(capacity=1)
    await day.team("night", areas=(THERE,), shift_from=EVENING, shift_until=EVENING + HOUR)
    await day.keep_house()

    async def waiting(client: httpx.AsyncClient, **params: str) -> list[tuple[str, str, int]]:
        answer = await get(client, "/v1/waiting", **params)
        assert answer["visits"] == sum(row["visits"] for row in answer["rows"])
        assert all(row["since"] == "2022-01-07T08:00:00Z" for row in answer["rows"])
        return [(row["office"], row["why_waiting"], row["visits"]) for row in answer["rows"]]

    district = as_("district")
    both = [(OFFICE, "teams_full", 2), (THERE[:9], "off_shift", 1)]
    assert await waiting(district) == await waiting(district, round="r1") == both
    assert await waiting(district, round="r2") == []
    assert await waiting(district, office=OFFICE) == await waiting(as_("office", areas=[OFFICE]))
    assert (await get(district, "/v1/waiting"))["rows"][0]["office_name"] == "潮河办事处"
    await day.tick(EVENING)
    assert {why for _, why, _ in await waiting(district)} == {"round_over"}


async def test_r19_a_device_that_was_offline_sends_its_day_twice_and_out_of_order(
    day: Day, as_: Client
) -> None:
    await planned(day, "ann")
    await day.team()
    await day.keep_house()
    team = as_("team", team="t1")
    visit = f"/v1/visits/{(await day.visit_of('ann')).id}"
    # The shift is over; the visit waits for another team when the device is heard again.
    await day.tick(MORNING + 7 * HOUR)
    report = {"report_id": str(uuid4()), "outcome": "absent", "at": (MORNING + HOUR).isoformat()}

    finished = await team.post(f"{visit}:finish", json=report)
    assert (finished.status_code, finished.json()["ended_at"]) == (200, "2022-01-07T09:00:00Z")
    assert (await team.post(f"{visit}:start")).json()["type"] == "/problems/visit-not-open"
    assert (await team.post(f"{visit}:finish", json=report)).json() == finished.json()

    case = await get(as_("office"), "/v1/cases/r1/ann")
    assert (case["attempts"], case["hand"]["kind"], case["visit"]["status"]) == (
        1, "revisit", "planned",
    )  # fmt: skip
