"""Between the domain's rows and the contracts; the only file that knows both."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from services.registry.domain import areas as places
from services.registry.domain.answers import RowAnswer
from services.registry.domain.denominators import Denominator as Outside
from services.registry.domain.entries import Entry
from services.registry.domain.rounds import Round
from shared.contracts.cells import cells_of
from shared.contracts.dispatch import HandsChanged, VisitChange, VisitsChanged, VisitsRetold
from shared.contracts.envelope import Event, partition_of
from shared.contracts.geometry import positions
from shared.contracts.registry import (
    Area,
    AreasChanged,
    Change,
    CommunityCount,
    CommunityRoll,
    Denominator,
    DenominatorsChanged,
    Hand,
    RollChanged,
    RollCounted,
    RollStated,
    RoundChanged,
    RoundOpened,
    RoundTicked,
    Standing,
    Stated,
    VisitAnswer,
    VisitsAnswered,
)
from shared.contracts.vocabulary import HandKind

CHANGES = 1000
"""Most changes in one message; at about 200 bytes each it stays far below a broker's limit."""
POSITIONS = 20_000
"""Most positions of borders in one message, at up to 24 bytes each."""
COMMUNITIES = 500
COUNTED = 100
"""Most communities in one message with all their figures, of which each may have hundreds."""
NOWHERE = ""
"""Where a closed round has those who came after its closing: in no community's figures."""

OfArea = TypeVar("OfArea", Area, Denominator)
Keyed = tuple[Any, str]
"""A message and the key that chooses its partition."""


def areas_changed(areas: Sequence[places.Area]) -> Iterator[Keyed]:
    """Announce areas, by the partition of their district; borders, as many as fit a record."""
    told = (Area(a.code, a.name, a.kind, a.parent, a.lat, a.lon, a.geometry or None) for a in areas)
    for district, chunk in _by_district(told):
        size, some = 0, list[Area]()
        for area in chunk:
            outlined = sum(1 for _ in positions(area.geometry)) if area.geometry else 0
            if size + outlined > POSITIONS:
                yield AreasChanged(some), district
                size, some = 0, []
            size += outlined
            some.append(area)
        yield AreasChanged(some), district


def denominators_changed(given: Sequence[Outside]) -> Iterator[Keyed]:
    """Announce numbers from outside, by the partition of their district."""
    told = (Denominator(each.code, each.source, each.people, each.as_of) for each in given)
    for district, chunk in _by_district(told):
        yield DenominatorsChanged(chunk), district


def round_changed(where: Round) -> Keyed:
    """Announce a round as it is now, whole."""
    message = RoundChanged(
        round=str(where.id),
        version=where.version,
        campaign=where.campaign,
        number=where.number,
        name=where.name,
        state=where.state,
        opens_at=where.opens_at,
        closes_at=where.closes_at,
        offices=list(where.offices),
        manual_clock=where.manual_clock,
        clock_at=where.clock_at,
        opened_at=where.opened_at,
    )
    return message, str(where.id)


def round_ticked(where: Round) -> Keyed:
    """Announce that a manual clock moved on."""
    if where.clock_at is None:
        raise ValueError("a round on the wall clock does not tick")
    return RoundTicked(round=str(where.id), clock_at=where.clock_at), str(where.id)


def round_opened(
    where: Round, rolls: dict[str, int], special: Sequence[asyncpg.Record]
) -> Iterator[Keyed]:
    """Announce the communities that enter a round, everybody in them unaccounted."""
    needs: dict[str, dict[Any, int]] = defaultdict(lambda: defaultdict(int))
    for row in special:
        for need in row["needs"]:
            needs[row["lived_in"]][need] += 1
    by_partition: dict[int, list[CommunityRoll]] = defaultdict(list)
    for code, roll in sorted(rolls.items()):
        by_partition[partition_of(code)].append(CommunityRoll(code, roll, dict(needs[code])))
    for group in by_partition.values():
        for chunk in _chunks(group, COMMUNITIES):
            yield RoundOpened(str(where.id), chunk), chunk[0].community


def roll_changed(
    where: Round, rows: Iterable[asyncpg.Record], *, joining: bool = False, results: bool = False
) -> Iterator[Keyed]:
    """Announce whose standing changed, each in the group of every community it touches.

    Args:
        where: the round
        rows: as `store.account.settle` answers them
        joining: a person without a row before is a joiner, and not an untouched member
        results: whether samples or results stand behind it

    """
    groups: dict[str, list[Change]] = defaultdict(list)
    for row in rows:
        after = _standing(row, "")
        before = _before(row, where, joining=joining)
        if before is None and after.klass == "off":
            continue
        resident, rev = str(row["resident"]), row["rev"]
        touched = {after.counted_in}
        if before is not None:
            touched.add(before.counted_in)
        for community in (touched - {NOWHERE}) or {NOWHERE}:
            groups[community].append(
                Change(
                    resident, rev, before and _within(community, before), _within(community, after)
                )
            )
    by_partition: dict[int, list[tuple[str, Change]]] = defaultdict(list)
    for community, changes in sorted(groups.items()):
        by_partition[partition_of(community)] += [(community, change) for change in changes]
    for flat in by_partition.values():
        for chunk in _chunks(flat, CHANGES):
            communities: dict[str, list[Change]] = defaultdict(list)
            for community, change in chunk:
                communities[community].append(change)
            message = RollChanged(
                str(where.id), dict(communities), results=len(chunk) if results else 0
            )
            yield message, chunk[0][0]


def _before(row: asyncpg.Record, where: Round, *, joining: bool) -> Standing | None:
    if row["was_class"] is not None:
        return _standing(row, "was_")
    if joining or not row["alive"] or not where.covers(row["lived_in"]):
        return None
    return Standing(counted_in=row["lived_in"], needs=tuple(row["needs"]))


def _standing(row: asyncpg.Record, prefix: str) -> Standing:
    counted, lived = row[prefix + "counted_in"], row[prefix + "lived_in"]
    revision = row[prefix + "hand_revision"]
    hand = None
    if revision is not None:
        hand = Hand(
            row[prefix + "hand_kind"],
            row[prefix + "hand_due"],
            revision,
            str(row[prefix + "hand_incarnation"]),
        )
    return Standing(
        klass=row[prefix + "class"],
        counted_in=counted,
        lived_in="" if lived == counted else lived,
        needs=tuple(row[prefix + "needs"]),
        reason=row[prefix + "reason"],
        hand=hand,
        channel=row[prefix + "channel"],
        sampled_at=row[prefix + "sampled_at"],
        result=row[prefix + "result"],
        alive=row[prefix + "alive"],
    )


def _within(community: str, standing: Standing) -> Standing:
    """Leave out what the group's own community says already."""
    if standing.counted_in != community:
        return standing
    return Standing(
        standing.klass, "", standing.lived_in, standing.needs, standing.reason, standing.hand,
        standing.channel, standing.sampled_at, standing.result, standing.alive,
    )  # fmt: skip


def recounted(rows: Iterable[asyncpg.Record]) -> dict[str, dict[str, int]]:
    """Turn a recount into the cells of the account, by community."""
    figures: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        if row["class"] is None:
            continue  # a slot of time
        standing = Standing(
            klass=row["class"],
            needs=tuple(row["needs"]),
            reason=row["reason"],
            hand=Hand(row["hand_kind"], None, 0, "") if row["hand_kind"] else None,
            channel=row["channel"],
            result=row["result"],
        )
        for cell in cells_of(standing):
            figures[row["counted_in"]][cell] += row["count"]
    return {code: dict(cells) for code, cells in sorted(figures.items())}


def recounted_series(rows: Iterable[asyncpg.Record]) -> dict[str, dict[int, int]]:
    """Turn a recount into the sampled by slot of sampling time, by community."""
    series: dict[str, dict[int, int]] = defaultdict(dict)
    for row in rows:
        if row["class"] is None and row["slot"] is not None:
            series[row["counted_in"]][row["slot"]] = row["count"]
    return dict(sorted(series.items()))


def recounted_due(rows: Iterable[asyncpg.Record]) -> dict[str, dict[HandKind, dict[int, int]]]:
    """Turn a recount into those in hand by kind and slot of when it is due, by community."""
    due: dict[str, dict[HandKind, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["class"] is None and row["due"] is not None:
            due[row["counted_in"]][row["hand_kind"]][row["due"]] = row["count"]
    return {code: dict(kinds) for code, kinds in sorted(due.items())}


def roll_counted(where: Round, rows: Sequence[asyncpg.Record]) -> Iterator[Keyed]:
    """Tell a recount: every community's figures whole, each through its own partition."""
    cells, series, due = recounted(rows), recounted_series(rows), recounted_due(rows)
    by_partition: dict[int, list[str]] = defaultdict(list)
    for community in sorted(cells.keys() | series.keys()):
        by_partition[partition_of(community)].append(community)
    for communities in by_partition.values():
        for chunk in _chunks(communities, COUNTED):
            counts = {
                code: CommunityCount(cells.get(code, {}), series.get(code, {}), due.get(code, {}))
                for code in chunk
            }
            yield RollCounted(str(where.id), counts), chunk[0]


def roll_stated(where: Round, rows: Iterable[asyncpg.Record]) -> Iterator[Keyed]:
    """Tell where people stand, each through the partition of the community that counts them."""
    by_partition: dict[int, dict[str, list[Stated]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        standing = _standing(row, "")
        community = standing.counted_in
        by_partition[partition_of(community)][community].append(
            Stated(str(row["resident"]), row["rev"], _within(community, standing))
        )
    for communities in by_partition.values():
        yield RollStated(str(where.id), dict(communities)), next(iter(communities))


# --- what dispatch says ---


def hands(event: Event[HandsChanged]) -> tuple[UUID, UUID, list[tuple[Any, ...]]]:
    """Read hands: the round, dispatch's incarnation, and (resident, revision, kind, due)."""
    rows = [(UUID(hand.resident), hand.revision, hand.kind, hand.due) for hand in event.data.hands]
    return UUID(event.data.round), event.record.incarnation, rows


def sampled_at_doors(event: Event[VisitsChanged] | Event[VisitsRetold]) -> list[VisitChange]:
    """Pick the visits that brought a sample, also those that were cancelled meanwhile."""
    return [visit for visit in event.data.visits if visit.sample is not None]


def entry_of(round_id: UUID, ordinal: int, visit: VisitChange) -> Entry:
    """Read the swab a team took at a door."""
    if visit.sample is None:
        raise ValueError("this visit brought no sample")
    return Entry(
        ordinal=ordinal,
        sample=UUID(visit.sample.sample),
        result=None,
        resident=UUID(visit.resident),
        document=None,
        round=round_id,
        sampled_at=visit.sample.sampled_at,
        channel="home_visit",
        tube_code=visit.sample.tube_code,
    )


def visits_answered(
    round_id: UUID, visits: Sequence[VisitChange], answers: Sequence[RowAnswer]
) -> Iterator[Keyed]:
    """Answer finished visits, each through the partition dispatch expects it in."""
    by_community: dict[str, list[VisitAnswer]] = defaultdict(list)
    for visit, answer in zip(visits, answers, strict=True):
        refused = answer.status == "rejected"
        by_community[visit.community].append(
            VisitAnswer(
                visit=visit.visit,
                resident=visit.resident,
                sample=visit.sample.sample if visit.sample else "",
                status="refused" if refused else "recorded",
                reason=answer.reason.slug if refused and answer.reason else None,
            )
        )
    for community, group in sorted(by_community.items()):
        yield VisitsAnswered(str(round_id), group), community


def _by_district(told: Iterable[OfArea]) -> Iterator[tuple[str, list[OfArea]]]:
    """Group what is told of areas by district, at most `CHANGES` at a time."""
    groups: dict[str, list[OfArea]] = defaultdict(list)
    for each in told:
        groups[each.code[: places.DISTRICT_DIGITS]].append(each)
    for district, group in sorted(groups.items()):
        for chunk in _chunks(group, CHANGES):
            yield district, chunk


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
