"""The account as its rules tell it, without a database: no row, no revision and no message."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

Figures = dict[str, dict[str, int]]
Spans = dict[str, tuple[float, float]]
"""Needs, each with when it begins and ends; infinite where nothing was said."""


def united(ours: Spans, theirs: Spans, clock: float) -> Spans:
    """The needs of two records of one person: what is over in one of them is not told by it.

    Between two spans that are apart the need is taken to hold.
    """
    both = theirs | ours
    for need in ours.keys() & theirs.keys():
        told = [span for span in (ours[need], theirs[need]) if span[1] > clock] or [ours[need]]
        both[need] = min(since for since, _ in told), max(until for _, until in told)
    return both


@dataclass
class Person:
    """Somebody on file. `homes` holds (since, community) in the order of noting."""

    homes: list[tuple[float, str]]
    spans: Spans = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    """Those that hold by the clock of where they live."""
    alive: bool = True
    records: frozenset[int] | None = None
    """Whose facts are theirs: their own, unless records were merged; the absorbed has none."""

    def judge(self, clock: float) -> None:
        """Say which needs hold."""
        self.needs = frozenset(
            n for n, (since, until) in self.spans.items() if since <= clock < until
        )

    def stays(self) -> list[tuple[float, float, str]]:
        """Where they lived, from and until when: what is noted later overlays what was before."""
        spans = []
        for n, (since, community) in enumerate(self.homes):
            until = min([later for later, _ in self.homes[n + 1 :]], default=float("inf"))
            if since < until:
                spans.append((since, until, community))
        return sorted(spans)


@dataclass
class Sample:
    """A swab; `outcome` is the released one that stands."""

    who: int
    at: float
    channel: str
    community: str | None
    """That of the site, if it named one."""
    outcome: str | None = None
    void: bool = False


@dataclass
class Round:
    """One round: who is concerned, and the facts about it."""

    offices: tuple[str, ...]
    samples: list[Sample] = field(default_factory=list)
    exclusions: list[list[object]] = field(default_factory=list)
    """[who, reason, stands], in the order of filing."""
    hands: dict[int, str | None] = field(default_factory=dict)
    members: dict[int, Person] | None = None
    """As they were at closing; None while the round is open."""
    final: Figures | None = None
    """What a sealed round stays with."""

    def figures(self, people: dict[int, Person]) -> Figures:
        """Count everybody."""
        if self.final is not None:
            return self.final
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for who, now in people.items():
            person = self._as_counted(who, now)
            community, cells = self._standing(who, person)
            counts[community].update(cells)
            for need in person.needs if "roll" in cells else ():
                counts[community].update(f"need.{need}.{c}" for c in cells if "." not in c)
        return {code: dict(cells) for code, cells in counts.items() if cells}

    def untested(self, people: dict[int, Person]) -> dict[int, Person]:
        """Give those on the roll who are neither sampled nor excluded."""
        everybody = ((who, self._as_counted(who, now)) for who, now in people.items())
        return {
            who: person
            for who, person in everybody
            if not {"unaccounted", "in_hand"}.isdisjoint(self._standing(who, person)[1])
        }

    def _as_counted(self, who: int, now: Person) -> Person:
        """Show somebody as they are or, in a round that has closed, as they were then."""
        then = now if self.members is None else self.members.get(who, Person([]))
        return replace(then, records=now.records)

    def _standing(self, who: int, person: Person) -> tuple[str, list[str]]:
        records = {who} if person.records is None else person.records
        mine = [sample for sample in self.samples if sample.who in records and not sample.void]
        if mine:
            first = min(mine, key=lambda sample: sample.at)
            for _, until, community in person.stays():
                if until > first.at and community.startswith(self.offices):
                    resulted = ["resulted", first.outcome] if first.outcome else []
                    return community, ["roll", "sampled", f"channel.{first.channel}", *resulted]
            site = first.community or ""
            within = site.startswith(self.offices)
            return site if within else self.offices[0][:6] + "000000", ["visitors"]
        home = person.homes[-1][1] if person.homes else ""
        if not records or not person.alive or not home.startswith(self.offices):
            return home, []
        for excluded, reason, stands in self.exclusions:
            if excluded in records and stands:
                return home, ["roll", "excluded", f"excluded.{reason}"]
        if kind := self.hands.get(who):
            return home, ["roll", "in_hand", f"in_hand.{kind}"]
        return home, ["roll", "unaccounted"]
