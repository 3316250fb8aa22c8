"""Days of the whole system: registry's books, dispatch's field work, reporting's figures, and mail.

`Days.play` takes steps in all three, delivers mail when a step says so, and at the end lets it all
arrive. Then four accounts must be one: reporting's counters, registry's recount, the model's, and
what dispatch says of hands and visits.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal
from uuid import UUID

import asyncpg

from services.dispatch import worker as dispatch_worker
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.teams import Member, Team
from services.dispatch.domain.visits import OPEN, Referral, Sample, Visit, VisitReport
from services.dispatch.flow import teams, visits
from services.dispatch.settings import Settings as DispatchSettings
from services.dispatch.store import people as dispatch_people
from services.dispatch.store import visits as dispatch_visits
from services.dispatch.wiring import wire as wire_dispatch
from services.registry import messages
from services.registry import wiring as registry_wiring
from services.registry.domain.entries import Entry
from services.registry.store import account, rounds, sight
from services.registry.vault import Vault
from services.reporting import worker as reporting_worker
from services.reporting.domain.series import SAMPLED_AT
from services.reporting.domain.work import DUE
from services.reporting.flow.ledger import fold_at
from shared.auth import Caller
from shared.contracts.cells import slot_of
from shared.contracts.registry import VisitsAnswered
from shared.contracts.vocabulary import VisitOutcome
from shared.database import Database, Transaction
from shared.errors import ProblemError
from tests.registry import model
from tests.registry.books import PEOPLE, ROUNDS, WINDOW, Books, Keep, Swabbed, hours
from tests.support.town import DISTRICT, OPENS
from tests.whole.mail import FOLLOWERS, Mail

REGISTRY_LIFE = UUID(int=1)
EVERYTHING = 10_000
Curve = dict[tuple[str, int], int]
"""The sampled by community and slot of sampling time."""
Slots = dict[tuple[str, str, int], int]
"""Figures along time by community, cell and slot."""
TEAMS = ("t0", "t1")
OFFICER = Caller("officer", frozenset({"office"}), (DISTRICT[:2],))
DISPATCH_FACTS = ("visit", "person", "report", "team_member", "team")
REPORTING_FACTS = (
    "counter", "visit_counter", "series", "slot_counter", "delta", "delta_floor", "round",
)  # fmt: skip


# --- what can happen in the field ---


@dataclass(frozen=True)
class Deliver:
    """Some mail arrives: the first `most` letters of one of a follower's boxes."""

    follower: Literal["registry", "dispatch", "reporting"]
    box: int = 0
    most: int = EVERYTHING


@dataclass(frozen=True)
class Arrive:
    """All mail arrives, and dispatch does its housework, until nothing moves."""


@dataclass(frozen=True)
class TeamIs:
    """A team is set up, changed, or drops out."""

    team: int
    active: bool = True
    capacity: int = 10
    serves_quarantine: bool = False
    until: int = 2 * WINDOW


@dataclass(frozen=True)
class Housework:
    """dispatch ends hands past their time and gives waiting visits to teams."""


@dataclass(frozen=True)
class Work:
    """Somebody does something about a visit; 0 is the newest one that there is."""

    visit: int
    what: Literal["assign", "start", "cancel"]
    team: int = 0


@dataclass(frozen=True)
class Finish:
    """A team reports what happened at a door; `at` is the sampling time in hours of the round."""

    visit: int
    outcome: VisitOutcome = "sampled"
    at: int = 1


FieldStep = Deliver | Arrive | TeamIs | Housework | Work | Finish


@dataclass(frozen=True)
class _Field:
    """What dispatch has of one round."""

    hands: dict[int, str]
    forgotten: set[int]
    """Who is in a hand that the clock should have ended, or never will."""
    open_visits: list[int]
    """Whose visits are open, once for each."""
    visits: model.Figures
    waiting: Slots
    """Visits that wait for a team, by since when."""
    """By community and `status.X`, and `outcome.X`."""


class Days(Books):
    """The books of registry, and the other two services beside them."""

    def __init__(self, registry: str, dispatch: str, reporting: str, vault: Vault) -> None:
        self._mail = Mail({"registry": REGISTRY_LIFE, "dispatch": UUID(int=2)})
        super().__init__(registry, vault)
        settings = DispatchSettings(jwks="none.json", database_url=dispatch, kafka_bootstrap="")
        self._dispatch = replace(
            wire_dispatch(settings),
            database=Database(dispatch, before_commit=self._post, pool_size=1),
        )
        self._reporting = Database(reporting, pool_size=1)
        self._policy = Policy()
        self._databases = {
            "registry": self._database,
            "dispatch": self._dispatch.database,
            "reporting": self._reporting,
        }
        self._handlers: dict[str, dict[Any, Any]] = {
            "registry": dict(registry_wiring.handlers(vault)),
            "dispatch": dict(dispatch_worker.handlers(self._policy)),
            "reporting": dict(reporting_worker.HANDLERS),
        }
        self._mail = Mail({"registry": REGISTRY_LIFE, "dispatch": self._run(self._our_life())})

    def close(self) -> None:
        """Let go of the databases."""
        self._run(self._dispatch.close())
        self._run(self._reporting.close())
        super().close()

    def play(self, *steps: Any) -> None:
        """Begin anew, take these steps, let all mail arrive, and hold the accounts together."""
        super().play(*steps)

    def counted(self, number: int = 0) -> model.Figures:
        """The figures of a round as reporting has them."""
        return self._run(self._counters(number))

    # --- steps of the field ---

    def _ways(self) -> dict[type, Callable[[Any], Awaitable[None]]]:
        return super()._ways() | {
            Deliver: self._deliver, Arrive: self._arrive, TeamIs: self._team,
            Housework: self._housework, Work: self._work, Finish: self._finish,
        }  # fmt: skip

    async def _deliver(self, step: Deliver) -> None:
        if boxes := self._mail.waiting(step.follower):
            await self._hand_over(boxes[step.box % len(boxes)], step.most)

    async def _arrive(self, _step: Arrive) -> None:
        moved = True
        while moved:
            moved = False
            for follower in FOLLOWERS:
                for box in self._mail.waiting(follower):
                    await self._hand_over(box)
                    moved = True
            moved |= bool(await dispatch_worker.keep_house(self._dispatch))

    async def _hand_over(self, box: tuple[str, str, int], most: int = EVERYTHING) -> None:
        follower = box[0]
        await self._mail.deliver(box, most, self._databases[follower], self._handlers[follower])
        if follower == "reporting":
            async with self._reporting.begin() as tx:
                below = await tx.rows("SELECT * FROM counter WHERE n < 0")
            assert not below, "a count below zero"

    async def _team(self, step: TeamIs) -> None:
        team = Team(
            id=TEAMS[step.team], name="联合小组", areas=(DISTRICT,),
            members=(Member("m", "medic"),), shift_from=OPENS,
            shift_until=OPENS + timedelta(hours=step.until), capacity=step.capacity,
            active=step.active, serves_quarantine=step.serves_quarantine,
        )  # fmt: skip
        await self._dispatch.database.transact(teams.put_team, team, OFFICER, policy=self._policy)

    async def _housework(self, _step: Housework) -> None:
        await dispatch_worker.keep_house(self._dispatch)

    async def _work(self, step: Work) -> None:
        visit = await self._visit(step.visit)
        if visit is None:
            return
        ways: dict[str, Callable[[Transaction], Awaitable[object]]] = {
            "assign": partial(
                visits.assign_visit, visit_id=visit.id, team_id=TEAMS[step.team],
                caller=OFFICER, policy=self._policy,
            ),
            "start": partial(
                visits.start_visit, visit_id=visit.id, caller=OFFICER, policy=self._policy
            ),
            "cancel": partial(
                visits.cancel_visit, visit_id=visit.id, caller=OFFICER, policy=self._policy
            ),
        }  # fmt: skip
        await self._try(ways[step.what])

    async def _finish(self, step: Finish) -> None:
        visit = await self._visit(step.visit)
        if visit is None:
            return
        at = _at(step.at + WINDOW * ROUNDS.index(UUID(visit.round)))
        report = VisitReport(
            self._id(), step.outcome,
            sample=Sample(str(self._id()), at) if step.outcome == "sampled" else None,
            referral=Referral("绿园采样点", at) if step.outcome == "referred" else None,
        )  # fmt: skip
        if report.sample is not None:
            self._at_doors[report.sample.id] = _door_entry(visit, report.sample)
        await self._try(
            partial(
                visits.finish_visit, visit_id=visit.id, report=report, caller=OFFICER,
                policy=self._policy,
            )
        )  # fmt: skip

    async def _try(self, work: Callable[[Transaction], Awaitable[object]]) -> None:
        """Do what the domain may refuse: chance knows no rules."""
        try:
            await self._dispatch.database.transact(work)
        except ProblemError:
            return

    async def _visit(self, index: int) -> Visit | None:
        async with self._dispatch.database.begin(readonly=True) as tx:
            rows = await tx.rows("SELECT round, id FROM visit ORDER BY id DESC")
            if not rows:
                return None
            chosen = rows[index % len(rows)]
            found = await dispatch_visits.load(tx, chosen["round"], [chosen["id"]])
        return found[chosen["id"]]

    # --- what is said ---

    async def _record(self, tx: Transaction) -> None:
        await super()._record(tx)
        self._mail.post(tx.announced)
        for message, _ in tx.announced:
            if isinstance(message, VisitsAnswered):
                self._take_answers(message)

    async def _post(self, tx: Transaction) -> None:
        self._mail.post(tx.announced)

    def _take_answers(self, message: VisitsAnswered) -> None:
        """Believe registry that it took a swab from a door; when it may refuse one, hold it to."""
        number = ROUNDS.index(UUID(message.round))
        for answer in message.answers:
            if answer.status == "refused":
                assert answer.reason in {"round-not-open", "outside-window", "from-the-future"}
            elif entry := self._at_doors.pop(answer.sample, None):
                who = PEOPLE.index(UUID(answer.resident))
                sample = model.Sample(who, hours(entry), "home_visit", None)
                self._swabs.append(Swabbed(sample, number, [entry], None))
                # Its id is older than its arrival: of two swabs of one moment the first id counts.
                self._swabs.sort(key=lambda swab: swab.versions[0].sample)
                self._model[number].samples = [
                    each.sample for each in self._swabs if each.number == number
                ]

    # --- the end of the day ---

    async def _compare(self) -> None:
        await self._take(Keep())
        await self._take(Arrive())
        for number, round_id in enumerate(ROUNDS):
            self._model[number].hands = await self._hands_on_file(round_id)
        await super()._compare()
        for number, state in enumerate(self._state):
            if state != "draft":
                await self._hold_round(number, state)

    async def _hold_round(self, number: int, state: str) -> None:
        figures, field = await self._counters(number), await self._field(number)
        assert figures == self.figures(number), "reporting's counters are not the fold"
        assert await self._series(number) == await self._curve(number), "the curves differ"
        assert await self._visit_counters(number) == field.visits, "visits are miscounted"
        told = await self._due(number) | field.waiting
        assert await self._slot_counters(number) == told, "what is due, or who waits, is miscounted"
        assert max(Counter(field.open_visits).values(), default=0) <= 1, "two visits of one person"
        assert not field.forgotten, "somebody is in a forgotten hand"
        if state == "sealed":
            assert not field.hands, "somebody is in hand for ever"
            assert not field.open_visits, "a visit of a round that is over"
            return
        taken = {who: kind for who, kind in self._model[number].hands.items() if kind}
        assert taken == field.hands, "registry and dispatch differ about hands"
        untested = self._model[number].untested(self._people)
        visited = field.hands.keys() | {*field.open_visits}
        assert visited <= untested.keys(), "somebody is visited in vain"
        if state == "open":
            left_out = {who for who, person in untested.items() if person.needs} - visited
            assert not left_out, "somebody is left out"

    # --- the stores ---

    async def _our_life(self) -> UUID:
        async with self._dispatch.database.begin(readonly=True) as tx:
            return UUID(await dispatch_people.our_life(tx))

    async def _hands_on_file(self, round_id: UUID) -> dict[int, str | None]:
        async with self._database.begin(readonly=True) as tx:
            rows = await tx.rows("SELECT resident, kind FROM hand WHERE round = $1", round_id)
        return {PEOPLE.index(row["resident"]): row["kind"] for row in rows}

    async def _field(self, number: int) -> _Field:
        round_id = str(ROUNDS[number])
        async with self._dispatch.database.begin(readonly=True) as tx:
            hands = await tx.rows(
                "SELECT resident, hand_kind, hand_ends_at FROM person"
                " WHERE round = $1 AND hand_kind IS NOT NULL",
                round_id,
            )
            made = await tx.rows(
                "SELECT resident, community, status, outcome, planned_at, needs FROM visit"
                " WHERE round = $1",
                round_id,
            )
        counts = Counter(
            (row["community"], f"{name}.{row[name]}")
            for row in made
            for name in ("status", "outcome")
            if row[name] is not None
        )
        waiting = [row for row in made if row["status"] == "planned"]
        counts.update((row["community"], f"waiting.{n}") for row in waiting for n in row["needs"])
        return _Field(
            hands={_who(row): row["hand_kind"] for row in hands},
            forgotten={
                _who(row)
                for row in hands
                # Without an end it waits for registry's answer, and all of them have arrived.
                if row["hand_ends_at"] is None or row["hand_ends_at"] <= self._clock(number)
            },
            open_visits=[_who(row) for row in made if row["status"] in OPEN],
            visits=_nested((*key, n) for key, n in counts.items()),
            waiting=Counter(
                (row["community"], "waiting", slot_of(row["planned_at"])) for row in waiting
            ),
        )

    def _clock(self, number: int) -> datetime:
        return _at(self._clocks[number])

    async def _counters(self, number: int) -> model.Figures:
        async with self._reporting.snapshot() as tx:
            fold = await fold_at(tx, str(ROUNDS[number]), {})
        cells = {
            code: {cell: n for cell, n in cells.items() if not cell.startswith((SAMPLED_AT, DUE))}
            for code, cells in fold.communities.items()
        }
        return {code: figures for code, figures in cells.items() if figures}

    async def _series(self, number: int) -> Curve:
        async with self._reporting.begin(readonly=True) as tx:
            rows = await tx.rows(
                "SELECT community, slot, n FROM series WHERE round = $1 AND n <> 0",
                str(ROUNDS[number]),
            )
        return {(row["community"], row["slot"]): row["n"] for row in rows}

    async def _curve(self, number: int) -> Curve:
        async with self._database.snapshot() as tx:
            await sight.whole(tx)
            where = await rounds.load(tx, ROUNDS[number])
            series = messages.recounted_series(await account.recount(tx, where))
        return {(code, slot): n for code, slots in series.items() for slot, n in slots.items()}

    async def _due(self, number: int) -> Slots:
        async with self._database.snapshot() as tx:
            await sight.whole(tx)
            where = await rounds.load(tx, ROUNDS[number])
            due = messages.recounted_due(await account.recount(tx, where))
        return {
            (code, f"{DUE}{kind}", slot): n
            for code, kinds in due.items()
            for kind, slots in kinds.items()
            for slot, n in slots.items()
        }

    async def _slot_counters(self, number: int) -> Slots:
        async with self._reporting.begin(readonly=True) as tx:
            rows = await tx.rows(
                "SELECT community, cell, slot, n FROM slot_counter WHERE round = $1 AND n <> 0",
                str(ROUNDS[number]),
            )
        return {(row["community"], row["cell"], row["slot"]): row["n"] for row in rows}

    async def _visit_counters(self, number: int) -> model.Figures:
        async with self._reporting.begin(readonly=True) as tx:
            rows = await tx.rows(
                "SELECT community, cell, n FROM visit_counter WHERE round = $1 AND n <> 0",
                str(ROUNDS[number]),
            )
        return _nested(map(tuple, rows))

    async def _clear(self) -> None:
        await super()._clear()
        async with self._dispatch.database.begin() as tx:
            for table in DISPATCH_FACTS:
                await tx.do(f"DELETE FROM {table}")  # noqa: S608 - tables of ours
            await tx.do(
                "UPDATE round SET version = 0, state = 'draft', opens_at = NULL,"
                " closes_at = NULL, manual_clock = false, clock_at = NULL"
            )
        async with self._reporting.begin() as tx:
            for table in REPORTING_FACTS:
                await tx.do(f"DELETE FROM {table}")  # noqa: S608 - tables of ours
        self._mail.clear()
        self._at_doors: dict[str, Entry] = {}


def _at(hour: float) -> datetime:
    return OPENS + timedelta(hours=hour)


def _door_entry(visit: Visit, sample: Sample) -> Entry:
    """Write a swab taken at a door as registry will read it."""
    return Entry(
        ordinal=0, sample=UUID(sample.id), result=None, resident=UUID(visit.resident),
        document=None, round=UUID(visit.round), sampled_at=sample.sampled_at,
        channel="home_visit",
    )  # fmt: skip


def _who(row: asyncpg.Record) -> int:
    return PEOPLE.index(UUID(row["resident"]))


def _nested(rows: Iterable[tuple[str, str, int]]) -> model.Figures:
    figures: dict[str, dict[str, int]] = defaultdict(dict)
    for community, cell, n in rows:
        figures[community][cell] = n
    return dict(figures)
