"""Map files: rules, what they make, and how a wrong one is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid5

import msgspec
import pytest

from deploy.local import mapping
from deploy.local.mapping import FileMap, MapError, RowMap, Sheet

MAPS = Path(mapping.__file__).parent / "maps"


@dataclass(frozen=True)
class Place:
    """Where a row stands."""

    file: str
    line: int
    round_id: str | None = None


HERE = Place("tests.csv", 2, "round-1")


class Unmappable(Exception):
    """The row was left out, and why."""


def one(row_map: RowMap | None, cells: dict[str, Any], place: Place = HERE) -> dict[str, Any]:
    """Map a single row."""
    assert row_map is not None
    columns = {name: [cells.get(name)] for name in row_map.columns()}
    sheet = Sheet(columns, [place.line], place.file, place.round_id)
    made = row_map.apply(sheet)
    if sheet.bad:
        assert (made, list(sheet.bad)) == ([], [0])
        raise Unmappable(sheet.bad[0])
    decoded: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(made))
    return decoded[0]


def load(tmp_path: Path, text: str) -> FileMap:
    path = tmp_path / "map.toml"
    path.write_text(text, encoding="utf-8")
    return mapping.load(path)


def result(tmp_path: Path, rules: str, place: Place = HERE, **cells: str) -> dict[str, Any]:
    made = one(load(tmp_path, f"[results]\n{rules}").results, cells, place)
    if place.round_id is not None:
        assert made.pop("round_id") == place.round_id
    return made


def test_a_column_is_renamed_and_translated(tmp_path: Path) -> None:
    rules = 'outcome = { column = "r", values = { neg = "negative", other = "inconclusive" } }'
    assert result(tmp_path, rules, r="other")["outcome"] == "inconclusive"


def test_a_blank_cell_leaves_the_field_out_unless_the_map_says_what_it_means(
    tmp_path: Path,
) -> None:
    assert "site" not in result(tmp_path, 'site = { column = "s" }', s="")
    assert result(tmp_path, 'site = { column = "s", blank = "x" }', s="")["site"] == "x"


def test_a_cell_that_is_not_listed_rejects_the_row_without_quoting_it(tmp_path: Path) -> None:
    with pytest.raises(Unmappable, match="outcome: ") as caught:
        result(tmp_path, 'outcome = { column = "r", values = { n = "negative" } }', r="canary")
    assert "canary" not in str(caught.value)


def test_other_takes_the_cells_that_are_not_listed(tmp_path: Path) -> None:
    rules = 'outcome = { column = "r", values = { n = "negative" }, other = "invalid" }'
    assert result(tmp_path, rules, r="?")["outcome"] == "invalid"


def test_a_date_is_given_an_hour_and_an_offset(tmp_path: Path) -> None:
    rules = 'sampled_at = { column = "d", zone = "+08:00", time = "09:30" }'
    assert result(tmp_path, rules, d="2022-01-09")["sampled_at"] == "2022-01-09T09:30:00+08:00"


def test_hours_are_spread_over_the_rows_the_same_every_time(tmp_path: Path) -> None:
    rules = 'sampled_at = { column = "d", zone = "Z", time = "08:00-20:00" }'
    times = [
        result(tmp_path, rules, Place("f.csv", line), d="2022-01-09")["sampled_at"]
        for line in (*range(2, 60), 2)
    ]
    assert times[0] == times[-1]
    assert len({time[11:13] for time in times}) == 12


def test_a_time_with_its_own_offset_keeps_it(tmp_path: Path) -> None:
    rules = 'sampled_at = { column = "d", zone = "+08:00" }'
    at = result(tmp_path, rules, d="2022-01-09T10:00:00+02:00")["sampled_at"]
    assert at == "2022-01-09T10:00:00+02:00"


def test_what_is_no_time_rejects_the_row(tmp_path: Path) -> None:
    with pytest.raises(Unmappable, match="sampled_at: not a date"):
        result(tmp_path, 'sampled_at = { column = "d", zone = "Z" }', d="09.01.2022")


def test_times_are_derived_from_others_whatever_their_order_in_the_map(tmp_path: Path) -> None:
    rules = """
    released_at = { after = "resulted_at", by = "1d30m" }
    resulted_at = { after = "sampled_at", by = "6h" }
    sampled_at = { column = "d", zone = "Z" }
    """
    made = result(tmp_path, rules, d="2022-01-09T08:00:00")
    assert made["released_at"] == "2022-01-10T14:30:00+00:00"


def test_a_field_may_depend_on_another_being_there(tmp_path: Path) -> None:
    rules = """
    outcome = { column = "r" }
    site = { constant = "lab", with = "outcome" }
    """
    assert "site" not in result(tmp_path, rules, r="")
    assert result(tmp_path, rules, r="negative")["site"] == "lab"


def test_ids_are_made_of_file_line_and_round(tmp_path: Path) -> None:
    here = result(tmp_path, "")
    assert here == result(tmp_path, "")
    for other in (Place("x.csv", 2, "round-1"), Place("tests.csv", 3, "round-1")):
        assert result(tmp_path, "", other)["result_id"] != here["result_id"]
    next_round = result(tmp_path, "", Place("tests.csv", 2, "round-2"))
    assert next_round["sample_id"] != here["sample_id"]
    assert here["sample_id"] != here["result_id"]


def test_ids_are_the_uuids_of_the_standard() -> None:
    sheet = Sheet({}, range(2, 400), "tests.csv", "round-1")
    for word, scope in (("resident", ""), ("result", "round-1:")):
        assert sheet.ids(word) == [
            str(uuid5(mapping.ROWS, f"{scope}tests.csv:{line}:{word}")) for line in sheet.lines
        ]


def test_one_bad_row_leaves_its_neighbours_as_they_are(tmp_path: Path) -> None:
    rules = """
    sampled_at = { column = "d", zone = "Z" }
    site = { column = "s", values = { a = "A" }, with = "outcome" }
    outcome = { column = "o" }
    """
    row_map = load(tmp_path, f"[results]\n{rules}").results
    assert row_map is not None
    days = ["2022-01-09", "soon", "2022-01-10", "2022-01-11"]
    sheet = Sheet({"d": days, "s": ["a", "a", "?", "?"], "o": ["x", "x", "", "x"]}, range(4), "f")
    made = msgspec.json.decode(msgspec.json.encode(row_map.apply(sheet)))
    assert [row["sampled_at"][:10] for row in made] == ["2022-01-09", "2022-01-10"]
    assert ["site" in row for row in made] == [True, False]
    assert sheet.bad.keys() == {1, 3}
    assert sheet.bad[3] == "site: the cell of s is none the map lists"


def test_needs_are_codes_or_json() -> None:
    own = mapping.plain("residents", ["needs"])
    whole = '[{"code": "quarantine", "from": "2022-01-09T00:00:00+08:00"}]'
    assert one(own, {"needs": whole})["needs"] == msgspec.json.decode(whole)
    assert one(own, {"needs": [{"code": "dialysis", "until": None}]})["needs"] == [
        {"code": "dialysis"}
    ]
    with pytest.raises(Unmappable, match="needs: not a list of needs"):
        one(own, {"needs": "[oops"})


def test_the_result_of_a_row_belongs_to_the_resident_of_the_row(tmp_path: Path) -> None:
    maps = load(tmp_path, '[residents]\nname = { constant = "Row {line}" }\n[results]\n')
    resident = one(maps.residents, {}, Place("tests.csv", 9))
    later_round = one(maps.results, {}, Place("tests.csv", 9, "round-5"))
    assert later_round["resident"] == {"id": resident["id"]}
    assert resident["name"] == "Row 9"


def test_residents_are_spread_over_the_communities_of_a_prefix(tmp_path: Path) -> None:
    maps = load(tmp_path, '[residents]\naddress.community_code = { spread = "410171561" }')
    codes = [
        one(maps.residents, {}, Place("f.csv", line))["address"]["community_code"]
        for line in range(600)
    ]
    assert len(set(codes)) == 12
    assert all(code.startswith("410171561") for code in codes)
    assert max(codes.count(code) for code in set(codes)) < 2 * 600 / 12


def test_a_document_names_the_resident_and_no_id_is_made(tmp_path: Path) -> None:
    maps = load(tmp_path, '[residents]\nid_document.number = { column = "n" }')
    assert one(maps.residents, {"n": "1"}) == {"id_document": {"number": "1"}}


def test_a_csv_with_the_apis_own_columns_needs_no_map() -> None:
    own = mapping.plain("residents", ["name", "needs", "address.lat", "address.community_code"])
    cells = {
        "name": "N",
        "needs": "mobility;dialysis",
        "address.lat": "34.5",
        "address.community_code": "",
    }
    made = one(own, cells)
    assert made["needs"] == [{"code": "mobility"}, {"code": "dialysis"}]
    assert made["address"] == {"lat": 34.5}


def test_a_cell_that_is_no_number_rejects_the_row() -> None:
    with pytest.raises(Unmappable, match=r"address\.lat: not a number"):
        one(mapping.plain("residents", ["address.lat"]), {"address.lat": "north"})


@pytest.mark.parametrize(("cell", "flag"), [("true", True), ("0", False)])
def test_a_flag_is_read_from_a_cell(cell: str, flag: bool) -> None:
    assert one(mapping.plain("results", ["void"]), {"void": cell})["void"] is flag


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[people]\n", "unknown people"),
        ("not toml", "map.toml"),
        ("results = 3", "results has to be a table"),
        ('[results]\ncolour = { constant = "x" }', r"results\.colour: no such field"),
        ('[results]\nsite = "x"', r"results\.site: expected a rule"),
        ('[results]\nsite = { column = "a", constant = "b" }', "expected one of"),
        ("[results]\nsite = {}", "found none"),
        ('[results]\nsite = { column = "a", by = "1h" }', "column takes no by"),
        ('[results]\nsite = { column = "a", other = "b" }', "give values"),
        ('[results]\nsite = { column = "a", values = "b" }', "values is a table"),
        ("[results]\nsite = { column = 3 }", "column has to be a text"),
        ('[results]\nreleased_at = { after = "sampled_at", by = "1h" }', "has no rule"),
        ('[results]\nreleased_at = { after = "released_at", by = "1h" }', "build on each other"),
        ('[results]\nreleased_at = { after = "sampled_at" }', "needs by"),
        ('[results]\nreleased_at = { after = "sampled_at", by = "soon" }', "duration"),
        ('[results]\nsampled_at = { column = "d", zone = "Asia/Shanghai" }', "offset"),
        ('[results]\nsampled_at = { column = "d", time = "09:00" }', "needs zone"),
        ('[results]\nsampled_at = { column = "d", zone = "Z", time = "9" }', "time is"),
        ('[results]\nsampled_at = { column = "d", zone = "Z", time = "20:00-08:00" }', "earlier"),
        ('[residents]\naddress.community_code = { spread = "99" }', "no community"),
    ],
)
def test_a_wrong_map_says_where_and_what(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(MapError, match=complaint):
        load(tmp_path, text)


def test_a_map_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="No such file"):
        mapping.load(tmp_path / "absent.toml")


def test_a_column_that_the_file_lacks_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    maps = load(tmp_path, '[results]\nsite = { column = "sight" }')
    assert maps.results is not None
    with pytest.raises(MapError, match=r"results\.site: the file has no column 'sight'"):
        mapping.check_columns(tmp_path / "map.toml", maps.results, ["site", "date"])


@pytest.mark.parametrize("path", sorted(MAPS.glob("*.toml")), ids=lambda path: path.name)
def test_every_map_we_ship_loads(path: Path) -> None:
    maps = mapping.load(path)
    assert maps.residents is not None
    assert maps.results is not None
