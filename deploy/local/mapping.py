"""Map files: how the columns of a foreign file become residents and results.

A map is TOML with a table for each kind of row it makes, `[residents]` and `[results]`. Each key
is a field of the API (dotted: `address.community_code`), each value a rule:

======================================  ============================================================
rule                                    gives
======================================  ============================================================
`{ column = "sex" }`                    the cell as it is; a blank one leaves the field out
`… values = { m = "male" }`             the cell translated; one that is not listed rejects the row
`… other = "inconclusive"`              with `values`: what cells that are not listed become
`… blank = "negative"`                  what a blank cell becomes
`… zone = "+02:00"`                     with a date and time: the offset, if it names none itself
`… zone = "+02:00", time = "09:30"`     with a date: the time of day; `time = "08:00-20:00"`
                                        spreads the rows evenly over these hours
`{ constant = "site" }`                 the same for every row; in a text, `{line}` is the line
`{ after = "sampled_at", by = "24h" }`  that other field's time, later by `2d`, `36h` or `1d12h`
`{ spread = "410171" }`                 a community whose code begins so, spread evenly over them;
                                        registry is sent these areas first
`{ line = "sample" }`                   an id made of the file's name, the line and this word
======================================  ============================================================

Any rule may add `with = "outcome"`: its field is left out where that other field is.

Ids that a map does not give are made of the file's name and the line, so importing a file again,
whole or in parts, compressed or not, names the same rows the same. A map with `[residents]` makes
one resident of each row, and the row's result is theirs.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as member
from datetime import datetime, timedelta
from graphlib import CycleError, TopologicalSorter
from hashlib import sha1
from pathlib import Path
from typing import Any, Literal
from uuid import NAMESPACE_DNS, uuid5
from zlib import crc32

import msgspec

from deploy.local import areas
from deploy.local.errors import LocalError

Kind = Literal["residents", "results"]

FIELDS: dict[Kind, frozenset[str]] = {
    "residents": frozenset(
        f"{group}{field}"
        for group, fields in {
            "": ("id", "name", "sex", "birth_date", "phone", "needs", "alive"),
            "id_document.": ("type", "number"),
            "address.": ("community_code", "building", "unit", "door", "lat", "lon", "since"),
        }.items()
        for field in fields
    ),
    "results": frozenset(
        f"{group}{field}"
        for group, fields in {
            "": (
                *("result_id", "sample_id", "round_id", "corrects", "void", "outcome"),
                *("sampled_at", "resulted_at", "released_at", "channel", "site", "tube_code"),
            ),
            "resident.": ("id", "id_document.type", "id_document.number"),
        }.items()
        for field in fields
    ),
}

RULES: dict[str, frozenset[str]] = {
    "column": frozenset({"values", "other", "blank", "zone", "time"}),
    "constant": frozenset(),
    "after": frozenset({"by"}),
    "spread": frozenset(),
    "line": frozenset(),
}
"""The key that makes a table a rule, and the keys it may have beside it (and `with`)."""

ROWS = uuid5(NAMESPACE_DNS, "rows.lastmetre")
"""Namespace of the ids that are made of a file's name and a line."""


class MapError(LocalError):
    """The map is wrong or does not fit the file: says the map, the field and what to mend."""


class UnmappableError(Exception):
    """One value does not fit the map. Says why, never what it is (R20)."""


class RuleError(Exception):
    """A rule makes no sense by itself."""


_NIBBLES = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The variant of RFC 9562, by what the hash had in its place."""


@dataclass(slots=True)
class Sheet:
    """Rows that are mapped together, column by column.

    `file` is the file's bare name and `round_id` the round that its results are for. `fields` are
    those already made, each with a value for every row (None: left out); `bad` are the rows that do
    not fit the map, with the first reason why.
    """

    cells: Mapping[str, Sequence[Any]]
    lines: Sequence[int]
    file: str
    round_id: str | None = None
    fields: dict[str, Sequence[Any]] = member(default_factory=dict)
    bad: dict[int, str] = member(default_factory=dict)

    def ids(self, word: str) -> list[str]:
        """Ids of what these rows make: of a resident once and for all, else once a round.

        They are UUIDs of version 5, as `uuid.uuid5` makes them, three times as quickly.
        """
        scope = "" if word == "resident" else f"{self.round_id}:"
        begun = sha1(ROWS.bytes + f"{scope}{self.file}:".encode(), usedforsecurity=False)
        made = []
        for line in self.lines:
            one = begun.copy()
            one.update(f"{line}:{word}".encode())
            h = one.hexdigest()
            made.append(f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_NIBBLES[h[16]]}{h[17:20]}-{h[20:32]}")
        return made

    def picks(self, count: int) -> list[int]:
        """Numbers below `count`, the same for a row every time and even over many rows."""
        return [crc32(f"{self.file}:{line}".encode()) % count for line in self.lines]

    def reject(self, row: int, name: str, reason: str) -> None:
        """Note that a row does not fit. The reason names field and rule, never the cell (R20)."""
        self.bad.setdefault(row, f"{name}: {reason}")

    def each(self, values: Sequence[Any], name: str, rule: Callable[[Any], Any]) -> list[Any]:
        """Apply a rule to every value but None; rows where it raises `UnmappableError` are bad."""
        try:
            return [None if value is None else rule(value) for value in values]
        except UnmappableError:
            pass
        made = []
        for row, value in enumerate(values):
            try:
                made.append(None if value is None else rule(value))
            except UnmappableError as error:
                self.reject(row, name, str(error))
                made.append(None)
        return made


Make = Callable[[Sheet], Sequence[Any]]
"""Makes a field of all rows of a sheet; None leaves it out of a row."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field is made. `column` is the cell it reads, `after` the fields it builds on."""

    field: str
    make: Make
    column: str | None = None
    after: tuple[str, ...] = ()
    spread: str | None = None
    """Beginning of the codes that people are spread over."""


@dataclass(frozen=True, slots=True)
class RowMap:
    """The rules of one kind of row, each behind those it builds on."""

    kind: Kind
    rules: tuple[Rule, ...]

    def spreads(self) -> set[str]:
        """Beginnings of area codes that registry has to know before the rows come."""
        return {rule.spread for rule in self.rules if rule.spread is not None}

    def columns(self) -> list[str]:
        """Names of the columns that are read, each once."""
        return list(dict.fromkeys(rule.column for rule in self.rules if rule.column is not None))

    def apply(self, sheet: Sheet) -> list[msgspec.Struct]:
        """Make the rows that the API takes, ready to be encoded; those of `sheet.bad` are left out.

        Whole columns at a time: interpreting the map row by row took two to three times as long.
        """
        for rule in self.rules:
            sheet.fields[rule.field] = rule.make(sheet)
        if self.kind == "results" and sheet.round_id is not None:
            own = sheet.fields.get("round_id", [None] * len(sheet.lines))
            sheet.fields["round_id"] = [given or sheet.round_id for given in own]
        rows = _SHAPES[self.kind].make(sheet.fields, len(sheet.lines))
        if sheet.bad:
            return [row for n, row in enumerate(rows) if n not in sheet.bad]
        return rows


@dataclass(frozen=True, slots=True)
class FileMap:
    """What a file's rows are made into. Without `residents` they name people already known."""

    residents: RowMap | None = None
    results: RowMap | None = None

    def of(self, kind: Kind) -> RowMap | None:
        """The map of one kind of row."""
        return self.residents if kind == "residents" else self.results


def load(path: Path) -> FileMap:
    """Read and check a map file. Raises `MapError`."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MapError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MapError(f"{path}: {error}") from error
    if unknown := set(tables) - FIELDS.keys():
        raise MapError(f"{path}: unknown {_listed(unknown)}; a map has [residents] and [results]")
    for kind, table in tables.items():
        if not isinstance(table, dict):
            raise MapError(f"{path}: {kind} has to be a table of rules")
    made: dict[Kind, RowMap] = {
        kind: _row_map(path, kind, tables[kind], makes_residents="residents" in tables)
        for kind in FIELDS
        if kind in tables
    }
    return FileMap(**made)


def plain(kind: Kind, columns: Iterable[str]) -> RowMap:
    """Map of a CSV file whose columns are the API's own fields, dotted. Raises `MapError`."""
    return _row_map(Path("the file"), kind, {column: {"column": column} for column in columns})


def check_columns(path: Path, row_map: RowMap, columns: Sequence[str] | None) -> None:
    """Raise `MapError` when the file's header lacks a column (NDJSON has no header: None)."""
    if columns is None:
        return
    for rule in row_map.rules:
        if rule.column is not None and rule.column not in columns:
            raise MapError(
                f"{path}: {row_map.kind}.{rule.field}: the file has no column {rule.column!r}; "
                f"it has {_listed(columns)}"
            )


def _row_map(
    path: Path, kind: Kind, table: Mapping[str, Any], *, makes_residents: bool = False
) -> RowMap:
    specs = dict(_specs(table))
    specs = _own_ids(kind, specs, makes_residents=makes_residents) | specs
    rules: dict[str, Rule] = {}
    for field, spec in specs.items():
        if field not in FIELDS[kind]:
            raise MapError(f"{path}: {kind}.{field}: no such field; {_listed(FIELDS[kind])}")
        try:
            rules[field] = _rule(field, spec)
        except RuleError as error:
            raise MapError(f"{path}: {kind}.{field}: {error}") from error
        for other in rules[field].after:
            if other not in specs:
                raise MapError(f"{path}: {kind}.{field}: builds on {other}, which has no rule")
    try:
        order = list(TopologicalSorter({name: r.after for name, r in rules.items()}).static_order())
    except CycleError as error:
        raise MapError(f"{path}: {kind}: {_listed(error.args[1])} build on each other") from error
    return RowMap(kind, tuple(rules[field] for field in order))


def _own_ids(kind: Kind, specs: Mapping[str, Any], *, makes_residents: bool) -> dict[str, Any]:
    """Rules for ids that the map does not give."""
    if kind == "residents":
        # A document names its bearer already; a second name could point to somebody else.
        return {} if "id_document.number" in specs else {"id": {"line": "resident"}}
    own: dict[str, Any] = {"result_id": {"line": "result"}, "sample_id": {"line": "sample"}}
    if makes_residents and not any(field.startswith("resident.") for field in specs):
        own["resident.id"] = {"line": "resident"}
    return own


def _specs(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Flatten TOML's nested tables to dotted fields; a table with a rule's key is a rule."""
    for key, value in table.items():
        field = f"{prefix}{key}"
        if isinstance(value, dict) and not RULES.keys() & value.keys():
            yield from _specs(value, f"{field}.") if value else [(field, value)]
        else:
            yield field, value


def _rule(field: str, spec: object) -> Rule:
    """Build one rule. Raises `RuleError`."""
    if not isinstance(spec, dict):
        raise RuleError('expected a rule, such as { column = "…" } or { constant = "…" }')
    kinds = RULES.keys() & spec.keys()
    if len(kinds) != 1:
        raise RuleError(f"expected one of {_listed(RULES)}, found {_listed(kinds) or 'none'}")
    kind = kinds.pop()
    if extra := spec.keys() - RULES[kind] - {kind, "with"}:
        raise RuleError(f"{kind} takes no {_listed(extra)}")
    make, after = MAKERS[kind](field, spec)
    other = spec.get("with")
    if other is not None:
        make, after = _with(_text(spec, "with"), make), (*after, _text(spec, "with"))
    return Rule(field, _shaped(field, make), spec.get("column"), after, spec.get("spread"))


Made = tuple[Make, tuple[str, ...]]


def _column(name: str, spec: Mapping[str, Any]) -> Made:
    column, blank, other = _text(spec, "column"), spec.get("blank"), spec.get("other")
    values = spec.get("values")
    if values is not None and not isinstance(values, dict):
        raise RuleError('values is a table, such as { yes = "positive" }')
    if other is not None and values is None:
        raise RuleError("other says what cells that are not among values become: give values")
    at = _clock(spec) if "time" in spec or "zone" in spec else None

    def translated(cell: object) -> Any:  # noqa: ANN401 - any JSON
        value = values.get(str(cell), other) if values is not None else cell
        if value is None:
            raise UnmappableError(f"the cell of {column} is none the map lists")
        return value

    def make(sheet: Sheet) -> Sequence[Any]:
        # Blank cells are no cells: what they become is put in at the end.
        filled = [None if cell == "" else cell for cell in sheet.cells[column]]
        made: Sequence[Any] = filled
        if values is not None:
            made = sheet.each(filled, name, translated)
        if at is not None:
            made = at(name, made, sheet)
        if blank is None:
            return made
        return [blank if cell is None else value for cell, value in zip(filled, made, strict=True)]

    return make, ()


def _constant(_: str, spec: Mapping[str, Any]) -> Made:
    value = spec["constant"]
    if isinstance(value, str) and "{line}" in value:
        return lambda sheet: [value.replace("{line}", str(line)) for line in sheet.lines], ()
    return lambda sheet: [value] * len(sheet.lines), ()


def _after(name: str, spec: Mapping[str, Any]) -> Made:
    other, by = _text(spec, "after"), _duration(_text(spec, "by"))

    def later(value: Any) -> str:  # noqa: ANN401 - any JSON
        try:
            return (datetime.fromisoformat(value) + by).isoformat()
        except (TypeError, ValueError, OverflowError):
            raise UnmappableError(f"{other} is no time to reckon from") from None

    return lambda sheet: sheet.each(sheet.fields[other], name, later), (other,)


def _spread(_: str, spec: Mapping[str, Any]) -> Made:
    prefix = _text(spec, "spread")
    codes = [area.code for area in areas.communities(prefix)]
    if not codes:
        raise RuleError(f"no community begins with {prefix}")
    return lambda sheet: [codes[pick] for pick in sheet.picks(len(codes))], ()


def _line(_: str, spec: Mapping[str, Any]) -> Made:
    word = _text(spec, "line")
    return lambda sheet: sheet.ids(word), ()


MAKERS: dict[str, Callable[[str, Mapping[str, Any]], Made]] = {
    "column": _column,
    "constant": _constant,
    "after": _after,
    "spread": _spread,
    "line": _line,
}


def _with(other: str, make: Make) -> Make:
    def made(sheet: Sheet) -> Sequence[Any]:
        known = set(sheet.bad)
        values, there = make(sheet), sheet.fields[other]
        for row in sheet.bad.keys() - known:
            if there[row] is None:  # nothing was to be made of it
                del sheet.bad[row]
        return [None if o is None else v for v, o in zip(values, there, strict=True)]

    return made


def _shaped(name: str, make: Make) -> Make:
    """Give the values the type that the API wants where a cell of text is not it."""
    if name not in SHAPES:
        return make
    shape, wanted = SHAPES[name]

    def shaped(value: Any) -> Any:  # noqa: ANN401 - any JSON
        try:
            return shape(value)
        except (TypeError, ValueError, msgspec.DecodeError):
            raise UnmappableError(f"not {wanted}") from None

    return lambda sheet: sheet.each(make(sheet), name, shaped)


def _needs(value: object) -> list[Any]:
    """Needs from `quarantine;mobility`, from JSON, or from a list of codes or whole needs."""
    if isinstance(value, str):
        listed = value.startswith("[")
        value = msgspec.json.decode(value) if listed else [c.strip() for c in value.split(";")]
    if not isinstance(value, list):
        raise TypeError
    return [_need(each) for each in value]


def _need(value: object) -> object:
    if isinstance(value, dict):  # Parquet has a null for every member that a need lacks
        return {name: member for name, member in value.items() if member is not None}
    return {"code": value} if isinstance(value, str) else value


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text not in {"true", "1", "false", "0"}:
        raise ValueError
    return text in {"true", "1"}


def _number(value: Any) -> float:  # noqa: ANN401 - a cell
    return float(value)


SHAPES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "address.lat": (_number, "a number"),
    "address.lon": (_number, "a number"),
    "needs": (_needs, "a list of needs"),
    "alive": (_flag, "true or false"),
    "void": (_flag, "true or false"),
}
"""Fields that are no text: how to read them from one, and what they have to be."""


def _clock(spec: Mapping[str, Any]) -> Callable[[str, Sequence[Any], Sheet], list[Any]]:
    """Cells with a date or time made times with offset (RFC 3339)."""
    zone = _text(spec, "zone")
    if not re.fullmatch(r"Z|[+-]\d\d:\d\d", zone):
        raise RuleError(f"zone is an offset such as +08:00 or Z, not {zone!r}")
    offset = datetime.fromisoformat(f"2000-01-01T00:00{zone}").tzinfo
    first, last = _hours(_text(spec, "time")) if "time" in spec else (None, None)

    def read(cell: object) -> datetime:
        try:
            when = datetime.fromisoformat(str(cell))
        except ValueError:
            raise UnmappableError("not a date or time (YYYY-MM-DD …)") from None
        return when if when.tzinfo and first is None else when.replace(tzinfo=offset)

    def at(name: str, cells: Sequence[Any], sheet: Sheet) -> list[Any]:
        days = sheet.each(cells, name, read)
        if first is None or last is None:
            return [None if when is None else when.isoformat() for when in days]
        seconds = sheet.picks(int((last - first).total_seconds()) or 1)
        return [
            None
            if day is None
            else (
                day.replace(hour=0, minute=0, second=0, microsecond=0)
                + first
                + timedelta(seconds=second)
            ).isoformat()
            for day, second in zip(days, seconds, strict=True)
        ]

    return at


def _hours(text: str) -> tuple[timedelta, timedelta]:
    match = re.fullmatch(r"(\d\d):(\d\d)(?:-(\d\d):(\d\d))?", text)
    if match is None:
        raise RuleError(f"time is 09:30 or 08:00-20:00, not {text!r}")
    first = timedelta(hours=int(match[1]), minutes=int(match[2]))
    last = timedelta(hours=int(match[3]), minutes=int(match[4])) if match[3] else first
    if not first <= last <= timedelta(days=1):
        raise RuleError(f"time runs from earlier to later within a day, not {text!r}")
    return first, last


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?", text)
    if match is None or not text:
        raise RuleError(f"by is a duration such as 2d, 36h, 90m or 1d12h, not {text!r}")
    days, hours, minutes = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes)


def _text(spec: Mapping[str, Any], key: str) -> str:
    value = spec.get(key)
    if not isinstance(value, str) or not value:
        raise RuleError(f"{key} has to be a text" if key in spec else f"needs {key}")
    return value


class _Shape:
    """A kind of row as the API nests it, `{id, address: {door}}` made of `id` and `address.door`.

    Structs, for msgspec leaves out of them what is None, and makes them far quicker than dicts.
    """

    def __init__(self, name: str, fields: Iterable[str]) -> None:
        groups: dict[str, list[str]] = {}
        for each in sorted(fields):
            head, _, rest = each.partition(".")
            groups.setdefault(head, []).extend([rest] if rest else [])
        self._inner = {head: _Shape(head, rest) for head, rest in groups.items() if rest}
        self._names = tuple(groups)
        self._row = msgspec.defstruct(
            name, [(each, Any, None) for each in self._names], omit_defaults=True, gc=False
        )
        self.empty = self._row()

    def make(self, fields: Mapping[str, Sequence[Any]], count: int) -> list[msgspec.Struct]:
        """Make rows of columns."""
        blank = [None] * count
        return list(map(self._row, *(self._column(name, fields, blank) for name in self._names)))

    def _column(
        self, name: str, fields: Mapping[str, Sequence[Any]], blank: Sequence[None]
    ) -> Sequence[Any]:
        inner = self._inner.get(name)
        if inner is None:
            return fields.get(name, blank)
        lead = f"{name}."
        given = {each.removeprefix(lead): v for each, v in fields.items() if each.startswith(lead)}
        if not given:
            return blank
        made = inner.make(given, len(blank))
        return [None if each == inner.empty else each for each in made]


_SHAPES: dict[Kind, _Shape] = {kind: _Shape(kind, fields) for kind, fields in FIELDS.items()}


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
