"""`lastmetre import`: a file of residents or results into registry, over the HTTP API.

Rows are read, mapped and sent in batches, several under way at once, while a thread makes the next.
Every row is answered for: accepted, duplicate, rejected with a reason, or not sent because registry
could not be reached (R21). Ids come from the file or from its name and lines, so running it again
is harmless (R19). A journal says which batches are answered: an import that broke off goes on where
it stopped, and its account is that of the whole file.
"""

import asyncio
import csv
import io
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Self

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from deploy.local import areas
from deploy.local.calls import Api, CallError, Refused
from deploy.local.errors import LocalError
from deploy.local.journal import Answered, Begun, Journal, fingerprint
from deploy.local.mapping import (
    FileMap,
    Kind,
    MapError,
    RowMap,
    Sheet,
    check_columns,
    load,
    plain,
)
from deploy.local.rows import ALL_ROWS, Chunk, Cut, FileError, RowFile, RowRange, bare_name
from deploy.local.tokens import development_token, state_folder

ROUTES: dict[Kind, str] = {"residents": "/v1/residents:batch", "results": "/v1/results:batch"}
NEXT: dict[Kind, str] = {
    "residents": "open a round, or lastmetre import results FILE --round ID",
    "results": "lastmetre status",
}
"""What to do when all went well."""
BATCH = 5_000
"""Rows of a batch: what registry takes in at the least cost a row."""
AT_ONCE = 2
"""Batches under way: as many as a process of registry works at. A third would only wait there."""
AHEAD = 2
"""Batches that are made before their turn, so that none under way is waited for twice."""

WRONG_ORDER = 2
"""Exit code when nothing was imported because the file, the map or the rows make no sense."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to import.

    `only` leaves out the other half of a map that makes residents and results; `rejects` takes a
    CSV of the rows that were not taken: line, reason, detail, and no value of any row (R20).
    `area` is the beginning of the codes whose areas are sent first; those of a map's `spread` are.
    `at_once` are the batches under way; `journals` is the folder where it is kept how far the
    import is; None: nowhere. `afresh` sends everything, also what one that broke off has sent.
    """

    kind: Kind
    file: Path
    map_file: Path | None = None
    round_id: str | None = None
    rows: RowRange = ALL_ROWS
    only: Kind | None = None
    rejects: Path | None = None
    area: str | None = None
    at_once: int = AT_ONCE
    journals: Path | None = None
    afresh: bool = False


@dataclass(slots=True)
class Stop:
    """Whether to stop before the end, and why."""

    reason: str | None = None


@dataclass(slots=True)
class Tally:
    """The account of one kind of row; `stopped_by` says why it ended before the file did.

    `before` are the rows that were answered before this process began, `again` duplicates that were
    sent twice because the first answer was lost, `seconds` how long this process took.
    """

    kind: Kind
    rows: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    before: int = 0
    again: int = 0
    seconds: float = 0.0
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

    def add(self, answer: Answered) -> None:
        """Count a batch that is answered."""
        self.accepted += answer.accepted
        self.duplicate += answer.duplicate
        self.rejected += len(answer.rejects)
        self.again += answer.again
        for _, reason, _ in answer.rejects:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def __str__(self) -> str:
        parts = (
            f"{self.accepted:,} accepted + {self.duplicate:,} duplicate"
            f" + {self.rejected:,} rejected"
        )
        lost = f" + {self.lost:,} not answered" if self.lost else ""
        return f"{self.kind}: {parts}{lost} = {self.rows:,} rows"


def command(order: Order, *, rows: str | None, registry: str, token: str | None) -> int:
    """Import and say how it went; gives the exit code.

    `rows` is `A:B`, counted from 1, both included; `token` None is a development token. The first
    Ctrl-C lets the batches under way be answered, the second leaves at once.
    """
    console = Console()
    try:
        if rows is not None:
            order = replace(order, rows=RowRange.parse(rows))
        order = replace(order, journals=state_folder() / "imports")
        tallies = asyncio.run(_import(order, registry, token or development_token(["system"])))
    except (LocalError, ValueError) as error:
        _say(console, str(error), style="red")
        return WRONG_ORDER
    except asyncio.CancelledError:
        _say(console, "stopped at once; the same command goes on where this one stopped")
        return 1
    return report(tallies, order, console)


async def _import(order: Order, registry: str, token: str) -> list[Tally]:
    console = Console(stderr=True)
    waiting = partial(_say, console, style="yellow")
    stop = Stop()
    async with Api(registry, lambda: token, waiting=waiting) as api:
        with _interruptible(stop, console):
            return await import_file(order, api, console, stop)


@contextmanager
def _interruptible(stop: Stop, console: Console) -> Iterator[None]:
    loop, here = asyncio.get_running_loop(), asyncio.current_task()

    def interrupt(number: signal.Signals) -> None:
        if stop.reason is not None and here is not None:
            here.cancel()
            return
        stop.reason = f"by {number.name}"
        _say(console, "stopping; waiting for answers to what is under way (again: at once)")

    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, interrupt, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def import_file(
    order: Order, api: Api, console: Console, stop: Stop | None = None
) -> list[Tally]:
    """Import the file, kind by kind, residents first.

    Raises `MapError`, `FileError`, `JournalError`, or `CallError` when not even the areas arrive.
    Ends with the first kind that was not wholly answered: results of people who never arrived would
    only be rejected.
    """
    source = RowFile(order.file)
    plans = _plans(order, source)
    tallies: list[Tally] = []
    with ExitStack() as stack:
        journal = await _journal(order, api, console)
        if journal is not None:
            stack.enter_context(journal)
        rejects = stack.enter_context(Rejects.into(order.rejects, journal))
        if journal is not None:
            journal.begin(Begun(order.file.name, _named(order.rejects)))
        if order.area is not None:
            await _areas(order.area, api)
        for kind, row_map in plans:
            for prefix in row_map.spreads() if row_map else ():
                await _areas(prefix, api)
            run = _Run(
                order, source, kind, row_map,
                rejects=rejects, journal=journal, stop=stop or Stop(),
            )  # fmt: skip
            tallies.append(await run.through(api, console))
            if tallies[-1].stopped_by is not None:
                return tallies
        if journal is not None:
            journal.finish()
    return tallies


async def _areas(prefix: str, api: Api) -> None:
    known = areas.under(prefix)
    if not areas.communities(prefix):
        raise MapError(f"no community begins with {prefix}")
    for some in areas.batches(known):
        await api.put("/v1/areas:batch", some)


async def _journal(order: Order, api: Api, console: Console) -> Journal | None:
    """Open the journal of this import, if one can be kept."""
    if order.journals is None:
        return None
    try:
        heads = (await api.get("/v1/outbox/heads"))["heads"]
    except Refused as error:
        _say(
            console,
            f"registry does not tell this token whose database it is ({error}): should this break"
            " off, it begins from the start",
        )
        return None
    lives = sorted({head["incarnation"] for head in heads})
    made_by = order.map_file.read_text(encoding="utf-8") if order.map_file else None
    name = await asyncio.to_thread(
        fingerprint, order.file, order.kind, order.only, made_by, lives,
        round=order.round_id, rows=[order.rows.first, order.rows.last], batch=BATCH,
    )  # fmt: skip
    journal = Journal(order.journals / f"{name}.journal", afresh=order.afresh)
    if journal.resumed:
        done = sum(each.rows for each in journal.answered.values())
        _say(
            console,
            f"going on where an import of this file broke off: {done:,} rows are answered"
            f" ({journal.path}; --afresh sends them again)",
        )
    return journal


def report(tallies: Sequence[Tally], order: Order, console: Console) -> int:
    """Say how it went and what to do next; the exit code: 1 if any row was rejected or lost."""
    for tally in tallies:
        _say(console, str(tally))
        now = tally.rows - tally.lost - tally.before
        if tally.seconds and now:
            _say(console, f"  {now:,} in {tally.seconds:,.1f} s: {now / tally.seconds:,.0f} rows/s")
        if tally.before:
            _say(console, f"  {tally.before:,} were answered before, and not sent again")
        if tally.again:
            _say(
                console,
                f"  {tally.again:,} of the duplicates were sent twice, for the first answer was"
                " lost: they were accepted then, unless they were known before",
            )
        for reason, count in sorted(tally.reasons.items(), key=lambda item: -item[1]):
            _say(console, f"  {count:,} times {reason}")
        if tally.stopped_by is not None:
            _say(console, f"stopped: {tally.stopped_by}")
            _say(console, "Run the same command again: it goes on, and counts nothing twice.")
        if tally.rejected:
            where = f"listed in {order.rejects}" if order.rejects else "list them with --rejects"
            _say(console, f"Rejected rows: {where}; mend them and run the same command again.")
    if not all(tally.clean for tally in tallies):
        return 1
    _say(console, f"next     {NEXT[tallies[-1].kind]}")
    return 0


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


def _named(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None


class Rejects:
    """The file of rejected rows, or nowhere.

    Where the last run of a journal listed them in the same file, that is continued after the last
    batch that was answered; else it is written anew, with what the journal knows.
    """

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file

    @classmethod
    def into(cls, path: Path | None, journal: Journal | None = None) -> "Rejects":
        """Open the file. Raises `FileError`."""
        if path is None:
            return cls(None)
        last = journal.runs[-1].rejects if journal is not None and journal.runs else None
        try:
            if journal is not None and last == _named(path) and path.exists():
                file = path.open("r+b")
                if journal.listed and file.seek(0, 2) >= journal.listed:
                    file.truncate(journal.listed)
                    file.seek(journal.listed)
                    return cls(file)
                file.close()
            rejects = cls(path.open("wb"))
        except OSError as error:
            raise FileError(f"{path}: {error.strerror}") from error
        rejects.write([("kind", "line", "reason", "detail")])
        for answer in journal.answered.values() if journal is not None else ():
            rejects.add(answer.kind, answer.rejects)
        return rejects

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def add(self, kind: str, rejects: Sequence[tuple[int, str, str]]) -> int:
        """Note rows; give the bytes of the file so far, which are on their way to the disk."""
        return self.write([(kind, *each) for each in rejects])

    def write(self, rows: Sequence[Sequence[object]]) -> int:
        """Write lines."""
        if self._file is None:
            return 0
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode())
        self._file.flush()
        return self._file.tell()


class _Reason(msgspec.Struct):
    type: str = "rejected"
    detail: str = ""


class _RowAnswer(msgspec.Struct):
    status: str
    reason: _Reason | None = None


class _Totals(msgspec.Struct):
    """What is read of an answer first."""

    accepted: int
    duplicate: int
    rejected: int


class _Rows(msgspec.Struct):
    """What is read of it only when something was rejected."""

    rows: list[_RowAnswer]


_totals = msgspec.json.Decoder(_Totals)
_rows = msgspec.json.Decoder(_Rows)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows on their way: `lines` are those in the body, `rejects` those that never go out."""

    number: int
    rows: int
    at: int
    lines: Sequence[int]
    body: bytes
    rejects: Sequence[tuple[int, str, str]]


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
        journal: Journal | None,
        stop: Stop,
    ) -> None:
        self.order = order
        self.source = source
        self.kind = kind
        self.row_map = row_map
        self.rejects = rejects
        self.journal = journal
        self.stop = stop
        self.tally = Tally(kind)
        self.bare_name = bare_name(order.file)

    async def through(self, api: Api, console: Console) -> Tally:
        """Send everything that is not answered yet, showing how far it is."""
        answered = self.journal.of(self.kind) if self.journal else {}
        for known in answered.values():
            self.tally.add(known)
            self.tally.rows += known.rows
        self.tally.before = self.tally.rows
        began = time.monotonic()
        cut = Cut(self.order.rows, BATCH, wanted=lambda number: number not in answered)
        ready: asyncio.Queue[_Batch | None] = asyncio.Queue(AHEAD)
        with _progress(console, self.kind, self.source.extent()) as show:

            async def maker() -> None:
                # In a thread: batches under way are not kept waiting by one that is made.
                batches = self._batches(cut)
                while not self._ended() and (batch := await asyncio.to_thread(self._next, batches)):
                    self.tally.rows += batch.rows
                    await ready.put(batch)
                await ready.put(None)

            async def sender() -> None:
                while (batch := await ready.get()) is not None:
                    if self._ended():
                        self.tally.rows -= batch.rows  # made for nothing, and never sent
                        continue
                    try:
                        await self._send(api, batch)
                    except (CallError, OSError) as error:
                        self.tally.stopped_by = self.tally.stopped_by or str(error)
                    show(batch.at, self.tally.rows - self.tally.lost, time.monotonic() - began)
                await ready.put(None)  # the others are to end as well

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(maker())
                for _ in range(self.order.at_once):
                    tasks.create_task(sender())
        self.tally.stopped_by = self.tally.stopped_by or self.stop.reason
        self.tally.seconds = time.monotonic() - began
        return self.tally

    def _ended(self) -> bool:
        return self.tally.stopped_by is not None or self.stop.reason is not None

    def _next(self, batches: Iterator[_Batch]) -> _Batch | None:
        try:
            return next(batches, None)
        except FileError as error:
            # What went before stays sent; where the file is broken, nobody knows what rows are.
            self.tally.stopped_by = str(error)
            return None

    async def _send(self, api: Api, batch: _Batch) -> None:
        """Send a batch and note its answer. Raises `CallError`, or OSError where notes are kept."""
        before = self.journal.send(self.kind, batch.number) if self.journal else False
        accepted = duplicate = again = 0
        rejects = list(batch.rejects)
        if batch.lines:
            reply = await api.exchange("POST", ROUTES[self.kind], content=batch.body)
            totals = _totals.decode(reply.content)
            accepted, duplicate = totals.accepted, totals.duplicate
            if accepted + duplicate + totals.rejected != len(batch.lines):
                raise CallError(f"{api.url} answered for other rows than it was sent")
            if totals.rejected:
                rejects += _rejected(batch.lines, _rows.decode(reply.content).rows)
            again = duplicate if before or reply.repeated else 0
        answer = Answered(
            self.kind, batch.number, batch.rows, accepted, duplicate, rejects, again,
            self.rejects.add(self.kind, rejects),
        )  # fmt: skip
        if self.journal:
            self.journal.note(answer)
        self.tally.add(answer)

    def _batches(self, cut: Cut) -> Iterator[_Batch]:
        columns = self.row_map.columns() if self.row_map else None
        for chunk in self.source.read(cut, columns):
            unreadable = [(line, "unreadable", what) for line, what in chunk.troubles]
            lines, body, unmappable = self._made(chunk)
            yield _Batch(
                chunk.number, len(chunk), chunk.at, lines, body, [*unreadable, *unmappable]
            )

    def _made(self, chunk: Chunk) -> tuple[Sequence[int], bytes, list[tuple[int, str, str]]]:
        """Make the rows that the API takes; those that cannot be are rejected here already."""
        if self.row_map is None:
            objects = chunk.objects or ()
            if self.kind == "results" and self.order.round_id is not None:
                for each in objects:
                    each.setdefault("round_id", self.order.round_id)
            return chunk.lines, _encoder.encode(objects), []
        sheet = Sheet(chunk.cells, chunk.lines, self.bare_name, self.order.round_id)
        body = _encoder.encode(self.row_map.apply(sheet))
        if not sheet.bad:
            return chunk.lines, body, []
        good = [line for row, line in enumerate(chunk.lines) if row not in sheet.bad]
        bad = [(chunk.lines[row], "unmappable", what) for row, what in sorted(sheet.bad.items())]
        return good, body, bad


_encoder = msgspec.json.Encoder()


def _rejected(
    lines: Sequence[int], answers: Sequence[_RowAnswer]
) -> Iterator[tuple[int, str, str]]:
    for line, answer in zip(lines, answers, strict=True):
        if answer.status == "rejected":
            reason = answer.reason or _Reason()
            yield line, reason.type, reason.detail


@contextmanager
def _progress(
    console: Console, kind: Kind, extent: int
) -> Iterator[Callable[[int, int, float], None]]:
    """Show how far it is, where somebody is looking; heard of after each batch.

    What is yielded is told how far into the file we are, how many rows are answered, and seconds.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    shown = Progress(
        *columns, console=console, refresh_per_second=4, disable=not console.is_terminal
    )
    with shown:
        bar = shown.add_task(kind, total=extent, rows=0, rate="")
        first: list[int] = []

        def show(at: int, rows: int, seconds: float) -> None:
            if not first:
                # What was answered before does not count for the time that is left.
                first.append(rows)
                shown.reset(bar, completed=at)
            rate = f"{(rows - first[0]) / seconds:,.0f} rows/s" if seconds else ""
            shown.update(
                bar, completed=max(at, int(shown.tasks[0].completed)), rows=rows, rate=rate
            )

        yield show
