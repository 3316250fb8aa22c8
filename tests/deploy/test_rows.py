"""Files of rows: CSV and NDJSON, compressed or not, broken or not."""

import gzip
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from deploy.local.rows import Chunk, Cut, FileError, RowFile, RowRange, bare_name

CSV = "date,result\n2020-03-01,negative\n2020-03-02,positive\n2020-03-03,other\n"


def write(path: Path, content: str) -> Path:
    data = content.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdCompressor().compress(data)
    path.write_bytes(data)
    return path


def rows(chunks: Iterable[Chunk]) -> list[tuple[int, dict[str, Any]]]:
    """What could be read, row by row, each with its line."""
    return [
        (line, {name: cells[n] for name, cells in chunk.cells.items()})
        for chunk in chunks
        for n, line in enumerate(chunk.lines)
    ]


@pytest.mark.parametrize("name", ["tests.csv", "tests.csv.gz", "tests.csv.zst"])
def test_rows_are_the_same_however_they_are_compressed(tmp_path: Path, name: str) -> None:
    file = RowFile(write(tmp_path / name, CSV))
    assert file.columns() == ["date", "result"]
    lines, read = zip(*rows(file.read(Cut(size=2))), strict=True)
    assert lines == (2, 3, 4)
    assert read[0] == {"date": "2020-03-01", "result": "negative"}
    assert bare_name(file.path) == "tests.csv"


@pytest.mark.parametrize("name", ["tests.ndjson", "tests.jsonl.gz"])
def test_ndjson_rows_name_their_own_columns(tmp_path: Path, name: str) -> None:
    file = RowFile(write(tmp_path / name, '{"a": 1}\n\n{"b": {"c": 2}}\n'))
    assert file.columns() is None
    (chunk,) = file.read(Cut())
    assert list(zip(chunk.lines, chunk.objects or (), strict=True)) == [
        (1, {"a": 1}),
        (3, {"b": {"c": 2}}),
    ]
    assert list(chunk.cells["a"]) == [1, None]


def test_a_row_with_other_cells_than_the_header_is_handed_on_as_trouble(tmp_path: Path) -> None:
    file = RowFile(write(tmp_path / "t.csv", "a,b\n1,2\n1,2,3\n"))
    (chunk,) = file.read(Cut())
    assert list(chunk.lines) == [2]
    assert list(chunk.troubles) == [(3, "3 cells, the header has 2")]
    assert len(chunk) == 2


def test_a_line_that_is_no_json_is_trouble_and_is_not_quoted(tmp_path: Path) -> None:
    file = RowFile(write(tmp_path / "t.ndjson", '{"a": 1}\n{"name": "canary"\n{"a": 2}\n'))
    (chunk,) = file.read(Cut())
    assert list(chunk.lines) == [1, 3]
    assert list(chunk.troubles) == [(2, "not a JSON object")]


def test_a_cell_may_span_lines_and_the_row_keeps_its_first(tmp_path: Path) -> None:
    file = RowFile(write(tmp_path / "t.csv", 'a,b\n"x\ny",1\nz,2\n'))
    assert [line for line, _ in rows(file.read(Cut()))] == [2, 4]


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    assert RowFile(write(tmp_path / "t.csv", "\ufeffa,b\n")).columns() == ["a", "b"]
    (chunk,) = RowFile(write(tmp_path / "t.ndjson", '\ufeff{"a": 1}\n')).read(Cut())
    assert list(chunk.cells["a"]) == [1]


@pytest.mark.parametrize(
    ("name", "content"), [("t.csv", ""), ("t.csv", "a,a\n"), ("t.csv", "a,,b\n"), ("t.xlsx", "a")]
)
def test_a_file_without_a_usable_header_or_kind_is_refused(
    tmp_path: Path, name: str, content: str
) -> None:
    with pytest.raises(FileError):
        RowFile(write(tmp_path / name, content)).columns()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        RowFile(tmp_path / "absent.csv").columns()


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zst", "t.ndjson.zst"])
@pytest.mark.parametrize("cut", [1, 12])
def test_a_truncated_archive_is_refused_not_cut_short(tmp_path: Path, name: str, cut: int) -> None:
    path = write(tmp_path / name, CSV * 50)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(FileError, match="cut short"):
        list(RowFile(path).read(Cut()))


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zst"])
def test_an_archive_of_several_members_is_read_to_its_end(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, CSV)
    path.write_bytes(path.read_bytes() + write(tmp_path / f"x.{name}", CSV).read_bytes())
    assert len(rows(RowFile(path).read(Cut()))) == 7


@pytest.mark.parametrize(
    ("text", "lines"), [("1:2", [2, 3]), ("2:", [3, 4]), (":1", [2]), ("3:9", [4]), ("9:", [])]
)
def test_rows_are_counted_from_one_with_both_ends(
    tmp_path: Path, text: str, lines: list[int]
) -> None:
    file = RowFile(write(tmp_path / "t.csv", CSV))
    for size in (1, 2, 100):
        cut = Cut(RowRange.parse(text), size)
        assert [line for line, _ in rows(file.read(cut))] == lines


@pytest.mark.parametrize("text", ["", ":", "0:4", "5:4", "a:b", "3"])
def test_a_senseless_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rows are"):
        RowRange.parse(text)


def test_reading_says_how_far_into_the_file_it_is(tmp_path: Path) -> None:
    file = RowFile(write(tmp_path / "t.csv", CSV))
    assert [chunk.at for chunk in file.read(Cut())] == [file.extent()]


def test_chunks_that_nobody_wants_are_passed_over(tmp_path: Path) -> None:
    file = RowFile(write(tmp_path / "t.csv", CSV))
    chunks = list(file.read(Cut(size=1, wanted=lambda number: number != 1)))
    assert [(chunk.number, list(chunk.lines)) for chunk in chunks] == [(0, [2]), (2, [4])]
    assert list(file.read(Cut(size=1, wanted=lambda _: False))) == []


# --- Parquet ---

PEOPLE: list[dict[str, Any]] = [
    {"id": "a", "born": date(1948, 7, 1), "seen": datetime(2022, 1, 9, 8, tzinfo=UTC),
     "address": {"door": "101", "lat": 34.5}, "needs": [{"code": "mobility"}]},
    {"id": "b", "born": None, "seen": None, "address": None, "needs": None},
    {"id": "c", "born": date(2001, 1, 1), "seen": datetime(2022, 1, 9, 9, tzinfo=UTC),
     "address": {"door": None, "lat": None}, "needs": []},
]  # fmt: skip


def parquet_file(path: Path, rows: list[dict[str, Any]], group: int = 2) -> RowFile:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return RowFile(path)


def test_parquet_gives_text_for_times_and_columns_for_members(tmp_path: Path) -> None:
    file = parquet_file(tmp_path / "t.parquet", PEOPLE)
    assert file.columns() == ["id", "born", "seen", "address.door", "address.lat", "needs"]
    read = rows(file.read(Cut()))
    assert read[0] == (
        1,
        {
            "id": "a",
            "born": "1948-07-01",
            "seen": "2022-01-09T08:00:00+00:00",
            "address.door": "101",
            "address.lat": 34.5,
            "needs": [{"code": "mobility"}],
        },
    )
    assert [row["address.door"] for _, row in read] == ["101", None, None]


def test_parquet_is_cut_across_its_row_groups_and_only_what_is_needed_is_read(
    tmp_path: Path,
) -> None:
    file = parquet_file(tmp_path / "t.parquet", [{"n": n, "x": "x"} for n in range(20)], group=3)
    cut = Cut(RowRange(2, 18), 7, wanted=lambda number: number != 1)
    chunks = list(file.read(cut, ["n"]))
    assert [(c.number, c.lines[0], len(c), c.at) for c in chunks] == [(0, 2, 7, 8), (2, 16, 3, 18)]
    assert [dict(chunk.cells) for chunk in chunks] == [
        {"n": [1, 2, 3, 4, 5, 6, 7]},
        {"n": [15, 16, 17]},
    ]
    assert [len(chunk) for chunk in file.read(Cut(), [])] == [20]


def test_a_file_that_is_no_parquet_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"not readable as Parquet: .*magic bytes"):
        RowFile(write(tmp_path / "t.parquet", CSV)).columns()


def test_parquet_that_is_damaged_inside_is_an_error_not_fewer_rows(tmp_path: Path) -> None:
    file = parquet_file(tmp_path / "t.parquet", [{"n": f"{n * n}"} for n in range(5000)], 1000)
    content = bytearray(file.path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 400] = bytes(400)
    file.path.write_bytes(content)
    with pytest.raises(FileError, match="not readable as Parquet"):
        list(file.read(Cut()))


def test_bytes_are_no_field_and_packed_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="column photo holds bytes"):
        list(parquet_file(tmp_path / "t.parquet", [{"photo": b"x"}]).read(Cut()))
    with pytest.raises(FileError, match="expected"):
        RowFile(tmp_path / "t.parquet.gz").columns()
