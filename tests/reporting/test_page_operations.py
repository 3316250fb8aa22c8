"""Somebody looks after the system from the page: who is behind, and what waits for a decision."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from http import HTTPStatus
from typing import Any

import httpx
import pytest

from services.reporting.api.page.views.operations import draw
from services.reporting.domain.operations import Follower
from services.reporting.domain.throughput import COUNTED, SLOT, Counted, Tally, per_second, slot_of
from services.reporting.flow import operations
from services.reporting.store import throughput
from shared.auth import ROLES
from shared.contracts.registry import ROLL
from shared.database import Transaction
from tests.faults.test_corruption import damage_the_newest
from tests.support.town import Town

MAY_LOOK = {"supervisor", "district", "system", "admin"}
OURS = {"Sec-Fetch-Site": "same-origin"}
NOW = datetime(2022, 1, 14, 12, 0, 3, tzinfo=UTC)


async def sign_in(town: Town, role: str) -> httpx.AsyncClient:
    """Sign in as somebody; the client keeps the cookie."""
    town.reporting.cookies.clear()
    await town.reporting.post(
        "/sign-in", data={"token": town.issuer.token(role, areas=["410171"]), "lang": "en"}
    )
    return town.reporting


async def look(town: Town, path: str = "/operations") -> str:
    answer = await town.reporting.get(f"{path}?lang=en")
    assert answer.status_code == HTTPStatus.OK, answer.text
    return unescape(answer.text)


async def damaged(town: Town) -> tuple[str, bytes]:
    """One swab was announced, and its event is damaged; the round, and what it was."""
    (somebody,) = await town.people({})
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.sent(
        town.registry, "/v1/results:batch", [town.result(round_id, somebody)], town.headers("site")
    )
    whole = await damage_the_newest(town)
    await town.settle()
    return round_id, whole


async def parked(town: Town, service: str) -> list[dict[str, Any]]:
    answer = await getattr(town, service).get("/v1/parked", headers=town.headers("admin"))
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def row(page: str, *marks: str) -> str:
    """Find the row that has all of these."""
    for found in re.findall(r"<tr>.*?</tr>", page, re.DOTALL):
        if all(mark in found for mark in marks):
            return str(found)
    raise AssertionError(page)


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_who_may_look_and_who_may_decide(town: Town, role: str) -> None:
    await damaged(town)
    (letter,) = await parked(town, "reporting")
    here = f"/operations/parked/reporting/{letter['id']}"
    headers = town.headers(role) | OURS
    answer = await town.reporting.get("/operations", headers=headers)
    assert answer.status_code == (HTTPStatus.OK if role in MAY_LOOK else HTTPStatus.FORBIDDEN)
    assert (letter["event_id"][:8] in answer.text) is False
    assert (here in answer.text) is (role == "admin")
    if role in MAY_LOOK:
        assert "roll_changed" in answer.text
    else:
        stream = await town.reporting.get("/v1/stream?view=operations", headers=headers)
        assert stream.status_code == HTTPStatus.FORBIDDEN
    allowed = role == "admin"
    for path in (here, f"{here}/redrive", f"{here}/discard"):
        answer = await town.reporting.get(path, headers=headers)
        assert answer.status_code == (HTTPStatus.OK if allowed else HTTPStatus.FORBIDDEN)
    if not allowed:
        for path in (here, f"{here}/redrive", f"{here}/discard"):
            form = {"data": "{}", "reason": "not theirs to decide"}
            answer = await town.reporting.post(path, data=form, headers=headers)
            assert answer.status_code == HTTPStatus.FORBIDDEN
        assert len(await parked(town, "reporting")) == 1


async def test_other_sites_decide_nothing(town: Town) -> None:
    await damaged(town)
    (letter,) = await parked(town, "reporting")
    client = await sign_in(town, "admin")
    forged = await client.post(
        f"/operations/parked/reporting/{letter['id']}/discard",
        data={"reason": "by somebody else"},
        headers={"Sec-Fetch-Site": "cross-site"},
    )
    assert forged.is_redirect
    assert "/sign-in" in forged.headers["location"]
    assert len(await parked(town, "reporting")) == 1


@pytest.mark.parametrize("service", ["reporting", "dispatch"])
async def test_an_event_is_mended_and_driven_again(town: Town, service: str) -> None:
    round_id, whole = await damaged(town)
    (letter,) = await parked(town, service)
    client = await sign_in(town, "admin")
    page = await look(town)
    assert f"/operations/parked/{service}/{letter['id']}" in page
    assert "DecodeError" in row(page, f"/{letter['id']}?lang", service)
    here = f"/operations/parked/{service}/{letter['id']}"
    shown = await look(town, here)
    assert "is not JSON" in shown
    assert r'{"round": \xff' in shown

    # What is wrong with what was given stands beside it, and nothing of it is lost.
    for data, told in (
        ("{no", "is not JSON"), ('{"round": 3}', "Expected str"),
    ):  # fmt: skip
        form = {"data": data, "reason": "as it was meant", "lang": "zh"}
        answer = await client.post(here, data=form, headers=OURS)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        said = unescape(answer.text)
        assert told in said
        assert f"{data}</textarea>" in said
        assert 'value="as it was meant"' in said
        assert '<html lang="zh-CN">' in said
    form = {"data": whole.decode(), "reason": "x", "lang": "en"}
    assert "reason" in (await client.post(here, data=form, headers=OURS)).text

    form["reason"] = "as it was meant"
    mended = await client.post(here, data=form, headers=OURS)
    assert mended.headers["location"] == f"{here}/redrive"
    assert "it can be applied now" in await look(town, f"{here}/redrive")
    driven = await client.post(f"{here}/redrive", data={}, headers=OURS)
    assert driven.headers["location"] == "/operations"
    assert await parked(town, service) == []
    again = await client.post(f"{here}/redrive", data={}, headers=OURS)
    assert again.status_code == HTTPStatus.CONFLICT
    assert "decided already" in again.text
    if service == "reporting":
        assert (await town.coverage(round_id))["sampled"] == 1
    log = await getattr(town, service).get("/v1/audit?limit=50", headers=town.headers("admin"))
    acts = [each["action"] for each in log.json()["items"]]
    for act in ("show parked event", "mend parked event", "redrive parked event"):
        assert act in acts


async def test_an_event_is_given_up_for_a_reason(town: Town) -> None:
    await damaged(town)
    (letter,) = await parked(town, "dispatch")
    client = await sign_in(town, "admin")
    here = f"/operations/parked/dispatch/{letter['id']}"
    assert "still cannot be applied" in await look(town, f"{here}/redrive")
    refused = await client.post(f"{here}/discard", data={"reason": ""}, headers=OURS)
    assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    done = await client.post(f"{here}/discard", data={"reason": "sent again"}, headers=OURS)
    assert done.is_redirect
    assert await parked(town, "dispatch") == []
    assert "discarded, decided by" in text(await look(town, here))
    gone = await client.get("/operations/parked/registry/99?lang=en")
    assert gone.status_code == HTTPStatus.NOT_FOUND
    assert "no such event" in gone.text
    assert (await client.get("/operations/parked/nobody/1")).status_code == (
        HTTPStatus.UNPROCESSABLE_ENTITY
    )


async def test_it_says_who_is_behind_and_since_when(town: Town) -> None:
    (somebody,) = await town.people({})
    round_id = await town.round()
    await sign_in(town, "district")
    assert "level" in row(await look(town), "reporting", "registry.roll.v1")
    wiring = town.apps["reporting"].state.wiring

    async def behind() -> dict[tuple[str, str], Follower]:
        seen = await operations.survey(wiring.database, wiring.peers)
        return {(each.service, each.topic): each for each in seen.followers if each.behind}

    assert await behind() == {}
    before = datetime.now(UTC)
    row_ = town.result(round_id, somebody)
    await town.tick(round_id, 2)
    await town.sent(town.registry, "/v1/results:batch", [row_], town.headers("site"))
    found = await behind()
    assert {where: each.behind for where, each in found.items()} == {
        ("dispatch", ROLL): 1, ("reporting", ROLL): 1,
    }  # fmt: skip
    # What was applied there before is young: its time is near enough.
    since = found["reporting", ROLL].waiting_since
    assert since is not None
    assert abs(since - before) < timedelta(minutes=1)
    # Where nothing has come for long, the event that waits is asked for.
    await wiring.database.transact(_long_ago)
    since = (await behind())["reporting", ROLL].waiting_since
    assert since is not None
    assert since >= before


async def _long_ago(tx: Transaction) -> None:
    await tx.do("UPDATE applied SET recorded_at = recorded_at - interval '1 day'")


async def test_who_does_not_answer_is_named_and_the_others_are_shown(town: Town) -> None:
    await damaged(town)
    (letter,) = await parked(town, "reporting")
    client = await sign_in(town, "admin")
    town.switches["dispatch"].down = True
    page = await look(town)
    assert "does not answer" in row(page, "dispatch")
    assert "set aside" in row(page, "reporting</th>", "registry.roll.v1")
    assert f"/operations/parked/reporting/{letter['id']}" in page
    for method, path in (("GET", ""), ("GET", "/discard"), ("POST", "/redrive")):
        answer = await client.request(
            method, f"/operations/parked/dispatch/1{path}?lang=en", headers=OURS
        )
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert "dispatch does not answer" in answer.text


async def test_what_workers_count_is_added_up(town: Town) -> None:
    (somebody,) = await town.people({})
    round_id = await town.round()
    await town.tick(round_id, 2)
    COUNTED.forget(dict(COUNTED.finished(datetime.now(UTC) + SLOT)))
    await town.results(town.result(round_id, somebody))
    database = town.apps["reporting"].state.wiring.database
    for _ in range(2):
        counted = COUNTED.finished(datetime.now(UTC) + SLOT)
        await database.transact(throughput.save, counted)
    async with database.begin() as tx:
        told = await throughput.since(tx, datetime.now(UTC) - timedelta(minutes=5))
    total = sum(told.values(), Counted())
    assert total.results == 2
    assert total.changes >= 2


def test_rates_are_of_slots_that_are_over() -> None:
    tally = Tally()
    tally.add(Counted(10, 20), NOW)
    tally.add(Counted(5, 5), NOW + timedelta(seconds=1))
    assert tally.finished(NOW) == {}
    told = tally.finished(NOW + SLOT)
    assert told == {slot_of(NOW): Counted(15, 25)}
    tally.forget(told)
    assert tally.finished(NOW + SLOT) == {}
    rates = per_second(told, NOW + 2 * SLOT, timedelta(minutes=1))
    assert len(rates) == 12
    assert rates[-1] == Counted(3, 5)
    assert rates[:-1] == [Counted()] * 11


def test_a_graph_has_a_round_number_at_its_top() -> None:
    graph = draw([Counted(0, 0)] * 11 + [Counted(120, 60)])
    assert graph.top == 200
    assert graph.results.endswith("1000.0,56.0")
    assert graph.changes.endswith("1000.0,98.0")
    assert graph.minutes == [Counted(10, 5)]
    assert draw([]).top == 10
