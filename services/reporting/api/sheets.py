"""The coverage table for spreadsheets: the figures of the JSON answer, as CSV and as XLSX.

One heading line names every column by the member of the JSON answer and by the field's own word in
Chinese. Columns that depend on what was counted (reasons, sources from outside) come last, so that
the others stay where they are. An empty cell is a figure that these rows do not keep.

There is nothing above the heading, so that programs read it as it is; `round` and `as_of` are
columns (R22). CSV is UTF-8 with a byte order mark: without it Excel reads the file in the code
page of the machine, and the names of all areas are lost, while the readers that programs use take
the mark away themselves (`utf-8-sig`, pandas, R, every browser).
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import TypeAlias, get_args

from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from services.reporting.domain.coverage import Coverage, Line
from services.reporting.domain.freshness import Edition
from shared.contracts.vocabulary import HandKind

CSV = "text/csv"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

Cell: TypeAlias = str | int | float | bool | None

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula in a CSV file."""

_TERMS = {
    "code": "代码",
    "name": "名称",
    "roll": "应检",
    "excluded": "免检",
    "sampled": "已采样",
    "resulted": "已出结果",
    "negative": "阴性",
    "positive": "阳性",
    "inconclusive": "可疑",
    "invalid": "无效",
    "in_hand": "有人负责",
    "unaccounted": "未落实",
    "visitors": "外来人员",
    "visits_open": "未完成上门任务",
    "visits_done": "已完成上门任务",
    "coverage": "覆盖率",
}
_HANDS: Mapping[HandKind, str] = {
    "visit": "上门",
    "referral": "督促",
    "revisit": "复访",
    "escalation": "上报",
    "session": "专场",
}
_KINDS: Sequence[HandKind] = get_args(HandKind)
_ROUND, _AS_OF = "round 轮次", "as_of 截至"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of cells; every row has one for each column."""

    title: str
    heading: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def sheet_of(edition: Edition, coverage: Coverage) -> Sheet:
    """Lay the figures out: a line a row, the total last."""
    lines = [*coverage.rows, coverage.total]
    reasons = sorted({reason for line in lines for reason in line.excluded_by_reason or ()})
    sources = sorted({each.source for line in lines for each in line.outside or ()})
    time = edition.as_of.time
    about = [edition.view.round.id, None if time is None else time.isoformat()]
    return Sheet(
        title=f"{edition.view.round.campaign} {edition.view.round.number}",
        heading=[
            *(f"{name} {term}" for name, term in _TERMS.items()),
            *(f"in_hand.{kind} {_TERMS['in_hand']}·{_HANDS[kind]}" for kind in _KINDS),
            _ROUND,
            _AS_OF,
            *(f"excluded.{reason} {_TERMS['excluded']}" for reason in reasons),
            *(each for source in sources for each in _outside_heading(source)),
        ],
        rows=[
            [
                *(getattr(line, name) for name in _TERMS),
                *_counts(line.in_hand_by_kind, _KINDS),
                *about,
                *_counts(line.excluded_by_reason, reasons),
                *(each for source in sources for each in _outside(line, source)),
            ]
            for line in lines
        ],
    )


def _counts(cells: Mapping[str, int] | None, names: Iterable[str]) -> Iterator[int | None]:
    for name in names:
        yield None if cells is None else cells.get(name, 0)


def _outside_heading(source: str) -> Iterator[str]:
    yield f"outside.{source}.people 外部人数"
    yield f"outside.{source}.as_of 外部人数日期"
    yield f"outside.{source}.coverage 外部覆盖率"
    yield f"outside.{source}.over 超过外部人数"


def _outside(line: Line, source: str) -> Sequence[Cell]:
    for each in line.outside or ():
        if each.source == source:
            return each.people, each.as_of.isoformat(), each.coverage, each.over
    return (None,) * 4


def csv_of(sheet: Sheet) -> bytes:
    """Write it as RFC 4180 has it, in UTF-8 with a byte order mark."""
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(map(_plain, sheet.heading))
    writer.writerows(map(_plain, row) for row in sheet.rows)
    return text.getvalue().encode("utf-8-sig")


def _plain(cell: Cell) -> Cell:
    """Keep a name from being a formula: an area is called what somebody typed."""
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return f"'{cell}"
    return str(cell).lower() if isinstance(cell, bool) else cell


def xlsx_of(sheet: Sheet) -> bytes:
    """Write it as a workbook of one sheet. Text is typed as text, so none of it is a formula."""
    content = BytesIO()
    # In memory: a process may have nowhere to write to.
    with Workbook(content, {"in_memory": True}) as book:
        book.set_properties({"title": sheet.title})
        page = book.add_worksheet("coverage")
        bold = book.add_format({"bold": True, "text_wrap": True, "valign": "top"})
        share = book.add_format({"num_format": "0.0%"})
        page.freeze_panes(1, 2)
        page.set_column(0, 1, 16)
        page.set_column(2, len(sheet.heading) - 1, 12)
        for column, name in enumerate(sheet.heading):
            page.write_string(0, column, name, bold)
        for column, name in enumerate(sheet.heading):
            shown = share if name.split()[0].endswith("coverage") else None
            for number, row in enumerate(sheet.rows, 1):
                _write(page, number, column, row[column], shown)
    return content.getvalue()


def _write(page: Worksheet, row: int, column: int, cell: Cell, shown: Format | None) -> None:
    if isinstance(cell, str):
        page.write_string(row, column, cell)
    elif isinstance(cell, bool):
        page.write_boolean(row, column, cell)
    elif cell is not None:
        page.write_number(row, column, cell, shown)
