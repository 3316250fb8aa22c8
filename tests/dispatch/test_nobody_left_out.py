"""Nobody is left out, whatever happens in whatever order: one person's life at random."""

from dataclasses import replace
from typing import get_args
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.dispatch.domain import assignment, clock, decisions, doors, roll
from services.dispatch.domain.decisions import Decision, Verb
from services.dispatch.domain.policy import Policy, QuarantinePolicy
from services.dispatch.domain.roll import VisitAnswer
from services.dispatch.domain.steps import Scene, Step
from services.dispatch.domain.teams import Team
from services.dispatch.domain.visits import Referral, Visit
from shared.contracts.vocabulary import Class, Need, RoundState, VisitOutcome
from shared.errors import LastmetreError
from tests.dispatch.words import (
    ALICE,
    HERE,
    HOUR,
    MORNING,
    OTHER,
    ROUND,
    TEAM,
    THERE,
    fresh_id,
    report,
    scene,
    told,
)

KLASSES: list[Class] = ["unaccounted", "in_hand", "sampled", "excluded", "off", "visitor"]
NEEDS: list[tuple[Need, ...]] = [(), ("mobility",), ("quarantine",), ("mobility", "quarantine")]


class OneLife(RuleBasedStateMachine):
    """One resident in one round; registry, teams, offices and the clock do as they please."""

    def __init__(self) -> None:
        super().__init__()
        self.person = ALICE
        self.round = ROUND
        self.policy = Policy()
        self.now = MORNING
        self.rev = 0
        self.visits = dict[UUID, Visit]()
        self.heard_visits = dict[UUID, Visit]()
        self.heard_hand: tuple[object, ...] | None = None

    def scene(self) -> Scene:
        return scene(self.now, self.round, self.policy)

    @initialize(quarantine=st.sampled_from(["last", "separate"]))
    def by_policy(self, quarantine: QuarantinePolicy) -> None:
        self.policy = Policy(quarantine=quarantine)

    def take(self, step: Step | None) -> None:
        if step is None:
            return
        assert step.after.hand_revision >= self.person.hand_revision
        for before, after in step.visits:
            assert before == self.visits.get(after.id)
            self.visits[after.id] = after
        for before, after in step.moved_visits():
            heard = self.heard_visits.get(after.id)
            assert (heard and heard.status) == (before and before.status)
            assert (heard and heard.waits) == (before and before.waits)
            assert after.revision == (heard.revision if heard else 0) + 1
            assert after.community == (heard.community if heard else after.community)
            self.heard_visits[after.id] = after
        hand = step.after.hand
        if step.hand_changed:
            self.heard_hand = (hand.kind, hand.due) if hand else None
        assert self.heard_hand == ((hand.kind, hand.due) if hand else None)
        self.person = step.after

    @rule(
        klass=st.sampled_from(KLASSES),
        needs=st.sampled_from(NEEDS),
        community=st.sampled_from([HERE, THERE]),
        alive=st.booleans(),
    )
    def registry_tells(
        self, klass: Class, needs: tuple[Need, ...], community: str, alive: bool
    ) -> None:
        self.rev += 1
        news = told(self.rev, klass, community, needs, alive=alive)
        self.take(roll.settle(self.person, news, self.scene()))

    @rule(state=st.sampled_from(["open", "closed", "sealed"]), hours=st.integers(1, 30))
    def the_round_changes(self, state: RoundState, hours: int) -> None:
        self.round = replace(self.round, state=state, closes_at=MORNING + hours * HOUR)
        self.take(clock.review(self.person, self.scene()))

    @rule(hours=st.sampled_from([0.5, 3, 9, 25]))
    def time_passes(self, hours: float) -> None:
        self.now += hours * HOUR
        self.take(clock.expire(self.person, self.scene()))

    @precondition(lambda self: self.visits)
    @rule(data=st.data(), act=st.sampled_from(["assign", "start", "cancel", "report", "answer"]))
    def somebody_acts(self, data: st.DataObject, act: str) -> None:
        visit = self.visits[data.draw(st.sampled_from(sorted(self.visits)))]
        person, now = self.person, self.scene()
        until = self.now + data.draw(st.sampled_from([1, 8])) * HOUR
        name = data.draw(st.sampled_from(["t1", "t2"]))
        team = replace(TEAM, id=name, shift_until=until, serves_quarantine=name == "t2")
        try:
            match act:
                case "assign":
                    self.take(assignment.assign(person, visit, team, now))
                case "start":
                    self.take(doors.start(person, visit, team.id, now))
                case "cancel":
                    self.take(doors.cancel(person, visit, "office", now))
                case "report":
                    outcome = data.draw(st.sampled_from(sorted(get_args(VisitOutcome))))
                    by = data.draw(st.sampled_from([None, "t1", "t2"]))
                    self.take(doors.finish(person, visit, report(outcome), by, now))
                case "answer":
                    refusal = data.draw(st.sampled_from([None, "/problems/no"]))
                    self.take(
                        roll.answer(
                            person, visit, VisitAnswer(visit.id, "alice", "s1", refusal), now
                        )
                    )
        except LastmetreError:
            return

    @rule(
        team=st.sampled_from([TEAM, OTHER]),
        active=st.booleans(),
        area=st.sampled_from(["410171", THERE[:9]]),
        begins=st.sampled_from([-1, 2]),
    )
    def a_team_changes(self, team: Team, active: bool, area: str, begins: int) -> None:
        changed = replace(
            team,
            active=active,
            areas=(area,),
            shift_from=self.now + begins * HOUR,
            shift_until=self.now + 5 * HOUR,
        )
        self.take(assignment.regroup(self.person, changed, self.scene()))

    @rule(verb=st.sampled_from(["take", "revisit", "refer"]), hours=st.sampled_from([1, 30]))
    def an_office_decides(self, verb: Verb, hours: int) -> None:
        referral = Referral("site-9", self.now + hours * HOUR) if verb == "refer" else None
        said = Decision(fresh_id(), verb, referral)
        try:
            self.take(decisions.decide(self.person, said, "officer-7", self.scene()))
        except LastmetreError:
            return

    @invariant()
    def r15_at_most_one_visit_is_open(self) -> None:
        still_open = [visit for visit in self.visits.values() if visit.is_open]
        assert len(still_open) <= 1
        if still_open:
            assert self.person.visit == still_open[0]

    @invariant()
    def an_open_case_has_a_visit_or_a_hand_and_a_closed_one_neither(self) -> None:
        person = self.person
        if person.in_case:
            assert self.round.state == "open"
            assert person.visit is not None or person.hand is not None
        elif person.visit is None:
            assert person.hand is None
        else:
            assert person.visit.status in {"started", "finished"}

    @invariant()
    def every_hand_ends(self) -> None:
        person, hand = self.person, self.person.hand
        if hand is None:
            assert person.visit is None or person.visit.status == "planned"
            return
        if hand.ends_at is None:
            assert person.awaits_answer
        if self.round.closes_at is not None:
            assert hand.due <= self.round.closes_at

    @invariant()
    def every_hand_is_somebodys(self) -> None:
        hand, lives_in = self.person.hand, self.person.standing.community[:9]
        if hand is not None and hand.kind in {"revisit", "escalation"}:
            assert hand.owner in {lives_in, "officer-7", "office"}
        assert hand is None or hand.owner

    @invariant()
    def others_know_how_a_visit_waits(self) -> None:
        visit = self.person.visit
        if visit is not None and visit.status == "planned":
            assert self.heard_visits[visit.id].waits == (
                visit.planned_at,
                self.person.standing.needs,
            )

    @invariant()
    def what_is_current_is_what_was_stored(self) -> None:
        visit = self.person.visit
        assert visit is None or self.visits[visit.id] == visit


def test_nobody_is_left_out_whatever_happens() -> None:
    run_state_machine_as_test(
        OneLife, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )
