"""Who is left: the untested of a community, by name of nobody, live."""

import json
from typing import Any

import pytest

from services.registry.api import account
from tests.registry.words import exclude, lives, register
from tests.support.town import CHAOHE, DONGFANG, JSON, LANQIAO, LUYUAN, MINGHU, Town


async def untested(town: Town, round_id: str, community: str, **areas: Any) -> list[JSON]:
    """The stream, line by line."""
    answer = await town.registry.get(
        f"/v1/rounds/{round_id}/untested?community={community}",
        headers=town.headers("office", **areas),
    )
    assert answer.is_success, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_who_is_neither_sampled_nor_excluded(town: Town) -> None:
    left, sampled, excluded, elsewhere, deceased, needy = await town.people(
        lives(), lives(), lives(), lives(LANQIAO), lives(), lives(needs=[{"code": "mobility"}])
    )
    round_id = await town.round(opened=False)
    assert await untested(town, round_id, LUYUAN) == []
    await town.step(round_id, "open")
    await town.tick(round_id, 2)
    await town.results(town.result(round_id, sampled))
    await exclude(town, round_id, excluded)
    await register(town, {"id": str(deceased), "alive": False})
    lines = await untested(town, round_id, LUYUAN)
    assert {line["id"] for line in lines} == {str(left), str(needy)}
    assert {line["status"] for line in lines} == {"unaccounted"}
    assert [line["id"] for line in lines] == sorted(line["id"] for line in lines)
    (with_need,) = [line for line in lines if line["id"] == str(needy)]
    assert with_need["needs"] == ["mobility"]
    assert not {"name", "phone", "id_document"} & with_need.keys()
    assert [line["id"] for line in await untested(town, round_id, LANQIAO)] == [str(elsewhere)]


async def test_a_closed_round_keeps_to_who_lived_there_then(town: Town) -> None:
    stays, leaves = await town.people(lives(), lives())
    round_id = await town.round()
    await town.step(round_id, "close")
    await register(
        town, {"id": str(leaves), "address": {"community_code": DONGFANG}}, lives(name="新人")
    )
    lines = await untested(town, round_id, LUYUAN)
    assert {line["id"] for line in lines} == {str(stays), str(leaves)}
    assert await untested(town, round_id, DONGFANG) == []


async def test_communities_outside_the_round_have_nobody_left(town: Town) -> None:
    await town.people(lives(DONGFANG))
    round_id = await town.round(offices=[CHAOHE])
    assert await untested(town, round_id, DONGFANG) == []


async def test_the_stream_goes_on_from_page_to_page(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = await town.people(*(lives() for _ in range(5)))
    round_id = await town.round()
    for size in (1, 2, 5, 6):
        monkeypatch.setattr(account, "UNTESTED_PAGE", size)
        lines = await untested(town, round_id, LUYUAN)
        assert [line["id"] for line in lines] == sorted(map(str, people))


async def test_one_sees_ones_own_areas(town: Town) -> None:
    round_id = await town.round()
    path = f"/v1/rounds/{round_id}/untested?community={LUYUAN}"
    other = await town.registry.get(path, headers=town.headers("office", areas=[MINGHU]))
    team = await town.registry.get(path, headers=town.headers("team"))
    assert (other.status_code, team.status_code) == (403, 403)
    unknown = path.replace(round_id, "0190b1f4-0000-7000-8000-000000000000")
    answer = await town.registry.get(unknown, headers=town.headers("office"))
    assert answer.status_code == 404
