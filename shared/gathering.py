"""Group commit: what arrives at the same time becomes one piece of work.

Thousands of sampling tables each send one row and wait for its answer. A transaction for each would
be mostly waiting; one for all that came within a few milliseconds costs hardly more than one of
them, and each is answered for itself, after the commit.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared import tracing
from shared.errors import TransientError

T = TypeVar("T")
A = TypeVar("A")

MOST = 500
"""Items of one piece of work."""

AT_ONCE = 2
"""Pieces of work under way at a time: one is made ready while another is committed."""

LINGER_SECONDS = 0.003
"""How long the first one waits for others. Whoever comes while work is under way waits for that."""


@dataclass(frozen=True, slots=True)
class _Given(Generic[T, A]):
    item: T
    answer: asyncio.Future[A]
    traceparent: str | None


class Gatherer(Generic[T, A]):
    """Puts items together, and gives everybody the answer to their own.

    Args:
        work: takes items, and answers each of them in their order
        most: items of one piece of work
        linger: seconds the first item waits for others
        at_once: pieces of work under way at a time

    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Awaitable[Sequence[A]]],
        most: int = MOST,
        linger: float = LINGER_SECONDS,
        at_once: int = AT_ONCE,
    ) -> None:
        self._work = work
        self._most = most
        self._linger = linger
        self._at_once = at_once
        self._waiting: deque[_Given[T, A]] = deque()
        self._working: set[asyncio.Task[None]] = set()
        self._lingering = False

    async def give(self, item: T) -> A:
        """Have an item worked on together with others; raises what came of it."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Given(item, answer, tracing.current()))
        if not self._lingering and len(self._working) < self._at_once:
            self._lingering = True
            task = asyncio.create_task(self._work_off())
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return await answer

    async def _work_off(self) -> None:
        while True:
            self._lingering = True
            try:
                await asyncio.sleep(self._linger)
            finally:
                self._lingering = False
            count = min(self._most, len(self._waiting))
            await self._answer([self._waiting.popleft() for _ in range(count)])
            if not self._waiting or self._lingering:
                return

    async def _answer(self, group: Sequence[_Given[T, A]]) -> None:
        # Who gave up waiting before anything was done needs nothing done.
        there = [each for each in group if not each.answer.done()]
        if not there:
            return
        try:
            with tracing.working("gathered", [each.traceparent for each in there]):
                answers = await self._work([each.item for each in there])
        except TransientError as error:
            _fail(there, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is theirs who asked
            if len(there) == 1:
                _fail(there, error)
            # One of them breaks the work: each for itself, so that it fails alone.
            for each in there:
                await self._answer([each])
        else:
            _tell(there, answers)
        finally:
            # Those that were told nothing: the process is being stopped.
            for each in there:
                each.answer.cancel()


def _tell(group: Sequence[_Given[T, A]], answers: Sequence[A]) -> None:
    for each, told in zip(group, answers, strict=True):
        if not each.answer.done():
            each.answer.set_result(told)


def _fail(group: Sequence[_Given[T, A]], error: Exception) -> None:
    for each in group:
        if not each.answer.done():
            each.answer.set_exception(error)
