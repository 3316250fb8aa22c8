"""Group commit: one piece of work for what arrives together, and everybody's own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.errors import TransientError
from shared.gathering import Gatherer


class Desk:
    """Work that notes what it was given, and can be told to wait or to fail."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Exception | None = None

    async def work(self, items: Sequence[int]) -> list[str]:
        self.groups.append(list(items))
        self.begun.set()
        await self.open.wait()
        if self.fault:
            raise self.fault
        if 13 in items:
            raise ValueError("13")
        return [f"done {item}" for item in items]


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_what_arrives_together_is_worked_on_together(desk: Desk) -> None:
    gatherer = Gatherer(desk.work)
    answers = await asyncio.gather(*map(gatherer.give, range(5)))
    assert answers == [f"done {n}" for n in range(5)]
    assert desk.groups == [[0, 1, 2, 3, 4]]


async def test_who_comes_while_work_is_under_way_is_in_the_next_one(desk: Desk) -> None:
    desk.open.clear()
    gatherer = Gatherer(desk.work, linger=0)
    first = asyncio.create_task(gatherer.give(1))
    await desk.begun.wait()
    later = [asyncio.create_task(gatherer.give(n)) for n in (2, 3)]
    desk.open.set()
    assert await asyncio.gather(first, *later) == ["done 1", "done 2", "done 3"]
    assert desk.groups == [[1], [2, 3]]


async def test_a_group_has_its_most(desk: Desk) -> None:
    gatherer = Gatherer(desk.work, most=2)
    await asyncio.gather(*map(gatherer.give, range(5)))
    assert desk.groups == [[0, 1], [2, 3], [4]]


async def test_one_that_breaks_the_work_fails_alone(desk: Desk) -> None:
    answers = await asyncio.gather(
        *map(Gatherer(desk.work).give, (12, 13, 14)), return_exceptions=True
    )
    assert answers[0] == "done 12"
    assert isinstance(answers[1], ValueError)
    assert answers[2] == "done 14"


async def test_a_fault_of_the_moment_is_everybodys_and_nothing_is_tried_again(desk: Desk) -> None:
    desk.fault = TransientError("database: gone")
    answers = await asyncio.gather(*map(Gatherer(desk.work).give, (1, 2)), return_exceptions=True)
    assert [type(each) for each in answers] == [TransientError, TransientError]
    assert desk.groups == [[1, 2]]


async def test_who_gave_up_keeps_nobody_from_their_answer(desk: Desk) -> None:
    gatherer = Gatherer(desk.work)
    staying = asyncio.create_task(gatherer.give(2))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):  # it gives its item, and is called away while it waits
            await gatherer.give(1)
    assert await staying == "done 2"
    assert desk.groups == [[2]]


async def test_it_goes_on_after_a_pause(desk: Desk) -> None:
    gatherer = Gatherer(desk.work)
    for n in (1, 2):
        assert await gatherer.give(n) == f"done {n}"
    assert desk.groups == [[1], [2]]
