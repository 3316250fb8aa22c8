"""How many people others say there are: taken in row by row, and announced (R3)."""

from typing import Any

import msgspec

from shared.contracts.registry import ROUNDS, DenominatorsChanged
from tests.registry.conftest import Registry
from tests.support.town import CHAOHE, DISTRICT, LUYUAN, MINGHU


def census(code: str, people: Any, source: str = "census", as_of: str = "2020-11-01") -> Any:
    """One row."""
    return {"code": code, "source": source, "people": people, "as_of": as_of}


async def put(town: Registry, *rows: Any, area: str = DISTRICT) -> Any:
    """Send rows as the district, or as somebody of a smaller area."""
    answer = await town.registry.put(
        "/v1/denominators:batch", json=rows, headers=town.headers("district", areas=[area])
    )
    assert answer.is_success, answer.text
    return answer.json()


async def listed(town: Registry, area: str = DISTRICT, **params: Any) -> Any:
    """Read the numbers of an area."""
    answer = await town.registry.get(
        "/v1/denominators", params=params, headers=town.headers("office", areas=[area])
    )
    assert answer.is_success, answer.text
    return answer.json()


async def announced(town: Registry) -> list[DenominatorsChanged]:
    """Read what went out, in order."""
    async with town.apps["registry"].state.wiring.database.begin() as tx:
        rows = await tx.rows(
            "SELECT data FROM outbox WHERE topic = $1 AND type = $2 ORDER BY partition, pos",
            ROUNDS, DenominatorsChanged.type,
        )  # fmt: skip
    return [msgspec.json.decode(row["data"], type=DenominatorsChanged) for row in rows]


async def test_r3_a_number_is_accepted_repeated_and_changed(town: Registry) -> None:
    first = await put(town, census(CHAOHE, 80_000), census(LUYUAN, 0))
    assert [row["status"] for row in first["rows"]] == ["accepted", "accepted"]
    again = await put(town, census(CHAOHE, 80_000), census(CHAOHE, 81_000, as_of="2021-11-01"))
    assert again["rows"] == [
        {"ref": "0", "status": "duplicate"},
        {"ref": "1", "status": "accepted", "changed": ["people", "as_of"]},
    ]
    assert (await listed(town))["items"] == [
        census(CHAOHE, 81_000, as_of="2021-11-01"), census(LUYUAN, 0)
    ]  # fmt: skip
    (both, changed) = await announced(town)
    assert [(each.code, each.people) for each in both.denominators] == [
        (CHAOHE, 80_000), (LUYUAN, 0)
    ]  # fmt: skip
    assert [(each.code, each.people) for each in changed.denominators] == [(CHAOHE, 81_000)]


async def test_r3_every_source_has_a_number_of_its_own(town: Registry) -> None:
    await put(town, census(CHAOHE, 80_000), census(CHAOHE, 91_000, "police_list"))
    assert [each["source"] for each in (await listed(town))["items"]] == ["census", "police_list"]


async def test_r21_each_number_is_answered_and_a_rejection_names_the_rule(town: Registry) -> None:
    rows = [
        census(CHAOHE, -1),
        census("410171009", 5),
        census(MINGHU, 5),
        census(CHAOHE, 5, "Census of 2020"),
        census(CHAOHE, 5, as_of="yesterday"),
        census(CHAOHE, 5, as_of="1066-10-14"),
        census(CHAOHE, 10**18),
        census("4101", 5),
        census(CHAOHE, 7),
    ]
    answer = await put(town, *rows, area=CHAOHE)
    assert (answer["accepted"], answer["rejected"], len(answer["rows"])) == (1, 8, 9)
    details = [row["reason"]["detail"] for row in answer["rows"][:-1]]
    fields = [detail.partition(":")[0] for detail in details]
    assert fields == ["people", "code", "code", "source", "as_of", "as_of", "people", "code"]
    assert answer["rows"][2]["reason"]["type"] == "/problems/forbidden"
    assert "Census of 2020" not in str(answer)
    whole = await put(town, census("410171009", 5))
    assert whole["rows"][0]["reason"]["type"] == "/problems/area-unknown"


async def test_of_one_batch_the_last_number_holds(town: Registry) -> None:
    answer = await put(town, census(CHAOHE, 1), census(CHAOHE, 2), census(CHAOHE, 2))
    assert [row["status"] for row in answer["rows"]] == ["accepted", "accepted", "duplicate"]
    (message,) = await announced(town)
    assert [each.people for each in message.denominators] == [2]


async def test_numbers_are_paged_and_limited_to_the_areas_of_the_token(town: Registry) -> None:
    await put(town, *(census(code, 9) for code in (DISTRICT, CHAOHE, LUYUAN, MINGHU)))
    assert [each["code"] for each in (await listed(town, CHAOHE))["items"]] == [CHAOHE, LUYUAN]
    found: list[str] = []
    cursor = None
    while cursor is not None or not found:
        page = await listed(town, limit=3, **({"cursor": cursor} if cursor else {}))
        found += [each["code"] for each in page["items"]]
        cursor = page.get("next_cursor")
    assert found == [DISTRICT, CHAOHE, LUYUAN, MINGHU]


async def test_an_office_does_not_supply_the_number_it_is_measured_by(town: Registry) -> None:
    answer = await town.registry.put(
        "/v1/denominators:batch", json=[census(CHAOHE, 1)], headers=town.headers("office")
    )
    assert answer.status_code == 403
