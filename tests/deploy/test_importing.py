"""`lastmetre import`: every row of a file is answered for, whatever happens on the way."""

import csv
import gzip
import io
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from rich.console import Console

from deploy.local import importing
from deploy.local.calls import Api
from deploy.local.errors import JournalError
from deploy.local.importing import Order, Stop, Tally, import_file, report
from deploy.local.journal import Journal
from deploy.local.mapping import MapError
from deploy.local.rows import FileError, RowRange

HEADER = "test_date,cough,fever,corona_result,age_60_and_above,gender,test_indication"
MAP = Path(importing.__file__).parent / "maps" / "israel_moh.toml"


Refusal = Callable[[dict[str, Any]], str | None]
"""Problem a row is rejected with, if any."""


class Killed(BaseException):
    """What a signal does that nobody can catch."""


class Registry:
    """Registry's two batch routes as a client sees them: remembers ids, has them answered."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, Any]] = {}
        self.areas: set[str] = set()
        self.calls: list[tuple[str, int]] = []
        self.life = "first"
        self.knows_heads = True
        self.kill_at: int | None = None
        """The call whose answer does not arrive any more, from 1."""
        self.refuse: Refusal = lambda _: None
        self.troubles: list[httpx.Response | httpx.TransportError] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/outbox/heads":
            if not self.knows_heads:
                return httpx.Response(403, json={"type": "/problems/forbidden"})
            return httpx.Response(200, json={"heads": [{"incarnation": self.life}]})
        if self.troubles:
            trouble = self.troubles.pop(0)
            if isinstance(trouble, httpx.TransportError):
                raise trouble
            return trouble
        rows = msgspec.json.decode(request.content)
        if request.url.path == "/v1/areas:batch":
            self.areas = {area["code"] for area in rows}
            return httpx.Response(200, json={})
        self.calls.append((request.url.path, len(rows)))
        answers = [self._answer(row) for row in rows]
        totals = Counter({"accepted": 0, "duplicate": 0, "rejected": 0})
        totals.update(answer["status"] for answer in answers)
        if len(self.calls) == self.kill_at:
            raise Killed
        return httpx.Response(200, json={**totals, "rows": answers})

    def made(self) -> list[dict[str, Any]]:
        return [row for row in self.seen.values() if "name" in row]

    def _answer(self, row: dict[str, Any]) -> dict[str, Any]:
        if problem := self.refuse(row):
            reason = {"type": f"/problems/{problem}", "detail": "outcome: not allowed"}
            return {"status": "rejected", "reason": reason}
        row_id = row.get("result_id") or row["id"]
        status = "duplicate" if row_id in self.seen else "accepted"
        self.seen[row_id] = row
        return {"status": status, "id": row_id}


class Slept(list[float]):
    """A sleep that only notes how long."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def slept() -> Slept:
    return Slept()


@pytest.fixture
def api(registry: Registry, slept: Slept) -> Api:
    transport = httpx.MockTransport(registry)
    return Api("http://registry", lambda: "token", transport=transport, sleep=slept, patience=60)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


@pytest.fixture
def ministry(tmp_path: Path) -> Path:
    """A made file in the shape of the health ministry's: 12 rows, 3 contacts, 1 without result."""
    rows = [
        f"2020-03-{day:02d},0,1,{result},{band},{sex},{why}"
        for day, (result, band, sex, why) in enumerate(
            [("negative", "No", "male", "Other")] * 6
            + [("positive", "Yes", "female", "Contact with confirmed")] * 3
            + [("other", "", "", "Abroad")] * 2
            + [("", "No", "female", "Other")],
            start=1,
        )
    ]
    path = tmp_path / "tests.csv"
    path.write_text("\n".join([HEADER, *rows, ""]))
    return path


def says(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_a_ministrys_rows_become_residents_and_their_results(
    ministry: Path, registry: Registry, api: Api, console: Console
) -> None:
    order = Order("results", ministry, MAP, round_id="r1")
    residents, results = await import_file(order, api, console)
    assert (residents.accepted, results.accepted) == (12, 12)
    assert [path for path, _ in registry.calls] == ["/v1/residents:batch", "/v1/results:batch"]
    sent = [row for row in registry.seen.values() if "result_id" in row]
    outcomes = Counter(row.get("outcome") for row in sent)
    assert outcomes == {"negative": 6, "positive": 3, "inconclusive": 2, None: 1}
    assert all(("released_at" in row) == ("outcome" in row) for row in sent)
    assert {row["round_id"] for row in sent} == {"r1"}
    made = registry.made()
    assert {row["address"]["community_code"] for row in made} <= registry.areas
    assert sum(row["needs"] == [{"code": "quarantine"}] for row in made) == 3
    assert {row["resident"]["id"] for row in sent} == {row["id"] for row in made}
    assert report([residents, results], order, console) == 0
    assert "results: 12 accepted + 0 duplicate + 0 rejected = 12 rows" in says(console)


async def test_importing_again_changes_nothing(
    ministry: Path, registry: Registry, api: Api, console: Console
) -> None:
    order = Order("results", ministry, MAP, round_id="r1")
    await import_file(order, api, console)
    before = dict(registry.seen)
    tallies = await import_file(order, api, console)
    assert [(tally.accepted, tally.duplicate) for tally in tallies] == [(0, 12), (0, 12)]
    assert registry.seen == before
    assert report(tallies, order, console) == 0


async def test_two_halves_make_the_whole(
    ministry: Path, registry: Registry, api: Api, console: Console
) -> None:
    for text in ("1:6", "7:12"):
        rows = RowRange.parse(text)
        order = Order("results", ministry, MAP, "r1", rows=rows, only="results")
        (tally,) = await import_file(order, api, console)
        assert (tally.rows, tally.accepted) == (6, 6)
    halves = dict(registry.seen)
    registry.seen.clear()
    await import_file(Order("results", ministry, MAP, "r1", only="results"), api, console)
    assert registry.seen == halves


async def test_only_residents_needs_no_round(
    ministry: Path, registry: Registry, api: Api, console: Console
) -> None:
    (tally,) = await import_file(Order("results", ministry, MAP, only="residents"), api, console)
    assert tally.kind == "residents"
    assert registry.calls == [("/v1/residents:batch", 12)]


async def test_results_without_a_round_are_refused_before_anything_is_sent(
    ministry: Path, registry: Registry, api: Api, console: Console
) -> None:
    with pytest.raises(MapError, match="--round"):
        await import_file(Order("results", ministry, MAP), api, console)
    assert registry.calls == []


async def test_rejected_rows_are_counted_listed_by_line_and_end_in_1(
    tmp_path: Path, ministry: Path, registry: Registry, api: Api, console: Console
) -> None:
    registry.refuse = lambda row: "sampled-too-late" if row.get("outcome") == "positive" else None
    with ministry.open("a") as file:
        file.write("2020-03-20,0,0,canary,No,male,Other\n")
        file.write("2020-03-20,0\n")
    rejects = tmp_path / "rejects.csv"
    order = Order("results", ministry, MAP, "r1", only="results", rejects=rejects)
    tallies = await import_file(order, api, console)
    (tally,) = tallies
    assert (tally.rows, tally.accepted, tally.rejected, tally.lost) == (14, 9, 5, 0)
    assert report(tallies, order, console) == 1
    with rejects.open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert sorted(int(row["line"]) for row in listed) == [8, 9, 10, 14, 15]
    assert {row["reason"] for row in listed} == {
        "/problems/sampled-too-late",
        "unmappable",
        "unreadable",
    }
    assert "canary" not in rejects.read_text() + says(console)
    assert "3 times /problems/sampled-too-late" in says(console)


async def test_a_busy_registry_is_asked_again_when_it_says(
    ministry: Path, registry: Registry, api: Api, console: Console, slept: Slept
) -> None:
    registry.troubles = [
        httpx.Response(503, headers={"Retry-After": "7"}),
        httpx.ConnectError("refused"),
        httpx.Response(429),
        httpx.ReadTimeout("slow"),
    ]
    order = Order("results", ministry, MAP, "r1", only="results")
    (tally,) = await import_file(order, api, console)
    assert tally.accepted == 12
    assert slept[0] == 7
    assert all(0 < seconds < 2 for seconds in slept[1:])
    assert len(slept) == 4


async def test_a_registry_that_stays_away_leaves_rows_unanswered_and_says_what_to_do(
    ministry: Path, registry: Registry, api: Api, console: Console
) -> None:
    order = Order("results", ministry, MAP, "r1")
    areas_arrive = httpx.Response(200, json={})
    registry.troubles = [areas_arrive, httpx.Response(503, headers={"Retry-After": "3600"})]
    tallies = await import_file(order, api, console)
    (tally,) = tallies  # the results were not even tried
    assert (tally.rows, tally.lost) == (12, 12)
    assert report(tallies, order, console) == 1
    assert "12 not answered = 12 rows" in says(console)
    assert "Run the same command again" in says(console)


async def test_a_refused_batch_stops_the_import(
    ministry: Path, registry: Registry, api: Api, console: Console, slept: Slept
) -> None:
    problem = {"type": "/problems/forbidden", "title": "Forbidden", "detail": "areas"}
    registry.troubles = [httpx.Response(403, json=problem)]
    order = Order("results", ministry, MAP, "r1", only="results")
    tallies = await import_file(order, api, console)
    assert tallies[0].stopped_by == "403 /problems/forbidden: areas"
    assert slept == []
    assert report(tallies, order, console) == 1


async def test_a_long_file_goes_in_batches(
    tmp_path: Path, registry: Registry, api: Api, console: Console
) -> None:
    path = tmp_path / "people.csv"
    path.write_text("id,name\n" + "".join(f"{n},N\n" for n in range(importing.BATCH * 2 + 5)))
    (tally,) = await import_file(Order("residents", path), api, console)
    assert tally.accepted == tally.rows == importing.BATCH * 2 + 5
    assert sorted(size for _, size in registry.calls) == [5, importing.BATCH, importing.BATCH]


async def test_ndjson_goes_as_it_is_with_the_round_filled_in(
    tmp_path: Path, registry: Registry, api: Api, console: Console
) -> None:
    path = tmp_path / "results.ndjson"
    path.write_text('{"result_id": "a"}\n{"result_id": "b", "round_id": "own"}\n')
    await import_file(Order("results", path, round_id="r1"), api, console)
    assert [row["round_id"] for row in registry.seen.values()] == ["r1", "own"]


async def test_a_broken_archive_ends_in_a_file_error(
    tmp_path: Path, api: Api, console: Console
) -> None:
    path = tmp_path / "people.csv.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00garbage")
    with pytest.raises(FileError):
        await import_file(Order("residents", path), api, console)


async def test_a_file_that_breaks_off_is_told_with_what_went_before(
    tmp_path: Path, api: Api, console: Console
) -> None:
    path = tmp_path / "people.csv.gz"
    lines = "".join(f"{n},N{n * n}\n" for n in range(importing.BATCH * 3))
    path.write_bytes(gzip.compress(f"id,name\n{lines}".encode())[:-2000])
    order = Order("residents", path)
    tallies = await import_file(order, api, console)
    assert tallies[0].accepted >= importing.BATCH
    assert tallies[0].stopped_by is not None
    assert report(tallies, order, console) == 1


async def test_a_map_that_makes_no_residents_cannot_import_them(
    tmp_path: Path, ministry: Path, api: Api, console: Console
) -> None:
    path = tmp_path / "map.toml"
    path.write_text('[results]\nsite = { constant = "x" }\n')
    with pytest.raises(MapError, match="nothing that makes residents"):
        await import_file(Order("residents", ministry, path), api, console)


# --- what broke off ---

PEOPLE = 95


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """95 people, one of whom cannot be read and five of whom registry will not have."""
    monkeypatch.setattr(importing, "BATCH", 10)
    path = tmp_path / "people.csv"
    rows = [f"p{n},{'bad' if n % 20 == 3 else 'N'}\n" for n in range(PEOPLE)]
    rows[17] = "p17\n"
    path.write_text("id,name\n" + "".join(rows))
    return Order(
        "residents", path, rejects=tmp_path / "rejects.csv", at_once=1,
        journals=tmp_path / "journals",
    )  # fmt: skip


async def broken_off(order: Order, registry: Registry, api: Api, console: Console) -> None:
    """Import until the process is killed, while the fourth batch is under way."""
    registry.refuse = lambda row: "name" if row["name"] == "bad" else None
    registry.kill_at = 4
    with pytest.raises(BaseExceptionGroup) as caught:
        await import_file(order, api, console)
    assert caught.group_contains(Killed)
    registry.kill_at = None
    registry.calls.clear()


def listed(order: Order) -> list[int]:
    assert order.rejects is not None
    with order.rejects.open(newline="") as file:
        return [int(row["line"]) for row in csv.DictReader(file)]


BAD = [5, 19, 25, 45, 65, 85]
"""Lines of those that are rejected."""


async def test_an_import_that_was_killed_goes_on_and_counts_every_row_once(
    order: Order, registry: Registry, api: Api, console: Console
) -> None:
    await broken_off(order, registry, api, console)
    tallies = await import_file(order, api, console)
    (tally,) = tallies
    assert [size for _, size in registry.calls] == [10, 10, 10, 10, 10, 10, 5]
    assert tally.accepted + tally.duplicate + tally.rejected == tally.rows == PEOPLE
    assert (tally.duplicate, tally.again, tally.rejected) == (10, 10, 6)
    assert tally.before == 30
    assert len(registry.seen) == PEOPLE - len(BAD)
    report(tallies, order, console)
    assert "30 rows are answered" in says(console)
    assert "30 were answered before, and not sent again" in says(console)
    assert "10 of the duplicates were sent twice" in says(console)


async def test_a_finished_import_leaves_nothing_and_can_be_done_again(
    order: Order, registry: Registry, api: Api, console: Console
) -> None:
    await broken_off(order, registry, api, console)
    await import_file(order, api, console)
    assert order.journals is not None
    assert list(order.journals.iterdir()) == []
    (again,) = await import_file(order, api, console)
    assert (again.duplicate, again.rejected, again.before) == (PEOPLE - len(BAD), len(BAD), 0)


async def test_rejects_are_continued_also_behind_lines_that_are_torn(
    order: Order, registry: Registry, api: Api, console: Console
) -> None:
    await broken_off(order, registry, api, console)
    assert order.rejects is not None
    assert order.journals is not None
    assert listed(order) == BAD[:3]
    before = order.rejects.read_bytes()
    (journal,) = order.journals.iterdir()
    for torn in (order.rejects, journal):
        with torn.open("ab") as file:
            file.write(b'{"type":"answered","kind":"resi')
    await import_file(order, api, console)
    assert order.rejects.read_bytes().startswith(before)
    assert listed(order) == BAD


async def test_rejects_asked_for_later_are_listed_from_the_beginning(
    tmp_path: Path, order: Order, registry: Registry, api: Api, console: Console
) -> None:
    await broken_off(order, registry, api, console)
    elsewhere = replace(order, rejects=tmp_path / "other.csv")
    await import_file(elsewhere, api, console)
    assert listed(elsewhere) == BAD


async def test_an_import_whose_registry_stayed_away_is_gone_on_with(
    order: Order, registry: Registry, api: Api, console: Console
) -> None:
    registry.troubles = [httpx.Response(503, headers={"Retry-After": "3600"})]
    (tally,) = await import_file(order, api, console)
    assert tally.stopped_by is not None
    assert tally.lost == tally.rows
    (tally,) = await import_file(order, api, console)
    assert (tally.accepted, tally.rejected, tally.duplicate) == (PEOPLE - 1, 1, 0)


@pytest.mark.parametrize("other", ["content", "life", "rows", "afresh"])
async def test_another_import_is_not_taken_for_the_one_that_broke_off(
    order: Order, registry: Registry, api: Api, console: Console, other: str
) -> None:
    await broken_off(order, registry, api, console)
    if other == "content":
        # As long as before, and as old: only who reads it knows.
        info = order.file.stat()
        order.file.write_text(order.file.read_text().replace("p0,N", "p0,M"))
        os.utime(order.file, ns=(info.st_atime_ns, info.st_mtime_ns))
    elif other == "life":
        registry.life = "second"
    elif other == "rows":
        order = replace(order, rows=RowRange(1, PEOPLE))
    else:
        order = replace(order, afresh=True)
    (tally,) = await import_file(order, api, console)
    assert tally.before == 0
    assert sum(size for _, size in registry.calls) == PEOPLE - 1
    assert tally.accepted + tally.duplicate + tally.rejected == PEOPLE
    assert listed(order) == BAD


async def test_one_import_at_a_time_of_one_file(
    order: Order, registry: Registry, api: Api, console: Console
) -> None:
    await broken_off(order, registry, api, console)
    assert order.journals is not None
    (path,) = order.journals.iterdir()
    with Journal(path), pytest.raises(JournalError, match="under way in another process"):
        await import_file(order, api, console)


async def test_who_may_not_ask_for_heads_imports_without_a_journal(
    order: Order, registry: Registry, api: Api, console: Console
) -> None:
    registry.knows_heads = False
    (tally,) = await import_file(order, api, console)
    assert tally.accepted == PEOPLE - 1
    assert "begins from the start" in says(console)
    assert order.journals is not None
    assert not order.journals.exists()


async def test_asked_to_stop_it_waits_for_answers_and_says_how_to_go_on(
    order: Order, registry: Registry, api: Api, console: Console
) -> None:
    stop = Stop()

    def refuse(_: dict[str, Any]) -> None:
        stop.reason = "by SIGINT"

    registry.refuse = refuse
    tallies = await import_file(order, api, console, stop)
    assert (tallies[0].accepted, tallies[0].lost) == (10, 0)
    assert report(tallies, order, console) == 1
    assert "it goes on, and counts nothing twice" in says(console)
    (tally,) = await import_file(order, api, console, Stop())
    assert (tally.before, tally.accepted, tally.duplicate) == (10, PEOPLE - 1, 0)


async def test_an_answer_that_is_lost_on_the_way_is_told_apart_from_a_refusal(
    order: Order, registry: Registry, api: Api, console: Console
) -> None:
    refused = httpx.Response(503, json={"type": "/problems/overloaded"})
    registry.troubles = [refused, httpx.ConnectError("down")]
    registry.seen = {f"p{n}": {} for n in range(20)}
    (tally,) = await import_file(order, api, console)
    assert (tally.duplicate, tally.again) == (19, 0)
    registry.troubles = [httpx.ReadError("reset")]
    (tally,) = await import_file(order, api, console)
    assert (tally.duplicate, tally.again) == (PEOPLE - 1, 10)


def test_a_tally_adds_up() -> None:
    tally = Tally("results", rows=10, accepted=4, duplicate=3, rejected=2)
    assert str(tally).startswith("results: 4 accepted + 3 duplicate + 2 rejected + 1 not answered")
    assert not tally.clean
