"""A foreign file goes in: residents first, then half of the results, then the rest (Show 2).

The file is made here, in the shape of the one that a health ministry published.
"""

import csv
import io
from collections import Counter
from pathlib import Path
from random import Random

import httpx
import pytest
from rich.console import Console

from deploy.local import importing
from deploy.local.calls import Api
from deploy.local.importing import Order, Tally, import_file
from deploy.local.mapping import Kind
from deploy.local.rows import RowRange
from tests.support.town import Town

MAP = Path(importing.__file__).parent / "maps" / "israel_moh.toml"
ROWS = 400
ROUND = "0191f000-0000-7000-8000-000000002020"
SYMPTOMS = ("cough", "fever", "sore_throat", "shortness_of_breath", "head_ache")
COLUMNS = ("test_date", *SYMPTOMS, "corona_result", "age_60_and_above", "gender", "test_indication")


@pytest.fixture
def ministry(tmp_path: Path) -> Path:
    """Rows of eight months, newest first, with the file's mix of results and blanks."""
    rng = Random(2020)  # noqa: S311 - made-up rows
    path = tmp_path / "tests.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for number in range(ROWS):
            rows.writerow(
                [
                    f"2020-{11 - number * 8 // ROWS:02d}-{rng.randrange(1, 13):02d}",
                    *(rng.randrange(2) for _ in SYMPTOMS),
                    rng.choices(["negative", "positive", "other"], [90, 8, 2])[0],
                    rng.choices(["No", "Yes", ""], [70, 10, 20])[0],
                    rng.choice(["male", "female", ""]),
                    rng.choices(["Other", "Abroad", "Contact with confirmed"], [93, 1, 6])[0],
                ]
            )
    return path


def cells(path: Path, rows: slice = slice(None)) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))[rows]


def contacts(rows: list[dict[str, str]]) -> int:
    return sum(row["test_indication"] == "Contact with confirmed" for row in rows)


async def imported(
    town: Town, path: Path, *, only: Kind | None = None, rows: str = "1:"
) -> list[Tally]:
    """Import the file, or a part of it, as `lastmetre import results` does."""
    order = Order("results", path, MAP, ROUND, rows=RowRange.parse(rows), only=only)
    token = town.issuer.token("system")
    transport = httpx.ASGITransport(town.apps["registry"])
    async with Api("http://registry", lambda: token, transport=transport) as api:
        tallies = await import_file(order, api, Console(file=io.StringIO()))
    await town.settle()
    return tallies


async def test_a_ministrys_file_agrees_with_the_account_to_the_row(
    town: Town, ministry: Path
) -> None:
    every, newer = cells(ministry), cells(ministry, slice(ROWS // 2))

    (people,) = await imported(town, ministry, only="residents")
    assert (people.accepted, people.rejected) == (ROWS, 0)

    await town.sent(
        town.registry,
        "/v1/rounds",
        {
            "id": ROUND,
            "campaign": "ministry",
            "number": 1,
            "name": "2020",
            "opens_at": "2020-03-01T00:00:00+02:00",
            "closes_at": "2020-12-01T00:00:00+02:00",
            "offices": ["410171"],
            "manual_clock": True,
        },
    )
    await town.step(ROUND, "open")
    await town.sent(
        town.registry, f"/v1/rounds/{ROUND}:tick", {"clock_at": "2020-11-30T00:00:00+02:00"}
    )
    await town.settle()
    figures = await town.coverage(ROUND)
    assert (figures["roll"], figures["sampled"], figures["unaccounted"]) == (ROWS, 0, ROWS)
    assert figures["visits_open"] == contacts(every)
    await town.assert_balanced(ROUND)

    (half,) = await imported(town, ministry, only="results", rows=f"1:{ROWS // 2}")
    assert half.accepted == half.rows == ROWS // 2
    figures = await town.coverage(ROUND)
    assert figures["sampled"] == ROWS // 2
    assert figures["visits_open"] == contacts(every) - contacts(newer)
    await town.assert_balanced(ROUND)

    (rest,) = await imported(town, ministry, only="results", rows=f"{ROWS // 2 + 1}:")
    assert rest.accepted == rest.rows == ROWS - ROWS // 2
    figures = await town.coverage(ROUND)
    results = Counter(row["corona_result"] for row in every)
    assert figures["negative"] == results["negative"]
    assert figures["positive"] == results["positive"]
    assert figures["inconclusive"] == results["other"]
    assert figures["coverage"] == 1
    assert (figures["visits_open"], figures["unaccounted"]) == (0, 0)
    await town.assert_balanced(ROUND)

    again = await imported(town, ministry)
    assert [tally.duplicate for tally in again] == [ROWS, ROWS]
    assert all(tally.clean for tally in again)
    assert await town.coverage(ROUND) == figures
    await town.assert_balanced(ROUND)
