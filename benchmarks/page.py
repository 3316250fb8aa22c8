"""What does the page cost, and how old is what it shows? `make bench-page`.

========  ==================================================================================
`view`    first view in a Chromium with an empty cache, nothing at hand in the server either:
          seconds and bytes on the wire; of the demo's district, and of the whole city
`fresh`   results come in by the clock: from the answer of registry until each of them is in
          an event of the stream, and until the total in Chromium has it
`pages`   CPU of reporting's API while so many pages are open and figures change every second
`memory`  what that process has for itself after so many updates of a view, pages open
========  ==================================================================================

`view` and `fresh` stand on a whole stack; `pages` and `memory` on reporting's API alone, where the
benchmark folds events itself. Pages are streams on which one client process listens; its own CPU
time is not counted. Without a Chromium, what it is needed for is left out.
"""

import argparse
import asyncio
import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import uvloop
from rich.console import Console

from benchmarks import browser, report
from benchmarks.carry import Watch
from benchmarks.desk import Desk, desk
from benchmarks.ground import DISTRICT, MEGABYTE, Ground, Usage, ground
from benchmarks.reads import Feed
from benchmarks.report import Figure
from benchmarks.wire import Lines, Stream, request
from deploy.local import areas, borders
from deploy.local.tokens import development_token

CITY = "4101"
SHOW_COST, SHOW_AGE = "page 2", "page 4"
BATCHES = 4
"""A second, of results that come by the clock."""
API = "reporting api"
KILOBYTE = 1024

_OK = 200
_LATER = frozenset({429, 503})
_SAMPLED = re.compile(r'class="sampled" data-value="(\d+)"')


class News(msgspec.Struct):
    """An event of the stream."""

    parts: dict[str, str] = {}
    reload: bool = False


@dataclass
class Pages:
    """Pages that are open, each a stream of its own."""

    address: str
    streams: list[Stream] = field(default_factory=list)

    async def open(self, token: str, hear: Callable[[bytes], None], **view: str) -> None:
        """Open one more; who is told to come later does."""
        host, _, port = self.address.removeprefix("http://").partition(":")
        asked = request("GET", f"/v1/stream?{urlencode(view)}", token)
        loop = asyncio.get_running_loop()
        while True:
            _, stream = await loop.create_connection(lambda: Stream(asked, hear), host, int(port))
            status = await stream.status
            if status == _OK:
                self.streams.append(stream)
                return
            stream.close()
            if status not in _LATER:
                raise SystemExit(f"the stream answered {status}")
            await asyncio.sleep(0.2)

    def close(self) -> None:
        """Close them all."""
        for stream in self.streams:
            stream.close()


@asynccontextmanager
async def pages_of(address: str) -> AsyncIterator[Pages]:
    """Open pages for the length of a block."""
    pages = Pages(address)
    try:
        yield pages
    finally:
        pages.close()


# --- first view ---


@dataclass(frozen=True)
class Place:
    """A town that is looked at, and where its people live."""

    name: str
    area: str
    residents: int


async def first_views(options: argparse.Namespace, out: Console) -> list[Figure]:
    """Look at the demo's district and at the whole city."""
    if not browser.installed():
        out.print("there is no chromium on the PATH: first views are left out")
        return []
    found: list[Figure] = []
    for place in (
        Place("the demo's district", DISTRICT, options.residents),
        Place("3,306 communities", CITY, options.residents * 5),
    ):
        with ground() as stack:
            found += await _first_views(options, stack, place, out)
    return found


async def _first_views(
    options: argparse.Namespace, stack: Ground, place: Place, out: Console
) -> list[Figure]:
    out.print(f"{place.name}: {place.residents:,} people come on the roll, a third is sampled")
    await stack.populate(place.residents, district=place.area)
    round_id = await stack.open_round(district=place.area)
    stack.rng.shuffle(stack.people)
    async with stack.api("registry") as registry, stack.api("reporting") as reporting:
        for batch in areas.batches(borders.made_up(place.area), 500):
            await registry.put("/v1/areas:batch", batch)
        await Feed(stack, round_id).send(
            place.residents // 3, size=min(5_000, place.residents // 3)
        )
        await Watch(registry, reporting).until_applied()
        rows = (await reporting.get("/v1/coverage", {"by": "office"}))["rows"]
    paths = {
        "": "/",
        ", an office": f"/office/{rows[0]['code']}",
        ", map of offices": "/map",
        ", map of communities": "/map/communities",
    }
    origin, figures = stack.addresses.reporting, list[Figure]()
    async with browser.chromium() as window:
        for name, path in paths.items():
            taken = [
                await browser.first_view(window, origin, path, _stranger(place.area, turn))
                for turn in range(options.turns)
            ]
            what = f"first view, {place.name}{name}"
            note = f"painted after {max(each.painted for each in taken):.2f} s at the latest"
            figures += [
                Figure.of(SHOW_COST, what, "s", [each.loaded for each in taken], note),
                Figure.of(SHOW_COST, what, "KB", [each.size / KILOBYTE for each in taken]),
            ]
    return figures


def _stranger(area: str, number: int) -> str:
    """Name somebody who sees the same as others, of whose areas the server has no copy at hand."""
    return development_token(["district"], [area, f"42{number:04}"], sub=f"stranger {number}")


# --- how old what it shows is ---


@dataclass
class Shown:
    """When what was accepted, and when which figure was on the page."""

    accepted: list[tuple[float, Counter[str]]] = field(default_factory=list)
    """By batch: when it was answered, and how many results of each community it held."""
    rows: defaultdict[str, list[tuple[float, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Sampled by community, in events of the stream."""
    reloads: int = 0

    def hear(self, event: bytes) -> None:
        """Read an event as it comes."""
        now, news = time.time(), msgspec.json.decode(event, type=News)
        self.reloads += news.reload
        for name, html in news.parts.items():
            if name.startswith("row-") and (found := _SAMPLED.search(html)):
                self.rows[name.removeprefix("row-")].append((now, int(found[1])))

    @property
    def complete(self) -> bool:
        """Whether all that was accepted has been on the page."""
        wanted = sum((counts for _, counts in self.accepted), Counter[str]())
        return all(
            self.rows[community] and self.rows[community][-1][1] >= n
            for community, n in wanted.items()
        )

    def ages(self) -> list[tuple[float, int]]:
        """Tell, of all results, how long after its answer each was in an event.

        Exactly: of one community results are counted in the order in which they were accepted.
        """
        found: list[tuple[float, int]] = []
        for community, shown in self.rows.items():
            own = [(at, counts[community]) for at, counts in self.accepted if counts[community]]
            found += ages(own, shown)
        return found

    def total_ages(self, shown: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
        """Tell how long after so many were accepted a total said so."""
        return ages([(at, counts.total()) for at, counts in self.accepted], shown)


def ages(
    accepted: Sequence[tuple[float, int]], shown: Sequence[tuple[float, int]]
) -> list[tuple[float, int]]:
    """Tell how long after each batch its last one was shown, and how many it had."""
    found: list[tuple[float, int]] = []
    total, figures = 0, iter(shown)
    at, figure = next(figures)
    for answered, n in accepted:
        total += n
        while figure < total:
            at, figure = next(figures)
        found.append((at - answered, n))
    return found


def quantile(found: Sequence[tuple[float, int]], share: float) -> float:
    """Tell within how many seconds this share of results was shown."""
    left = share * sum(n for _, n in found)
    for age, n in sorted(found):
        left -= n
        if left <= 0:
            return age
    raise ValueError("there are none")


@dataclass
class Day:
    """A round into which results come by the clock, and who looks on."""

    options: argparse.Namespace
    stack: Ground
    round: str
    lives: dict[UUID, str]
    """Where people live, by community."""
    shown: Shown = field(default_factory=Shown)
    drawn: list[tuple[float, int]] = field(default_factory=list)
    """Sampled in all, as Chromium drew it."""
    views: list[browser.FirstView] = field(default_factory=list)
    """Of those who came while results did."""

    async def send(self) -> None:
        """Send results by the clock, a batch after the other."""
        size = int(self.options.rate / BATCHES)
        people = self.stack.people[: size * BATCHES * self.options.seconds]
        batches = [people[start : start + size] for start in range(0, len(people), size)]
        token = development_token(["site"], ["41"], sub="site")
        bodies = [
            request(
                "POST", "/v1/results:batch", token,
                msgspec.json.encode(self.stack.rows(self.round, batch)),
            )
            for batch in batches
        ]  # fmt: skip
        lines = Lines(self.stack.addresses.registry, most=1)
        began = time.perf_counter()
        for number, (batch, body) in enumerate(zip(batches, bodies, strict=True)):
            await asyncio.sleep(max(0.0, began + number / BATCHES - time.perf_counter()))
            answer = await lines.ask(body)
            if answer.status != _OK:
                raise SystemExit(f"answered {answer.status}: {answer.body[:300]!r}")
            self.shown.accepted.append((time.time(), Counter(map(self.lives.__getitem__, batch))))
        lines.close()
        while not self.shown.complete:  # noqa: ASYNC110 - it is other processes that we wait for
            await asyncio.sleep(0.1)

    async def look(self) -> None:
        """Have a page open in Chromium meanwhile, and open others."""
        if not browser.installed():
            await self.send()
            return
        origin = self.stack.addresses.reporting
        async with browser.chromium() as window:
            page, _ = await browser.opened(window, origin, "/", _stranger(DISTRICT, 0))
            await browser.watch(page)
            sending = asyncio.create_task(self.send())
            await asyncio.sleep(self.options.seconds / 4)
            for turn in range(self.options.turns):
                token = _stranger(DISTRICT, turn + 1)
                self.views.append(await browser.first_view(window, origin, "/", token))
            await sending
            total = sum(counts.total() for _, counts in self.shown.accepted)
            await page.wait_for_function(f"window.seen.at(-1)[1] === {total}")
            self.drawn = await browser.seen(page)

    def figures(self) -> Iterator[Figure]:
        """Say what belongs into the report."""
        rate = f"{self.options.rate:,}/s"
        found = {"in an event of the stream": self.shown.ages()}
        if self.drawn:
            found["drawn by Chromium"] = self.shown.total_ages(self.drawn)
        for where, taken in found.items():
            note = f"at the most {quantile(taken, 1):.2f} s"
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                age = quantile(taken, share)
                yield Figure(
                    SHOW_AGE, f"accepted to {where}, {name} at {rate}", age, "s", note=note
                )
        if self.views:
            loaded = [each.loaded for each in self.views]
            yield Figure.of(SHOW_COST, f"first view, results coming in at {rate}", "s", loaded)


async def freshness(options: argparse.Namespace, out: Console) -> list[Figure]:
    """Let results come in by the clock, and look at the page meanwhile."""
    with ground() as stack:
        residents = max(options.residents, options.rate * options.seconds)
        out.print(f"{residents:,} people come on the roll; {options.rate:,} results/s")
        await stack.populate(residents)
        communities = [area.code for area in areas.communities(DISTRICT)]
        lives = {who: communities[n % len(communities)] for n, who in enumerate(stack.people)}
        day = Day(options, stack, await stack.open_round(), lives)
        stack.rng.shuffle(stack.people)
        async with stack.api("registry") as registry, stack.api("reporting") as reporting:
            await Watch(registry, reporting).until_applied()
        token = development_token(["district"], [DISTRICT], sub="looks on")
        async with pages_of(stack.addresses.reporting) as pages:
            for office in areas.offices(DISTRICT):
                await pages.open(token, day.shown.hear, view="office", office=office.code)
            before = Usage.of(stack)
            await day.look()
            used = Usage.of(stack).since(before)
    # Each is told so at first: they came with no page of their own.
    if day.shown.reloads > len(pages.streams):
        raise SystemExit("a page that was open was told to load itself anew")
    out.print(f"CPU of {API}: {used[API] / options.seconds:.0%} of a core")
    return list(day.figures())


# --- pages that stay open ---


@dataclass
class Heard:
    """What one page hears."""

    events: int = 0
    moved: int = 0
    """Events in which something had changed."""
    size: int = 0
    """Bytes of all events."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, event: bytes) -> None:
        """Hear an event."""
        self.events += 1
        self.size += len(event)
        if b'"parts":{}' not in event:
            self.moved += 1
            self.news.set()


@dataclass(frozen=True)
class Case:
    """Pages that are open, and what moves under them every second."""

    name: str
    pages: int
    area: str = DISTRICT
    views: Sequence[dict[str, str]] = ({},)
    moving: Sequence[Sequence[str]] = ()
    """Communities in which somebody is sampled, one second after another."""


def cases(count: int) -> list[Case]:
    """List what is held against nobody looking, which is the first."""
    offices = areas.offices(DISTRICT)
    one = [[area.code] for area in areas.communities(DISTRICT)]
    many = f"{count} pages of"
    views = [
        {**view, "lang": lang}
        for view in ({}, *({"view": "office", "office": office.code} for office in offices))
        for lang in ("zh", "en")
    ]
    return [
        Case("nobody looks", 0, moving=one),
        Case("1 page of the district, a figure changes", 1, moving=one),
        Case(f"{many} the district, a figure changes", count, moving=one),
        Case(f"{many} the district, every office changes", count, moving=[_firsts(DISTRICT)]),
        Case(f"{many} {len(views)} views, all change", count, DISTRICT, views, [_firsts(DISTRICT)]),
        Case(f"{many} the city, a figure changes", count, CITY, moving=one),
        Case(f"{many} the city, all 208 offices change", count, CITY, moving=[_firsts(CITY)]),
    ]


def _firsts(area: str) -> list[str]:
    """Name a community of each office."""
    return [areas.communities(office.code)[0].code for office in areas.offices(area)]


async def opened(pages: Pages, case: Case) -> list[Heard]:
    """Open the pages, a few at a time, and wait until each has heard something."""
    heard = [Heard() for _ in range(case.pages)]
    left = iter(zip(heard, cycle(case.views), strict=False))
    tokens = cycle(
        development_token(["district"], [case.area], sub=f"page {number}") for number in range(20)
    )

    async def some() -> None:
        for page, view in left:
            await pages.open(next(tokens), page.hear, **view)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(some())
    while not all(page.events for page in heard):  # noqa: ASYNC110 - it is the API that we wait for
        await asyncio.sleep(0.1)
    return heard


async def open_pages(options: argparse.Namespace, out: Console) -> list[Figure]:
    """Let figures change every second, and look on or not."""
    figures: list[Figure] = []
    with desk() as here:
        await here.open_round(CITY)
        idle, *others = cases(options.pages)
        nobody, _, _ = await hold(options, here, idle)
        out.print(f"{idle.name}: {nobody:.1%} of a core")
        for case in others:
            api, postgres, size = await hold(options, here, case)
            note = f"PostgreSQL {postgres:.1%}; an event has {size / KILOBYTE:.1f} KB"
            figures.append(
                Figure(SHOW_COST, case.name, (api - nobody) * 100, "% of a core", note=note)
            )
            out.print(f"{case.name}: {api:.1%} of a core, {note}")
    return figures


async def hold(options: argparse.Namespace, here: Desk, case: Case) -> tuple[float, float, float]:
    """Hold pages open for a while; tell CPU of the API and of PostgreSQL, and bytes of an event."""
    async with pages_of(here.address) as pages:
        heard = await opened(pages, case)
        moving = cycle(case.moving)
        await here.sample(next(moving))
        before = [(page.events, page.moved, page.size) for page in heard]
        began, (api, postgres) = time.perf_counter(), here.spent()
        for second in range(options.seconds):
            await here.sample(next(moving))
            await asyncio.sleep(max(0.0, began + second + 1 - time.perf_counter()))
        seconds, now = time.perf_counter() - began, here.spent()
        for page, (events, moved, _) in zip(heard, before, strict=True):
            if page.moved - moved < options.seconds - 2:
                raise SystemExit(f"of {page.events - events} events only {page.moved} told of news")
        told = sum(page.events - events for page, (events, _, _) in zip(heard, before, strict=True))
        size = sum(page.size - size for page, (_, _, size) in zip(heard, before, strict=True))
    return (now[0] - api) / seconds, (now[1] - postgres) / seconds, size / max(told, 1)


async def memory(options: argparse.Namespace, out: Console) -> list[Figure]:
    """Let a view change as fast as it is rendered, with pages open."""
    marks = {options.updates // 10: 0.0, options.updates // 2: 0.0, options.updates: 0.0}
    with desk(look_seconds=0.005) as here:
        await here.open_round(DISTRICT)
        communities = cycle(area.code for area in areas.communities(DISTRICT))
        async with pages_of(here.address) as pages:
            page, *_ = await opened(pages, Case("a view", 20))
            while page.moved < options.updates:
                page.news.clear()
                await here.sample([next(communities)])
                await page.news.wait()
                if page.moved in marks:
                    marks[page.moved] = here.api.memory_full_info().uss / MEGABYTE
                    out.print(f"{page.moved:,} updates: {marks[page.moved]:.1f} MB")
    first, *_, last = marks.items()
    what = f"grown from {first[0]:,} to {last[0]:,} updates of a view, 20 pages open"
    return [Figure(SHOW_COST, what, last[1] - first[1], "MB", note=f"{API} {last[1]:.0f} MB")]


PARTS = {"view": first_views, "fresh": freshness, "pages": open_pages, "memory": memory}


async def run(options: argparse.Namespace, out: Console) -> list[Figure]:
    """Run what is asked for."""
    figures: list[Figure] = []
    for name in options.parts:
        found = await PARTS[name](options, out)
        out.print(report.table(found), soft_wrap=True)
        figures += found
    return figures


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--residents", type=int, default=20_000, help="of the demo's district")
    parser.add_argument("--turns", type=int, default=5, help="first views of a place")
    parser.add_argument("--rate", type=int, default=1_000, help="results a second")
    parser.add_argument("--seconds", type=int, default=30, help="of results, and of open pages")
    parser.add_argument("--pages", type=int, default=500, help="open at a time")
    parser.add_argument("--updates", type=int, default=10_000, help="of a view, for memory")
    report.add_option(parser)
    options = parser.parse_args()
    out = Console(width=110, highlight=False)
    report.write(options.json, uvloop.run(run(options, out)))


if __name__ == "__main__":
    main()
