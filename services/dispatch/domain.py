"""What dispatch decides, without I/O: cases, visits, and in whose hands people are.

One resident in one round is a `Person`: what registry says of them, their case, their hand and the
visit that is open. Every decision takes a person as they are and the `Scene` (round, clock, policy)
and gives a `Step`: the person as they will be, and each visit that moved. Two things always hold
afterwards: an open case has an open visit or a hand, and a closed one has neither, but for a team
that is at the door and a sample that awaits registry's answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, get_args
from uuid import UUID

from shared.contracts.vocabulary import (
    AreaKind,
    Class,
    HandKind,
    Need,
    RoundState,
    VisitOutcome,
    VisitStatus,
)
from shared.errors import BadInput, Conflict, Forbidden

NIL = UUID(int=0)
NEEDS: frozenset[Need] = frozenset(get_args(Need))
UNTESTED: frozenset[Class] = frozenset({"unaccounted", "in_hand"})
OPEN: frozenset[VisitStatus] = frozenset({"planned", "assigned", "started"})
OUTCOMES: frozenset[VisitOutcome] = frozenset(get_args(VisitOutcome))

CaseState = Literal["open", "closed"]
Closing = Literal["sampled", "excluded", "left", "died", "need_ended", "round_closed"]
"""Why a case closes, and with it a visit that has not been made.

`died`: registry does not count them as alive; that is also a record merged into another one's.
"""
Cancelling = Literal[
    "sampled", "excluded", "left", "died", "need_ended", "round_closed", "moved_home", "by_office"
]
Answer = Literal["awaited", "recorded", "refused"]
Verb = Literal["take", "revisit", "refer"]
"""What an office may say of a case that no team is on the way to."""
MemberRole = Literal[
    "medic", "community_cadre", "building_head", "registrar", "volunteer", "driver", "police"
]
QuarantinePolicy = Literal["last", "separate"]

PATIENT: frozenset[Closing] = frozenset({"need_ended", "round_closed"})
"""Reasons that let a team finish which is at the door already; the others call it back."""


# --- what is refused ---


class VisitNotOpen(Conflict):
    """A visit that was finished or cancelled is to be assigned, started or cancelled."""

    slug = "visit-not-open"
    title = "The visit is over"
    cause = "The visit was finished or cancelled: by a team, or because the case closed (R15)."
    cure = "Read the visit; a new one is planned by itself while the person is still missing."


class VisitNotYours(Forbidden):
    """A team acts on a visit that another team, or nobody, has."""

    slug = "visit-not-yours"
    title = "The visit is not this team's"
    cause = "The visit was never assigned to the team of the token, or is another team's now."
    cure = "Read the team's worklist again."


class VisitNotAssigned(Conflict):
    """A visit is started that no team has."""

    slug = "visit-not-assigned"
    title = "The visit has no team"
    cause = "The visit is only planned: its hand expired, or its team dropped out."
    cure = "Assign it first. A visit that was made may be finished without being started."


class VisitAlreadyFinished(Conflict):
    """A second, different report of one visit."""

    slug = "visit-already-finished"
    title = "The visit was reported already"
    cause = "Another report, with another id, tells already what happened at this door."
    cure = "Read the visit. A second swab, or a correction, goes to registry's `POST /v1/results`."


class TeamCannotServe(Conflict):
    """A visit is given to a team that cannot make it."""

    slug = "team-cannot-serve"
    title = "The team cannot make this visit"
    cause = "The team is inactive, off shift, elsewhere, full, or not for such homes (R17)."
    cure = "`reason` says which; choose another of `GET /v1/teams`, or say `beyond_capacity`."


class RoundNotOpen(Conflict):
    """Work is handed out in a round that does not run."""

    slug = "round-not-running"
    title = "The round is not open"
    cause = "The round is a draft, or closed; visits are assigned in open rounds only."
    cure = "Wait for the opening. Visits made before the closing may still be finished."


class CaseNotOpen(Conflict):
    """Something is decided about a person whose case is closed."""

    slug = "case-not-open"
    title = "The case is closed"
    cause = "The person was sampled, excluded, left, has no need any more, or the round closed."
    cure = "Read the case: `reason` says why. Nothing is left to decide."


class CaseInHand(Conflict):
    """Something is decided about a person whom a team has in hand."""

    slug = "case-in-hand"
    title = "A team has this person in hand"
    cause = "A visit is assigned or begun, or a swab was taken and registry has yet to answer."
    cure = "Wait for the team's report, or call the visit off: whoever does decides then."


class VisitPlanned(Conflict):
    """A visit is asked for, or a hand taken over, where a visit waits for a team already."""

    slug = "visit-planned"
    title = "A visit is planned already"
    cause = "The next step is decided: a visit waits for a team, and `why_waiting` says why."
    cure = "Assign the visit, or call it off: whoever does answers for the next step."


# --- things ---


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers and choices of the field that an authority may set (all in one place)."""

    worthy: frozenset[Need] = NEEDS
    revisit: timedelta = timedelta(hours=4)
    escalation: timedelta = timedelta(hours=24)
    grace: timedelta = timedelta(hours=1)
    quarantine: QuarantinePolicy = "last"


@dataclass(frozen=True, slots=True)
class Area:
    """An office or community by code and name."""

    code: str
    name: str
    kind: AreaKind
    parent: str | None


@dataclass(frozen=True, slots=True)
class Round:
    """A round as registry last told it; `version` 0 is a stub of one not told of yet."""

    id: str
    incarnation: UUID = NIL
    version: int = 0
    campaign: str = ""
    number: int = 0
    name: str = ""
    state: RoundState = "draft"
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    offices: tuple[str, ...] = ()
    manual_clock: bool = False
    clock_at: datetime | None = None

    def time(self, wall: datetime) -> datetime:
        """Tell the round's own time: its manual clock, or the wall's."""
        if not self.manual_clock:
            return wall
        return self.clock_at or self.opens_at or wall

    def cap(self, due: datetime) -> datetime:
        """Cap a due time at the round's closing."""
        return due if self.closes_at is None else min(due, self.closes_at)

    def runs(self, now: datetime) -> bool:
        """Tell whether work is handed out: open, and before its closing time.

        After that time nothing could be in anybody's hands, as all due times are capped at it.
        """
        return self.state == "open" and (self.closes_at is None or now < self.closes_at)

    def is_newer_than(self, known: "Round") -> bool:
        """Order what registry said of one round: the newest version wins."""
        return (self.incarnation.int, self.version) > (known.incarnation.int, known.version)

    def ticked(self, clock_at: datetime) -> "Round":
        """Move the manual clock on; never backwards."""
        if self.clock_at is not None and clock_at <= self.clock_at:
            return self
        return replace(self, clock_at=clock_at)


@dataclass(frozen=True, slots=True)
class ToldHand:
    """A hand as registry last heard it of us."""

    kind: HandKind | None
    due: datetime | None
    revision: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What registry says of one person in one round, as far as dispatch acts on it."""

    klass: Class = "unaccounted"
    community: str = ""
    """Where they live now."""
    needs: tuple[Need, ...] = ()
    alive: bool = True


@dataclass(frozen=True, slots=True)
class Told:
    """One change of the roll: a person's new standing, and its place in their history."""

    resident: str
    incarnation: UUID
    rev: int
    standing: Standing
    hand: ToldHand | None
    """Our own hand, as registry echoes it; only of this life of our database."""

    @property
    def version(self) -> tuple[int, int]:
        """Order changes of one person."""
        return self.incarnation.int, self.rev


@dataclass(frozen=True, slots=True)
class VisitAnswer:
    """What registry says of the sample of a visit; `refusal` is the problem type, if it refused."""

    visit: UUID
    resident: str
    sample: str
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Hand:
    """Somebody is answerable for the next step: `kind`, by when, who.

    `ends_at` is when the clock ends it: at `due`, with an hour's grace for a started visit; None
    while a finished visit awaits registry's answer.
    """

    kind: HandKind
    due: datetime
    ends_at: datetime | None
    owner: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A resident with a visit-worthy need who is, or was, untested in an open round."""

    state: CaseState
    opened_at: datetime
    closed_at: datetime | None = None
    reason: Closing | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The swab taken at a door; the id is made by the team's device."""

    id: str
    sampled_at: datetime
    tube_code: str | None = None


@dataclass(frozen=True, slots=True)
class Referral:
    """A named site an untested person is sent to, and by when."""

    site: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """What an office says of a case that no team is on the way to; its id is client-made (R19).

    `take`: I answer for it from now on. `revisit`: the next step is a visit, now. `refer`: the
    next step is theirs, at a named site, by a named time.

    Raises:
        BadInput: a referral comes without its site, or a site with something else.

    """

    id: UUID
    verb: Verb
    referral: Referral | None = None

    def __post_init__(self) -> None:
        if (self.verb == "refer") != (self.referral is not None):
            raise BadInput.at("site", "comes with a referral, and only with it")


@dataclass(frozen=True, slots=True)
class VisitReport:
    """What happened at one door, as the team tells it (R16, R19).

    Raises:
        BadInput: the outcome and what comes with it do not agree.

    """

    id: UUID
    outcome: VisitOutcome
    at: datetime | None = None
    sample: Sample | None = None
    referral: Referral | None = None

    def __post_init__(self) -> None:
        if (self.outcome == "sampled") != (self.sample is not None):
            raise BadInput.at("sample", "comes with the outcome sampled, and only with it")
        if (self.outcome == "referred") != (self.referral is not None):
            raise BadInput.at("referral", "comes with the outcome referred, and only with it")


@dataclass(frozen=True, slots=True)
class Visit:
    """One dispatched visit for one resident in one round.

    `planned → assigned → started → finished | cancelled`; back to `planned` when the hand expires
    or the team drops out. `status` is its life cycle, `outcome` what happened at the door (R16).
    """

    id: UUID
    round: str
    resident: str
    community: str
    planned_at: datetime
    """Since when it waits for a team, or waited before it had one."""
    status: VisitStatus = "planned"
    revision: int = 1
    attempt: int = 1
    priority: int = 0
    quarantined: bool = False
    team: str | None = None
    teams: tuple[str, ...] = ()
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: Cancelling | None = None
    report: UUID | None = None
    outcome: VisitOutcome | None = None
    sample: Sample | None = None
    answer: Answer | None = None
    refusal: str | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether somebody has yet to make it or is making it."""
        return self.status in OPEN


@dataclass(frozen=True, slots=True)
class Person:
    """One resident in one round: registry's word, the case, the hand, the visit that is open.

    `visit` is the open one, or the finished one whose sample awaits registry's answer.
    `home` is the community the first case was opened in: it keys the hands, and stays.
    """

    round: str
    resident: str
    incarnation: UUID = NIL
    rev: int = 0
    standing: Standing = field(default_factory=Standing)
    case: Case | None = None
    home: str | None = None
    visit: Visit | None = None
    attempts: int = 0
    hand: Hand | None = None
    hand_revision: int = 0

    @property
    def is_new(self) -> bool:
        """Tell whether we never heard of them before."""
        return self.rev == 0

    @property
    def in_case(self) -> bool:
        """Tell whether a case is open."""
        return self.case is not None and self.case.state == "open"

    @property
    def awaits_answer(self) -> bool:
        """Tell whether a sample of theirs awaits registry's answer."""
        return self.visit is not None and not self.visit.is_open

    @property
    def key(self) -> str:
        """The community whose partition carries their hands."""
        return self.home or self.standing.community


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a team, by id, and what they may do."""

    id: str
    role: MemberRole


@dataclass(frozen=True, slots=True)
class Team:
    """People in the field who make visits together (小组), and when and where they work."""

    id: str
    name: str
    areas: tuple[str, ...]
    members: tuple[Member, ...]
    shift_from: datetime
    shift_until: datetime
    capacity: int
    """Visits it can take in one shift."""
    active: bool = True
    serves_quarantine: bool = False

    def serves(self, community: str) -> bool:
        """Tell whether a community lies within its areas."""
        return community.startswith(self.areas)

    def on_shift(self, now: datetime) -> bool:
        """Tell whether it works at this time."""
        return self.active and self.shift_from <= now < self.shift_until

    def takes(self, quarantined: bool, policy: Policy) -> bool:
        """Tell whether it serves such a home: by policy, quarantined ones have their own (R17)."""
        return policy.quarantine == "last" or self.serves_quarantine == quarantined


@dataclass(frozen=True, slots=True)
class Scene:
    """What a decision is taken in: the round, its time, the policy, and fresh ids for visits."""

    round: Round
    now: datetime
    policy: Policy
    new_id: Callable[[], UUID]


@dataclass(frozen=True, slots=True)
class Step:
    """What one decision changed: a person before and after, and each visit that moved."""

    before: Person
    after: Person
    visits: tuple[tuple[Visit | None, Visit], ...] = ()

    @property
    def hand_changed(self) -> bool:
        """Tell whether registry has to hear of a hand."""
        return self.after.hand_revision != self.before.hand_revision

    def moved_visits(self) -> Iterator[tuple[Visit | None, Visit]]:
        """Give the visits others have to hear of."""
        return (
            (before, after)
            for before, after in self.visits
            if before is None or before.revision != after.revision
        )

    # --- building it ---

    def so(self, after: Person) -> "Step":
        """Let the person be so afterwards."""
        return Step(self.before, after, self.visits)

    def hold(self, hand: Hand | None) -> "Step":
        """Put the person into a hand, or out of one. Announced when kind or due changed."""
        known = self.before.hand
        same = (hand and (hand.kind, hand.due)) == (known and (known.kind, known.due))
        revision = self.before.hand_revision + (not same)
        if hand == self.after.hand and revision == self.after.hand_revision:
            return self
        return self.so(replace(self.after, hand=hand, hand_revision=revision))

    def put(self, visit: Visit, *, current: bool) -> "Step":
        """Move a visit on; `current` keeps it as the person's visit, else they have none."""
        others = tuple(pair for pair in self.visits if pair[1].id != visit.id)
        known = next((pair for pair in self.visits if pair[1].id == visit.id), None)
        before = known[0] if known else self._visit_before(visit)
        visit = _revised(before, visit)
        after = replace(self.after, visit=visit if current else None)
        return Step(self.before, after, (*others, (before, visit)))

    def put_aside(self, before: Visit, after: Visit) -> "Step":
        """Change a visit that is over and not the person's current one."""
        return Step(self.before, self.after, (*self.visits, (before, _revised(before, after))))

    def _visit_before(self, visit: Visit) -> Visit | None:
        known = self.before.visit
        return known if known is not None and known.id == visit.id else None


def _revised(before: Visit | None, after: Visit) -> Visit:
    """Count a visit's announced changes: its revision orders them for others."""
    told = before is None or _announced(before) != _announced(after)
    revision = (before.revision if before else 0) + told
    return after if after.revision == revision else replace(after, revision=revision)


def _announced(visit: Visit) -> tuple[object, ...]:
    """What others hear of a visit; registry's answer came from registry and is not told back."""
    return visit.status, visit.team, visit.outcome, visit.sample


# --- decisions ---


def settle(person: Person, told: Told, scene: Scene) -> Step | None:
    """Take in registry's newer word of a person, whole, and draw the consequences.

    Only the hand in it is passed over when it is no newer than ours: it is our own echo. A second
    half of one change has the same `rev` and is dropped.
    """
    if told.version <= (person.incarnation.int, person.rev):
        return None
    known = replace(person, incarnation=told.incarnation, rev=told.rev, standing=told.standing)
    step = Step(person, known)
    if told.hand is not None and told.hand.revision > person.hand_revision:
        step = _take_over(step, told.hand)
    return _follow(step, scene)


def review(person: Person, scene: Scene) -> Step:
    """Draw the consequences of a round that opened, closed or changed its window."""
    step = Step(person, person)
    if person.hand is not None and scene.round.cap(person.hand.due) < person.hand.due:
        due = scene.round.cap(person.hand.due)
        step = step.hold(_due_at(person.hand, due))
    return _follow(step, scene)


def assign(person: Person, visit: Visit, team: Team, scene: Scene, *, room: int = 1) -> Step:
    """Give an open visit to a team; the person is in its hands until its shift ends.

    Args:
        person: whom the visit is for
        visit: the visit; another team may have it
        team: who is to go
        scene: when and where
        room: visits the team can still take in its shift

    Raises:
        RoundNotOpen: the round does not run.
        VisitNotOpen: there is no visit to be made.
        TeamCannotServe: the team does not work there and then, not for such homes (R17), or has
            no room.

    """
    _require_open(visit)
    if not scene.round.runs(scene.now):
        raise RoundNotOpen
    if unable := _unable(team, visit, scene):
        raise TeamCannotServe(_UNABLE[unable], reason=unable)
    if visit.team == team.id:
        return Step(person, person)
    if room <= 0:
        raise TeamCannotServe("the team has all the visits its shift holds", reason="full")
    assigned = replace(
        visit,
        status="assigned",
        team=team.id,
        teams=(*visit.teams, team.id) if team.id not in visit.teams else visit.teams,
        assigned_at=scene.now,
        started_at=None,
    )
    due = scene.round.cap(team.shift_until)
    return Step(person, person).put(assigned, current=True).hold(Hand("visit", due, due, team.id))


def start(person: Person, visit: Visit, team: str | None, scene: Scene) -> Step:
    """The team is at the door. Starting again changes nothing.

    Raises:
        VisitNotOpen: there is no visit to be made.
        VisitNotAssigned: no team has it.
        VisitNotYours: another team has it.

    """
    _require_open(visit)
    if visit.team is None or person.hand is None:
        raise VisitNotAssigned
    if team is not None and team != visit.team:
        raise VisitNotYours
    if visit.status == "started":
        return Step(person, person)
    started = replace(visit, status="started", started_at=scene.now)
    hand = replace(person.hand, ends_at=person.hand.due + scene.policy.grace)
    return Step(person, person).put(started, current=True).hold(hand)


def finish(
    person: Person, visit: Visit, report: VisitReport, team: str | None, scene: Scene
) -> Step:
    """Take the report of a visit; every outcome leads elsewhere (R16).

    Also one that was only planned or assigned, as far as we knew: the field is often offline, and
    the door was knocked on. A cancelled visit keeps its status, and outcome and sample are stored.

    A team that had the visit before, and knocked in vain, does not take it from the team that has
    it now: that one is on its way and tells what comes of it, in whichever order the two reports
    arrive (R19). A swab is a swab, whoever took it.

    Args:
        person: whom the visit was for
        visit: the visit, open or cancelled
        report: what happened
        team: the team that reports; None when the office enters it, later, from paper
        scene: when and where

    Raises:
        VisitNotYours: the team never had it.
        VisitAlreadyFinished: it was reported before.

    """
    if team is not None and team not in visit.teams:
        raise VisitNotYours
    if visit.outcome is not None:
        raise VisitAlreadyFinished
    if _knocked_before_another(visit, report, team):
        return Step(person, replace(person, attempts=person.attempts + 1))
    reported = replace(
        visit,
        team=team or visit.team,
        report=report.id,
        outcome=report.outcome,
        sample=report.sample,
        answer="awaited" if report.sample else None,
        ended_at=report.at or scene.now,
    )
    step = Step(person, person)
    if visit.status == "cancelled":
        return step.put_aside(visit, reported)
    finished = replace(reported, status="finished")
    step = step.so(replace(person, attempts=person.attempts + 1))
    if report.sample is not None:
        return step.put(finished, current=True).hold(_awaiting(person, finished, scene))
    step = step.put(finished, current=False)
    if not person.in_case:
        return _follow(step.hold(None), scene)
    return _follow(_after_door(step, report, scene), scene)


def _knocked_before_another(visit: Visit, report: VisitReport, team: str | None) -> bool:
    """Tell whether a team that had the visit once speaks late, and without a swab."""
    is_with_another = visit.is_open and visit.team is not None and team not in {None, visit.team}
    return is_with_another and report.sample is None


def answer(person: Person, visit: Visit, told: VisitAnswer, scene: Scene) -> Step | None:
    """Take registry's answer to the sample of a finished visit; a refusal escalates.

    Recorded, the person stays in hand until the roll itself says that they are sampled, and no
    longer than the grace: nobody is in a forgotten hand.
    """
    if visit.answer != "awaited" or visit.sample is None or visit.sample.id != told.sample:
        return None
    refusal = told.refusal
    answered = replace(visit, answer="refused" if refusal else "recorded", refusal=refusal)
    step = Step(person, person)
    if person.visit is None or person.visit.id != visit.id:
        step = step.put_aside(visit, answered)
        if refusal and person.in_case and person.visit is None:
            step = _escalate(step, f"sample_refused:{refusal}", scene)
        return _follow(step, scene)
    step = step.put(answered, current=False)
    if not person.in_case:
        step = step.hold(None)
    elif refusal:
        step = _escalate(step, f"sample_refused:{refusal}", scene)
    elif person.hand is not None:
        step = step.hold(replace(person.hand, ends_at=scene.now + scene.policy.grace))
    return _follow(step, scene)


def cancel(person: Person, visit: Visit, owner: str, scene: Scene) -> Step:
    """Call a visit off. The person is still missing, so the office answers for the next step.

    Raises:
        VisitNotOpen: it is over already.

    """
    _require_open(visit)
    step = Step(person, person).put(_cancelled(visit, "by_office", scene), current=False)
    if person.in_case:
        step = _escalate(step, "visit_cancelled", scene, owner=owner)
    return _follow(step, scene)


def expire(person: Person, scene: Scene) -> Step | None:
    """End a hand that is past its time; what it held waits for a team again."""
    hand = person.hand
    if hand is None or hand.ends_at is None or hand.ends_at > scene.now:
        return None
    return _let_go(person, scene)


def regroup(person: Person, team: Team, scene: Scene) -> Step | None:
    """Follow a team that changed: what it cannot make any more waits for another.

    That is everything if it dropped out; and of what it has not begun, whatever its shift, areas
    or kind of homes rule out now. The rest is due when the shift now ends.
    """
    visit, hand = person.visit, person.hand
    if visit is None or hand is None or not visit.is_open or visit.team != team.id:
        return None
    if not team.active or (visit.status == "assigned" and _unable(team, visit, scene)):
        return _let_go(person, scene)
    due = scene.round.cap(team.shift_until)
    if due == hand.due or not team.on_shift(scene.now):
        return None  # who is at a door when the shift ends keeps the hour of grace
    return Step(person, person).hold(_due_at(hand, due))


def decide(person: Person, decision: Decision, by: str, scene: Scene) -> Step:
    """Let an office settle what it is answerable for, before the clock does.

    Args:
        person: whose case it is
        decision: what is to happen
        by: who says so, and answers for it
        scene: when and where

    Raises:
        CaseNotOpen: there is nothing to decide.
        CaseInHand: a team has the visit, or a swab awaits registry's answer.
        VisitPlanned: a visit waits for a team already, so that none is asked for.
        BadInput: the time of a referral has passed.

    """
    if not person.in_case:
        raise CaseNotOpen
    hand, step = person.hand, Step(person, person)
    if _is_with_a_team(person):
        raise CaseInHand
    if decision.referral is not None:
        return _referred(step, decision.referral, scene)
    if decision.verb == "revisit" and person.visit is None:
        due = scene.round.cap(scene.now + scene.policy.revisit)
        return _planned(step, scene).hold(Hand("revisit", due, due, by, "by_office"))
    if decision.verb == "take" and hand is not None:
        return step.hold(replace(hand, owner=by))
    raise VisitPlanned


def _is_with_a_team(person: Person) -> bool:
    """Tell whether a team goes, is there, or was there and registry has yet to say so."""
    if person.visit is not None and person.visit.status != "planned":
        return True
    return person.hand is not None and person.hand.kind == "visit"


def _referred(step: Step, referral: Referral, scene: Scene) -> Step:
    if referral.until <= scene.now:
        raise BadInput.at("until", "lies after the present, by the round's clock")
    visit = step.after.visit
    if visit is not None:
        step = step.put(_cancelled(visit, "by_office", scene), current=False)
    due = scene.round.cap(referral.until)
    return step.hold(Hand("referral", due, due, referral.site, "by_office"))


Unable = Literal["off-shift", "elsewhere", "quarantine"]
_UNABLE: dict[Unable, str] = {
    "off-shift": "the team is not on shift",
    "elsewhere": "the team works elsewhere",
    "quarantine": "quarantined homes have a team of their own (R17)",
}


def _unable(team: Team, visit: Visit, scene: Scene) -> Unable | None:
    """Say why a team cannot make a visit now, if it cannot."""
    if not team.on_shift(scene.now):
        return "off-shift"
    if not team.serves(visit.community):
        return "elsewhere"
    return None if team.takes(visit.quarantined, scene.policy) else "quarantine"


# --- consequences ---


def _follow(step: Step, scene: Scene) -> Step:
    """Open or close the case and see that an open one has a visit or a hand."""
    closing = _closing(step.after.standing, scene)
    if closing is None:
        return _see_to(_opened(step, scene), scene)
    return _closed(step, closing, scene)


def _closing(standing: Standing, scene: Scene) -> Closing | None:  # noqa: PLR0911 - one per reason
    """Say why there is no case; None when there is one."""
    if not standing.alive and standing.klass not in {"sampled", "excluded"}:
        return "died"
    match standing.klass:
        case "sampled":
            return "sampled"
        case "excluded":
            return "excluded"
        case "off" | "visitor":
            return "left"
    if not standing.community:
        return "left"
    if scene.policy.worthy.isdisjoint(standing.needs):
        return "need_ended"
    return None if scene.round.state == "open" else "round_closed"


def _opened(step: Step, scene: Scene) -> Step:
    person = step.after
    if person.in_case:
        return step
    home = person.home or person.standing.community
    return step.so(replace(person, case=Case("open", scene.now), home=home))


def _see_to(step: Step, scene: Scene) -> Step:
    """Plan a visit where there is neither one nor a hand; keep the one there is at the right door.

    Nobody is left out: whenever a hand ends or a visit falls away, this plans the next.
    """
    step = _owned_where_they_live(step)
    visit, standing = step.after.visit, step.after.standing
    if visit is None:
        return step if step.after.hand is not None else _planned(step, scene)
    if visit.status in {"planned", "assigned"} and visit.community != standing.community:
        step = step.put(_cancelled(visit, "moved_home", scene), current=False)
        if visit.status == "assigned":
            step = step.hold(None)
        return _planned(step, scene)
    if visit.is_open and visit.quarantined != _quarantined(standing):
        return _refitted(step, replace(visit, quarantined=not visit.quarantined), scene)
    return step


def _owned_where_they_live(step: Step) -> Step:
    """Hand what an office answers for to the office they moved to: the old one has them no more."""
    hand, lives_in = step.after.hand, office_of(step.after.standing.community)
    moved = lives_in != office_of(step.before.standing.community)
    if hand is None or not moved or hand.kind not in {"revisit", "escalation"}:
        return step
    return step.hold(replace(hand, owner=lives_in))


def _refitted(step: Step, visit: Visit, scene: Scene) -> Step:
    """Follow a quarantine that began or ended; where teams are separate, another has to go (R17).

    A team that is at the door already finishes.
    """
    if visit.status == "assigned" and scene.policy.quarantine == "separate":
        return step.put(_waiting_again(visit, scene), current=True).hold(None)
    return step.put(visit, current=True)


def _closed(step: Step, closing: Closing, scene: Scene) -> Step:
    person = step.after
    if person.case is not None and person.case.state == "open":
        case = replace(person.case, state="closed", closed_at=scene.now, reason=closing)
        step = step.so(replace(person, case=case))
    visit = person.visit
    if visit is not None and not visit.is_open:
        return step  # a sample awaits registry's answer: its hand stays
    if visit is not None:
        patient = closing in PATIENT and scene.round.state != "sealed"
        if visit.status == "started" and patient:
            return step
        step = step.put(_cancelled(visit, closing, scene), current=False)
    return step.hold(None)


def _planned(step: Step, scene: Scene) -> Step:
    person = step.after
    visit = Visit(
        id=scene.new_id(),
        round=person.round,
        resident=person.resident,
        community=person.standing.community,
        planned_at=scene.now,
        attempt=person.attempts + 1,
        priority=person.attempts,  # whom we missed before comes first (R16)
        quarantined=_quarantined(person.standing),
    )
    return step.put(visit, current=True)


def _after_door(step: Step, report: VisitReport, scene: Scene) -> Step:
    """Nobody was swabbed, so somebody answers for the next step (R16)."""
    office = office_of(step.after.standing.community)
    match report.outcome:
        case "absent" | "locked":
            due = scene.round.cap(scene.now + scene.policy.revisit)
            return _planned(step, scene).hold(Hand("revisit", due, due, office, report.outcome))
        case "referred" if report.referral is not None:
            due = scene.round.cap(report.referral.until)
            return step.hold(Hand("referral", due, due, report.referral.site))
        case _:
            return _escalate(step, report.outcome, scene)


def _escalate(step: Step, reason: str, scene: Scene, *, owner: str | None = None) -> Step:
    due = scene.round.cap(scene.now + scene.policy.escalation)
    owner = owner or office_of(step.after.standing.community)
    return step.hold(Hand("escalation", due, due, owner, reason))


def _let_go(person: Person, scene: Scene) -> Step:
    step = Step(person, person).hold(None)
    visit = person.visit
    if visit is not None and visit.status in {"assigned", "started"}:
        step = step.put(_waiting_again(visit, scene), current=True)
    return _follow(step, scene)


def _waiting_again(visit: Visit, scene: Scene) -> Visit:
    return replace(
        visit,
        status="planned",
        planned_at=scene.now,
        team=None,
        assigned_at=None,
        started_at=None,
    )


def _take_over(step: Step, told: ToldHand) -> Step:
    """Believe registry of a hand that we gave and forgot: our database is older than our word."""
    hand = (
        Hand(told.kind, told.due, told.due, office_of(step.after.standing.community))
        if told.kind is not None and told.due is not None
        else None
    )
    # On both sides of the step: what registry told us needs no telling back.
    return Step(
        replace(step.before, hand=hand, hand_revision=told.revision),
        replace(step.after, hand=hand, hand_revision=told.revision),
    )


def _awaiting(person: Person, visit: Visit, scene: Scene) -> Hand:
    """Keep the hand of a finished visit until registry answers; the clock does not end it."""
    if person.hand is not None and person.hand.kind == "visit":
        return replace(person.hand, ends_at=None)
    due = scene.round.cap(scene.now + scene.policy.grace)
    return Hand("visit", due, None, visit.team or office_of(visit.community))


def _due_at(hand: Hand, due: datetime) -> Hand:
    """Move a hand's due time, and with it the time at which the clock ends it."""
    return replace(hand, due=due, ends_at=hand.ends_at and hand.ends_at + (due - hand.due))


def _cancelled(visit: Visit, reason: Cancelling, scene: Scene) -> Visit:
    return replace(visit, status="cancelled", reason=reason, ended_at=scene.now)


def _require_open(visit: Visit) -> None:
    if not visit.is_open:
        raise VisitNotOpen


def _quarantined(standing: Standing) -> bool:
    return "quarantine" in standing.needs


def office_of(community: str) -> str:
    """Office of a community: the first nine digits of its code."""
    return community[:9]
