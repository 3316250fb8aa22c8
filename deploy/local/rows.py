"""Rows of a file, one by one: CSV or NDJSON, plain or compressed (.gz, .zst).

Streams: a file of any size takes the memory of one row. A row that cannot be read is handed on
with the reason instead of its values, so that it is counted like every other (R21).
"""

import csv
import gzip
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import zstandard

from deploy.local.errors import LocalError

COMPRESSED = frozenset({".gz", ".zst"})
NDJSON = frozenset({".ndjson", ".jsonl"})


class FileError(LocalError):
    """The file cannot be imported at all: its kind, its header or its text is not readable."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its line in the file (the header is line 1), its values, or what is wrong."""

    line: int
    values: Mapping[str, Any]
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class RowRange:
    """Which rows, counted from 1 (a header does not count), both ends included."""

    first: int = 1
    last: int | None = None

    @classmethod
    def parse(cls, text: str) -> "RowRange":
        """Read `A:B`, `A:` or `:B`. Raises ValueError."""
        match = re.fullmatch(r"(\d*):(\d*)", text)
        if match is None or match[0] == ":":
            raise ValueError(f"rows are given as A:B, A: or :B, not {text!r}")
        chosen = cls(int(match[1] or 1), int(match[2]) if match[2] else None)
        if chosen.first < 1 or (chosen.last is not None and chosen.last < chosen.first):
            raise ValueError(f"rows are counted from 1 and A:B has A ≤ B, not {text!r}")
        return chosen

    def cut(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Pass on the chosen rows and stop reading after the last one."""
        for number, row in enumerate(rows, start=1):
            if self.last is not None and number > self.last:
                return
            if number >= self.first:
                yield row


def bare_name(path: Path) -> str:
    """Name of the file without folder and compression: what its rows' ids are made of."""
    return path.stem if path.suffix in COMPRESSED else path.name


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file of rows. `columns` are its header's; None for NDJSON, whose rows name their own."""

    path: Path

    @property
    def is_ndjson(self) -> bool:
        """Whether each line is a JSON object; else the file is CSV."""
        kind = Path(bare_name(self.path)).suffix
        if kind in NDJSON:
            return True
        if kind == ".csv":
            return False
        raise FileError(f"{self.path}: expected .csv, .ndjson or .jsonl, with or without .gz/.zst")

    def columns(self) -> list[str] | None:
        """Column names of the header; None for NDJSON. Raises FileError."""
        if self.is_ndjson:
            return None
        with self._opened() as (text, _):
            return _header(self.path, csv.reader(text))

    def read(self, at_byte: Callable[[int], None] = lambda _: None) -> Iterator[Row]:
        """Stream the rows; `at_byte` hears how far into the (compressed) file we are."""
        with self._opened() as (text, raw):
            for row in _ndjson_rows(text) if self.is_ndjson else _csv_rows(self.path, text):
                yield row
                at_byte(raw.tell())

    @contextmanager
    def _opened(self) -> Iterator[tuple[IO[str], IO[bytes]]]:
        """Open as text, and as the bytes underneath; what breaks while reading is a FileError."""
        try:
            with self.path.open("rb") as raw:
                plain: Any = raw
                if self.path.suffix == ".gz":
                    plain = gzip.GzipFile(fileobj=raw)
                elif self.path.suffix == ".zst":
                    plain = zstandard.ZstdDecompressor().stream_reader(raw)
                # utf-8-sig: spreadsheets like to write a byte order mark.
                with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
                    yield text, raw
        except (OSError, EOFError, UnicodeDecodeError, csv.Error, zstandard.ZstdError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise FileError(f"{self.path}: {reason or type(error).__name__}") from error


def _header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    header = [name.strip() for name in next(reader, [])]
    if not header or "" in header or len(set(header)) < len(header):
        raise FileError(f"{path}: the first line has to name every column, each once")
    return header


def _csv_rows(path: Path, text: IO[str]) -> Iterator[Row]:
    reader = csv.reader(text)
    header = _header(path, reader)
    line = reader.line_num + 1
    for cells in reader:
        if len(cells) == len(header):
            yield Row(line, dict(zip(header, cells, strict=True)))
        elif cells:  # an empty line is no row
            yield Row(line, {}, f"{len(cells)} cells, the header has {len(header)}")
        line = reader.line_num + 1


def _ndjson_rows(text: IO[str]) -> Iterator[Row]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for line, content in enumerate(text, start=1):
        if not content.strip():
            continue
        try:
            values = decode(content)
        except msgspec.MsgspecError:
            # msgspec would quote the path only, but the line's text is nobody's business here.
            yield Row(line, {}, "not a JSON object")
        else:
            yield Row(line, values)
