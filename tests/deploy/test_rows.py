"""Files of rows: CSV and NDJSON, compressed or not, broken or not."""

import gzip
from pathlib import Path

import pytest
import zstandard

from deploy.local.rows import FileError, RowFile, RowRange, bare_name

CSV = "date,result\n2020-03-01,negative\n2020-03-02,positive\n2020-03-03,other\n"


def write(path: Path, content: str) -> Path:
    data = content.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdCompressor().compress(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["tests.csv", "tests.csv.gz", "tests.csv.zst"])
def test_rows_are_the_same_however_they_are_compressed(tmp_path: Path, name: str) -> None:
    file = RowFile(write(tmp_path / name, CSV))
    assert file.columns() == ["date", "result"]
    rows = list(file.read())
    assert [row.line for row in rows] == [2, 3, 4]
    assert rows[0].values == {"date": "2020-03-01", "result": "negative"}
    assert bare_name(file.path) == "tests.csv"


@pytest.mark.parametrize("name", ["tests.ndjson", "tests.jsonl.gz"])
def test_ndjson_rows_name_their_own_columns(tmp_path: Path, name: str) -> None:
    file = RowFile(write(tmp_path / name, '{"a": 1}\n\n{"b": {"c": 2}}\n'))
    assert file.columns() is None
    assert [(row.line, dict(row.values)) for row in file.read()] == [
        (1, {"a": 1}),
        (3, {"b": {"c": 2}}),
    ]


def test_a_row_with_other_cells_than_the_header_is_handed_on_as_trouble(tmp_path: Path) -> None:
    file = RowFile(write(tmp_path / "t.csv", "a,b\n1,2\n1,2,3\n"))
    good, bad = file.read()
    assert good.trouble is None
    assert bad.trouble == "3 cells, the header has 2"


def test_a_line_that_is_no_json_is_trouble_and_is_not_quoted(tmp_path: Path) -> None:
    (row,) = RowFile(write(tmp_path / "t.ndjson", '{"name": "canary"\n')).read()
    assert row.trouble is not None
    assert "canary" not in row.trouble


def test_a_cell_may_span_lines_and_the_row_keeps_its_first(tmp_path: Path) -> None:
    file = RowFile(write(tmp_path / "t.csv", 'a,b\n"x\ny",1\nz,2\n'))
    assert [row.line for row in file.read()] == [2, 4]


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    assert RowFile(write(tmp_path / "t.csv", "\ufeffa,b\n")).columns() == ["a", "b"]


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


def test_a_truncated_archive_is_refused_not_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress((CSV * 50).encode())[:-12])
    with pytest.raises(FileError):
        list(RowFile(path).read())


@pytest.mark.parametrize(
    ("text", "lines"), [("1:2", [2, 3]), ("2:", [3, 4]), (":1", [2]), ("3:9", [4]), ("9:", [])]
)
def test_rows_are_counted_from_one_with_both_ends(
    tmp_path: Path, text: str, lines: list[int]
) -> None:
    file = RowFile(write(tmp_path / "t.csv", CSV))
    assert [row.line for row in RowRange.parse(text).cut(file.read())] == lines


@pytest.mark.parametrize("text", ["", ":", "0:4", "5:4", "a:b", "3"])
def test_a_senseless_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rows are"):
        RowRange.parse(text)


def test_reading_says_how_far_into_the_file_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", CSV)
    heard: list[int] = []
    list(RowFile(path).read(heard.append))
    assert heard[-1] == path.stat().st_size
