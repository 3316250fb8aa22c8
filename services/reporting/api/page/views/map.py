"""The map (地图): areas where they lie to each other, coloured by the share that is unaccounted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar
from unicodedata import east_asian_width

from services.reporting.api.page.rendering import Parts, part
from services.reporting.api.page.serving import address
from services.reporting.api.page.views.question import Question
from services.reporting.api.page.views.view import FiguresView, heading
from services.reporting.api.page.words import Speech
from services.reporting.api.shelf import Shelf
from services.reporting.domain.areas import AREA_WIDTH, UNASSIGNED, ByArea
from services.reporting.domain.areas import above as code_above
from services.reporting.domain.coverage import Line
from services.reporting.domain.freshness import Edition
from services.reporting.domain.maps import STEPS, Shape, Step, draw, radius, step
from services.reporting.flow import figures
from services.reporting.wiring import Wiring
from shared.contracts.registry import ROUNDS
from shared.database import Transaction

COLUMNS = ("unaccounted", "left", "roll", "sampled", "in_hand")
"""Of the table, after the name."""

SMALL, LARGE = 15, 34
"""Sizes of words on the map, in its own units; the large ones can be read on a phone too."""
LEADING = 1.25
"""Height of a line."""
WORDS = ((2, LARGE), (2, SMALL), (1, LARGE), (1, SMALL))
"""Lines and sizes of words that are tried in an area, one after the other."""
WIDEST = "10.00%"
"""Who has no room for this has no words, ever."""
CROWD = 100
"""So many circles have names, at most."""

COMMITTEES = ("居民委员会", "村民委员会", "居委会", "委会")
"""What registers write after the name of a community: the committee that runs it."""

REMEMBERED = 20_000
"""Areas of which is remembered how they were shown last, in one language or the other."""

ABOVE: Mapping[ByArea, ByArea] = {"office": "district", "community": "office"}

Sheet = Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class Mark:
    """An area on the map, and all that is shown of it."""

    code: str
    name: str
    label: str
    """The name as it is written on the map."""
    unaccounted: int
    roll: int
    sampled: int
    in_hand: int
    step: Step
    link: str | None
    shape: Shape | None
    """None: nobody has told where it is."""
    radius: float


@dataclass(frozen=True, slots=True)
class Label:
    """Words on the map; none where there is no room."""

    x: float = 0.0
    y: float = 0.0
    lines: Sequence[str] = ()
    large: bool = False


class Map(FiguresView):
    """Offices on a map, and the same as a table."""

    template = "map.html"
    by: ClassVar[ByArea] = "office"
    """What is drawn."""

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self._sheets: Shelf[Sheet] = Shelf()

    def setting(self, question: Question) -> Mapping[str, object]:
        """The head of the table, and where else one may look."""
        return {"columns": COLUMNS, "by": self.by, "office": question.office}

    async def parts(self, tx: Transaction, edition: Edition, question: Question) -> Parts:
        """Render heading, summary, map, legend, what is not on the map, and the table."""
        say, office = question.say, question.office
        place = None if office is None else await figures.name(tx, edition.view, office)
        table = await figures.coverage(tx, edition.view, self.by)
        sheet = await self._sheet(tx, edition)
        above = await figures.names(tx, edition.view, ABOVE[self.by])
        marks = [_mark(question, line, sheet, above) for line in _ranked(table.rows, sheet)]
        made = {"heading": heading(edition, question, place)}
        made["summary"] = part("map.summary", say, table.total, marks, self.by)
        made["borders"] = part("map.borders", sheet)
        for mark in marks:
            if mark.shape is not None:
                made[f"shape-{mark.code}"] = _drawn(say, mark)
        for mark, label in _labels(say, marks):
            made[f"label-{mark.code}"] = part("map.label", mark, label)
        made["legend"] = part("map.legend", say, _legend(marks), self.by)
        made["unplaced"] = part("map.unplaced", say, [each for each in marks if not each.shape])
        for mark in marks:
            made[f"row-{mark.code}"] = _written(say, mark)
        made["total"] = part("map.total", say, table.total, COLUMNS)
        return made

    async def _sheet(self, tx: Transaction, edition: Edition) -> Sheet:
        """Draw the areas, when something was told of them: borders hardly ever move."""
        view = edition.view

        async def drawn() -> Sheet:
            heights = [lines * size * LEADING for lines, size in WORDS]
            return draw(await figures.geometries(tx, view, self.by), heights)

        told = f"{view.generation} {edition.as_of.positions.get(ROUNDS)}"
        return await self._sheets.copy((view.round.id, tuple(view.areas)), told, drawn)


class CommunityMap(Map):
    """Communities on a map, of one office or of all."""

    by = "community"


@lru_cache(maxsize=REMEMBERED)
def _drawn(say: Speech, mark: Mark) -> str:
    """Draw an area; of a city's communities few have changed since a second ago."""
    return part("map.shape", say, mark)


@lru_cache(maxsize=REMEMBERED)
def _written(say: Speech, mark: Mark) -> str:
    """Write the row of an area, likewise."""
    return part("map.row", say, mark, COLUMNS)


def _ranked(lines: Iterable[Line], sheet: Sheet) -> list[tuple[Line, float]]:
    """Order areas by their roll, so that small circles lie on large ones; with their radius."""
    ordered = sorted(lines, key=lambda line: (-(line.roll or 0), line.code))
    circles = [
        line.roll or 0 for line in ordered if line.code in sheet and not sheet[line.code].path
    ]
    largest = max(circles, default=0)
    return [(line, round(radius(line.roll or 0, largest, len(circles)), 1)) for line in ordered]


def _mark(
    question: Question, ranked: tuple[Line, float], sheet: Sheet, above: Mapping[str, str]
) -> Mark:
    line, size = ranked
    return Mark(
        code=line.code,
        name=question.say(line.name) if line.name == UNASSIGNED else line.name,
        label=_shortened(line.name, above.get(code_above(line.code), "")),
        unaccounted=line.unaccounted or 0,
        roll=line.roll or 0,
        sampled=line.sampled,
        in_hand=line.in_hand or 0,
        step=step(line),
        link=_link(question, line.code),
        shape=sheet.get(line.code),
        radius=size,
    )


def _shortened(name: str, above: str) -> str:
    """Leave out what a map says by itself: the district of an office, that a committee runs it."""
    short = name.removeprefix(above) or name
    for committee in COMMITTEES:
        short = short.removesuffix(committee) or short
    return short


def _link(question: Question, code: str) -> str | None:
    """Find the page of an office; of a community there is none, nor of those who are unassigned."""
    if len(code) != AREA_WIDTH["office"]:
        return None
    return f"/office/{code}?{address(lang=question.language, round=question.round)}"


def _legend(marks: Iterable[Mark]) -> list[tuple[Step, int, int]]:
    """Count areas, and the unaccounted in them, by class; the worst first."""
    areas, people = Counter[Step](), Counter[Step]()
    for mark in marks:
        areas[mark.step] += 1
        people[mark.step] += mark.unaccounted
    return [(each, areas[each], people[each]) for each in reversed(STEPS)]


def _labels(say: Speech, marks: Iterable[Mark]) -> Iterator[tuple[Mark, Label]]:
    """Put names where there is room for them: in their borders, or below their circle."""
    circles = []
    for mark in marks:
        if mark.shape and mark.shape.path:
            smallest = mark.shape.rooms[-1]
            if smallest and smallest.width >= _length(WIDEST, SMALL):
                yield mark, _inside(say, mark.shape, mark)
        elif mark.shape:
            circles.append((mark, mark.shape))
    if len(circles) <= CROWD:
        yield from _below(circles)


def _inside(say: Speech, shape: Shape, mark: Mark) -> Label:
    """Name and share; without room for both, the share alone."""
    left = "0" if mark.step == "zero" else say.left(mark.unaccounted, mark.roll)
    for (count, size), room in zip(WORDS, shape.rooms, strict=True):
        lines = (mark.label, left)[-count:]
        if room and room.width >= max(_length(line, size) for line in lines):
            return Label(room.x, room.y, lines, large=size == LARGE)
    return Label()


def _below(circles: Iterable[tuple[Mark, Shape]]) -> Iterator[tuple[Mark, Label]]:
    """Name circles, the largest first, where no other name has been put."""
    taken: list[tuple[float, float, float, float]] = []
    for mark, shape in sorted(circles, key=lambda each: (-each[0].radius, each[0].code)):
        half, y = _length(mark.label, SMALL) / 2, shape.y + mark.radius + SMALL / 2
        box = (shape.x - half, y - SMALL / 2, shape.x + half, y + SMALL / 2)
        free = not any(_overlap(box, other) for other in taken)
        taken += [box] * free
        yield mark, Label(shape.x, y, (mark.label,) if free else ())


def _length(text: str, size: float) -> float:
    """Estimate how long a text is: Chinese characters are as wide as they are high."""
    return size * (0.5 + sum(1.0 if east_asian_width(each) in "WF" else 0.58 for each in text))


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
