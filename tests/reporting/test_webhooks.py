"""Milestones are told to whoever wants to hear of them: each turn once, and until it was heard."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client import REGISTRY
from standardwebhooks import Webhook, WebhookVerificationError

from services.reporting.clients import receivers
from services.reporting.domain.webhooks import DELAYS, may_be_told
from services.reporting.flow import producers
from services.reporting.flow.milestones import Lookout
from services.reporting.flow.webhooks import deliver
from services.reporting.store import milestones as milestone_rows
from services.reporting.store import webhooks as rows
from shared.contracts.registry import RollChanged, Standing
from tests.reporting.conftest import CHAOHE, FIRST, QIANCHENG, SECOND, THIRD, Desk, round_message
from tests.reporting.producers import change
from tests.reporting.receiver import Receiver, receiving
from tests.reporting.test_worker import working
from tests.support.waiting import eventually

UNTESTED, SAMPLED = Standing(), Standing(klass="sampled", channel="site")
EXCLUDED = Standing(klass="excluded", reason="under_3")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
async def post() -> AsyncIterator[httpx.AsyncClient]:
    """The worker's client for strangers."""
    async with receivers() as client:
        yield client


@pytest.fixture
def lookout(desk: Desk) -> Lookout:
    return Lookout(desk.database, 0.95)


async def subscribe(desk: Desk, receiver: Receiver, **more: Any) -> dict[str, Any]:
    """Subscribe as the district, and keep what was answered."""
    body = {"id": str(uuid4()), "url": receiver.url, "areas": [QIANCHENG]} | more
    answer = await desk.client.post("/v1/webhooks", json=body, headers=desk.read_as("district"))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def moved(desk: Desk, round_id: str, community: str, *moves: tuple[Any, Standing]) -> None:
    """Let people of a community stand elsewhere than before."""
    for before, after in moves:
        desk.world.registry.announce(
            RollChanged(round_id, {community: [change(before, after)]}), community
        )
    await desk.wiring.consumer.catch_up()


async def look(desk: Desk, lookout: Lookout) -> int:
    """Look as the worker does, after the producers were asked, twice."""
    noted = 0
    for _ in range(2):
        await producers.look(desk.database, desk.wiring.peers)
        noted += await lookout.look()
    return noted


async def come_due(desk: Desk) -> None:
    """Let the time pass until the next attempt."""
    async with desk.database.begin() as tx:
        await tx.do("UPDATE delivery SET next_at = now() WHERE state = 'pending'")


async def deliveries(desk: Desk, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await desk.get(f"/v1/webhooks/{webhook['id']}/deliveries")
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_an_office_that_reaches_a_milestone_is_told_of_once_and_signed(
    desk: Desk, receiver: Receiver, lookout: Lookout, post: httpx.AsyncClient
) -> None:
    """Twenty people: at nineteen it is 95 %, at the last one nobody is unaccounted."""
    webhook = await subscribe(desk, receiver)
    round_id = await desk.open_round({FIRST: 12, SECOND: 8, THIRD: 5})
    await moved(desk, round_id, FIRST, *[(UNTESTED, SAMPLED)] * 12)
    await moved(desk, round_id, SECOND, *[(UNTESTED, SAMPLED)] * 6)
    assert await look(desk, lookout) == 0
    await moved(desk, round_id, SECOND, (UNTESTED, SAMPLED))
    assert await look(desk, lookout) == 1
    await moved(desk, round_id, SECOND, (UNTESTED, EXCLUDED))
    assert await look(desk, lookout) == 1
    assert await deliver(desk.database, post) == 2
    for _ in range(3):
        assert await look(desk, lookout) == 0
        assert await deliver(desk.database, post) == 0
    told = receiver.told(webhook["secret"])  # in no promised order
    covered, accounted = sorted(told, key=lambda each: str(each["data"]["milestone"]))
    assert covered["type"] == accounted["type"] == "milestone.reached"
    figures = {"roll": 20, "excluded": 0, "sampled": 19, "in_hand": 0, "unaccounted": 1}
    assert covered["data"] == figures | {
        "round": round_id, "campaign": "zhengzhou-2022", "number": 1, "office": QIANCHENG,
        "name": "前程街道", "milestone": "coverage", "coverage": 0.95,
    }  # fmt: skip
    assert accounted["data"]["milestone"] == "unaccounted"
    assert accounted["data"]["unaccounted"] == 0
    assert {each["id"] for each in await deliveries(desk, webhook)} == set(receiver.ids)
    headers, body = receiver.came[0]
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook["secret"]).verify(body.replace(b"reached", b"undone"), headers)


async def test_a_milestone_that_a_correction_undoes_is_told_to_be_undone(
    desk: Desk, receiver: Receiver, lookout: Lookout, post: httpx.AsyncClient
) -> None:
    webhook = await subscribe(desk, receiver, milestones=["unaccounted"])
    round_id = await desk.open_round({FIRST: 1})
    for before, after in ((UNTESTED, SAMPLED), (SAMPLED, UNTESTED), (UNTESTED, SAMPLED)):
        await moved(desk, round_id, FIRST, (before, after))
        assert await look(desk, lookout) == 2
        await deliver(desk.database, post)
    turns = [told["type"] for told in receiver.told(webhook["secret"])]
    assert turns == ["milestone.reached", "milestone.undone", "milestone.reached"]
    assert len(set(receiver.ids)) == 3


async def test_what_is_refused_is_sent_again_under_its_id_and_nothing_is_followed(
    desk: Desk, receiver: Receiver, lookout: Lookout, post: httpx.AsyncClient
) -> None:
    webhook = await subscribe(desk, receiver, milestones=["unaccounted"])
    await moved(desk, await desk.open_round({FIRST: 1}), FIRST, (UNTESTED, SAMPLED))
    await look(desk, lookout)
    receiver.statuses = [500, 503, 302, 404]
    for attempt, status in enumerate(["500", "503", "302", "404"], 1):
        await come_due(desk)
        assert await deliver(desk.database, post) == 1
        (shown,) = await deliveries(desk, webhook)
        assert (shown["state"], shown["attempts"], shown["last"]) == ("pending", attempt, status)
        assert await deliver(desk.database, post) == 0  # not yet
    await come_due(desk)
    await deliver(desk.database, post)
    (shown,) = await deliveries(desk, webhook)
    assert (shown["state"], shown["attempts"], shown["last"]) == ("delivered", 5, "204")
    assert shown["delivered_at"] is not None
    assert receiver.ids == [shown["id"]] * 5
    assert len(receiver.told(webhook["secret"])) == 5


async def test_what_nobody_takes_for_a_day_is_dead_and_shown(
    desk: Desk, lookout: Lookout, post: httpx.AsyncClient
) -> None:
    with receiving() as receiver:
        webhook = await subscribe(desk, receiver, milestones=["unaccounted"])
    # It listens no more.
    await moved(desk, await desk.open_round({FIRST: 1}), FIRST, (UNTESTED, SAMPLED))
    await look(desk, lookout)
    waited = timedelta()
    for attempt in range(len(DELAYS) + 1):
        await come_due(desk)
        assert await deliver(desk.database, post) == 1
        async with desk.database.begin() as tx:
            waited += await tx.value("SELECT next_at - now() FROM delivery")
        (shown,) = await deliveries(desk, webhook)
        assert shown["attempts"] == attempt + 1
    assert timedelta(hours=20) < waited < timedelta(hours=28)
    assert (shown["state"], shown["last"], shown["next_at"]) == ("dead", "ConnectError", None)
    (listed,) = (await desk.get("/v1/webhooks")).json()["items"]
    assert (listed["dead"], listed["pending"]) == (1, 0)
    dead = {"state": "dead"}
    assert REGISTRY.get_sample_value("lastmetre_webhook_deliveries", dead) == 1


async def test_a_receiver_that_is_gone_for_good_is_not_asked_again(
    desk: Desk, receiver: Receiver, lookout: Lookout, post: httpx.AsyncClient
) -> None:
    webhook = await subscribe(desk, receiver, milestones=["unaccounted"])
    await moved(desk, await desk.open_round({FIRST: 1}), FIRST, (UNTESTED, SAMPLED))
    await look(desk, lookout)
    receiver.statuses = [410]
    await deliver(desk.database, post)
    assert [each["state"] for each in await deliveries(desk, webhook)] == ["dead"]
    await come_due(desk)
    assert await deliver(desk.database, post) == 0


async def test_what_was_given_up_is_sent_once_somebody_says_so(
    desk: Desk, receiver: Receiver, lookout: Lookout, post: httpx.AsyncClient
) -> None:
    webhook = await subscribe(desk, receiver, milestones=["unaccounted"])
    await moved(desk, await desk.open_round({FIRST: 1}), FIRST, (UNTESTED, SAMPLED))
    await look(desk, lookout)
    receiver.statuses = [410]
    await deliver(desk.database, post)
    district, path = desk.read_as("district"), f"/v1/webhooks/{webhook['id']}"
    revived = (await desk.client.post(f"{path}:redrive", headers=district)).json()
    assert (revived["dead"], revived["pending"]) == (0, 1)
    await deliver(desk.database, post)
    assert receiver.ids[0] == receiver.ids[1]
    assert [each["state"] for each in await deliveries(desk, webhook)] == ["delivered"]
    await desk.client.delete(path, headers=district)
    ended = await desk.client.post(f"{path}:redrive", headers=district)
    assert ended.status_code == 404


async def test_a_worker_that_dies_in_the_middle_loses_nothing(
    desk: Desk, receiver: Receiver, post: httpx.AsyncClient
) -> None:
    """It had noted the turn, and later claimed the delivery; others go on from there."""
    webhook = await subscribe(desk, receiver, milestones=["unaccounted"])
    await moved(desk, await desk.open_round({FIRST: 1}), FIRST, (UNTESTED, SAMPLED))
    assert await look(desk, Lookout(desk.database, 0.95)) == 2
    assert await look(desk, Lookout(desk.database, 0.95)) == 0
    (claimed,) = await desk.database.transact(rows.claim, 10, timedelta(seconds=60))
    assert await deliver(desk.database, post) == 0  # it may yet be sending
    await come_due(desk)
    assert await deliver(desk.database, post) == 1
    assert receiver.ids == [str(claimed.id)]
    # It was not dead, only slow: what it says now comes too late.
    await desk.database.transact(rows.settle, claimed, "pending", "500", None)
    (shown,) = await deliveries(desk, webhook)
    assert (shown["state"], shown["attempts"]) == ("delivered", 2)


async def test_a_turn_and_its_deliveries_are_noted_together_or_not_at_all(
    desk: Desk,
    receiver: Receiver,
    lookout: Lookout,
    post: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await subscribe(desk, receiver, milestones=["unaccounted"])
    await moved(desk, await desk.open_round({FIRST: 1}), FIRST, (UNTESTED, SAMPLED))
    with monkeypatch.context() as broken:
        broken.delattr(milestone_rows, "announce")
        with pytest.raises(AttributeError):
            await look(desk, lookout)
    assert await look(desk, lookout) == 2
    await deliver(desk.database, post)
    assert len(receiver.came) == 1


async def test_several_workers_tell_once(
    desk: Desk, receiver: Receiver, post: httpx.AsyncClient
) -> None:
    await subscribe(desk, receiver)
    await moved(desk, await desk.open_round({FIRST: 1}), FIRST, (UNTESTED, SAMPLED))
    lookouts = [Lookout(desk.database, 0.95) for _ in range(3)]
    for _ in range(4):
        await producers.look(desk.database, desk.wiring.peers)
        await asyncio.gather(*(each.look() for each in lookouts))
    await asyncio.gather(*(deliver(desk.database, post) for _ in range(3)))
    assert len(receiver.came) == len(set(receiver.ids)) == 2


async def test_figures_that_are_behind_tell_nothing(
    desk: Desk, receiver: Receiver, lookout: Lookout
) -> None:
    """One of two communities is counted: the office looks done, and is not."""
    await subscribe(desk, receiver)
    round_id = await desk.open_round({FIRST: 1})
    await moved(desk, round_id, FIRST, (UNTESTED, SAMPLED))
    desk.world.registry.announce(RollChanged(round_id, {SECOND: [change(None, UNTESTED)]}), SECOND)
    assert await look(desk, lookout) == 0
    await desk.wiring.consumer.catch_up()
    assert await look(desk, lookout) == 0


async def test_a_sealed_round_and_an_office_without_anybody_reach_nothing(
    desk: Desk, receiver: Receiver, lookout: Lookout
) -> None:
    await subscribe(desk, receiver, areas=["410171"])
    round_id = await desk.open_round({FIRST: 1, "410171000000": 1})
    await moved(desk, round_id, "410171000000", (UNTESTED, SAMPLED))
    assert await look(desk, lookout) == 0
    desk.world.registry.announce(round_message(round_id, "sealed", version=3), round_id)
    await moved(desk, round_id, FIRST, (UNTESTED, SAMPLED))
    assert await look(desk, lookout) == 0


async def test_each_is_told_of_their_own_offices_until_they_unsubscribe(
    desk: Desk, lookout: Lookout, post: httpx.AsyncClient
) -> None:
    round_id = await desk.open_round({FIRST: 1, THIRD: 1})
    with receiving() as whole, receiving() as part, receiving() as none:
        await subscribe(desk, whole, areas=["410171"], milestones=["coverage"])
        await subscribe(desk, part, areas=[CHAOHE], milestones=["coverage"])
        ended = await subscribe(desk, none, areas=["410171"])
        district = desk.read_as("district")
        for _ in range(2):
            gone = await desk.client.delete(f"/v1/webhooks/{ended['id']}", headers=district)
            assert gone.status_code == 204
        for community in (FIRST, THIRD):
            await moved(desk, round_id, community, (UNTESTED, SAMPLED))
        assert await look(desk, lookout) == 4
        await deliver(desk.database, post)
        assert (len(whole.came), len(part.came), len(none.came)) == (2, 1, 0)
        assert part.ids[0] in whole.ids


async def test_the_secret_is_shown_once_and_an_id_means_one_webhook(
    desk: Desk, receiver: Receiver
) -> None:
    body = {"id": str(uuid4()), "url": receiver.url, "areas": [QIANCHENG]}
    first = await subscribe(desk, receiver, **body)
    assert first["secret"].startswith("whsec_")
    again = await subscribe(desk, receiver, **body)
    assert again == {**first, "secret": None}
    assert "whsec_" not in (await desk.get("/v1/webhooks")).text
    district = desk.read_as("district")
    other = await desk.client.post(
        "/v1/webhooks", json={**body, "areas": [CHAOHE]}, headers=district
    )
    assert (other.status_code, other.json()["type"]) == (409, "/problems/id-reused")
    async with desk.database.begin() as tx:
        logged = await tx.rows("SELECT action, targets FROM audit_log ORDER BY seq")
    assert [tuple(row) for row in logged] == [("subscribe webhook", [first["id"]])]


async def test_nobody_subscribes_to_what_their_token_does_not_cover(
    desk: Desk, receiver: Receiver
) -> None:
    body = {"id": str(uuid4()), "url": receiver.url, "areas": [QIANCHENG, CHAOHE]}
    for role, areas, status in (
        ("office", ("410171",), 403),
        ("district", (CHAOHE,), 403),
        ("district", ("410171",), 201),
    ):
        answer = await desk.client.post(
            "/v1/webhooks", json=body, headers=desk.read_as(role, areas=areas)
        )
        assert answer.status_code == status
    elsewhere = desk.read_as("district", areas=(CHAOHE,))
    assert (await desk.client.get("/v1/webhooks", headers=elsewhere)).json()["items"] == []
    for call in ("GET", "DELETE"):
        path = f"/v1/webhooks/{body['id']}" + ("/deliveries" if call == "GET" else "")
        answer = await desk.client.request(call, path, headers=elsewhere)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/webhook-unknown")


@pytest.mark.parametrize(
    "url",
    [
        "https://bulletin.example/milestones?token=1", "https://10.1.2.3:8443/", "http://localhost/",
        "http://127.0.0.1:9/", "http://[::1]:9/", "https://[2001:db8::1]/",
    ],
)  # fmt: skip
def test_receivers_that_may_be_told(url: str) -> None:
    assert may_be_told(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://bulletin.example/", "http://10.1.2.3/", "ftp://bulletin.example/", "bulletin",
        "https://", "https://169.254.169.254/latest/meta-data", "https://[fe80::1]/",
        "https://224.0.0.1/", "https://0.0.0.0/", "https://user:pass@bulletin.example/",
        "https://bulletin.example/#a", "https://bulletin.example/ a", "https://bulletin.example:x/",
        "https://bulletin.example/\r\nHost: x", "https://[::1", "",
    ],
)  # fmt: skip
async def test_receivers_that_may_not(desk: Desk, url: str) -> None:
    assert not may_be_told(url)
    body = {"id": str(uuid4()), "url": url, "areas": [QIANCHENG]}
    answer = await desk.client.post("/v1/webhooks", json=body, headers=desk.read_as("district"))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error == {"location": "body.url", "rule": "https or loopback"}


async def test_deliveries_are_paged_the_newest_first(
    desk: Desk, receiver: Receiver, lookout: Lookout
) -> None:
    webhook = await subscribe(desk, receiver)
    round_id = await desk.open_round({FIRST: 1})
    for before, after in ((UNTESTED, SAMPLED), (SAMPLED, UNTESTED)):
        await moved(desk, round_id, FIRST, (before, after))
        await look(desk, lookout)
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        path = f"/v1/webhooks/{webhook['id']}/deliveries"
        page = (await desk.get(path, limit="3", **more)).json()
        found += page["items"]
        if page["next_cursor"] is None:
            break
        more = {"cursor": page["next_cursor"]}
    assert [each["turn"] for each in found] == ["undone", "undone", "reached", "reached"]


async def test_a_worker_tells_without_anybodys_help(desk: Desk, receiver: Receiver) -> None:
    webhook = await subscribe(desk, receiver)
    round_id = await desk.open_round({FIRST: 1})
    async with working(desk):
        desk.world.registry.announce(
            RollChanged(round_id, {FIRST: [change(UNTESTED, SAMPLED)]}), FIRST
        )
        await eventually(lambda: len(receiver.came) == 2)
    assert {told["data"]["milestone"] for told in receiver.told(webhook["secret"])} == {
        "coverage", "unaccounted",
    }  # fmt: skip
