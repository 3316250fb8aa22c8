"""Dead letters: listed, shown whole, mended, re-driven or given up; each decided once."""

from collections.abc import AsyncIterator
from itertools import repeat
from typing import Any

import asyncpg
import pytest

from shared.contracts.envelope import PARTITIONS
from shared.contracts.registry import ROLL
from tests.shared.exchange import Follower, Producer, following, producing
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl

POISON = 2


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


async def post(follower: Follower, path: str, *, role: str = "admin", status: int = 200) -> Any:
    async with follower.api(role) as client:
        answer = await client.post(path)
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
    assert whole == item | {"data": '{"round":"round","communities":{},"results":2}'}
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
    for decision in ("redrive", "discard"):
        await post(follower, f"/v1/parked/{item['id']}:{decision}", role="supervisor", status=403)
    await get(follower, "/v1/parked", role="team", status=403)
    assert await only(follower) == item


async def test_parking_again_after_a_rebuild_keeps_what_was_decided(follower: Follower) -> None:
    item = await only(follower)
    await post(follower, f"/v1/parked/{item['id']}:discard")
    async with follower.database.begin() as tx:
        await tx.do("UPDATE applied SET pos = 0, id = $1", "00000000-0000-0000-0000-000000000000")
        await tx.do("DELETE FROM tally")
    await follower.consumer.catch_up()
    assert await follower.numbers() == [1, 3]
    assert await follower.parked() == []
    assert [event.id for event in await follower.parked("discarded")] == [item["id"]]
