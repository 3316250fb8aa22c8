"""The figures as files for spreadsheets, read back as a spreadsheet reads them."""

import csv
import re
from collections.abc import Mapping
from datetime import date
from io import BytesIO, StringIO
from typing import Any

import msgspec
import openpyxl
import pytest

from services.reporting.api import coverage as routes
from services.reporting.api.sheets import CSV, XLSX, Sheet, xlsx_of
from services.reporting.flow import producers
from shared.contracts.registry import Area, AreasChanged, Denominator, DenominatorsChanged
from tests.reporting.conftest import FIRST, QIANCHENG, THIRD, Desk
from tests.reporting.test_coverage import EXCLUDED, POSITIVE, SAMPLED, VISITED, told

FILES = [("csv", CSV), ("xlsx", XLSX)]


def read(form: str, content: bytes) -> list[list[Any]]:
    """Read a file back; CSV knows text only."""
    if form == "csv":
        return list(csv.reader(StringIO(content.decode("utf-8-sig"), newline="")))
    (sheet,) = openpyxl.load_workbook(BytesIO(content)).worksheets
    return [list(row) for row in sheet.iter_rows(values_only=True)]


def records(form: str, content: bytes) -> list[dict[str, Any]]:
    """Read a file back, its columns by the members of the JSON answer."""
    heading, *rows = read(form, content)
    assert all(re.fullmatch(r"[\w.]+ [\w·]+", name) for name in heading)
    names = [name.split()[0] for name in heading]
    return [dict(zip(names, row, strict=True)) for row in rows]


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a row of the JSON answer out as a file does."""
    families = {"excluded_by_reason": "excluded", "in_hand_by_kind": "in_hand"}
    made = {name: cell for name, cell in row.items() if name not in {*families, "outside"}}
    for family, name in families.items():
        made |= {f"{name}.{each}": n for each, n in (row[family] or {}).items()}
    for each in row["outside"] or []:
        source = each["source"]
        made |= {f"outside.{source}.{name}": each[name] for name in each if name != "source"}
    return made


def as_text(cell: Any) -> str:
    if isinstance(cell, bool):
        return str(cell).lower()
    return "" if cell is None else str(cell)


@pytest.mark.parametrize(("form", "media"), FILES)
@pytest.mark.parametrize("by", ["district", "office", "community", "need", "channel"])
async def test_every_file_says_what_the_json_answer_says(
    desk: Desk, form: str, media: str, by: str
) -> None:
    """All columns, all rows and the total; zero where a reason or hand is somebody else's."""
    round_id = await desk.open_round({FIRST: 10, THIRD: 6})
    needy = msgspec.structs.replace(POSITIVE, needs=("mobility",))
    await told(desk, round_id, FIRST, SAMPLED, needy, EXCLUDED, VISITED)
    desk.world.registry.announce(
        DenominatorsChanged([Denominator(FIRST, "census", 1, date(2021, 12, 31))]), FIRST
    )
    await desk.wiring.consumer.catch_up()
    await producers.look(desk.database, desk.wiring.peers)
    told_as_json = await desk.get("/v1/coverage", by=by)
    answer = told_as_json.json()
    asked = await desk.client.get(
        "/v1/coverage", params={"by": by}, headers={**desk.read_as("district"), "Accept": media}
    )
    linked = await desk.get("/v1/coverage", by=by, format=form)
    assert asked.content == linked.content
    assert linked.headers["Content-Type"].startswith(media)
    assert linked.headers["Content-Disposition"] == f'attachment; filename="coverage-1-{by}.{form}"'
    rows = [*answer["rows"], answer["total"]]
    found = records(form, linked.content)
    assert len(found) == len(rows)
    for record, row in zip(found, rows, strict=True):
        assert record.pop("round") == round_id
        assert record.pop("as_of") == told_as_json.headers["As-Of"]
        own, kept = flat(row), row["in_hand_by_kind"] is not None
        assert record.keys() >= own.keys()
        for name, cell in record.items():
            nobody = 0 if kept and re.match(r"(excluded|in_hand)\.", name) else None
            wanted = own.get(name, nobody)
            if form == "csv":
                assert cell == as_text(wanted), name
            else:
                assert cell == (pytest.approx(wanted) if isinstance(wanted, float) else wanted)


async def test_nothing_new_is_a_304_of_each_form_and_no_form_has_anothers_tag(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 10})
    tags = {}
    for form in ("json", "csv", "xlsx"):
        answer = await desk.get("/v1/coverage", format=form)
        tags[form] = answer.headers["ETag"]
        assert answer.headers["Vary"] == "Authorization, Accept"
        headers = {**desk.read_as("district"), "If-None-Match": tags[form]}
        again = await desk.client.get("/v1/coverage", params={"format": form}, headers=headers)
        assert (again.status_code, again.content) == (304, b"")
    assert len(set(tags.values())) == 3
    await told(desk, round_id, FIRST, SAMPLED)
    for form, tag in tags.items():
        headers = {**desk.read_as("district"), "If-None-Match": tag}
        changed = await desk.client.get("/v1/coverage", params={"format": form}, headers=headers)
        assert changed.status_code == 200
        if form != "json":
            assert records(form, changed.content)[-1]["sampled"] in {1, "1"}


async def test_a_file_is_written_once_a_change(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def write(sheet: Sheet) -> bytes:
        written.append(sheet)
        return xlsx_of(sheet)

    monkeypatch.setitem(routes.WRITERS, "xlsx", (XLSX, write))
    round_id = await desk.open_round({FIRST: 10})
    for changes in (1, 2):
        files = {(await desk.get("/v1/coverage", format="xlsx")).content for _ in range(3)}
        assert (len(files), len(written)) == (1, changes)
        await told(desk, round_id, FIRST, SAMPLED)


@pytest.mark.parametrize(("form", "media"), FILES)
@pytest.mark.parametrize("name", ['=HYPERLINK("x")', "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"])
async def test_a_name_that_reads_like_a_formula_is_none(
    desk: Desk, form: str, media: str, name: str
) -> None:
    """Names of areas are typed by people: opened in a spreadsheet, they are text."""
    del media
    await desk.open_round({FIRST: 1})
    desk.world.registry.announce(
        AreasChanged([Area(FIRST, name, "community", QIANCHENG)]), "410171"
    )
    await desk.wiring.consumer.catch_up()
    content = (await desk.get("/v1/coverage", by="community", format=form)).content
    shown = records(form, content)[0]["name"]
    if form == "csv":
        assert shown == f"'{name}"
        return
    (sheet,) = openpyxl.load_workbook(BytesIO(content)).worksheets
    assert sheet.cell(2, 2).data_type == "s"
    assert shown.replace("_x000D_", "\r") == name


async def test_codes_are_text_and_chinese_is_read_right_by_excel(desk: Desk) -> None:
    await desk.open_round({FIRST: 1})
    assert (await desk.get("/v1/coverage", format="csv")).content.startswith(b"\xef\xbb\xbfcode ")
    content = (await desk.get("/v1/coverage", by="community", format="xlsx")).content
    assert (
        records("xlsx", content)[0] | {"code": FIRST, "name": "韩庄社区"}
        == (records("xlsx", content)[0])
    )


async def test_a_form_that_is_not_there_is_refused_and_format_outranks_accept(desk: Desk) -> None:
    await desk.open_round({FIRST: 1})
    page = {**desk.read_as("district"), "Accept": "text/html"}
    refused = await desk.client.get("/v1/coverage", headers=page)
    assert (refused.status_code, refused.json()["type"]) == (406, "/problems/not-acceptable")
    assert refused.json()["offered"] == ["application/json", CSV, XLSX]
    assert (await desk.client.get("/v1/coverage?format=csv", headers=page)).status_code == 200
    browser = {**page, "Accept": "text/html,application/xml;q=0.9,*/*;q=0.8"}
    assert (await desk.client.get("/v1/coverage", headers=browser)).json()["rows"]
    assert (await desk.get("/v1/coverage", format="pdf")).status_code == 422


def test_a_city_of_three_thousand_communities_fits_a_sheet() -> None:
    sheet = Sheet("city", ["code 代码", "n"], [[f"{n:012}", n] for n in range(3306)])
    assert len(read("xlsx", xlsx_of(sheet))) == 3307
