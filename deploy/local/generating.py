"""`lastmetre generate`: files of made-up people, and of their results, to import.

The people are those of `population`, the results what a day of testing finds among them: everybody
or a share is sampled, evenly over some hours, and so many in a thousand are positive, inconclusive
or invalid as in the demo. The same seed gives the same file.
"""

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import IO, Any
from uuid import UUID

import msgspec
import zstandard
from rich.console import Console
from rich.progress import track

from deploy.local.day import FOUND, draw
from deploy.local.errors import LocalError
from deploy.local.population import ID_CAPACITY, Population
from deploy.local.rows import Cut, FileError, RowFile, format_of

PERSON = (
    "id", "name", "sex", "birth_date", "id_document.type", "id_document.number", "phone",
    "address.community_code", "address.building", "address.unit", "address.door", "address.lat",
    "address.lon", "needs",
)  # fmt: skip
RESULT = (
    "result_id", "sample_id", "resident.id", "resident.id_document.type",
    "resident.id_document.number", "round_id", "sampled_at", "channel", "site", "outcome",
    "resulted_at", "released_at",
)  # fmt: skip
"""Columns of the files, in this order."""
NUMBERS = frozenset({"address.lat", "address.lon"})
NAMES = ("id", "id_document.type", "id_document.number")
"""Columns of a file of residents by which its results name them."""
SITES = 100
"""How many of them sample."""
_PIECE = 128 * 1024

Row = Mapping[str, Any]
"""In the shape of the API."""


class GenerateError(LocalError):
    """What is asked for cannot be made."""


@dataclass(frozen=True, slots=True)
class Results:
    """Results to be made up for the people of a file.

    Samples are taken between `since` and `until`, of `share` of the people (0 to 1); the laboratory
    has the outcome `laboratory` later and releases it at once.
    """

    round_id: str
    since: datetime
    until: datetime
    share: float = 1.0
    laboratory: timedelta = timedelta(hours=4)
    seed: int = 1


def residents(out: Path, population: Population, console: Console) -> int:
    """Write people. Raises `GenerateError`, `FileError`."""
    if population.people > ID_CAPACITY:
        raise GenerateError(f"there are numbers for {ID_CAPACITY:,} people, not for more")
    shown = track(
        population.residents(), "residents", population.people, console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    try:
        return _write(out, shown, PERSON)
    except LookupError as error:
        raise GenerateError(str(error)) from error


def results(out: Path, of: Path, wanted: Results) -> int:
    """Write results of the people of a file. Raises `GenerateError`, `FileError`."""
    if wanted.since.tzinfo is None or wanted.until.tzinfo is None:
        raise GenerateError("times need an offset, such as 2022-01-09T08:00:00+08:00")
    if wanted.until < wanted.since:
        raise GenerateError("the samples end before they begin")
    if out.exists() and out.samefile(of):
        raise GenerateError(f"{out} is the file of the people themselves")
    return _write(out, _results(of, wanted), RESULT)


def _results(of: Path, wanted: Results) -> Iterator[Row]:
    rng = Random(f"{wanted.seed}:{wanted.round_id}")  # noqa: S311 - invented, nothing to guess
    seconds = int((wanted.until - wanted.since).total_seconds()) + 1
    begun = int(wanted.since.timestamp() * 1000)
    for number, who in enumerate(_people(of)):
        if rng.random() >= wanted.share:
            continue
        at = wanted.since + timedelta(seconds=int(rng.random() * seconds))
        found = (at + wanted.laboratory).isoformat()
        yield {
            "result_id": _id(begun + number, rng),
            "sample_id": _id(begun + number, rng),
            "resident": who,
            "round_id": wanted.round_id,
            "sampled_at": at.isoformat(),
            "channel": "site",
            "site": f"S-{int(rng.random() * SITES):03d}",
            "outcome": draw(rng, FOUND),
            "resulted_at": found,
            "released_at": found,
        }


def _id(milliseconds: int, rng: Random) -> str:
    """Make an id that begins with a time (RFC 9562, version 7), as senders best do."""
    drawn = milliseconds << 80 | 7 << 76 | rng.getrandbits(12) << 64 | 2 << 62 | rng.getrandbits(62)
    return str(UUID(int=drawn))


def _people(of: Path) -> Iterator[Row]:
    """Walk the people of a file, as results name them: by id, else by document."""
    file = RowFile(of)
    columns = file.columns()
    chosen = [name for name in NAMES if columns is None or name in columns]
    if "id" not in chosen and len(chosen) < len(NAMES) - 1:
        raise GenerateError(f"{of}: names nobody: neither id nor id_document.type and .number")
    for chunk in file.read(Cut(), chosen):
        for line, trouble in chunk.troubles:
            raise GenerateError(f"{of}: line {line}: {trouble}")
        if chunk.objects is not None:
            yield from map(_named, chunk.objects)
            continue
        for row in zip(*(chunk.cells[name] for name in chosen), strict=True):
            told = dict(zip(chosen, row, strict=True))
            document = {name: told.get(f"id_document.{name}") for name in ("type", "number")}
            yield _named({"id": told.get("id"), "id_document": document})


def _named(person: Row) -> Row:
    if person.get("id"):
        return {"id": person["id"]}
    return {"id_document": person.get("id_document")}


# --- writing ---


def _write(out: Path, rows: Iterable[Row], columns: tuple[str, ...]) -> int:
    """Write a file of the format that its name says. Raises `FileError`."""
    kind = format_of(out)
    if kind == "parquet":
        from deploy.local import parquet  # noqa: PLC0415 - loads what only Parquet needs

        return parquet.write(out, map(_flat, rows), columns, NUMBERS)
    write: Callable[[IO[bytes], Iterable[Row]], int]
    write = _ndjson if kind == "ndjson" else partial(_csv, columns=columns)
    with _packed(out) as stream:
        return write(stream, rows)


def _csv(stream: IO[bytes], rows: Iterable[Row], columns: tuple[str, ...]) -> int:
    count = 0
    with io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for count, row in enumerate(map(_flat, rows), start=1):  # noqa: B007 - it is what we give
            writer.writerow([row.get(name) for name in columns])
    return count


def _flat(row: Row, prefix: str = "") -> dict[str, Any]:
    """Members of members by dotted names, needs as one cell."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _needs(value) if isinstance(value, list) else value
    return flat


def _needs(needs: list[dict[str, Any]]) -> str:
    """Needs as one cell: codes, or JSON where one has a beginning."""
    if any(len(need) > 1 for need in needs):
        return msgspec.json.encode(needs).decode()
    return ";".join(need["code"] for need in needs)


def _ndjson(stream: IO[bytes], rows: Iterable[Row]) -> int:
    encode, count = msgspec.json.Encoder().encode, 0
    for count, row in enumerate(rows, start=1):  # noqa: B007 - it is what we give
        stream.write(encode(row) + b"\n")
    return count


@contextmanager
def _packed(out: Path) -> Iterator[IO[bytes]]:
    try:
        with out.open("wb") as raw:
            packed: Any = raw
            if out.suffix == ".gz":
                # Without name and time: the same rows make the same file.
                packed = gzip.GzipFile("", "wb", compresslevel=5, fileobj=raw, mtime=0)
            elif out.suffix == ".zst":
                packed = zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False)
            with packed, io.BufferedWriter(packed, _PIECE) as stream:
                yield stream
    except OSError as error:
        raise FileError(f"{out}: {error.strerror}") from error
