"""The one way to wait in a test."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

_PAUSE = 0.02


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], within: float = ..., *, hint: str = ...
) -> T: ...


@overload
async def eventually(condition: Callable[[], T], within: float = ..., *, hint: str = ...) -> T: ...


async def eventually(
    condition: Callable[[], T | Awaitable[T]], within: float = 45.0, *, hint: str = ""
) -> T:
    """Ask until the answer is true; return it.

    `condition` may be a plain or a coroutine function. `within` is how long to hope, in seconds,
    not how long it should take.

    Raises:
        AssertionError: it was still not true at the end; names the last answer.

    """
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not after {within:g} s: {hint or condition}; last: {value!r}")
        await asyncio.sleep(_PAUSE)
