"""What time does: hands end, and the round opens, closes or changes its window."""

from services.dispatch.domain.consequences import follow, let_go
from services.dispatch.domain.people import Person
from services.dispatch.domain.steps import Scene, Step


def review(person: Person, scene: Scene) -> Step:
    """Draw the consequences of a round that opened, closed or changed its window."""
    step, hand = Step(person, person), person.hand
    if hand is not None:
        step = step.hold(hand.due_at(scene.round.cap(hand.due)))
    return follow(step, scene)


def expire(person: Person, scene: Scene) -> Step | None:
    """End a hand that is past its time; what it held waits for a team again."""
    hand = person.hand
    if hand is None or hand.ends_at is None or hand.ends_at > scene.now:
        return None
    return let_go(person, scene)
