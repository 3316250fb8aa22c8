"""Parquet files: rows read a row group at a time, only the columns that are needed; and written.

Columns of structs become columns of their members, by dotted names. Dates and times are handed on
as ISO 8601 text, decimals as text, everything else as what JSON has for it. A row's line is its
number, from 1. The one module that knows pyarrow.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deploy.local.rows import Chunk, Cut, FileError

_BUFFER = 1024 * 1024


def columns(path: Path) -> list[str]:
    """Column names, those within structs dotted. Raises FileError."""
    with _opened(path) as file:
        names = [name for name, _ in _leaves(file.schema_arrow)]
    if len(set(names)) < len(names):
        raise FileError(f"{path}: two columns have the same name")
    return names


def count(path: Path) -> int:
    """Rows of the file. Raises FileError."""
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def read(path: Path, cut: Cut, needed: Sequence[str] | None = None) -> Iterator[Chunk]:
    """Stream the rows; `needed` names the columns that are decoded at all. Raises FileError."""
    with _opened(path) as file:
        leaves = dict(_leaves(file.schema_arrow))
        # Rows of no columns at all would have no number.
        chosen = list(leaves if needed is None else needed) or list(leaves)[:1]
        for name in chosen:
            if _is_binary(leaves[name]):
                raise FileError(f"{path}: column {name} holds bytes, which no field is made of")
        batches = file.iter_batches(batch_size=cut.size, columns=chosen, use_threads=False)
        ahead = _Ahead(batches)
        row = ahead.skip(cut.rows.first - 1)
        for number, size in cut.sizes():
            table = ahead.take(size)
            if not table.num_rows:
                return
            if cut.wanted(number):
                lines = range(row + 1, row + 1 + table.num_rows)
                yield Chunk(number, lines, _cells(table), row + table.num_rows)
            row += table.num_rows


def write(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    numbers: Collection[str] = (),
) -> int:
    """Write flat rows of text and `numbers`, row group by row group; give how many."""
    schema = pa.schema(
        [(name, pa.float64() if name in numbers else pa.string()) for name in columns]
    )
    stream, written = iter(rows), 0
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        while some := list(islice(stream, _GROUP)):
            file.write_table(pa.Table.from_pylist(some, schema))
            written += len(some)
    return written


_GROUP = 50_000
"""Rows of a group that is written."""


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        # Without pre-buffering a group is read piece by piece, however large whoever wrote it made
        # it.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise FileError(f"{path}: not readable as Parquet: {reason}") from error


class _Ahead:
    """Batches of any size, taken in other sizes."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._held: list[Any] = []

    def skip(self, rows: int) -> int:
        """Pass over so many rows, or those there are; give their number."""
        left = rows
        while left and (table := self.take(min(left, _GROUP))).num_rows:
            left -= table.num_rows
        return rows - left

    def take(self, rows: int) -> Any:  # noqa: ANN401 - pyarrow's Table
        """Take so many rows, or those there are."""
        held = sum(batch.num_rows for batch in self._held)
        while held < rows and (batch := next(self._batches, None)) is not None:
            self._held.append(batch)
            held += batch.num_rows
        if not self._held:
            return pa.table({})
        table = pa.Table.from_batches(self._held)
        self._held = table.slice(rows).to_batches()
        return table.slice(0, rows)


def _leaves(schema: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Walk the columns and those within structs."""
    for each in schema:
        if pa.types.is_struct(each.type):
            yield from _leaves(each.type, f"{prefix}{each.name}.")
        else:
            yield f"{prefix}{each.name}", each.type


def _cells(table: Any) -> dict[str, Sequence[Any]]:  # noqa: ANN401
    while any(pa.types.is_struct(each.type) for each in table.schema):
        table = table.flatten()
    return {
        name: _values(column)
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _values(column: Any) -> list[Any]:  # noqa: ANN401
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        # Python's times end at microseconds.
        column = pc.cast(column, pa.timestamp("us", kind.tz), safe=False)
    values: list[Any] = column.to_pylist()
    text = _written_as(kind)
    return values if text is None else [None if v is None else text(v) for v in values]


def _written_as(kind: Any) -> Callable[[Any], str] | None:  # noqa: ANN401
    """How values of a type become text, if they have to."""
    if pa.types.is_dictionary(kind):
        return _written_as(kind.value_type)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return lambda value: str(value.isoformat())
    return str if pa.types.is_decimal(kind) else None


def _is_binary(kind: Any) -> bool:  # noqa: ANN401
    return any(
        told(kind)
        for told in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    )
