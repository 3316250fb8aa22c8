"""Copies of what was rendered last: many who poll cost one rendering a change."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

COPIES = 128
"""Questions remembered. A table of a city of 3 000 communities is 1.5 MB, of an office 10 kB."""


@dataclass(slots=True)
class _Copy(Generic[T]):
    tag: str
    content: T | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Shelf(Generic[T]):
    """The last rendering of each question, with its entity tag; the least asked for goes first.

    A tag names everything that a rendering depends on, so nothing here is ever shown when it is out
    of date: what changed has another tag, and its rendering takes the place of the old one.
    """

    def __init__(self, size: int = COPIES) -> None:
        self._size = size
        self._copies: OrderedDict[Hashable, _Copy[T]] = OrderedDict()

    async def copy(self, question: Hashable, tag: str, render: Callable[[], Awaitable[T]]) -> T:
        """Hand out the rendering of this tag; who comes while it is being made waits for it.

        Args:
            question: what is asked, and for which areas
            tag: of the answer as it is now
            render: makes it; if that fails, whoever waits tries for themselves

        """
        copy = self._place(question, tag)
        async with copy.lock:
            if copy.content is None:
                copy.content = await render()
            return copy.content

    def _place(self, question: Hashable, tag: str) -> _Copy[T]:
        copy = self._copies.get(question)
        if copy is None or copy.tag != tag:
            copy = self._copies[question] = _Copy(tag)
        self._copies.move_to_end(question)
        if len(self._copies) > self._size:
            self._copies.popitem(last=False)
        return copy
