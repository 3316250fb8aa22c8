"""Somebody changes a figure by hand, here or there: the ledger says so and names the cell (R22)."""

from collections.abc import Mapping
from typing import Any

import pytest

from services.registry.store import sight
from tests.support.town import DONGFANG, LUYUAN, OPENS, Town


@pytest.fixture
async def day(town: Town) -> str:
    """Three people in two communities; one is sampled, one visited, and the account balances."""
    people = await town.people(
        {}, {"needs": [{"code": "mobility"}]}, {"address": {"community_code": DONGFANG}}
    )
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.results(town.resulted(round_id, people[0], "negative"))
    await town.assert_balanced(round_id)
    return round_id


async def change(town: Town, service: str, sql: str, *values: object) -> None:
    """Change rows behind a service's back; the statement says how many."""
    async with town.apps[service].state.wiring.database.begin() as tx:
        await sight.whole(tx)  # of registry's residents; it means nothing elsewhere
        assert await tx.rows(sql, *values)


async def differing(town: Town, round_id: str) -> Mapping[tuple[str, str], tuple[int, int]]:
    """By community and cell: registry's figure, and reporting's."""
    ledger: dict[str, Any] = await town.ledger(round_id)
    assert ledger["balanced"] is False
    assert ledger["reasons"] == ["cells_differ"]
    return {
        (each["community"], each["cell"]): (each["registry"], each["reporting"])
        for each in ledger["differences"]
    }


async def test_r22_a_counter_of_reporting(town: Town, day: str) -> None:
    await change(
        town, "reporting",
        "UPDATE counter SET n = n + 5 WHERE round = $1 AND community = $2 AND cell = $3"
        " RETURNING n",
        day, LUYUAN, "negative",
    )  # fmt: skip
    assert await differing(town, day) == {(LUYUAN, "negative"): (1, 6)}


async def test_r22_a_point_of_the_series(town: Town, day: str) -> None:
    await change(town, "reporting", "UPDATE series SET n = 0 WHERE round = $1 RETURNING n", day)
    cell = f"sampled_at.{OPENS:%Y-%m-%d}T01:00Z"
    assert await differing(town, day) == {(LUYUAN, cell): (1, 0)}


async def test_r22_a_swab_of_registry(town: Town, day: str) -> None:
    """A swab that vanished from the book leaves the person untested in the recount."""
    await change(town, "registry", "DELETE FROM sample RETURNING id")
    found = await differing(town, day)
    assert found[LUYUAN, "sampled"] == (0, 1)
    assert found[LUYUAN, "unaccounted"][0] == found[LUYUAN, "unaccounted"][1] + 1


async def test_r22_the_time_of_a_swab_in_registry(town: Town, day: str) -> None:
    await change(
        town, "registry",
        "UPDATE sample SET sampled_at = sampled_at + interval '5 minutes' RETURNING id",
    )  # fmt: skip
    assert await differing(town, day) == {
        (LUYUAN, f"sampled_at.{OPENS:%Y-%m-%d}T01:00Z"): (0, 1),
        (LUYUAN, f"sampled_at.{OPENS:%Y-%m-%d}T01:05Z"): (1, 0),
    }


async def test_r22_a_resident_of_registry(town: Town, day: str) -> None:
    """Somebody is moved by hand, without a change that was announced: both places are named."""
    await change(
        town,
        "registry",
        "UPDATE resident SET community = $1 WHERE community = $2 RETURNING id",
        LUYUAN,
        DONGFANG,
    )
    found = await differing(town, day)
    assert found[DONGFANG, "roll"] == (0, 1)
    assert found[LUYUAN, "roll"] == (3, 2)
