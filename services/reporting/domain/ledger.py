"""The account of a round, and whether it is proven: fold = recount, at one cut (R22)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.cells import CLASSES, Cells, family, remainder
from services.reporting.domain.evidence import Evidence, Fold, Heads, OpenHands, Recount
from services.reporting.domain.series import SAMPLED_AT, beginning
from services.reporting.domain.work import DUE


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
    recounted: Mapping[str, Cells]
    """The account as registry recounted it; nothing if it did not answer."""
    applied: Sequence[int]
    """How far we were ourselves when we told our figures at the cut."""


Sums = tuple[int, ...]
"""Figures of the account in the order of `ACCOUNT`."""

ACCOUNT = ("roll", *CLASSES)


@dataclass(frozen=True, slots=True)
class Proof:
    """A ledger as it is kept for those who look at it: the account without its smaller cells."""

    round: str
    balanced: bool | None
    reasons: Sequence[str]
    as_of: datetime | None
    cut: Sequence[int] | None
    applied: Sequence[int]
    differing: Mapping[str, int]
    """How many cells differ, by community."""
    differences: Sequence[Difference]
    """The first few of each community."""
    parked: Mapping[str, int | None]
    hands: HandsComparison
    accounts: Mapping[str, tuple[Sums | None, Sums]]
    """By community: as recounted, None if nobody did, and as folded."""
    final: bool
    """Of a sealed round: it will not be proven again."""


MOST_DIFFERENCES = 20
"""Kept of a community. What broke one cell has often broken all of them."""


def kept(ledger: Ledger, *, final: bool) -> Proof:
    """Leave out of a ledger what would be too much to keep."""
    by_community: dict[str, list[Difference]] = {}
    for each in ledger.differences:
        by_community.setdefault(each.community, []).append(each)
    recounted = ledger.recounted if ledger.as_of else None
    return Proof(
        round=ledger.round,
        balanced=ledger.balanced,
        reasons=ledger.reasons,
        as_of=ledger.as_of,
        cut=ledger.cut,
        applied=ledger.applied,
        differing={community: len(own) for community, own in by_community.items()},
        differences=[each for own in by_community.values() for each in own[:MOST_DIFFERENCES]],
        parked=ledger.parked,
        hands=ledger.hands,
        accounts={
            community: (
                None if recounted is None else _sums(recounted.get(community, {})),
                _sums(ledger.communities.get(community, {})),
            )
            for community in sorted(ledger.communities.keys() | ledger.recounted.keys())
        },
        final=final,
    )


def _sums(cells: Cells) -> Sums:
    return tuple(cells.get(name, 0) for name in ACCOUNT)


def weigh(round_id: str, evidence: Evidence, fold: Fold) -> Ledger:
    """Judge the account from what registry recounted, dispatch holds and reporting folded.

    What is wrong outweighs what is pending, and what is pending outweighs that the rest agrees.
    """
    recount = evidence.recount
    silent = "registry_unreachable" if recount is None else obstacle(fold, recount.roll_heads)
    pending = [silent] if silent else []
    differences: Sequence[Difference] = ()
    if recount is not None and not pending:
        due = recount.tells_due and fold.tells_due
        differences = compare(recount.communities, fold.communities, due=due)
    hands = _compare_hands(recount, evidence.open_hands)
    parked = {**evidence.parked, "reporting": fold.parked}
    pending += [f"{name}_unreachable" for name, n in parked.items() if n is None]
    findings = {
        "cells_differ": bool(differences),
        "hands_differ": hands.balanced is False,
        "parked": any(parked.values()),
    }
    wrong = [finding for finding, holds in findings.items() if holds]
    return Ledger(
        round=round_id,
        balanced=False if wrong else None if pending else True,
        reasons=tuple(dict.fromkeys(wrong + pending)),
        as_of=recount.as_of if recount else None,
        cut=[head.pos for _, head in sorted(recount.roll_heads.items())] if recount else None,
        differences=differences,
        parked=parked,
        hands=hands,
        communities=fold.communities,
        recounted=recount.communities if recount else {},
        applied=[head.pos for _, head in sorted(fold.applied.items())],
    )


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


def compare(
    registry: Mapping[str, Cells], reporting: Mapping[str, Cells], *, due: bool = True
) -> Sequence[Difference]:
    """List every cell on which recount and fold differ, and every account that does not add up.

    Without `due`, by when hands are due is not compared: one of the two does not know.
    """
    found = []
    for community in sorted(registry.keys() | reporting.keys()):
        recounted, folded = registry.get(community, {}), reporting.get(community, {})
        found += [
            Difference(community, _told(cell), recounted.get(cell, 0), folded.get(cell, 0))
            for cell in sorted(recounted.keys() | folded.keys())
            if recounted.get(cell, 0) != folded.get(cell, 0)
            if due or not cell.startswith(DUE)
        ]
        if remainder(recounted) or remainder(folded):
            found.append(Difference(community, "account", remainder(recounted), remainder(folded)))
    return found


def _told(cell: str) -> str:
    """Name a cell along time by the beginning of its five minutes, others as they are."""
    if not cell.startswith((SAMPLED_AT, DUE)):
        return cell
    counted, _, slot = cell.rpartition(".")
    return f"{counted}.{beginning(int(slot)):%Y-%m-%dT%H:%MZ}"


def _compare_hands(recount: Recount | None, dispatch: OpenHands | None) -> HandsComparison:
    registry_hands = recount.hands if recount else None
    dispatch_hands = dispatch.hands if dispatch else None
    # A sealed round is final in registry: hands that end later in dispatch move it no more.
    final = recount is not None and recount.state == "sealed"
    if final or recount is None or dispatch is None or recount.hands_applied != dispatch.heads:
        return HandsComparison(None, registry_hands, dispatch_hands)
    agreed = family(recount.hands, "") == family(dispatch.hands, "")
    return HandsComparison(agreed, registry_hands, dispatch_hands)
