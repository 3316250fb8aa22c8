"""`lastmetre import`: a file of residents or results into registry, over the HTTP API.

Rows are read, mapped and sent in batches, several under way at once. Every row is answered for:
accepted, duplicate, rejected with a reason, or not sent because registry could not be reached
(R21). Ids come from the file or from its name and lines, so running it again is harmless (R19).
"""

import asyncio
import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self, TextIO

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from deploy.local import areas
from deploy.local.calls import Api, Refused, Unreachable
from deploy.local.errors import LocalError
from deploy.local.mapping import (
    FileMap,
    Kind,
    MapError,
    Place,
    RowMap,
    UnmappableError,
    check_columns,
    load,
    plain,
)
from deploy.local.rows import FileError, Row, RowFile, RowRange, bare_name
from deploy.local.tokens import development_token

ROUTES: dict[Kind, str] = {"residents": "/v1/residents:batch", "results": "/v1/results:batch"}
ALL_ROWS = RowRange()
BATCH = 2_000
IN_FLIGHT = 3

WRONG_ORDER = 2
"""Exit code when nothing was imported because the file, the map or the rows make no sense."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to import.

    `only` leaves out the other half of a map that makes residents and results; `rejects` takes a
    CSV of the rows that were not taken: line, reason, detail, and no value of any row (R20).
    """

    kind: Kind
    file: Path
    map_file: Path | None = None
    round_id: str | None = None
    rows: RowRange = ALL_ROWS
    only: Kind | None = None
    rejects: Path | None = None


@dataclass(slots=True)
class Tally:
    """The account of one kind of row; `stopped_by` says why it ended before the file did."""

    kind: Kind
    rows: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    stopped_by: str | None = None
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Rows that were read and never answered."""
        return self.rows - self.accepted - self.duplicate - self.rejected

    @property
    def clean(self) -> bool:
        """Whether every row was taken, now or before."""
        return not self.rejected and not self.lost and self.stopped_by is None

    def __str__(self) -> str:
        parts = (
            f"{self.accepted:,} accepted + {self.duplicate:,} duplicate"
            f" + {self.rejected:,} rejected"
        )
        lost = f" + {self.lost:,} not answered" if self.lost else ""
        return f"{self.kind}: {parts}{lost} = {self.rows:,} rows"


def residents(
    file: Path,
    *,
    registry: str,
    mapping: Path | None = None,
    rows: str | None = None,
    rejects: Path | None = None,
    token: str | None = None,
) -> int:
    """Import residents and say how it went; gives the exit code. See `results`."""
    return _command(Order("residents", file, mapping, rejects=rejects), rows, registry, token)


def results(
    file: Path,
    *,
    registry: str,
    mapping: Path | None = None,
    round_id: str | None = None,
    rows: str | None = None,
    only: Kind | None = None,
    rejects: Path | None = None,
    token: str | None = None,
) -> int:
    """Import results, and the residents that the map makes of their rows; gives the exit code.

    `rows` is `A:B`, counted from 1, both included; `token` None is a development token.
    """
    order = Order("results", file, mapping, round_id, only=only, rejects=rejects)
    return _command(order, rows, registry, token)


def _command(order: Order, rows: str | None, registry: str, token: str | None) -> int:
    console = Console()
    try:
        if rows is not None:
            order = replace(order, rows=RowRange.parse(rows))
        tallies = asyncio.run(_import(order, registry, token or development_token(["system"])))
    except (LocalError, ValueError) as error:
        _say(console, str(error), style="red")
        return WRONG_ORDER
    return report(tallies, order, console)


async def _import(order: Order, registry: str, token: str) -> list[Tally]:
    console = Console(stderr=True)
    waiting = partial(_say, console, style="yellow")
    async with Api(registry, lambda: token, waiting=waiting) as api:
        return await import_file(order, api, console)


async def import_file(order: Order, api: Api, console: Console) -> list[Tally]:
    """Import the file, kind by kind, residents first.

    Raises `MapError`, `FileError`, or `CallError` when not even the areas arrive. Stops at the
    first kind that was not wholly answered: results of people who never arrived would only be
    rejected.
    """
    source = RowFile(order.file)
    plans = _plans(order, source)
    tallies: list[Tally] = []
    with ExitStack() as stack:
        rejects = stack.enter_context(Rejects.into(order.rejects))
        for kind, row_map in plans:
            for prefix in row_map.spreads() if row_map else ():
                await api.put("/v1/areas:batch", areas.under(prefix))
            run = _Run(order, source, kind, row_map, rejects=rejects)
            tallies.append(await run.through(api, console))
            if tallies[-1].stopped_by is not None:
                break
    return tallies


def report(tallies: Sequence[Tally], order: Order, console: Console) -> int:
    """Say how it went and what to do next; the exit code: 1 if any row was rejected or lost."""
    for tally in tallies:
        _say(console, str(tally))
        for reason, count in sorted(tally.reasons.items(), key=lambda item: -item[1]):
            _say(console, f"  {count:,} times {reason}")
        if tally.stopped_by is not None:
            _say(console, f"stopped: {tally.stopped_by}")
            _say(console, "Run the same command again: what was accepted is a duplicate then.")
        if tally.rejected:
            where = f"listed in {order.rejects}" if order.rejects else "list them with --rejects"
            _say(console, f"Rejected rows: {where}; mend them and run the same command again.")
    return 0 if all(tally.clean for tally in tallies) else 1


def _say(console: Console, text: str, style: str | None = None) -> None:
    """Print a line as it is: not broken, so that it can be searched for, and not marked up."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _plans(order: Order, source: RowFile) -> list[tuple[Kind, RowMap | None]]:
    """Which kinds of row the file is made into, residents before results, each with its map."""
    columns = source.columns()
    if order.map_file is None:
        # NDJSON rows are the API's own shape already.
        row_map = None if columns is None else plain(order.kind, columns)
        maps = FileMap(**{order.kind: row_map}) if row_map else FileMap()
        kinds: list[Kind] = [order.kind]
    else:
        maps = load(order.map_file)
        kinds = [kind for kind in ROUTES if maps.of(kind) is not None]
        if order.kind == "residents":
            kinds = [kind for kind in kinds if kind == "residents"]
    chosen = [kind for kind in kinds if order.only in {None, kind}]
    if not chosen:
        wanted = order.only or order.kind
        raise MapError(f"{order.map_file or order.file}: there is nothing that makes {wanted}")
    for kind in chosen:
        row_map = maps.of(kind)
        if row_map is None:
            continue
        check_columns(order.map_file or order.file, row_map, columns)
        if kind == "results" and order.round_id is None and not _gives_round(row_map):
            raise MapError("results belong to a round: name it with --round")
    return [(kind, maps.of(kind)) for kind in chosen]


def _gives_round(row_map: RowMap) -> bool:
    return any(rule.field == "round_id" for rule in row_map.rules)


class Rejects:
    """The file of rejected rows, or nowhere."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._rows = csv.writer(file, lineterminator="\n") if file else None
        if self._rows:
            self._rows.writerow(("kind", "line", "reason", "detail"))

    @classmethod
    def into(cls, path: Path | None) -> "Rejects":
        """Open the file anew."""
        return cls(path.open("w", encoding="utf-8", newline="") if path else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def add(self, kind: Kind, line: int, reason: str, detail: str) -> None:
        """Note one row."""
        if self._rows:
            self._rows.writerow((kind, line, reason, detail))


class _Reason(msgspec.Struct):
    type: str = "rejected"
    detail: str = ""


class _RowAnswer(msgspec.Struct):
    status: Literal["accepted", "duplicate", "rejected"]
    reason: _Reason | None = None


class _BatchAnswer(msgspec.Struct):
    rows: list[_RowAnswer]


Batch = list[tuple[int, dict[str, Any]]]
"""Rows as they are sent, each with its line."""


class _Run:
    """One kind of row of one file, from beginning to end."""

    def __init__(
        self,
        order: Order,
        source: RowFile,
        kind: Kind,
        row_map: RowMap | None,
        *,
        rejects: Rejects,
    ) -> None:
        self.order = order
        self.source = source
        self.kind = kind
        self.row_map = row_map
        self.rejects = rejects
        self.tally = Tally(kind)
        self.bare_name = bare_name(order.file)

    async def through(self, api: Api, console: Console) -> Tally:
        """Send everything, showing how far it is."""
        size = self.source.path.stat().st_size
        with _progress(console) as progress:
            bar = progress.add_task(self.kind, total=size, rows=0, rate="")
            batches = self._batches(lambda byte: progress.update(bar, completed=byte))

            async def sender() -> None:
                # The senders take turns at one iterator; none reads more than it can send.
                for batch in batches:
                    await self._send(api, batch)
                    self._show(progress, bar)
                    if self.tally.stopped_by is not None:
                        return

            async with asyncio.TaskGroup() as senders:
                for _ in range(IN_FLIGHT):
                    senders.create_task(sender())
            if self.tally.stopped_by is None:
                progress.update(bar, completed=size)
        return self.tally

    async def _send(self, api: Api, batch: Batch) -> None:
        try:
            body = await api.post(ROUTES[self.kind], [row for _, row in batch])
        except (Refused, Unreachable) as error:
            self.tally.stopped_by = self.tally.stopped_by or str(error)
            return
        answers = msgspec.convert(body, _BatchAnswer).rows
        for (line, _), answer in zip(batch, answers, strict=True):
            if answer.status == "rejected":
                reason = answer.reason or _Reason()
                self._reject(line, reason.type, reason.detail)
            elif answer.status == "duplicate":
                self.tally.duplicate += 1
            else:
                self.tally.accepted += 1

    def _batches(self, at_byte: Callable[[int], None]) -> Iterator[Batch]:
        rows = self._mapped(self.order.rows.cut(self.source.read(at_byte)))
        try:
            while batch := list(islice(rows, BATCH)):
                yield batch
        except FileError as error:
            # What went before stays sent; the rows of the broken batch count as not answered.
            self.tally.stopped_by = str(error)

    def _mapped(self, rows: Iterator[Row]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Map the rows; one that cannot be mapped is rejected here instead of by registry."""
        for row in rows:
            self.tally.rows += 1
            if row.trouble is not None:
                self._reject(row.line, "unreadable", row.trouble)
                continue
            try:
                yield row.line, self._map(row)
            except UnmappableError as error:
                self._reject(row.line, "unmappable", str(error))

    def _map(self, row: Row) -> dict[str, Any]:
        place = Place(self.bare_name, row.line, self.order.round_id)
        made = self.row_map.apply(row.values, place) if self.row_map else dict(row.values)
        if self.kind == "results" and self.order.round_id is not None:
            made.setdefault("round_id", self.order.round_id)
        return made

    def _reject(self, line: int, reason: str, detail: str) -> None:
        self.tally.rejected += 1
        self.tally.reasons[reason] = self.tally.reasons.get(reason, 0) + 1
        self.rejects.add(self.kind, line, reason, detail)

    def _show(self, progress: Progress, bar: TaskID) -> None:
        answered = self.tally.rows - self.tally.lost
        elapsed = progress.tasks[bar].elapsed or 0
        rate = f"{answered / elapsed:,.0f} rows/s" if elapsed else ""
        progress.update(bar, rows=answered, rate=rate)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
    )
