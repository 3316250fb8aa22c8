"""What dispatch reports: in whose hands people are, and swabs taken at doors."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from services.registry.flow import field
from shared.contracts.dispatch import (
    HandChange,
    HandsChanged,
    VisitChange,
    VisitSample,
    VisitsChanged,
)
from shared.contracts.envelope import Event, Message, Record
from tests.registry.words import account, announced, lives, register
from tests.support.town import CHAOHE, DONGFANG, LANQIAO, LUYUAN, OPENS, Town

VISITS = [str(UUID(int=number)) for number in range(8)]
FIRST, SECOND = UUID(int=1), UUID(int=2)
"""Two lives of dispatch's database; the second came after a restored backup."""


def event(message: Message, life: UUID) -> Event[Any]:
    """A message as the consumer hands it over."""
    record = Record(message.topic, 0, 1, uuid4(), uuid4(), life, message.type, OPENS, b"")
    return Event(record, message)


async def hands(
    town: Town, round_id: str, *given: tuple[UUID, int, str | None], life: UUID = FIRST
) -> None:
    """Hands that dispatch announces: whose, revision, kind."""
    changes = [
        HandChange(str(resident), revision, kind, OPENS + timedelta(hours=4))  # type: ignore[arg-type]
        for resident, revision, kind in given
    ]
    message = HandsChanged(round_id, changes)
    wiring = town.apps["registry"].state.wiring
    await wiring.database.transact(field.take_hands, [event(message, life)])
    await town.settle()


async def visits(town: Town, round_id: str, *given: VisitChange) -> list[dict[str, Any]]:
    """Visits that dispatch announces; what registry has answered by then, in order of visits."""
    wiring = town.apps["registry"].state.wiring
    message = VisitsChanged(round_id, list(given))
    take_visits = partial(field.take_visits, wiring.vault)
    await wiring.database.transact(take_visits, [event(message, FIRST)])
    await town.settle()
    answers = [
        each for told in await announced(town, "visits_answered") for each in told["answers"]
    ]
    return sorted(answers, key=lambda answer: str(answer["visit"]))


async def in_hand(town: Town, round_id: str) -> Sequence[int]:
    """Hands by kind, by recount and fold alike."""
    counted = await account(town, round_id)
    folded = await town.coverage(round_id)
    prefix = "in_hand."
    own = {cell[len(prefix) :]: n for cell, n in counted.items() if cell.startswith(prefix)}
    assert folded["in_hand_by_kind"] == own
    assert counted.get("in_hand", 0) == folded["in_hand"] == sum(own.values())
    return [own.get(kind, 0) for kind in ("visit", "revisit", "escalation", "referral")]


async def test_r19_hands_newer_older_repeated_and_ended(whole_town: Town) -> None:
    first, second = await whole_town.people(lives(), lives(LANQIAO))
    round_id = await whole_town.round()
    await hands(whole_town, round_id, (first, 1, "visit"), (second, 3, "escalation"))
    assert await in_hand(whole_town, round_id) == [1, 0, 1, 0]
    # A repeat, one that was overtaken, and two of one person at once of which the newer wins.
    await hands(
        whole_town, round_id, (first, 1, "visit"), (second, 2, "referral"), (first, 2, "referral"),
        (first, 3, "revisit"),
    )  # fmt: skip
    assert await in_hand(whole_town, round_id) == [0, 1, 1, 0]
    await hands(whole_town, round_id, (first, 4, None), (second, 3, None))
    assert await in_hand(whole_town, round_id) == [0, 0, 1, 0]
    # A later life of dispatch counts from one again.
    await hands(whole_town, round_id, (second, 1, None), life=SECOND)
    await hands(whole_town, round_id, (second, 9, "visit"), life=FIRST)
    assert await in_hand(whole_town, round_id) == [0, 0, 0, 0]


async def test_hands_come_last_in_the_account(whole_town: Town) -> None:
    sampled, excluded = await whole_town.people(lives(), lives())
    round_id = await whole_town.round()
    await whole_town.tick(round_id, 2)
    row = whole_town.result(round_id, sampled)
    await whole_town.results(row)
    await whole_town.sent(
        whole_town.registry, "/v1/exclusions",
        {"id": str(excluded), "round_id": round_id, "resident": {"id": str(excluded)},
         "reason": "under_3"},
    )  # fmt: skip
    await hands(whole_town, round_id, (sampled, 1, "visit"), (excluded, 1, "referral"))
    assert await in_hand(whole_town, round_id) == [0, 0, 0, 0]
    await whole_town.results(
        row | {"result_id": str(uuid4()), "corrects": row["sample_id"], "void": True}
    )
    await whole_town.sent(whole_town.registry, f"/v1/exclusions/{excluded}:revoke")
    await whole_town.settle()
    assert await in_hand(whole_town, round_id) == [1, 0, 0, 1]


async def test_hands_of_strangers_harm_nobody(whole_town: Town) -> None:
    (resident,) = await whole_town.people(lives())
    round_id = await whole_town.round()
    await hands(whole_town, round_id, (uuid4(), 1, "visit"))
    await hands(whole_town, round_id, (uuid4(), 1, "visit"), (resident, 1, "visit"))
    assert await in_hand(whole_town, round_id) == [1, 0, 0, 0]


async def test_hands_move_with_their_person_and_end_after_the_closing(whole_town: Town) -> None:
    (resident,) = await whole_town.people(lives(LUYUAN))
    round_id = await whole_town.round(offices=[CHAOHE])
    await hands(whole_town, round_id, (resident, 1, "visit"))
    await register(whole_town, {"id": str(resident), "address": {"community_code": LANQIAO}})
    assert (await whole_town.totals(round_id))[LANQIAO]["in_hand"] == 1
    await whole_town.step(round_id, "close")
    await whole_town.settle()
    await hands(whole_town, round_id, (resident, 2, None))
    assert await in_hand(whole_town, round_id) == [0, 0, 0, 0]
    await whole_town.step(round_id, "seal")
    await hands(whole_town, round_id, (resident, 3, "escalation"))
    assert await in_hand(whole_town, round_id) == [0, 0, 0, 0]


def finished(resident: UUID, sample: str | None, at: float = 2, **more: Any) -> VisitChange:
    """A visit that was finished at a door so many hours after the opening."""
    taken = VisitSample(sample, OPENS + timedelta(hours=at)) if sample else None
    told: dict[str, Any] = {
        "visit": str(uuid4()),
        "resident": str(resident),
        "community": LUYUAN,
        "revision": 3,
        "before": "started",
        "after": "finished",
        "outcome": "sampled" if sample else "absent",
    }
    return VisitChange(**told | more, sample=taken)


async def test_r15_a_swab_taken_at_a_door_is_recorded_and_answered(whole_town: Town) -> None:
    first, moved, absent = await whole_town.people(lives(), lives(DONGFANG), lives())
    round_id = await whole_town.round()
    await whole_town.tick(round_id, 3)
    swabs = [str(uuid4()) for _ in range(3)]
    answers = await visits(
        whole_town, round_id,
        finished(first, swabs[0], visit=VISITS[1]),
        # The same swab again, by a device that was offline: recorded, once.
        finished(first, swabs[0], visit=VISITS[2]),
        # A visit that was cancelled while the team was at the door: the swab is a swab.
        finished(moved, swabs[1], visit=VISITS[3], after="cancelled"),
        finished(absent, None, visit=VISITS[4]),
        # Later than the round's clock, and of nobody.
        finished(absent, swabs[2], 4, visit=VISITS[5]),
        finished(uuid4(), str(uuid4()), visit=VISITS[6]),
        finished(absent, swabs[0], visit=VISITS[7]),
    )  # fmt: skip
    assert [(a["visit"], a["status"], a.get("reason")) for a in answers] == [
        (VISITS[1], "recorded", None), (VISITS[2], "recorded", None), (VISITS[3], "recorded", None),
        (VISITS[5], "refused", "from-the-future"), (VISITS[6], "refused", "resident-unknown"),
        (VISITS[7], "refused", "id-reused"),
    ]  # fmt: skip
    counted = await account(whole_town, round_id)
    assert (counted["sampled"], counted["channel.home_visit"], counted["unaccounted"]) == (2, 2, 1)
    await whole_town.assert_balanced(round_id)

    # The laboratory's report about a swab taken at a door, in its own time zone.
    report = whole_town.resulted(round_id, first, "negative", 2) | {
        "sample_id": swabs[0], "channel": "home_visit", "sampled_at": "2022-01-14T10:00:00+08:00",
    }  # fmt: skip
    assert (await whole_town.results(report))["accepted"] == 1
    assert (await account(whole_town, round_id))["negative"] == 1


async def test_visits_without_a_swab_are_not_answered(whole_town: Town) -> None:
    (resident,) = await whole_town.people(lives())
    round_id = await whole_town.round()
    assert await visits(whole_town, round_id, finished(resident, None)) == []
