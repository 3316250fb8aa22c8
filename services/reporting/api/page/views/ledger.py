"""The ledger: whether the account is proven, office by office, and what differs.

It shows the last proof that the worker made, the one its gauge tells: looking costs nobody a
recount, and every process shows the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reporting.api.answers import tag_over
from services.reporting.api.page.rendering import Parts, Rendition, part
from services.reporting.api.page.views.question import Question
from services.reporting.api.page.views.view import View
from services.reporting.api.page.words import Speech
from services.reporting.api.shelf import Shelf
from services.reporting.domain.areas import AREA_WIDTH, name_of
from services.reporting.domain.ledger import ACCOUNT, Difference, Proof, Sums
from services.reporting.domain.rounds import View as Seen
from services.reporting.domain.series import SAMPLED_AT
from services.reporting.domain.work import DUE
from services.reporting.flow import figures, ledger
from services.reporting.wiring import Wiring
from shared.database import Transaction

SHOWN = 200
"""Differences listed at most."""

INCOMPARABLE = {"registry_unreachable", "not_reached", "other_incarnation", "cut_too_old"}
"""Reasons for which no figure could be held against another."""

_FAMILIES = {"in_hand": "hand", "excluded": "reason"}
"""What the members of a family of cells are called by."""


@dataclass(frozen=True, slots=True)
class Line:
    """A place as both count it."""

    code: str
    name: str
    recounted: Sums | None
    folded: Sums
    differing: int | None
    """Cells that differ; None: they were not compared."""


class Ledger(View):
    """The last proof, as much of it as somebody answers for."""

    template = "ledger.html"

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self._shelf: Shelf[tuple[str, Parts]] = Shelf()

    async def look(self, question: Question) -> Rendition:
        """Show the proof that was made last."""
        async with self._database.snapshot() as tx:
            view = await figures.view_of(tx, question.round, question.within)
            round_ = view.round
            proven_at = await ledger.proven_at(tx, round_.id)
            tag = tag_over(
                "ledger", question.language, view.generation, round_.id, round_.state, round_.name,
                view.areas, proven_at,
            )  # fmt: skip
            key = (question, round_.id)
            as_of, parts = await self._shelf.copy(
                key, tag, lambda: self._render(tx, view, question)
            )
        return Rendition(tag, as_of, round_.id, parts)

    async def _render(self, tx: Transaction, view: Seen, question: Question) -> tuple[str, Parts]:
        say, round_ = question.say, view.round
        named = f"{say('ledger.title')} · {round_.name} · {say(f'state.{round_.state}')}"
        heading = part("common.heading", named)
        proof = await ledger.last(tx, round_.id)
        if proof is None:
            never = part("ledger.verdict", say, None, [say("why.never")])
            return "", {"heading": heading, "verdict": never}
        names = await figures.names(tx, view, "office", "community")
        as_of = proof.as_of.isoformat() if proof.as_of else ""
        return as_of, {"heading": heading, **_parts(say, proof, view.areas, names)}


def _parts(say: Speech, proof: Proof, areas: Sequence[str], names: Mapping[str, str]) -> Parts:
    within = tuple(areas)
    lines = list(_lines(proof, within, names))
    total = _total(lines)
    differing = sum(n for code, n in proof.differing.items() if code.startswith(within))
    seen = [each for each in proof.differences if each.community.startswith(within)]
    reasons = [say(f"why.{reason}", say.number(differing)) for reason in proof.reasons]
    differences = [(_place(names, each), _figure(say, each.cell), each) for each in seen[:SHOWN]]
    return {
        "verdict": part("ledger.verdict", say, proof, reasons),
        "equation": part("ledger.equation", say, total),
        "account": part("ledger.account", say, [*lines, total], ACCOUNT),
        "differences": part("ledger.differences", say, differences, differing - len(differences)),
        "witnesses": part("ledger.witnesses", say, proof),
        "cut": part("ledger.cut", say, proof),
    }


def _lines(proof: Proof, within: tuple[str, ...], names: Mapping[str, str]) -> Iterator[Line]:
    """Sum the communities somebody sees by office."""
    compared = not INCOMPARABLE.intersection(proof.reasons)
    offices: dict[str, list[str]] = {}
    for community in proof.accounts:
        if community.startswith(within):
            offices.setdefault(community[: AREA_WIDTH["office"]], []).append(community)
    for office, communities in sorted(offices.items()):
        accounts = [proof.accounts[each] for each in communities]
        recounted = [each for each, _ in accounts if each is not None]
        yield Line(
            office,
            name_of(office, names),
            _sum(recounted) if len(recounted) == len(accounts) else None,
            _sum([each for _, each in accounts]),
            sum(proof.differing.get(each, 0) for each in communities) if compared else None,
        )


def _total(lines: list[Line]) -> Line:
    recounted = [each.recounted for each in lines if each.recounted is not None]
    differing = [each.differing for each in lines if each.differing is not None]
    return Line(
        "total",
        "all",
        _sum(recounted) if len(recounted) == len(lines) else None,
        _sum([each.folded for each in lines]),
        sum(differing) if len(differing) == len(lines) else None,
    )


def _sum(sums: list[Sums]) -> Sums:
    return tuple(map(sum, zip(*sums, strict=True))) if sums else (0,) * len(ACCOUNT)


def _place(names: Mapping[str, str], difference: Difference) -> tuple[str, str]:
    community = difference.community
    return name_of(community[: AREA_WIDTH["office"]], names), name_of(community, names)


def _figure(say: Speech, cell: str) -> str:
    """Name a cell in the words of the page."""
    if cell == "account":
        return say("ledger.remainder")
    if cell.startswith((SAMPLED_AT, DUE)):
        counted, _, at = cell.rpartition(".")
        when = say.moment(datetime.fromisoformat(at))
        if counted == SAMPLED_AT:
            return say("ledger.sampled_at", when)
        return say("ledger.due", say(f"hand.{counted.removeprefix(DUE)}"), when)
    family, _, member = cell.partition(".")
    if not member:
        return say(family)
    if family == "need":
        need, _, counted = member.partition(".")
        return f"{say(f'need.{need}')} · {say(counted)}"
    return f"{say(family)} · {say(f'{_FAMILIES.get(family, family)}.{member}')}"
