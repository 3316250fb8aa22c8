"""registry without HTTP: its use cases on a real database, beside the model of the account.

`Books.play` runs steps in both, folds what registry announces, and holds three accounts against
each other: the fold, registry's recount from its facts, and the model's.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec.structs import replace

from services.registry import messages
from services.registry.domain.areas import Area
from services.registry.domain.entries import Entry
from services.registry.domain.exclusions import Exclusion
from services.registry.domain.merging import Merge
from services.registry.domain.residents import Draft, NeedSpan
from services.registry.domain.rounds import Round
from services.registry.flow import exclusions, field, merging, residents, results, rounds
from services.registry.flow.clock import Timekeeper
from services.registry.store import account, sight
from services.registry.vault import Vault
from shared.auth import Caller
from shared.contracts.dispatch import HandChange, HandsChanged
from shared.contracts.envelope import Event, Record
from shared.database import Database, Transaction
from tests.registry import model
from tests.registry.folding import Fold
from tests.support.town import AREAS, CHAOHE, DISTRICT, DONGFANG, LANQIAO, LUYUAN, OPENS

T = TypeVar("T")

OUTSIDE = "410172001001"
"""A community of another district, in no round."""
UNKNOWN = f"{DISTRICT}000000"
COMMUNITIES = (LUYUAN, LANQIAO, DONGFANG, OUTSIDE, None)
"""Where people may live; None is not known, and counts in the district's own row (R5)."""
ELSEWHERE = [
    {"code": "410172", "name": "高新区", "kind": "district"},
    {"code": "410172001", "name": "梧桐办事处", "kind": "office", "parent": "410172"},
    {"code": OUTSIDE, "name": "红叶社区", "kind": "community", "parent": "410172001"},
]
SCOPES = ((DISTRICT,), (CHAOHE,))
OFFICE = Caller("office", frozenset({"office"}), ("41",))
"""The first round covers the district, the second one office of it."""
WINDOW = 12
"""Hours a round lasts; the second opens when the first is due to close."""
NOON = 6
"""What the clock of a round shows when it has just been opened."""
PEOPLE = [UUID(int=n + 1) for n in range(4)]
ROUNDS = [UUID(int=n + 0x100) for n in range(2)]
FACTS = (
    "submission", "sample", "sample_past", "report", "exclusion", "hand", "roll_state",
    "residence_past", "resident_need", "resident", "population", "merge", "merge_need",
)  # fmt: skip


# --- what can happen ---


@dataclass(frozen=True)
class Lives:
    """Somebody is put on file, or moves."""

    who: int
    where: int
    since: float | None = None
    """Hours after the first round's opening; None leaves it to registry."""


@dataclass(frozen=True)
class Needs:
    """Somebody has these needs, for ever or in some hours after the first round's opening."""

    who: int
    needs: frozenset[Literal["mobility", "quarantine"]]
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True)
class Life:
    """Somebody died, or is found alive."""

    who: int
    alive: bool


@dataclass(frozen=True)
class Swab:
    """A swab, with an outcome or without, released or not; `at` in hours of the round."""

    who: int
    number: int
    at: int = 1
    outcome: Literal["negative", "positive"] | None = None
    released: bool = True
    at_door: bool = False
    site: str | None = None
    """The community that the site named."""


@dataclass(frozen=True)
class Swabs:
    """Swabs sent in together."""

    swabs: tuple[Swab, ...]


@dataclass(frozen=True)
class Report:
    """A report about an earlier swab: its first one, or a correction."""

    swab: int
    outcome: Literal["negative", "positive"]
    released: bool = True
    version: int = -1
    """As which of its versions the swab is named."""


@dataclass(frozen=True)
class Void:
    """An earlier swab is voided."""

    swab: int
    version: int = -1


@dataclass(frozen=True)
class Correct:
    """An earlier swab was somebody's else, of another round, or of another time."""

    swab: int
    who: int
    number: int
    at: int = 1


@dataclass(frozen=True)
class Again:
    """Everything that was sent in as a sample or result comes once more."""


@dataclass(frozen=True)
class Exclude:
    """An exclusion is filed."""

    who: int
    number: int
    reason: str = "recovered"


@dataclass(frozen=True)
class Revoke:
    """An earlier exclusion is revoked."""

    exclusion: int


@dataclass(frozen=True)
class Hand:
    """dispatch says in whose hands somebody is; `age` makes it older than the last one."""

    who: int
    number: int
    kind: Literal["visit", "escalation"] | None = "visit"
    age: int = -1


@dataclass(frozen=True)
class Absorb:
    """Two records turn out to be one person; `into` is kept."""

    who: int
    into: int


@dataclass(frozen=True)
class Part:
    """They do not: the merge that absorbed somebody is undone."""

    who: int


@dataclass(frozen=True)
class Tick:
    """The clock of a round under way shows so many hours of it, unless it stands later."""

    number: int
    at: float


@dataclass(frozen=True)
class Keep:
    """registry does what is due by the clock, as its worker does every other second."""


@dataclass(frozen=True)
class Open:
    """A round opens."""

    number: int


@dataclass(frozen=True)
class Close:
    """A round closes."""

    number: int


@dataclass(frozen=True)
class Seal:
    """A closed round is sealed: nothing moves its account any more."""

    number: int


Step = (
    Lives | Needs | Life | Swabs | Report | Void | Correct | Again | Exclude | Revoke | Hand
    | Absorb | Part | Open | Close | Seal | Tick | Keep
)  # fmt: skip


# --- the books ---


@dataclass
class Swabbed:
    """A swab that was taken in."""

    sample: model.Sample
    number: int
    versions: list[Entry]
    """What was said of it; the last one stands."""
    standing: UUID | None
    """The released report that stands."""


@dataclass(frozen=True)
class Absorbed:
    """A record that was merged into another."""

    merge: UUID
    into: int
    had: model.Spans
    """The needs of the other one before, and since."""
    has: model.Spans


class Books:
    """registry's use cases on one database, and the model of the account beside them."""

    def __init__(self, url: str, vault: Vault) -> None:
        self._runner = asyncio.Runner()
        self._vault = vault
        self._database = Database(url, before_commit=self._record, pool_size=1)
        self._timekeeper = Timekeeper(self._database, vault, timedelta(hours=72))
        self._announced: list[Any] = []
        self._run(self._database.transact(residents.register_areas, _areas()))
        for number, round_id in enumerate(ROUNDS):
            self._run(self._database.transact(rounds.draft, _round(round_id, number)))
        self._start()

    def close(self) -> None:
        """Let go of the database."""
        self._run(self._database.close())
        self._runner.close()

    def play(self, *steps: Step) -> None:
        """Begin anew, take these steps, and hold the accounts against each other."""
        self._start()
        self._run(self._clear())
        for step in steps:
            self._run(self._take(step))
        self._run(self._compare())

    def figures(self, number: int = 0) -> model.Figures:
        """The figures of a round as folded."""
        return self._fold.figures(str(ROUNDS[number]))

    def _start(self) -> None:
        self._people: dict[int, model.Person] = {}
        self._model = [
            model.Round((CHAOHE, "410171002", f"{DISTRICT}000")),
            model.Round((CHAOHE,)),
        ]
        self._state = ["draft", "draft"]
        self._clocks = [0.0, float(WINDOW)]
        self._swabs: list[Swabbed] = []
        self._sent: list[Entry] = []
        self._merges: dict[int, Absorbed] = {}
        self._filed: list[tuple[UUID, int, list[object]]] = []
        self._revisions: Counter[tuple[int, int]] = Counter()
        self._announced.clear()
        self._fold = Fold()
        self._steps = self._made = 0

    # --- steps; one that makes no sense where it stands is passed over ---

    async def _take(self, step: Any) -> None:
        self._steps += 1
        await self._ways()[type(step)](step)
        self._fold_announced()
        for person in self._people.values():
            person.judge(self._time(person.homes[-1][1]))

    def _ways(self) -> dict[type, Callable[[Any], Awaitable[None]]]:
        """How each kind of step is taken."""
        return {
            Lives: self._lives, Needs: self._changes, Life: self._changes, Swabs: self._swab,
            Report: self._report, Void: self._void, Correct: self._correct, Again: self._again,
            Exclude: self._exclude, Revoke: self._revoke, Hand: self._hand, Absorb: self._absorb,
            Part: self._part, Open: self._turn, Close: self._turn, Seal: self._turn,
            Tick: self._tick, Keep: self._keep,
        }  # fmt: skip

    async def _again(self, _step: Again) -> None:
        answers = await self._enter(*self._sent)
        assert {answer.status for answer in answers} <= {"duplicate"}

    async def _register(self, who: int, **stated: Any) -> None:
        stated = stated if who in self._people else {"name": f"居民{who}"} | stated
        (answer,) = await self._database.transact(
            residents.register, self._vault, [Draft(0, PEOPLE[who], stated)],
            home=DISTRICT, covers=lambda _: True, now=datetime.now(UTC),
        )  # fmt: skip
        assert answer.status != "rejected", answer.reason

    async def _lives(self, step: Lives) -> None:
        sent = COMMUNITIES[step.where]
        since = None if step.since is None else _at(step.since)
        await self._register(step.who, community=sent, since=since)
        community = sent or UNKNOWN
        person = self._people.get(step.who)
        if person is None:
            self._people[step.who] = model.Person([(float("-inf"), community)])
        elif person.homes[-1][1] != community:
            kept = self._kept(step.who)
            if kept.homes[-1][1] != community:
                kept.homes.append((self._since(step, kept, community), community))

    def _since(self, step: Lives, person: model.Person, community: str) -> float:
        if step.since is not None:
            return step.since
        since, before = person.homes[-1]
        if before == UNKNOWN:
            return since
        return self._time(before, community)

    def _time(self, *communities: str) -> float:
        """Tell the time in some communities: that of the drills there."""
        clocks = [
            self._clocks[number]
            for number, state in enumerate(self._state)
            if state == "open" and any(c.startswith(self._model[number].offices)
                                       for c in communities)
        ]  # fmt: skip
        # Without a drill under way it is now: long after every swab.
        return max(clocks, default=1e6 + self._steps)

    async def _changes(self, step: Needs | Life) -> None:
        person = self._people.get(step.who)
        if person is None:
            return
        if isinstance(step, Needs):
            since, until = (None if h is None else _at(h) for h in (step.since, step.until))
            stated = tuple(NeedSpan(code, since, until) for code in sorted(step.needs))
            await self._register(step.who, needs=stated)
            spans: model.Spans = {need: _span(step) for need in step.needs}
            if spans != person.spans:
                self._kept(step.who).spans = spans
        else:
            await self._register(step.who, alive=step.alive)
            if step.alive != person.alive:
                self._kept(step.who).alive = step.alive

    def _kept(self, who: int) -> model.Person:
        """Whom a row about somebody is about, once it says what their own record did not."""
        return self._people[self._merges[who].into if who in self._merges else who]

    async def _absorb(self, step: Absorb) -> None:
        kept_by = {merge.into for merge in self._merges.values()}
        if not {step.who, step.into} <= self._people.keys() - self._merges.keys():
            return
        if step.who == step.into or step.who in kept_by:
            return
        asked = Merge(self._id(), PEOPLE[step.who], PEOPLE[step.into], "office", datetime.now(UTC))
        for _ in range(2):  # the second time it is a repeat
            await self._database.transact(merging.merge, self._vault, asked, OFFICE)
        absorbed, kept = self._people[step.who], self._people[step.into]
        has = model.united(kept.spans, absorbed.spans, self._time(kept.homes[-1][1]))
        self._merges[step.who] = Absorbed(asked.id, step.into, kept.spans, has)
        kept.spans = has
        kept.records = (kept.records or frozenset({step.into})) | {step.who}
        absorbed.records = frozenset()

    async def _part(self, step: Part) -> None:
        merged = self._merges.pop(step.who, None)
        if merged is None:
            return
        for _ in range(2):
            await self._database.transact(
                merging.undo, self._vault, merged.merge, OFFICE, datetime.now(UTC)
            )
        absorbed, kept = self._people[step.who], self._people[merged.into]
        # What was changed since then is left as it is.
        kept.spans = dict(kept.spans)
        for need, span in merged.has.items():
            if kept.spans.get(need) == span != merged.had.get(need):
                del kept.spans[need]
                if need in merged.had:
                    kept.spans[need] = merged.had[need]
        kept.records = (kept.records or frozenset()) - {step.who}
        absorbed.records = frozenset({step.who})

    async def _enter(self, *entries: Entry) -> Sequence[Any]:
        numbered = [replace(entry, ordinal=n) for n, entry in enumerate(entries)]
        return await self._database.transact(
            results.record, self._vault, numbered, datetime.now(UTC)
        )

    async def _swab(self, step: Swabs) -> None:
        takeable = [
            swab for swab in step.swabs
            if swab.who in self._people and self._takes(swab.number)
        ]  # fmt: skip
        entries = [_entry(swab, self._id(), self._id()) for swab in takeable]
        answers = await self._enter(*entries)
        assert [answer.status for answer in answers] == ["accepted"] * len(entries), answers
        for swab, entry in zip(takeable, entries, strict=True):
            shown = swab.outcome if swab.released else None
            sample = model.Sample(swab.who, hours(entry), entry.channel, swab.site, shown)
            self._sent.append(entry)
            self._swabs.append(
                Swabbed(sample, swab.number, [entry], entry.result if shown else None)
            )
            self._model[swab.number].samples.append(sample)

    def _known_as(self, index: int, version: int = -1) -> tuple[Swabbed, Entry] | None:
        """Pick an earlier swab, and what was said of it, if its rounds still take entries."""
        if not self._swabs:
            return None
        swab = self._swabs[index % len(self._swabs)]
        said = swab.versions[version % len(swab.versions)]
        named = ROUNDS.index(said.round)
        return (swab, said) if self._takes(swab.number) and self._takes(named) else None

    async def _add(self, entry: Entry) -> None:
        (answer,) = await self._enter(entry)
        assert answer.status == "accepted", answer.reason
        self._sent.append(entry)

    async def _report(self, step: Report) -> None:
        if known := self._known_as(step.swab, step.version):
            swab, said = known
            entry = replace(
                said, result=self._id(), outcome=step.outcome, corrects=swab.standing,
                released_at=said.sampled_at if step.released else None,
            )  # fmt: skip
            await self._add(entry)
            if step.released:
                swab.standing, swab.sample.outcome = entry.result, step.outcome

    async def _void(self, step: Void) -> None:
        if known := self._known_as(step.swab, step.version):
            swab, said = known
            await self._add(_about(said, result=self._id(), void=True))
            swab.sample.void = True

    async def _correct(self, step: Correct) -> None:
        known = self._known_as(step.swab)
        if known is None or step.who not in self._people or not self._takes(step.number):
            return
        swab, said = known
        right = _about(
            said, result=self._id(), resident=PEOPLE[step.who], round=ROUNDS[step.number],
            sampled_at=_at(step.at + WINDOW * step.number),
        )  # fmt: skip
        if swab.sample.void:
            (answer,) = await self._enter(right)
            assert answer.status == "rejected"
            return
        await self._add(right)
        swab.versions.append(replace(right, corrects=None))
        swab.sample.who, swab.sample.at, swab.number = step.who, hours(right), step.number
        for number, told in enumerate(self._model):
            told.samples = [each.sample for each in self._swabs if each.number == number]

    async def _exclude(self, step: Exclude) -> None:
        if step.who not in self._people or self._state[step.number] == "sealed":
            return
        filed = Exclusion(
            0, self._id(), ROUNDS[step.number], PEOPLE[step.who], step.reason, "office"
        )
        (answer,) = await self._database.transact(
            exclusions.exclude, [filed], lambda _: True, datetime.now(UTC)
        )
        assert answer.status == "accepted"
        row: list[object] = [step.who, step.reason, True]
        self._model[step.number].exclusions.append(row)
        self._filed.append((filed.id, step.number, row))

    async def _revoke(self, step: Revoke) -> None:
        if self._filed:
            exclusion_id, number, row = self._filed[step.exclusion % len(self._filed)]
            if self._state[number] == "sealed":
                return
            await self._database.transact(
                exclusions.revoke, exclusion_id, "office", lambda _: True, datetime.now(UTC)
            )
            row[2] = False

    async def _hand(self, step: Hand) -> None:
        if step.who not in self._people or not self._takes(step.number):
            return
        key = (step.who, step.number)
        revision = max(1, self._revisions[key] - step.age)
        hand = HandChange(str(PEOPLE[step.who]), revision, step.kind)
        message = HandsChanged(str(ROUNDS[step.number]), [hand])
        record = Record(
            message.topic, 0, 1, self._id(), self._id(), UUID(int=1), message.type, OPENS, b""
        )
        await self._database.transact(field.take_hands, [Event(record, message)])
        if revision > self._revisions[key]:
            self._revisions[key] = revision
            self._model[step.number].hands[step.who] = step.kind

    def _takes(self, number: int) -> bool:
        """Say whether a round takes entries."""
        return self._state[number] in {"open", "closed"}

    async def _turn(self, step: Open | Close | Seal) -> None:
        number, round_id = step.number, ROUNDS[step.number]
        now = datetime.now(UTC)
        if isinstance(step, Open) and self._state[number] == "draft":
            await self._database.transact(rounds.open_round, self._vault, round_id, now)
            self._state[number] = "open"
            await self._tick(Tick(number, NOON))
        elif isinstance(step, Close) and self._state[number] == "open":
            await self._database.transact(rounds.close_round, self._vault, round_id, now)
            self._model[number].members = deepcopy(self._people)
            self._state[number] = "closed"
        elif isinstance(step, Seal) and self._state[number] == "closed":
            await self._database.transact(rounds.seal_round, round_id, now)
            self._model[number].hands.clear()
            self._model[number].final = self._model[number].figures(self._people)
            self._state[number] = "sealed"

    async def _tick(self, step: Tick) -> None:
        at = step.at + WINDOW * step.number
        if self._state[step.number] == "open" and at >= self._clocks[step.number]:
            self._clocks[step.number] = at
            await self._timekeeper.tick(ROUNDS[step.number], _at(at), datetime.now(UTC))

    async def _keep(self, _step: Keep) -> None:
        await self._timekeeper.keep(datetime.now(UTC))

    # --- the three accounts ---

    def _fold_announced(self) -> None:
        for message in self._announced:
            self._fold.take(message)
        self._announced.clear()
        self._fold.hold()

    async def _compare(self) -> None:
        await self._take(Keep())
        for number, round_id in enumerate(ROUNDS):
            if self._state[number] == "draft":
                continue
            async with self._database.snapshot() as tx:
                await sight.whole(tx)
                where = await rounds.load(tx, round_id)
                recounted = messages.recounted(await account.recount(tx, where))
            told = self._model[number].figures(self._people)
            assert self.figures(number) == recounted, "the fold is not the recount"
            assert recounted == told, "the recount is not what the rules say"

    # --- the machinery ---

    def _id(self) -> UUID:
        """Make ids that rise, so that of two swabs of one moment the first one counts."""
        self._made += 1
        return UUID(int=0x1000 + self._made)

    async def _record(self, tx: Transaction) -> None:
        """Take the place of the outbox, with what a message is after its journey."""
        for message, _ in tx.announced:
            raw = msgspec.json.encode(message)
            self._announced.append(msgspec.json.decode(raw, type=type(message)))

    async def _clear(self) -> None:
        async with self._database.begin() as tx:
            await sight.whole(tx)
            for table in FACTS:
                await tx.do(f"DELETE FROM {table}")  # noqa: S608 - tables of ours
            for number, round_id in enumerate(ROUNDS):
                made = _round(round_id, number)
                await tx.do(
                    "UPDATE round SET state = 'draft', closes_at = $2, clock_at = $3,"
                    " frozen_at = NULL WHERE id = $1",
                    round_id, made.closes_at, made.clock_at,
                )  # fmt: skip

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


def _at(hours: float) -> datetime:
    return OPENS + timedelta(hours=hours)


def _span(step: Needs) -> tuple[float, float]:
    return (
        float("-inf") if step.since is None else step.since,
        float("inf") if step.until is None else step.until,
    )


def hours(entry: Entry) -> float:
    """When a swab was taken, in hours after the first opening."""
    return (entry.sampled_at - OPENS) / timedelta(hours=1)


def _areas() -> list[Area]:
    return [
        Area(area["code"], area["name"], area["kind"], area.get("parent"))  # type: ignore[arg-type]
        for area in [*AREAS, *ELSEWHERE]
    ]


def _round(round_id: UUID, number: int) -> Round:
    opens = _at(WINDOW * number)
    return Round(
        id=round_id, version=1, campaign="2022-01", number=number + 1, name=f"第{number + 1}轮",
        state="draft", opens_at=opens, closes_at=opens + timedelta(hours=WINDOW),
        offices=SCOPES[number], manual_clock=True, clock_at=opens,
    )  # fmt: skip


def _about(said: Entry, **more: Any) -> Entry:
    """Write a row that corrects what was said of a swab, or voids it."""
    return replace(said, outcome=None, released_at=None, corrects=said.sample, **more)


def _entry(swab: Swab, sample: UUID, result: UUID) -> Entry:
    sampled_at = _at(swab.at + WINDOW * swab.number)
    return Entry(
        ordinal=0, sample=sample, result=result, resident=PEOPLE[swab.who], document=None,
        round=ROUNDS[swab.number], sampled_at=sampled_at,
        channel="home_visit" if swab.at_door else "site",
        site=swab.site and f"{swab.site}-1", outcome=swab.outcome,
        released_at=sampled_at if swab.outcome and swab.released else None,
    )  # fmt: skip
