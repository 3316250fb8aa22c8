"""Samples and results: stored once, counted once, every row answered."""

import asyncio
import gzip
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
import zstandard

from tests.registry.words import assert_account, history, hour, lives, ric, told, where
from tests.support.town import (
    CHAOHE,
    DISTRICT,
    DONGFANG,
    JSON,
    LANQIAO,
    LUYUAN,
    OPENS,
    Town,
)


def corrected(row: JSON, corrects: str, **more: Any) -> JSON:
    """A later row about the same swab that corrects something."""
    return row | {"result_id": str(uuid4()), "corrects": corrects} | more


async def test_r1_several_samples_count_once_and_the_earliest_counts(whole_town: Town) -> None:
    (resident,) = await whole_town.people(lives())
    round_id = await whole_town.round()
    await whole_town.tick(round_id, 6)
    late = whole_town.result(round_id, resident, 5, channel="session")
    answer = await whole_town.results(late, whole_town.result(round_id, resident, 4))
    assert told(answer) == ["accepted", "accepted"]
    await assert_account(whole_town, round_id, sampled=1, channel__site=1, channel__session=0)

    # A paper form is entered late: the count moves back in time.
    await whole_town.results(whole_town.result(round_id, resident, 1, channel="sweep"))
    await assert_account(whole_town, round_id, sampled=1, channel__sweep=1, channel__site=0)


async def test_r4_sampled_resulted_and_negative_are_three_counts(whole_town: Town) -> None:
    people = await whole_town.people(*(lives() for _ in range(4)))
    round_id = await whole_town.round()
    await whole_town.tick(round_id, 6)
    await whole_town.results(
        whole_town.result(round_id, people[0]),
        whole_town.resulted(round_id, people[1], "negative"),
        whole_town.resulted(round_id, people[2], "inconclusive"),
    )
    await assert_account(
        whole_town, round_id, sampled=3, unaccounted=1, resulted=2, negative=1, inconclusive=1
    )


async def test_r10_an_unreleased_outcome_is_neither_counted_nor_shown(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    kept = town.result(round_id, resident, outcome="positive", resulted_at=hour(5))
    await town.results(kept)
    await assert_account(town, round_id, sampled=1, resulted=0, positive=0)
    assert not {"outcome", "resulted_at", "result_id"} & (await history(town, resident))[0].keys()

    released = kept | {"result_id": str(uuid4()), "released_at": hour(6)}
    await town.results(released)
    await assert_account(town, round_id, sampled=1, resulted=1, positive=1)
    assert [shown["outcome"] for shown in await history(town, resident)] == ["positive"]


async def test_r10_a_correction_is_appended_and_counts_once_it_is_released(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    first = town.resulted(round_id, resident, "positive")
    await town.results(first)

    draft = corrected(first, first["result_id"], outcome="negative", released_at=None)
    await town.results(draft)
    await assert_account(town, round_id, sampled=1, positive=1, negative=0)

    final = corrected(first, first["result_id"], outcome="negative")
    await town.results(final)
    await assert_account(town, round_id, sampled=1, positive=0, negative=1, resulted=1)
    assert [shown["result_id"] for shown in await history(town, resident)] == [final["result_id"]]
    # Everything is still on file: each of the three is known when it comes again.
    assert told(await town.results(first, draft, final)) == ["duplicate"] * 3


async def test_r10_a_correction_of_a_correction_in_one_batch(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    first = town.resulted(round_id, resident, "invalid")
    second = corrected(first, first["result_id"], outcome="positive")
    third = corrected(first, second["result_id"], outcome="negative")
    assert told(await town.results(first, second, third)) == ["accepted"] * 3
    await assert_account(town, round_id, sampled=1, negative=1, positive=0, invalid=0)


async def test_a_void_takes_the_swab_back_however_often_it_comes(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    row = town.resulted(round_id, resident, "negative")
    await town.results(row)
    report_void, swab_void, again = (
        corrected(row, row[name], outcome=None, void=True)
        for name in ("result_id", "sample_id", "sample_id")
    )
    assert told(await town.results(report_void)) == ["accepted"]
    await assert_account(town, round_id, sampled=1, resulted=0)
    assert told(await town.results(swab_void)) == ["accepted"]
    await assert_account(town, round_id, unaccounted=1)
    assert told(await town.results(swab_void, again)) == ["duplicate", "accepted"]
    await assert_account(town, round_id, unaccounted=1)
    assert [shown["void"] for shown in await history(town, resident)] == [True]


async def test_a_refused_correction_has_done_nothing(town: Town) -> None:
    resident, other = await town.people(lives(), lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    row = town.resulted(round_id, resident, "positive") | {"tube_code": "T-1"}
    await town.results(row)
    answer = await town.results(
        corrected(row, str(uuid4()), outcome="negative"),
        corrected(row, row["result_id"], outcome="negative", resident={"id": str(other)}),
        corrected(row, row["result_id"], outcome=None),
        corrected(row, row["result_id"], outcome="negative", sample_id=str(uuid4())),
        corrected(row, row["result_id"], outcome="negative", tube_code="T-2"),
        # A row corrects a report or a swab, not both.
        corrected(row, row["sample_id"], outcome="negative"),
    )
    assert told(answer) == ["nothing-to-correct"] * 4 + ["id-reused", "bad-input"]
    await assert_account(town, round_id, sampled=1, positive=1, negative=0, unaccounted=1)


async def test_r14_validity_runs_from_the_sampling_time(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    await town.results(town.resulted(round_id, resident, "negative", 2))
    (shown,) = await history(town, resident)
    valid_until = datetime.fromisoformat(shown["valid_until"])
    assert valid_until == OPENS + timedelta(hours=2 + 48)


async def test_r19_a_repeat_is_a_duplicate_in_whatever_offset_it_comes(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    row = town.resulted(round_id, resident, "negative")
    zhengzhou = timezone(timedelta(hours=8))
    elsewhere = row | {
        name: datetime.fromisoformat(row[name]).astimezone(zhengzhou).isoformat()
        for name in ("sampled_at", "resulted_at", "released_at")
    }
    assert told(await town.results(row)) == ["accepted"]
    assert told(await town.results(row, elsewhere)) == ["duplicate", "duplicate"]
    await assert_account(town, round_id, sampled=1, negative=1)


async def test_r19_other_content_under_a_known_id_is_refused_and_changes_nothing(
    town: Town,
) -> None:
    resident, other = await town.people(lives(), lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    row = town.resulted(round_id, resident, "negative")
    await town.results(row)
    new_report = {"result_id": str(uuid4())}
    reused = [
        row | {"outcome": "positive"},
        row | {"resident": {"id": str(other)}},
        row | new_report | {"sampled_at": hour(0.5)},
        row | new_report | {"resident": {"id": str(other)}},
        # A swab's id where a row's is expected, and the other way round.
        row | {"result_id": row["sample_id"], "sample_id": str(uuid4())},
        row | new_report | {"sample_id": row["result_id"]},
    ]
    answer = await town.results(*reused)
    assert told(answer) == ["id-reused"] * len(reused)
    await assert_account(town, round_id, sampled=1, negative=1, unaccounted=1)
    # Not remembered: the id of a refused row is as free as before.
    fresh = town.resulted(round_id, other, "negative") | new_report
    assert told(await town.results(fresh)) == ["accepted"]


@pytest.mark.parametrize("swab_first", [True, False], ids=["swab first", "report first"])
async def test_r19_swab_and_report_in_either_order_lead_to_the_same_state(
    town: Town, *, swab_first: bool
) -> None:
    together, apart = await town.people(lives(), lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    for resident, batches in ((together, 1), (apart, 2)):
        report = town.resulted(round_id, resident, "negative")
        kept = ("sample_id", "resident", "round_id", "sampled_at", "channel")
        swab = {name: report[name] for name in kept}
        rows = [swab, report] if swab_first else [report, swab]
        chunks = [rows] if batches == 1 else [[row] for row in rows]
        answers = [status for chunk in chunks for status in told(await town.results(*chunk))]
        # The report brings its swab along; the swab by itself is old news then.
        assert answers == ["accepted", "accepted" if swab_first else "duplicate"]
        assert told(await town.results(*rows)) == ["duplicate", "duplicate"]
    await assert_account(town, round_id, sampled=2, negative=2)


async def test_r19_two_reports_about_one_swab(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    early = town.resulted(round_id, resident, "inconclusive")
    later = early | {
        "result_id": str(uuid4()), "outcome": "negative", "released_at": hour(3)
    }  # fmt: skip
    assert told(await town.results(later, early)) == ["accepted", "accepted"]
    await assert_account(town, round_id, sampled=1, resulted=1, negative=1)


async def test_r21_every_row_is_answered_in_order_and_a_bad_one_fails_nobody_else(
    town: Town,
) -> None:
    first, second = await town.people(lives(), lives())
    round_id = await town.round()
    await town.tick(round_id, 3)
    canary = "CANARY-7731"
    rows: list[Any] = [
        town.result(round_id, first),
        town.result(round_id, uuid4(), tube_code=canary),
        town.result(str(uuid4()), first, tube_code=canary),
        town.result(round_id, first, 3.5, tube_code=canary),
        town.result(round_id, first, 13, tube_code=canary),
        town.result(round_id, first, -1, tube_code=canary),
        town.result(round_id, first, channel=canary),
        town.result(round_id, first, outcome="negative", result_id=None, tube_code=canary),
        town.result(round_id, first, void=True, tube_code=canary),
        town.result(round_id, first, tube_code=canary * 9),
        town.result(round_id, first, sampled_at=canary),
        town.result(round_id, first, outcome="negative", released_at=hour(0), tube_code=canary),
        town.result(round_id, first, outcome="negative", resulted_at="9999-12-31T23:59:59-12:00"),
        town.result(round_id, first)
        | {"resident": {"id_document": {"type": "cn_ric", "number": canary}}},
        town.result(round_id, first) | {"resident": {}},
        {"tube_code": canary},
        canary,
        town.result(round_id, second),
    ]
    answer = await town.results(*rows)
    assert told(answer) == [
        "accepted", "resident-unknown", "round-unknown", "from-the-future", "outside-window",
        "outside-window", *["bad-input"] * 6, "from-the-future", "bad-document",
        *["bad-input"] * 3, "accepted",
    ]  # fmt: skip
    assert (answer["accepted"], answer["duplicate"], answer["rejected"]) == (2, 0, 16)
    for number, (row, told_row) in enumerate(zip(rows, answer["rows"], strict=True)):
        ref = row.get("result_id") if isinstance(row, dict) else None
        assert told_row["ref"] == str(ref or number)
    assert canary not in json.dumps(answer)
    details = [row["reason"]["detail"] for row in answer["rows"] if "reason" in row]
    assert details[0].startswith("resident: ")
    assert details[2].startswith("sampled_at: ")
    assert details[5].startswith("channel: ")
    await assert_account(town, round_id, sampled=2)


async def test_r21_rejections_are_not_remembered(town: Town) -> None:
    round_id = await town.round()
    stranger = uuid4()
    row = town.resulted(round_id, stranger, "negative")
    assert told(await town.results(row)) == ["resident-unknown"]
    await town.people(lives(id=str(stranger)))
    assert told(await town.results(row)) == ["from-the-future"]
    await town.tick(round_id, 1)
    assert told(await town.results(row)) == ["accepted"]
    await assert_account(town, round_id, sampled=1, negative=1)


async def test_the_same_person_and_the_same_row_twice_in_a_batch(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    row = town.resulted(round_id, resident, "negative")
    answer = await town.results(
        row,
        row,
        row | {"outcome": "positive"},
        town.result(round_id, resident, 2),
        row | {"resident": {"id": str(uuid4())}},
    )
    assert told(answer) == ["accepted", "duplicate", "id-reused", "accepted", "resident-unknown"]
    await assert_account(town, round_id, sampled=1, negative=1, resulted=1)


async def test_a_repeat_of_a_rejected_row_in_its_batch_is_rejected_like_it(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    row = town.resulted(round_id, resident, "negative") | {"tube_code": "T-1"}
    await town.results(row)
    refused = row | {"result_id": str(uuid4()), "tube_code": "T-9"}
    assert told(await town.results(refused, refused)) == ["id-reused", "id-reused"]


async def test_people_are_found_by_document(town: Town) -> None:
    document = {"type": "cn_ric", "number": ric()}
    await town.people(lives(id_document=document))
    round_id = await town.round()
    await town.tick(round_id, 6)
    spaced = {"type": "cn_ric", "number": f" {ric().lower()} "}
    row = town.result(round_id, uuid4()) | {"resident": {"id_document": spaced}}
    assert told(await town.results(row)) == ["accepted"]
    await assert_account(town, round_id, sampled=1)


async def test_one_result_at_a_time(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    row = town.result(round_id, resident)
    site = town.headers("site")
    for body, status, expected in (
        (row, 200, "accepted"), (row, 200, "duplicate"),
        (row | {"channel": "sweep"}, 422, "id-reused"),
    ):  # fmt: skip
        answer = await town.registry.post("/v1/results", json=body, headers=site)
        assert (answer.status_code, told(answer.json())) == (status, [expected])
    answer = await town.registry.post("/v1/results", json={"sample_id": 1}, headers=site)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_single_results_of_the_same_moment_are_written_in_one_transaction(
    town: Town,
) -> None:
    people = await town.people(*(lives() for _ in range(20)))
    round_id = await town.round()
    await town.tick(round_id, 6)
    rows = [town.resulted(round_id, resident, "negative") for resident in people]
    stranger = town.result(round_id, uuid4())
    twice = rows[0]

    answers = await asyncio.gather(
        *(
            town.registry.post("/v1/results", json=row, headers=town.headers("site"))
            for row in (*rows, stranger, twice)
        )
    )
    *good, refused, repeated = answers
    assert [answer.status_code for answer in good] == [200] * 20
    assert [answer.json()["rows"][0]["id"] for answer in good] == [row["result_id"] for row in rows]
    assert refused.status_code == 422
    assert refused.json()["rows"][0]["reason"]["type"] == "/problems/resident-unknown"
    assert told(repeated.json()) == ["duplicate"]
    await assert_account(town, round_id, sampled=20, negative=20)
    async with town.apps["registry"].state.wiring.database.begin() as tx:
        transactions = await tx.value("SELECT count(DISTINCT xmin::text) FROM sample")
    assert transactions < 20


async def test_a_round_takes_entries_from_its_opening_until_it_is_sealed(whole_town: Town) -> None:
    first, second, third = await whole_town.people(lives(), lives(), lives())
    round_id = await whole_town.round(opened=False)
    early = whole_town.result(round_id, first, 0)
    assert told(await whole_town.results(early)) == ["round-not-open"]
    assert await whole_town.totals(round_id) == {}

    await whole_town.step(round_id, "open")
    await whole_town.tick(round_id, 6)
    assert told(await whole_town.results(early)) == ["accepted"]
    await whole_town.step(round_id, "close")
    # Closed at six: sampling time has ended then, entries of before are taken.
    late = whole_town.resulted(round_id, second, "negative", 5)
    after = whole_town.result(round_id, third, 7)
    assert told(await whole_town.results(late, after)) == ["accepted", "outside-window"]
    await assert_account(whole_town, round_id, sampled=2, negative=1, unaccounted=1)

    await whole_town.step(round_id, "seal")
    assert told(await whole_town.results(late, after)) == ["duplicate", "round-not-open"]
    void = corrected(late, late["sample_id"], outcome=None, void=True)
    assert told(await whole_town.results(void)) == ["round-not-open"]
    await assert_account(whole_town, round_id, sampled=2, negative=1, unaccounted=1)


async def test_visitors_stand_beside_the_account(whole_town: Town) -> None:
    resident, visitor, other = await whole_town.people(lives(), lives(DONGFANG), lives(DONGFANG))
    round_id = await whole_town.round(offices=[CHAOHE])
    await whole_town.tick(round_id, 6)
    at_site = whole_town.resulted(round_id, visitor, "positive") | {"site": f"{LANQIAO}-03"}
    nowhere = whole_town.result(round_id, other, site=f"{CHAOHE}-site-3")
    await whole_town.results(at_site, nowhere)
    await assert_account(whole_town, round_id, unaccounted=1, visitors=2, positive=0)
    unknown = f"{DISTRICT}000000"
    assert await where(whole_town, round_id, "visitors") == {LANQIAO: 1, unknown: 1}

    await whole_town.results(corrected(at_site, at_site["sample_id"], outcome=None, void=True))
    assert await where(whole_town, round_id, "visitors") == {unknown: 1}
    await whole_town.results(whole_town.result(round_id, resident))
    await assert_account(whole_town, round_id, sampled=1, visitors=1)


def _gzip(raw: bytes) -> tuple[bytes, JSON]:
    return gzip.compress(raw), {"content-encoding": "gzip"}


def _zstd(raw: bytes) -> tuple[bytes, JSON]:
    return zstandard.ZstdCompressor().compress(raw), {"content-encoding": "zstd"}


def _ndjson(raw: bytes) -> tuple[bytes, JSON]:
    lines = [json.dumps(row).encode() for row in json.loads(raw)]
    return b"\n".join(lines) + b"\n", {"content-type": "application/x-ndjson"}


async def test_bodies_come_packed_and_as_lines(town: Town) -> None:
    people = await town.people(*(lives() for _ in range(3)))
    round_id = await town.round()
    await town.tick(round_id, 6)
    for resident, pack in zip(people, (_gzip, _zstd, _ndjson), strict=True):
        rows = [town.result(round_id, resident), {"sample_id": "none"}]
        body, headers = pack(json.dumps(rows).encode())
        answer = await town.registry.post(
            "/v1/results:batch", content=body, headers=town.headers("site") | headers
        )
        assert told(answer.json()) == ["accepted", "bad-input"]
    await town.settle()
    await assert_account(town, round_id, sampled=3)
    for body, headers in ((b"{", {}), (b"", {"content-encoding": "gzip"}), (b"x", {})):
        answer = await town.registry.post(
            "/v1/results:batch", content=body, headers=town.headers("site") | headers
        )
        assert answer.status_code == 400


async def test_an_empty_batch_is_answered(town: Town) -> None:
    answer = await town.results()
    assert answer == {"accepted": 0, "duplicate": 0, "rejected": 0, "rows": []}


async def test_any_sample_anywhere_is_taken_from_those_who_take_samples(town: Town) -> None:
    (resident,) = await town.people(lives(LUYUAN))
    round_id = await town.round()
    await town.tick(round_id, 6)
    row = town.result(round_id, resident)
    far = town.headers("site", areas=["110101"])
    answer = await town.registry.post("/v1/results:batch", json=[row], headers=far)
    # Whoever sends it learns nothing of the resident.
    assert answer.json()["rows"] == [
        {"ref": row["result_id"], "status": "accepted", "id": row["result_id"]}
    ]
    watching = await town.registry.post(
        "/v1/results:batch", json=[row], headers=town.headers("supervisor")
    )
    nobody = await town.registry.post("/v1/results:batch", json=[row])
    assert (watching.status_code, nobody.status_code) == (403, 401)


async def test_what_is_known_of_a_resident_is_for_their_own_office(town: Town) -> None:
    (resident,) = await town.people(lives(DONGFANG))
    path = f"/v1/residents/{resident}/results"
    own = await town.registry.get(path, headers=town.headers("office", areas=[DONGFANG]))
    other = await town.registry.get(path, headers=town.headers("office", areas=[CHAOHE]))
    team = await town.registry.get(path, headers=town.headers("team"))
    assert (own.status_code, other.status_code, team.status_code) == (200, 404, 403)


async def test_r19_times_are_held_against_the_clock_of_the_wall_with_some_tolerance(
    town: Town,
) -> None:
    (resident,) = await town.people(lives())
    now = datetime.now(UTC)
    drafted = await town.sent(
        town.registry,
        "/v1/rounds",
        {
            "id": str(uuid4()), "campaign": "now", "number": 1, "name": "第1轮",
            "opens_at": (now - timedelta(hours=1)).isoformat(),
            "closes_at": (now + timedelta(hours=1)).isoformat(), "offices": [DISTRICT],
        },
    )  # fmt: skip
    await town.step(drafted["id"], "open")
    rows = [
        town.result(
            drafted["id"], resident, sampled_at=(now + timedelta(minutes=ahead)).isoformat()
        )
        for ahead in (2, 20)
    ]
    assert told(await town.results(*rows)) == ["accepted", "from-the-future"]
