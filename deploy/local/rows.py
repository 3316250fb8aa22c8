"""Rows of a file, many at a time: CSV, NDJSON (also .gz, .zst) or Parquet.

Streams: a file of any size takes the memory of a few chunks. A row that cannot be read is handed on
with the reason instead of its values, so that it is counted like every other (R21). What breaks the
file as a whole, such as an archive that is cut short, is an error and never the file's end.
"""

import csv
import gzip
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import msgspec
import zstandard

from deploy.local.errors import LocalError

COMPRESSED = frozenset({".gz", ".zst"})
Format = Literal["csv", "ndjson", "parquet"]
FORMATS: dict[str, Format] = {
    ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"
}  # fmt: skip
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Spreadsheets like to write one."""
_PIECE = 128 * 1024


class FileError(LocalError):
    """The file cannot be imported at all: its kind, its header or its text is not readable."""


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


ALL_ROWS = RowRange()


@dataclass(frozen=True, slots=True)
class Cut:
    """Which rows to read, and in what chunks.

    `wanted` is asked for the number of each chunk, from 0; those that nobody wants are passed over,
    which is quicker than reading them.
    """

    rows: RowRange = ALL_ROWS
    size: int = 5_000
    wanted: Callable[[int], bool] = lambda _: True

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Walk the numbers of the chunks, each with the rows it may have."""
        left = None if self.rows.last is None else self.rows.last - self.rows.first + 1
        number = 0
        while left is None or left > 0:
            size = self.size if left is None else min(left, self.size)
            yield number, size
            number += 1
            left = None if left is None else left - size


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that follow each other.

    `lines` are those of the rows that could be read, `cells` their values by column, and `troubles`
    lines of the others with what is wrong. `objects` are the rows themselves where the file has
    whole ones (NDJSON). `at` tells how far into the file this is, of its `extent`.
    """

    number: int
    lines: Sequence[int]
    cells: Mapping[str, Sequence[Any]]
    at: int
    troubles: Sequence[tuple[int, str]] = ()
    objects: Sequence[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.lines) + len(self.troubles)


def bare_name(path: Path) -> str:
    """Name of the file without folder and compression: what its rows' ids are made of."""
    return path.stem if path.suffix in COMPRESSED else path.name


def format_of(path: Path) -> Format:
    """Tell a file's format by its name. Raises FileError."""
    found = FORMATS.get(Path(bare_name(path)).suffix)
    if found is None or (found == "parquet" and path.suffix in COMPRESSED):
        raise FileError(
            f"{path}: expected .csv, .ndjson or .jsonl, with or without .gz/.zst, or .parquet"
        )
    return found


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file of rows."""

    path: Path

    def columns(self) -> list[str] | None:
        """Column names; None for NDJSON, whose rows name their own. Raises FileError."""
        match format_of(self.path):
            case "ndjson":
                return None
            case "parquet":
                from deploy.local import parquet  # noqa: PLC0415 - loads what only Parquet needs

                return parquet.columns(self.path)
            case "csv":
                with _opened(self.path) as (stream, _), _text(stream) as text:
                    return _header(self.path, csv.reader(text))

    def extent(self) -> int:
        """Whatever `Chunk.at` counts up to: bytes of the (compressed) file, or rows of Parquet."""
        if format_of(self.path) == "parquet":
            from deploy.local import parquet  # noqa: PLC0415 - the same

            return parquet.count(self.path)
        return self.path.stat().st_size

    def read(self, cut: Cut, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        """Stream the rows. Raises FileError.

        `columns` are those that are needed; a file that can leaves out the others.
        """
        kind = format_of(self.path)
        if kind == "parquet":
            from deploy.local import parquet  # noqa: PLC0415 - the same

            yield from parquet.read(self.path, cut, columns)
            return
        with _opened(self.path) as (stream, raw):
            if kind == "ndjson":
                yield from _ndjson(stream, raw, cut)
            else:
                with _text(stream) as text:
                    yield from _csv(self.path, text, raw, cut)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Open what is inside, and the file itself; what breaks while reading is a FileError."""
    try:
        with path.open("rb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield io.BufferedReader(stream, _PIECE), raw
            elif path.suffix == ".zst":
                yield io.BufferedReader(_Frames(raw), _PIECE), raw
            else:
                yield raw, raw
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zstandard.ZstdError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        if isinstance(error, EOFError):
            reason = "the archive is cut short"
        raise FileError(f"{path}: {reason or type(error).__name__}") from error


@dataclass
class _Frames(io.RawIOBase):
    """zstd frames, one after the other, each of which has to be whole.

    zstandard's own reader takes a frame that is cut short for the end of the file.
    """

    packed: IO[bytes]
    _frame: Any = None
    _out: memoryview = field(default_factory=lambda: memoryview(b""))

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - what buffers are, 3.12 has words for
        """Give what there is, at most what fits. Raises EOFError, ZstdError."""
        while not self._out:
            piece = self.packed.read(_PIECE)
            if not piece:
                if self._frame is not None:
                    raise EOFError
                return 0
            self._out = memoryview(b"".join(self._unpacked(piece)))
        room = memoryview(buffer)
        size = min(len(room), len(self._out))
        room[:size], self._out = self._out[:size], self._out[size:]
        return size

    def _unpacked(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            yield self._frame.decompress(piece)
            piece = b""
            if self._frame.eof:
                piece, self._frame = self._frame.unused_data, None


def _text(stream: IO[bytes]) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    header = [name.strip() for name in next(reader, [])]
    if not header or "" in header or len(set(header)) < len(header):
        raise FileError(f"{path}: the first line has to name every column, each once")
    return header


def _csv(path: Path, text: IO[str], raw: IO[bytes], cut: Cut) -> Iterator[Chunk]:
    reader = csv.reader(text)
    header = _header(path, reader)
    width = len(header)

    def numbered() -> Iterator[tuple[int, list[str]]]:
        line = reader.line_num + 1
        for cells in reader:
            if cells:  # an empty line is no row
                yield line, cells
            line = reader.line_num + 1

    for number, pairs in _pieces(numbered(), cut):
        good = [pair for pair in pairs if len(pair[1]) == width]
        columns = zip(*(cells for _, cells in good), strict=True) if good else ((),) * width
        yield Chunk(
            number,
            [line for line, _ in good],
            dict(zip(header, columns, strict=True)),
            raw.tell(),
            [
                (line, f"{len(cells)} cells, the header has {width}")
                for line, cells in pairs
                if len(cells) != width
            ],
        )


@dataclass(frozen=True)
class _Members(Mapping[str, Sequence[Any]]):
    """Members of objects as columns: where an object has none of a name, its cell is None."""

    objects: Sequence[dict[str, Any]]

    def __getitem__(self, name: str) -> Sequence[Any]:
        return [each.get(name) for each in self.objects]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for each in self.objects for name in each))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _ndjson(stream: IO[bytes], raw: IO[bytes], cut: Cut) -> Iterator[Chunk]:
    decoder = msgspec.json.Decoder(dict[str, Any])

    def numbered() -> Iterator[tuple[int, bytes]]:
        for line, content in enumerate(stream, start=1):
            text = content.removeprefix(BYTE_ORDER_MARK) if line == 1 else content
            if not text.isspace():
                yield line, text

    for number, pairs in _pieces(numbered(), cut):
        try:
            objects = decoder.decode_lines(b"".join(content for _, content in pairs))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            objects = []
        if len(objects) == len(pairs):
            lines = [line for line, _ in pairs]
            yield Chunk(number, lines, _Members(objects), raw.tell(), (), objects)
        else:
            lines, objects, troubles = _one_by_one(decoder, pairs)
            yield Chunk(number, lines, _Members(objects), raw.tell(), troubles, objects)


def _one_by_one(
    decoder: msgspec.json.Decoder[dict[str, Any]], pairs: Sequence[tuple[int, bytes]]
) -> tuple[list[int], list[dict[str, Any]], list[tuple[int, str]]]:
    """Find out which of the lines is no object."""
    lines: list[int] = []
    objects: list[dict[str, Any]] = []
    troubles: list[tuple[int, str]] = []
    for line, content in pairs:
        try:
            objects.append(decoder.decode(content))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # msgspec would quote the path only, but the line's text is nobody's business here.
            troubles.append((line, "not a JSON object"))
        else:
            lines.append(line)
    return lines, objects, troubles


def _pieces(
    numbered: Iterator[tuple[int, Any]], cut: Cut
) -> Iterator[tuple[int, list[tuple[int, Any]]]]:
    """Cut rows, each with its line, into the chunks that are wanted."""
    passed_over = sum(1 for _ in islice(numbered, cut.rows.first - 1))
    if passed_over < cut.rows.first - 1:
        return
    for number, size in cut.sizes():
        if cut.wanted(number):
            pairs = list(islice(numbered, size))
            found = len(pairs)
            if pairs:
                yield number, pairs
        else:
            found = sum(1 for _ in islice(numbered, size))
        if found < size:
            return
