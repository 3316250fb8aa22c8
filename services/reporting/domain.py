"""The figures: what a line of the table says, and when the account balances. No I/O.

A *cell* is one figure of one community (`shared.contracts.cells` names them). Everything shown is a
sum of cells; nothing is a remainder of anything else, so a hole in the account stays visible.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Literal, TypeAlias, TypedDict

from shared.contracts.cells import SLOT_SECONDS
from shared.contracts.vocabulary import RoundState
from shared.errors import Conflict

Cells: TypeAlias = Mapping[str, int]
"""Figures of one place, by cell. A cell that is not there is zero."""

ByArea = Literal["district", "office", "community"]
By = Literal[ByArea, "need", "channel"]
"""What the rows of a coverage table stand for."""

AREA_WIDTH: Mapping[ByArea, int] = {"district": 6, "office": 9, "community": 12}
"""Digits of an area's statistics code; each level's code begins with the one above it."""
_OFFICE = AREA_WIDTH["office"]

CLASSES = ("sampled", "excluded", "in_hand", "unaccounted")
"""The four places a person on the roll can be; exactly one holds, so they sum to the roll."""

OPEN_VISITS = ("planned", "assigned", "started")
DONE_VISITS = ("finished",)
UNASSIGNED = "unassigned"
"""Name of the rows for people whose community, or even office, is not known (R5)."""

SAMPLED_AT = "sampled_at."
"""Begins the cells of the series in the ledger; the rest is the number of the slot."""


class RebuildRunning(Conflict):
    """A rebuild is asked for while another one has not swapped yet."""

    slug = "rebuild-running"
    title = "A rebuild is already running"
    cause = "The counters are being built anew already."
    cure = "Wait until `GET /v1/rebuild` says that it has swapped; it is then as good as yours."


@dataclass(frozen=True, slots=True)
class Round:
    """One numbered pass over the population, as registry announced it last."""

    id: str
    campaign: str
    number: int
    name: str
    state: str
    opens_at: datetime
    closes_at: datetime
    offices: tuple[str, ...]
    clock_at: datetime | None
    changed_at: datetime
    """When registry recorded the last change of its state, in real time."""


@dataclass(frozen=True, slots=True)
class Outside:
    """How many people somebody outside (`census`, `police_list`) counts in a place (R3)."""

    source: str
    people: int
    as_of: date
    """Of a sum: the day of its oldest part."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Coverage against a number from outside, beside ours (R3).

    `coverage` is sampled ÷ people, never capped, and None when that is nobody; `over` flags that
    more were sampled than there should be.
    """

    source: str
    people: int
    as_of: date
    coverage: float | None
    over: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a coverage table. None: this figure is not kept by what the rows stand for."""

    code: str
    name: str
    sampled: int
    roll: int | None = None
    excluded: int | None = None
    excluded_by_reason: Cells | None = None
    resulted: int | None = None
    negative: int | None = None
    positive: int | None = None
    inconclusive: int | None = None
    invalid: int | None = None
    in_hand: int | None = None
    in_hand_by_kind: Cells | None = None
    unaccounted: int | None = None
    visitors: int | None = None
    visits_open: int | None = None
    visits_done: int | None = None
    coverage: float | None = None
    outside: Sequence[Measured] | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """A coverage table: its rows, and the line of everybody in the caller's areas."""

    rows: Sequence[Line]
    total: Line


def coverage_of(cells: Cells) -> float | None:
    """Coverage by R2: sampled ÷ (roll - excluded); None when nobody has to be sampled."""
    eligible = cells.get("roll", 0) - cells.get("excluded", 0)
    return cells.get("sampled", 0) / eligible if eligible else None


def area_line(
    code: str, name: str, cells: Cells, visits: Cells, outside: Iterable[Outside] = ()
) -> Line:
    """Line of an area: the whole account, its visits by `status.X`, and the numbers of others."""
    return Line(
        code=code,
        name=name,
        **_classes(cells),
        excluded_by_reason=family(cells, "excluded."),
        in_hand_by_kind=family(cells, "in_hand."),
        visitors=cells.get("visitors", 0),
        visits_open=sum(visits.get(f"status.{status}", 0) for status in OPEN_VISITS),
        visits_done=sum(visits.get(f"status.{status}", 0) for status in DONE_VISITS),
        coverage=coverage_of(cells),
        outside=[measure(cells.get("sampled", 0), each) for each in outside],
    )


def measure(sampled: int, outside: Outside) -> Measured:
    """Hold the sampled against a number from outside (R3): flagged above 100 %, never capped."""
    return Measured(
        outside.source,
        outside.people,
        outside.as_of,
        coverage=sampled / outside.people if outside.people else None,
        over=sampled > outside.people,
    )


def need_lines(cells: Cells) -> list[Line]:
    """Lines by need. A person may have several: these overlap and do not sum to the total."""
    needs = sorted({cell.split(".", 2)[1] for cell in cells if cell.startswith("need.")})
    by_need = {need: family(cells, f"need.{need}.") for need in needs}
    return [
        Line(code=need, name=need, **_classes(own), coverage=coverage_of(own))
        for need, own in by_need.items()
    ]


def channel_lines(cells: Cells) -> list[Line]:
    """Lines by channel: only the sampled are known by channel."""
    return [
        Line(code=channel, name=channel, sampled=n)
        for channel, n in sorted(family(cells, "channel.").items())
    ]


def family(cells: Cells, prefix: str) -> dict[str, int]:
    """Members of a family of cells by the rest of their name; zero ones are left out."""
    return {
        cell.removeprefix(prefix): n for cell, n in cells.items() if cell.startswith(prefix) and n
    }


def add(parts: Iterable[Cells]) -> dict[str, int]:
    """Sum figures of several places."""
    total: dict[str, int] = {}
    for part in parts:
        for cell, n in part.items():
            total[cell] = total.get(cell, 0) + n
    return total


def name_of(code: str, names: Mapping[str, str]) -> str:
    """Name an area; people of no known place below have a row of their own (R5)."""
    if len(code) > AREA_WIDTH["district"] and code.endswith("000"):
        return UNASSIGNED
    return names.get(code, code)


TOTAL = ""
"""Code of the place that all districts are parts of."""


@dataclass(frozen=True)
class Scope:
    """What a round's figures stand for as one caller sees them: offices, cut to the token's areas.

    A number from outside counts everybody of its area. So an area is measured by its own number
    only where our figures are of the whole of it: the round has all its offices on file, and the
    caller sees all of it. Else, and where it has no number of its own, the numbers of its parts in
    scope are summed, if every one of them has one: a community on file without a number leaves its
    office without one, because a sum that leaves people out would flatter us. The total is measured
    in the same way, as the place that all districts of the scope are parts of.
    """

    offices: Sequence[str]
    """Of the round."""
    areas: Sequence[str]
    """Code prefixes that the caller sees."""
    codes: Sequence[str]
    """Every district, office and community on file of the round's districts."""

    def outside(self, given: Mapping[tuple[str, str], Outside]) -> dict[str, list[Outside]]:
        """Tell the numbers that measure each area, and `TOTAL`, in the order of sources."""
        found: dict[str, list[Outside]] = {}
        for source in sorted({source for _, source in given}):
            own = {code: each for (code, named), each in given.items() if named == source}
            for code, number in self._by_code(own).items():
                found.setdefault(code, []).append(number)
        return found

    def _by_code(self, own: Mapping[str, Outside]) -> dict[str, Outside]:
        """Measure by one source, from communities up."""
        measured: dict[str, Outside] = {}
        parts: dict[str, list[str]] = {}
        for code in sorted(self._in_scope(), key=len, reverse=True):
            number = own.get(code) if self._is_whole(code) else None
            number = number or _summed(measured, parts.get(code, ()))
            if number is not None:
                measured[code] = number
            parts.setdefault(_above(code), []).append(code)
        everybody = _summed(measured, parts.get(TOTAL, ()))
        return measured if everybody is None else {**measured, TOTAL: everybody}

    def _in_scope(self) -> list[str]:
        """List the areas of which the figures count somebody, wholly or in part."""
        return [
            code
            for code in self.codes
            if (code[:_OFFICE] in self._own or code in self._districts)
            and any(code.startswith(area) or area.startswith(code) for area in self.areas)
        ]

    def _is_whole(self, code: str) -> bool:
        seen = code.startswith(tuple(self.areas))
        return seen and not any(office.startswith(code) for office in self._left_out)

    @cached_property
    def _own(self) -> frozenset[str]:
        return frozenset(self.offices)

    @cached_property
    def _districts(self) -> frozenset[str]:
        return frozenset(office[: AREA_WIDTH["district"]] for office in self.offices)

    @cached_property
    def _left_out(self) -> list[str]:
        """Offices on file that the round does not have."""
        return [code for code in self.codes if len(code) == _OFFICE and code not in self._own]


def _above(code: str) -> str:
    widths = [0, *AREA_WIDTH.values()]
    return code[: max(width for width in widths if width < len(code))]


def _summed(measured: Mapping[str, Outside], parts: Sequence[str]) -> Outside | None:
    """Sum the numbers of parts, if there are any and every one of them has one."""
    if not parts or not all(part in measured for part in parts):
        return None
    numbers = [measured[part] for part in parts]
    return Outside(
        numbers[0].source,
        sum(each.people for each in numbers),
        min(each.as_of for each in numbers),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """How many were sampled in one step of sampling time, and how many up to its end."""

    at: datetime
    sampled: int
    cumulative: int


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """The samples of one area along sampling time; steps without any are left out."""

    code: str
    name: str
    points: Sequence[Point]


def points(slots: Mapping[int, int]) -> Sequence[Point]:
    """Points of a series, from samples by slot of sampling time."""
    found = []
    cumulative = 0
    for slot, sampled in sorted(slots.items()):
        cumulative += sampled
        at = datetime.fromtimestamp(slot * SLOT_SECONDS, UTC)
        found.append(Point(at, sampled, cumulative))
    return found


class _Classes(TypedDict):
    roll: int
    sampled: int
    excluded: int
    in_hand: int
    unaccounted: int
    resulted: int
    negative: int
    positive: int
    inconclusive: int
    invalid: int


def _classes(cells: Cells) -> _Classes:
    """The figures that every whole account has, also that of one need (R4)."""
    return _Classes(
        roll=cells.get("roll", 0),
        sampled=cells.get("sampled", 0),
        excluded=cells.get("excluded", 0),
        in_hand=cells.get("in_hand", 0),
        unaccounted=cells.get("unaccounted", 0),
        resulted=cells.get("resulted", 0),
        negative=cells.get("negative", 0),
        positive=cells.get("positive", 0),
        inconclusive=cells.get("inconclusive", 0),
        invalid=cells.get("invalid", 0),
    )


# --- as of when ---


@dataclass(frozen=True, slots=True)
class Applied:
    """How far one partition of a topic is counted; `recorded_at` is that of its last event."""

    topic: str
    partition: int
    pos: int
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Producer:
    """What a producer said of its heads when it was asked last."""

    name: str
    asked_at: datetime
    heads: Mapping[str, Sequence[int]]
    """Positions by topic; the index is the partition."""
    hands_as_of: datetime | None = None
    """registry only: everything dispatch announced of hands before this is in its roll."""


@dataclass(frozen=True, slots=True)
class AsOf:
    """How old figures are: everything recorded before is in them (R22). None: not known yet."""

    time: datetime | None
    hands_as_of: datetime | None
    visits_as_of: datetime | None
    positions: Mapping[str, Sequence[int]]


def counted_until(
    heads: Sequence[int], applied: Sequence[Applied], asked_at: datetime
) -> datetime | None:
    """Tell until when everything announced on a topic is counted.

    Whoever reached every head knows everything up to the moment it was asked for. A partition that
    is behind is only known up to its last event: the next one is younger.
    """
    known = [asked_at]
    reached = {position.partition: position for position in applied}
    for partition, head in enumerate(heads):
        position = reached.get(partition)
        if position is not None and position.pos >= head:
            continue
        if position is None or position.recorded_at is None:
            return None
        known.append(position.recorded_at)
    return min(known)


def earliest(times: Iterable[datetime | None]) -> datetime | None:
    """The earliest of several times; None when one of them is not known."""
    known = list(times)
    return None if None in known or not known else min(time for time in known if time is not None)


def as_of(applied: Sequence[Applied], producers: Mapping[str, Producer]) -> AsOf:
    """Tell how old figures folded up to these positions are."""
    by_topic: dict[str, list[Applied]] = {}
    for position in sorted(applied, key=lambda each: (each.topic, each.partition)):
        by_topic.setdefault(position.topic, []).append(position)

    def until(name: str) -> datetime | None:
        producer = producers.get(name)
        if producer is None:
            return None
        return earliest(
            counted_until(heads, by_topic.get(topic, []), producer.asked_at)
            for topic, heads in producer.heads.items()
            if topic in by_topic
        )

    time = until("registry")
    hands = producers["registry"].hands_as_of if "registry" in producers else None
    return AsOf(
        time=time,
        hands_as_of=earliest([hands, time]),
        visits_as_of=until("dispatch"),
        positions={topic: [each.pos for each in own] for topic, own in by_topic.items()},
    )


@dataclass(frozen=True, slots=True)
class View:
    """What one answer is read from: a round, one life of the counters, and how far they are."""

    generation: int
    round: Round
    as_of: AsOf
    decisions: str
    """Tells apart what people decided on dead letters, which moves figures without a position."""


# --- the ledger ---


@dataclass(frozen=True, slots=True)
class Head:
    """How far one partition is, and in which life of its producer's database."""

    pos: int
    incarnation: str


Heads: TypeAlias = Mapping[int, Head]
"""By partition."""


@dataclass(frozen=True, slots=True)
class Recount:
    """registry's own figures, counted from facts in one snapshot, and where it then was.

    `communities` holds the series too, as cells `sampled_at.SLOT`.
    """

    as_of: datetime
    state: RoundState
    roll_heads: Heads
    hands_applied: Mapping[int, int]
    """Position of dispatch's hands that registry had taken in, by partition."""
    communities: Mapping[str, Cells]
    hands: Cells


@dataclass(frozen=True, slots=True)
class OpenHands:
    """dispatch's open hands of a round by kind, and where its announcements then were."""

    heads: Mapping[int, int]
    hands: Cells


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the other services said when asked. None: that one did not answer."""

    recount: Recount | None
    open_hands: OpenHands | None
    parked: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Fold:
    """reporting's own figures at exactly the heads of a recount, and how far it had applied."""

    applied: Heads
    floor: Mapping[int, int]
    """Position by partition up to which single deltas are forgotten."""
    communities: Mapping[str, Cells]
    """With the series, as cells `sampled_at.SLOT`."""
    parked: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell that fold and recount do not agree on.

    The cell `account` is not a figure but a remainder, roll - (sampled + excluded + in hand +
    unaccounted), which has to be zero on both sides.
    """

    community: str
    cell: str
    registry: int
    reporting: int


@dataclass(frozen=True, slots=True)
class HandsComparison:
    """dispatch's open hands against registry's. `balanced` None: not at one position.

    While hands come and go the two are rarely met at one position, and the account of registry is
    complete without: that alone leaves the ledger as it is. Hands that differ at one position do
    not.
    """

    balanced: bool | None
    registry: Cells | None
    dispatch: Cells | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of a round, proven or not: fold = recount, at `cut` (R22).

    `balanced` is True when every partition was compared at an equal position and agrees, and
    nothing is parked at any consumer; None while that cannot be said yet; else False.
    """

    round: str
    balanced: bool | None
    reasons: Sequence[str]
    as_of: datetime | None
    cut: Sequence[int] | None
    differences: Sequence[Difference]
    parked: Mapping[str, int | None]
    hands: HandsComparison
    communities: Mapping[str, Cells]
    """The account as folded, at the cut if there is one."""


@dataclass(slots=True)
class _Verdict:
    """False outweighs pending, and pending outweighs true."""

    wrong: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool | None:
        if self.wrong:
            return False
        return None if self.pending else True


def obstacle(fold: Fold, cut: Heads) -> str | None:
    """Say why a fold cannot be told at a cut: it is not there yet, or can no longer go back."""
    for partition, head in cut.items():
        applied = fold.applied.get(partition)
        if applied is None or applied.pos < head.pos:
            return "not_reached"
        if head.pos and applied.incarnation != head.incarnation:
            return "other_incarnation"
        if applied.pos > head.pos and head.pos < fold.floor.get(partition, 0):
            return "cut_too_old"
    return None


def weigh(round_id: str, evidence: Evidence, fold: Fold) -> Ledger:
    """Judge the account from what registry recounted, dispatch holds and reporting folded."""
    verdict = _Verdict()
    recount = evidence.recount
    differences: Sequence[Difference] = ()
    pending = "registry_unreachable" if recount is None else obstacle(fold, recount.roll_heads)
    if pending is not None:
        verdict.pending.append(pending)
    elif recount is not None:
        differences = compare(recount.communities, fold.communities)
        verdict.wrong += ["cells_differ"] if differences else []
    hands = _compare_hands(recount, evidence.open_hands)
    verdict.wrong += ["hands_differ"] if hands.balanced is False else []
    parked = {**evidence.parked, "reporting": fold.parked}
    verdict.wrong += ["parked"] if any(parked.values()) else []
    verdict.pending += [f"{name}_unreachable" for name, n in parked.items() if n is None]
    return Ledger(
        round=round_id,
        balanced=verdict.balanced,
        reasons=tuple(dict.fromkeys(verdict.wrong + verdict.pending)),
        as_of=recount.as_of if recount else None,
        cut=[head.pos for _, head in sorted(recount.roll_heads.items())] if recount else None,
        differences=differences,
        parked=parked,
        hands=hands,
        communities=fold.communities,
    )


def compare(registry: Mapping[str, Cells], reporting: Mapping[str, Cells]) -> Sequence[Difference]:
    """List every cell on which recount and fold differ, and every account that does not add up."""
    found = []
    for community in sorted(registry.keys() | reporting.keys()):
        recounted, folded = registry.get(community, {}), reporting.get(community, {})
        found += [
            Difference(community, _told(cell), recounted.get(cell, 0), folded.get(cell, 0))
            for cell in sorted(recounted.keys() | folded.keys())
            if recounted.get(cell, 0) != folded.get(cell, 0)
        ]
        if remainder(recounted) or remainder(folded):
            found.append(Difference(community, "account", remainder(recounted), remainder(folded)))
    return found


def _told(cell: str) -> str:
    """Name a cell of the series by the beginning of its five minutes, others as they are."""
    if not cell.startswith(SAMPLED_AT):
        return cell
    slot = int(cell.removeprefix(SAMPLED_AT))
    return f"{SAMPLED_AT}{datetime.fromtimestamp(slot * SLOT_SECONDS, UTC):%Y-%m-%dT%H:%MZ}"


def remainder(cells: Cells) -> int:
    """Roll - (sampled + excluded + in hand + unaccounted): zero, or somebody is miscounted."""
    return cells.get("roll", 0) - sum(cells.get(name, 0) for name in CLASSES)


def _compare_hands(recount: Recount | None, dispatch: OpenHands | None) -> HandsComparison:
    registry_hands = recount.hands if recount else None
    dispatch_hands = dispatch.hands if dispatch else None
    # A sealed round is final in registry: hands that end later in dispatch move it no more.
    final = recount is not None and recount.state == "sealed"
    if final or recount is None or dispatch is None or recount.hands_applied != dispatch.heads:
        return HandsComparison(None, registry_hands, dispatch_hands)
    agreed = family(recount.hands, "") == family(dispatch.hands, "")
    return HandsComparison(agreed, registry_hands, dispatch_hands)
