"""What the stories of one person are told with: Alice cannot come, and team t1 may go."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from services.dispatch.domain import assignment, doors, roll
from services.dispatch.domain.hands import ToldHand
from services.dispatch.domain.people import Person, Standing
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.roll import Told
from services.dispatch.domain.rounds import Round
from services.dispatch.domain.steps import Scene, Step
from services.dispatch.domain.teams import Team
from services.dispatch.domain.visits import Referral, Sample, Visit, VisitReport
from shared.contracts.vocabulary import Class, Need, VisitOutcome

HOUR = timedelta(hours=1)
MORNING = datetime(2022, 1, 7, 8, tzinfo=UTC)
EVENING = MORNING + 12 * HOUR
LIFE = UUID(int=1)
HERE, THERE = "410171001001", "410171002001"
OFFICE = HERE[:9]
ROUND = Round("r1", LIFE, 1, state="open", opens_at=MORNING, closes_at=EVENING)
ALICE = Person("r1", "alice")
TEAM = Team("t1", "first", ("410171",), (), MORNING - HOUR, MORNING + 6 * HOUR, 40)
OTHER = replace(TEAM, id="t2")

_ids = count(1)


def fresh_id() -> UUID:
    """An id nobody had before."""
    return UUID(int=next(_ids))


def scene(at: datetime = MORNING, round_: Round = ROUND, policy: Policy | None = None) -> Scene:
    return Scene(round_, at, policy or Policy(), fresh_id)


def told(
    rev: int,
    klass: Class = "unaccounted",
    community: str = HERE,
    needs: tuple[Need, ...] = ("mobility",),
    *,
    alive: bool = True,
    hand: ToldHand | None = None,
) -> Told:
    return Told("alice", LIFE, rev, Standing(klass, community, needs, alive), hand)


def done(step: Step | None) -> Person:
    assert step is not None
    return step.after


def the_visit(person: Person) -> Visit:
    assert person.visit is not None
    return person.visit


def waiting() -> Person:
    """Alice cannot come, is untested, and a visit is planned."""
    return done(roll.settle(ALICE, told(1), scene()))


def assigned() -> Person:
    person = waiting()
    return done(assignment.assign(person, the_visit(person), TEAM, scene()))


def started(at: datetime = MORNING) -> Person:
    person = assigned()
    return done(doors.start(person, the_visit(person), "t1", scene(at)))


def report(outcome: VisitOutcome) -> VisitReport:
    return VisitReport(
        fresh_id(),
        outcome,
        sample=Sample("s1", MORNING) if outcome == "sampled" else None,
        referral=Referral("site-9", MORNING + 2 * HOUR) if outcome == "referred" else None,
    )


def reported(outcome: VisitOutcome) -> Step:
    person = started()
    return doors.finish(person, the_visit(person), report(outcome), "t1", scene())
