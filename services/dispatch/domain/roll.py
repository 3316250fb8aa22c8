"""What registry says: where a person stands on the roll, and whether a swab was recorded."""

from dataclasses import dataclass
from uuid import UUID

import msgspec
from msgspec.structs import replace

from services.dispatch.domain.consequences import escalate, follow
from services.dispatch.domain.hands import Hand, ToldHand
from services.dispatch.domain.people import Person, Standing
from services.dispatch.domain.steps import Scene, Step
from services.dispatch.domain.visits import Visit


class Told(msgspec.Struct, frozen=True):
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


def settle(person: Person, told: Told, scene: Scene) -> Step | None:
    """Take in registry's newer word of a person, whole, and draw the consequences.

    Only the hand in it is passed over when it is no newer than ours: it is our own echo. A second
    half of one change has the same `rev` and is dropped.
    """
    if told.version <= person.version:
        return None
    known = replace(person, incarnation=told.incarnation, rev=told.rev, standing=told.standing)
    step = Step(person, known)
    if told.hand is not None and told.hand.revision > person.hand_revision:
        step = _take_over(step, told.hand)
    return follow(step, scene)


def unknown(person: Person, incarnation: UUID, scene: Scene) -> Step | None:
    """Let go of somebody whom registry, which told everybody anew, did not name.

    What it says of them later in this life is news.
    """
    if person.incarnation >= incarnation:
        return None
    known = replace(person, incarnation=incarnation, rev=0, standing=Standing(klass="off"))
    return follow(Step(person, known), scene)


def answer(person: Person, visit: Visit, told: VisitAnswer, scene: Scene) -> Step | None:
    """Take registry's answer to the sample of a finished visit; a refusal escalates.

    Recorded, the person stays in hand until the roll itself says that they are sampled, and no
    longer than the grace: nobody is in a forgotten hand.
    """
    if visit.answer != "awaited" or visit.sample is None or visit.sample.id != told.sample:
        return None
    is_current = person.visit is not None and person.visit.id == visit.id
    answered = visit.answered(told.refusal)
    step = Step(person, person)
    step = step.put(answered, current=False) if is_current else step.put_aside(visit, answered)
    if told.refusal and person.in_case and step.after.visit is None:
        step = escalate(step, f"sample_refused:{told.refusal}", scene)
    elif is_current:
        hand = person.hand if person.in_case else None
        step = step.hold(hand and replace(hand, ends_at=scene.now + scene.policy.grace))
    return follow(step, scene)


def _take_over(step: Step, told: ToldHand) -> Step:
    """Believe registry of a hand that we gave and forgot: our database is older than our word."""
    hand = None
    if told.kind is not None and told.due is not None:
        hand = Hand.until(told.due, told.kind, step.after.office)
    # On both sides of the step: what registry told us needs no telling back.
    return Step(
        replace(step.before, hand=hand, hand_revision=told.revision),
        replace(step.after, hand=hand, hand_revision=told.revision),
    )
