"""Dead letters: listed, shown whole, mended, re-driven or given up; each decided once."""

from collections.abc import AsyncIterator
from itertools import repeat
from typing import Any

import asyncpg
import msgspec
import pytest
from prometheus_client import REGISTRY

from shared.contracts.envelope import PARTITIONS, partition_of
from shared.contracts.registry import ROLL
from tests.shared.exchange import Follower, Producer, following, producing
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl

POISON = 2
GIVEN_UP = "its producer has sent it again"


@pytest.fixture
async def producer(database_url: DatabaseUrl, issuer: Issuer) -> AsyncIterator[Producer]:
    async with producing(database_url(""), issuer) as producer:
        yield producer


@pytest.fixture
async def follower(database_url: DatabaseUrl, producer: Producer) -> AsyncIterator[Follower]:
    """A follower that took in 1, 2, 3 and had to set 2 aside."""
    async with following(database_url(""), producer) as (follower,):
        follower.faults = {POISON: repeat(ValueError)}
        await producer.announce(1, POISON, 3)
        await follower.consumer.catch_up()
        assert await follower.numbers() == [1, 3]
        yield follower


async def get(follower: Follower, path: str, *, role: str = "admin", status: int = 200) -> Any:
    async with follower.api(role) as client:
        answer = await client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def post(
    follower: Follower, path: str, body: Any = None, *, role: str = "admin", status: int = 200
) -> Any:
    body = {"reason": GIVEN_UP} if path.endswith(":discard") and body is None else body
    async with follower.api(role) as client:
        answer = await client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def only(follower: Follower) -> dict[str, Any]:
    (item,) = (await get(follower, "/v1/parked"))["items"]
    found: dict[str, Any] = item
    return found


async def test_a_parked_event_is_listed_with_its_reason_and_shown_whole(
    follower: Follower,
) -> None:
    item = await only(follower)
    assert (item["topic"], item["partition"], item["pos"]) == (ROLL, 0, POISON)
    assert item["reason"].endswith("ValueError")
    assert item["state"] == "parked"
    assert "data" not in item
    whole = await get(follower, f"/v1/parked/{item['id']}")
    explained = whole.pop("explanation")
    assert whole == item | {"data": '{"round":"round","communities":{},"results":2}'}
    assert (explained["kind"], explained["rule"], explained["round"]) == (
        "refused", "ValueError", "round",
    )  # fmt: skip
    assert item["kind"] == "refused"
    assert await get(follower, "/v1/parked?state=discarded") == {"items": []}
    assert await get(follower, f"/v1/parked?after={item['id']}") == {"items": []}


async def test_damaged_data_is_shown_escaped(producer: Producer, follower: Follower) -> None:
    await producer.announce(4)
    async with producer.database.begin() as tx:
        await tx.do("UPDATE outbox SET data = $1 WHERE pos = 4", b'{"n":\xff}')
    await follower.consumer.catch_up()
    damaged = (await get(follower, "/v1/parked"))["items"][1]
    assert (await get(follower, f"/v1/parked/{damaged['id']}"))["data"] == '{"n":\\xff}'


async def test_status_tells_positions_and_what_is_set_aside(follower: Follower) -> None:
    told = await get(follower, "/v1/status", role="supervisor")
    assert told["service"] == "follower"
    assert told["parked"] == {ROLL: 1}
    applied = {row["partition"]: row["applied"] for row in told["positions"]}
    assert applied == {0: 3} | dict.fromkeys(range(1, PARTITIONS), 0)
    await post(follower, f"/v1/parked/{(await only(follower))['id']}:discard")
    assert (await get(follower, "/v1/status"))["parked"] == {}


@pytest.mark.parametrize(
    ("data", "field", "rule"),
    [
        (b'{"n":\xff}', "", "is not JSON"),
        (b'{"round":', "", "is not JSON"),
        (b'{"round":"r-1"}', "", "Object missing required field communities"),
        (b'{"round":"r-1","communities":{"410171001001":[["p",0]]}}', "communities[...][0]", None),
        (b'{"round":"r-1","communities":{"410171001001":[["p","\xe5\xbc\xa0"]]}}', None, None),
    ],
)
async def test_what_cannot_be_read_is_explained_by_field_and_rule_never_by_value(
    producer: Producer, follower: Follower, data: bytes, field: str | None, rule: str | None
) -> None:
    await producer.announce(4)
    async with producer.database.begin() as tx:
        await tx.do("UPDATE outbox SET data = $1 WHERE pos = 4", data)
    await follower.consumer.catch_up()
    damaged = (await get(follower, "/v1/parked"))["items"][1]
    told = (await get(follower, f"/v1/parked/{damaged['id']}"))["explanation"]
    assert told["kind"] == "unreadable"
    assert field is None or told["field"] == field
    assert rule is None or told["rule"] == rule
    assert told["round"] == ("r-1" if b"r-1" in data else None)
    assert told["communities"] == (["410171001001"] if b"410171" in data else [])
    assert told["rule"]
    assert told["next"]
    assert "张" not in str(told)


async def test_mended_it_is_applied_as_it_was_meant_and_the_original_is_kept(
    follower: Follower,
) -> None:
    follower.faults = {POISON: repeat(ValueError)}
    item = await only(follower)
    path = f"/v1/parked/{item['id']}"
    meant = {"round": "round", "communities": {}, "results": 20}
    body = {"data": meant, "reason": "the door was counted twice"}
    assert await post(follower, f"{path}:try", {}) == {
        "applies": False, "kind": "refused", "why": f"{item['type']}: ValueError",
    }  # fmt: skip
    assert (await post(follower, f"{path}:try", {"data": meant}))["applies"]
    mended = await post(follower, f"{path}:mend", body)
    assert (mended["mended_by"], mended["mended_why"]) == ("tester", body["reason"])
    assert mended["state"] == "parked"
    assert await follower.numbers() == [1, 3]
    assert (await post(follower, f"{path}:try", {}))["applies"]
    assert await follower.numbers() == [1, 3]
    await post(follower, f"{path}:redrive")
    assert await follower.numbers() == [1, 20, 3]
    whole = await get(follower, path)
    assert whole["data"] == '{"round":"round","communities":{},"results":2}'
    assert msgspec.json.decode(whole["mended_data"]) == meant
    await post(follower, f"{path}:mend", body, status=409)


@pytest.mark.parametrize(
    ("data", "location"),
    [
        ({"round": "round"}, "data"),
        ({"round": "round", "communities": {}, "results": "two"}, "data.results"),
        ({"round": "round", "communities": {"410171001001": []}}, "data.communities"),
        ([], "data"),
    ],
)
async def test_it_is_not_mended_by_what_breaks_a_rule(
    follower: Follower, data: Any, location: str
) -> None:
    assert partition_of("410171001001") != 0
    item = await only(follower)
    body = {"data": data, "reason": "as it was meant"}
    refused = await post(follower, f"/v1/parked/{item['id']}:mend", body, status=422)
    assert refused["type"] == "/problems/bad-input"
    assert refused["errors"][0]["location"] == location
    refused = await post(follower, f"/v1/parked/{item['id']}:try", {"data": data}, status=422)
    assert refused["errors"][0]["location"] == location
    assert await only(follower) == item


async def test_reasons_are_asked_for(follower: Follower) -> None:
    item = await only(follower)
    meant = {"round": "round", "communities": {}}
    await post(follower, f"/v1/parked/{item['id']}:mend", {"data": meant}, status=422)
    for body in ({}, {"reason": ""}):
        await post(follower, f"/v1/parked/{item['id']}:discard", body, status=422)
    done = await post(follower, f"/v1/parked/{item['id']}:discard")
    assert done["decided_why"] == GIVEN_UP


async def test_all_of_a_kind_are_redriven_at_once_and_the_others_left(
    producer: Producer, follower: Follower
) -> None:
    follower.faults |= {5: repeat(ValueError), 7: repeat(ValueError)}
    await producer.announce(4, 5, 6, 7)
    await follower.consumer.catch_up()
    ids = [item["id"] for item in (await get(follower, "/v1/parked"))["items"]]
    assert len(ids) == 3
    nothing: Any = {"redriven": [], "still_parked": [], "last": None}
    for body in ({"kind": "unreadable"}, {"topic": "other"}, {"after": ids[-1]}):
        assert await post(follower, "/v1/parked:redrive", body) == nothing
    follower.faults = {5: repeat(ValueError)}
    first = await post(follower, "/v1/parked:redrive", {"kind": "refused", "limit": 2})
    assert first == {"redriven": [ids[0]], "still_parked": [ids[1]], "last": ids[1]}
    rest = await post(follower, "/v1/parked:redrive", {"topic": ROLL, "after": ids[1]})
    assert rest == {"redriven": [ids[2]], "still_parked": [], "last": ids[2]}
    assert await follower.numbers() == [1, 2, 3, 4, 6, 7]


async def test_decisions_are_audited_and_counted(follower: Follower) -> None:
    follower.faults = {}
    item = await only(follower)
    path = f"/v1/parked/{item['id']}"

    def decided(decision: str) -> float:
        labels = {"service": "follower", "topic": ROLL, "decision": decision}
        return REGISTRY.get_sample_value("lastmetre_parked_decisions_total", labels) or 0.0

    before = {each: decided(each) for each in ("mended", "redriven", "discarded")}
    await get(follower, path)
    meant = {"round": "round", "communities": {}, "results": 2}
    await post(follower, f"{path}:mend", {"data": meant, "reason": "as it was meant"})
    await post(follower, f"{path}:redrive")
    await post(follower, f"{path}:discard", status=409)
    noted = (await get(follower, "/v1/audit"))["items"]
    assert [(each["action"], each["targets"]) for each in reversed(noted)] == [
        (f"{did} parked event", [f"{ROLL}/0/{POISON}"]) for did in ("show", "mend", "redrive")
    ]
    assert noted[1]["details"]["reason"] == "as it was meant"
    after = {each: decided(each) - before[each] for each in before}
    assert after == {"mended": 1, "redriven": 1, "discarded": 0}


async def test_metrics_tell_what_is_parked_of_which_kind_and_since_when(
    follower: Follower,
) -> None:
    await follower.consumer.sweep()

    def sample(name: str, **labels: str) -> float:
        told = REGISTRY.get_sample_value(name, {"service": "follower", "topic": ROLL, **labels})
        return told or 0.0

    assert sample("lastmetre_parked_total", kind="refused") >= 1
    assert sample("lastmetre_oldest_parked_seconds") > 0
    await post(follower, f"/v1/parked/{(await only(follower))['id']}:discard")
    await follower.consumer.sweep()
    assert sample("lastmetre_oldest_parked_seconds") == 0


async def test_once_mended_it_is_applied_where_it_belongs(follower: Follower) -> None:
    item = await only(follower)
    follower.faults = {}
    done = await post(follower, f"/v1/parked/{item['id']}:redrive")
    assert (done["state"], done["decided_by"]) == ("redriven", "tester")
    assert await follower.numbers() == [1, POISON, 3]
    assert await follower.parked() == []
    assert [event.pos for event in await follower.parked("redriven")] == [POISON]


@pytest.mark.parametrize("fault", [ValueError, asyncpg.UniqueViolationError])
async def test_what_still_cannot_be_applied_stays_parked(
    follower: Follower, fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database.ATTEMPTS", 2)
    follower.faults = {POISON: repeat(fault)}
    item = await only(follower)
    refused = await post(follower, f"/v1/parked/{item['id']}:redrive", status=409)
    assert refused["type"] == "/problems/conflict"
    assert await only(follower) == item
    assert await follower.numbers() == [1, 3]


async def test_a_fault_of_the_moment_leaves_it_to_be_tried_again(follower: Follower) -> None:
    follower.faults = {POISON: iter([OSError])}
    item = await only(follower)
    await post(follower, f"/v1/parked/{item['id']}:redrive", status=503)
    await post(follower, f"/v1/parked/{item['id']}:redrive")
    assert await follower.numbers() == [1, POISON, 3]


async def test_a_discarded_event_stays_uncounted(follower: Follower) -> None:
    done = await post(follower, f"/v1/parked/{(await only(follower))['id']}:discard")
    assert done["state"] == "discarded"
    assert await follower.numbers() == [1, 3]


@pytest.mark.parametrize("first", ["redrive", "discard"])
@pytest.mark.parametrize("second", ["redrive", "discard"])
async def test_a_decision_is_made_once(follower: Follower, first: str, second: str) -> None:
    follower.faults = {}
    item = await only(follower)
    await post(follower, f"/v1/parked/{item['id']}:{first}")
    await post(follower, f"/v1/parked/{item['id']}:{second}", status=409)
    assert await follower.numbers() == ([1, POISON, 3] if first == "redrive" else [1, 3])


@pytest.mark.parametrize("parked_id", ["999", str(2**63)])
async def test_what_was_never_parked(follower: Follower, parked_id: str) -> None:
    status = 404 if parked_id == "999" else 422
    await get(follower, f"/v1/parked/{parked_id}", status=status)
    for decision in ("redrive", "discard"):
        await post(follower, f"/v1/parked/{parked_id}:{decision}", status=status)


async def test_supervisors_look_and_administrators_decide(follower: Follower) -> None:
    item = await only(follower)
    await get(follower, "/v1/parked", role="supervisor")
    await get(follower, f"/v1/parked/{item['id']}", role="supervisor", status=403)
    for decision in ("redrive", "discard", "mend", "try"):
        await post(follower, f"/v1/parked/{item['id']}:{decision}", role="supervisor", status=403)
    await post(follower, "/v1/parked:redrive", {}, role="supervisor", status=403)
    await get(follower, "/v1/parked", role="team", status=403)
    assert await only(follower) == item


async def from_zero(follower: Follower) -> None:
    """Have the follower read all of it again, as if it had applied nothing."""
    async with follower.database.begin() as tx:
        await tx.do("UPDATE applied SET pos = 0, id = $1", "00000000-0000-0000-0000-000000000000")
        await tx.do("DELETE FROM tally")
    await follower.consumer.catch_up()


@pytest.mark.parametrize("readable", [True, False])
async def test_what_was_discarded_stays_out_when_all_is_read_again(
    follower: Follower, *, readable: bool
) -> None:
    item = await only(follower)
    await post(follower, f"/v1/parked/{item['id']}:discard")
    follower.faults = {} if readable else follower.faults
    await from_zero(follower)
    assert await follower.numbers() == [1, 3]
    assert await follower.parked() == []
    assert [event.id for event in await follower.parked("discarded")] == [item["id"]]


async def test_what_was_mended_is_taken_as_it_was_mended_when_all_is_read_again(
    follower: Follower,
) -> None:
    path = f"/v1/parked/{(await only(follower))['id']}"
    meant = {"round": "round", "communities": {}, "results": 20}
    await post(follower, f"{path}:mend", {"data": meant, "reason": "as it was meant"})
    await post(follower, f"{path}:redrive")
    await from_zero(follower)
    assert await follower.numbers() == [1, 20, 3]
    assert await follower.parked() == []


async def test_what_was_redriven_and_fails_when_all_is_read_again_is_undecided_again(
    follower: Follower,
) -> None:
    path = f"/v1/parked/{(await only(follower))['id']}"
    follower.faults = {}
    await post(follower, f"{path}:redrive")
    follower.faults = {POISON: repeat(ValueError)}
    await from_zero(follower)
    assert await follower.numbers() == [1, 3]
    assert [event.pos for event in await follower.parked()] == [POISON]


async def test_what_is_applied_when_all_is_read_again_is_not_applied_twice(
    follower: Follower,
) -> None:
    path = f"/v1/parked/{(await only(follower))['id']}"
    follower.faults = {}
    await from_zero(follower)
    assert await follower.numbers() == [1, POISON, 3]
    assert (await get(follower, path))["decided_by"] == "replay"
    await post(follower, f"{path}:redrive", status=409)
