"""What the stories of registry are told with."""

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
from stdnum.iso7064 import mod_11_2

from shared.contracts.envelope import PARTITIONS
from shared.contracts.registry import ROLL
from shared.outbox import Pulled
from tests.support.town import JSON, LUYUAN, OPENS, Town

OFFICE_ROLES = ("district", "office")


def lives(community: str | None = LUYUAN, **more: Any) -> JSON:
    """Somebody who lives in a community."""
    return {"address": {"community_code": community, "building": "1", "door": "1"}} | more


def hour(hours: float) -> str:
    """So many hours after the first round's opening."""
    return (OPENS + timedelta(hours=hours)).isoformat()


def ric(body: str = "41017119500101001") -> str:
    """A resident identity number with its check digit (ISO 7064 MOD 11-2)."""
    return f"{body}{mod_11_2.calc_check_digit(body)}"


async def account(town: Town, round_id: str) -> dict[str, int]:
    """The recount of registry, all communities together."""
    total: Counter[str] = Counter()
    for cells in (await town.totals(round_id)).values():
        total.update(cells)
    return dict(total)


async def assert_account(town: Town, round_id: str, **expected: int) -> None:
    """The four classes by registry's recount, which reporting's fold agrees with cell by cell.

    Classes that are not named are empty; other cells may be named too, with `__` for a dot.
    """
    classes = dict.fromkeys(("sampled", "excluded", "in_hand", "unaccounted"), 0)
    wanted = classes | {name.replace("__", "."): n for name, n in expected.items()}
    counted = await account(town, round_id)
    assert {name: counted.get(name, 0) for name in wanted} == wanted
    assert counted.get("roll", 0) == sum(counted.get(name, 0) for name in classes)
    await town.assert_balanced(round_id)


async def where(town: Town, round_id: str, cell: str) -> dict[str, int]:
    """In which communities a cell is counted, by recount and fold alike."""
    await town.assert_balanced(round_id)
    totals = await town.totals(round_id)
    return {code: cells[cell] for code, cells in totals.items() if cells.get(cell)}


async def register(town: Town, *rows: JSON, **headers: Any) -> JSON:
    """Send residents as an office does, whatever becomes of them."""
    sender = town.headers(*OFFICE_ROLES, **headers)
    answer: JSON = await town.sent(town.registry, "/v1/residents:batch", list(rows), sender)
    await town.settle()
    return answer


async def exclude(town: Town, round_id: str, resident: object, **more: Any) -> JSON:
    """File an exclusion and let it be counted."""
    filed = {"id": str(resident), "round_id": round_id, "resident": {"id": str(resident)},
             "reason": "recovered"} | more  # fmt: skip
    answer: JSON = await town.sent(town.registry, "/v1/exclusions", filed)
    await town.settle()
    return answer


async def history(town: Town, resident: object) -> list[JSON]:
    """What an office is shown of a resident's swabs."""
    answer = await town.registry.get(
        f"/v1/residents/{resident}/results", headers=town.headers("office")
    )
    assert answer.is_success, answer.text
    items: list[JSON] = answer.json()["items"]
    return items


def told(answer: JSON) -> list[str]:
    """What each row was told: its status, or the problem it was rejected for."""
    return [
        row["status"] if row["status"] != "rejected" else row["reason"]["type"].rpartition("/")[2]
        for row in answer["rows"]
    ]


async def announced(town: Town, name: str, topic: str = ROLL) -> list[JSON]:
    """Messages of one type that registry ever announced, partition by partition."""
    found: list[JSON] = []
    for partition in range(PARTITIONS):
        answer = await town.registry.get(
            f"/v1/outbox/{topic}/{partition}?after=0", headers=town.headers("system")
        )
        records = msgspec.json.decode(answer.content, type=Pulled).records
        found += [json.loads(record.data) for record in records if name in record.type]
    return found
