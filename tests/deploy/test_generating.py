"""Files of made-up people and their results: written, read, imported, and the same every time."""

import io
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from rich.console import Console

from deploy.local import generating
from deploy.local.calls import Api
from deploy.local.generating import GenerateError, Results
from deploy.local.importing import Order, import_file
from deploy.local.population import Population

NAMES = ["p.csv", "p.ndjson", "p.csv.gz", "p.ndjson.zst", "p.parquet"]
CITY = Population(people=4_000, prefix="4101", seed=3)
ROUND = "0191f000-0000-7000-8000-000000002022"
DAY = Results(
    ROUND, datetime(2022, 1, 9, 0, tzinfo=UTC), datetime(2022, 1, 9, 10, tzinfo=UTC), share=0.5
)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO())


async def imported(order: Order, console: Console) -> list[dict[str, Any]]:
    """What registry is sent of a file."""
    rows: list[dict[str, Any]] = []

    def take(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/areas:batch":
            return httpx.Response(200, json={})
        batch = msgspec.json.decode(request.content)
        rows.extend(batch)
        return httpx.Response(200, json={"accepted": len(batch), "duplicate": 0, "rejected": 0})

    async with Api("http://registry", lambda: "t", transport=httpx.MockTransport(take)) as api:
        (tally,) = await import_file(order, api, console)
    assert tally.clean
    return rows


@pytest.mark.parametrize("name", NAMES)
async def test_people_arrive_as_they_were_made_whatever_the_file(
    tmp_path: Path, console: Console, name: str
) -> None:
    path = tmp_path / name
    assert generating.residents(path, CITY, console) == CITY.people
    sent = await imported(Order("residents", path, area="4101", at_once=1), console)
    made = [
        {key: value for key, value in person.items() if value} | {"needs": person["needs"]}
        for person in CITY.residents()
    ]
    # A cell that is blank leaves the field out: no needs are no word of needs.
    assert [{"needs": [], **row} for row in sent] == made
    assert len({row["address"]["community_code"][:6] for row in sent}) == 15


async def test_results_are_the_same_of_whatever_file_of_people(
    tmp_path: Path, console: Console
) -> None:
    found = []
    for name in NAMES:
        people, out = tmp_path / name, tmp_path / f"results-{name}"
        generating.residents(people, CITY, console)
        count = generating.results(out, people, DAY)
        found.append(await imported(Order("results", out), console))
        assert len(found[-1]) == count
    assert all(rows == found[0] for rows in found)
    rows = found[0]
    assert len(rows) == pytest.approx(CITY.people / 2, rel=0.1)
    known = {person["id"] for person in CITY.residents()}
    assert {row["resident"]["id"] for row in rows} <= known
    assert len({row["result_id"] for row in rows} | {row["sample_id"] for row in rows}) == 2 * len(
        rows
    )
    assert all(
        DAY.since <= datetime.fromisoformat(row["sampled_at"]) <= DAY.until
        and row["sampled_at"] < row["released_at"]
        for row in rows
    )
    assert Counter(row["outcome"] for row in rows).most_common(1)[0][0] == "negative"


async def test_people_without_ids_are_named_by_their_documents(
    tmp_path: Path, console: Console
) -> None:
    people, out = tmp_path / "people.csv", tmp_path / "results.csv"
    people.write_text("id_document.type,id_document.number\nother,A1\nother,A2\n")
    generating.results(out, people, Results(ROUND, DAY.since, DAY.until))
    sent = await imported(Order("results", out), console)
    assert [row["resident"] for row in sent] == [
        {"id_document": {"type": "other", "number": number}} for number in ("A1", "A2")
    ]


def test_the_same_seed_makes_the_same_file(tmp_path: Path, console: Console) -> None:
    files = [tmp_path / "a.csv.gz", tmp_path / "b.csv.gz"]
    for path in files:
        generating.residents(path, CITY, console)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_cannot_be_made_is_told(tmp_path: Path, console: Console) -> None:
    with pytest.raises(GenerateError, match="no community begins with 99"):
        generating.residents(tmp_path / "p.csv", Population(10, "99"), console)
    with pytest.raises(GenerateError, match="not for more"):
        generating.residents(tmp_path / "p.csv", Population(10**9, "4101"), console)
    nobody = tmp_path / "nobody.csv"
    nobody.write_text("name\nN\n")
    with pytest.raises(GenerateError, match="names nobody"):
        generating.results(tmp_path / "r.csv", nobody, DAY)
    with pytest.raises(GenerateError, match="offset"):
        generating.results(
            tmp_path / "r.csv",
            nobody,
            Results(ROUND, datetime(2022, 1, 9), DAY.until),  # noqa: DTZ001 - that is the point
        )
    with pytest.raises(GenerateError, match="the people themselves"):
        generating.results(nobody, nobody, DAY)
