"""Everybody who has a view open hears what changed in it, and it is rendered once for all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import suppress
from random import randint
from typing import Any

import msgspec

from services.reporting.api.page.rendering import Rendition
from shared.errors import LastmetreError

BEHIND = 4
"""News that wait for a slow viewer; one who is further behind looks at the page anew."""

RELOAD = {"reload": True}

RETRY = (1000, 5000)
"""Milliseconds after which a viewer whose stream has ended comes again: from, to."""


def _event(news: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(news) + b"\n\n"


class Viewer:
    """One open page."""

    def __init__(self) -> None:
        self._news: asyncio.Queue[bytes | None] = asyncio.Queue(BEHIND)

    def tell(self, event: bytes | None) -> None:
        """Tell of something; None is the end."""
        try:
            self._news.put_nowait(event)
        except asyncio.QueueFull:
            while not self._news.empty():
                self._news.get_nowait()
            self._news.put_nowait(None if event is None else _event(RELOAD))

    async def events(self) -> AsyncIterator[bytes]:
        """Hear everything, until the end."""
        while (event := await self._news.get()) is not None:
            yield event


class Channel:
    """A view that is open somewhere.

    Args:
        look: shows the view as it is now
        over: says that the process is being stopped
        seconds: how often it is looked at

    """

    def __init__(
        self, look: Callable[[], Awaitable[Rendition]], over: Callable[[], bool], seconds: float
    ) -> None:
        self._look = look
        self._over = over
        self._seconds = seconds
        self._viewers: set[Viewer] = set()
        self._newcomers: set[Viewer] = set()
        """Who has another edition than the others, and hears all of the next one."""
        self._told: Rendition | None = None
        self._first_look = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def deserted(self) -> bool:
        """Whether nobody looks any more."""
        return not self._viewers

    async def join(self, tag: str, shape: str) -> Viewer:
        """Let somebody in who has the view with this tag, of this shape.

        Raises what looking raises.
        """
        viewer = Viewer()
        # Before the first look, so that whoever comes meanwhile finds that somebody is here.
        self._viewers.add(viewer)
        try:
            told = await self._look_first()
        except BaseException:
            self.leave(viewer)
            raise
        if tag == told.tag:
            viewer.tell(_event(told.news({})))
        elif shape == told.shape:
            # While figures move hardly anybody has the edition that the others were told last.
            self._newcomers.add(viewer)
        else:
            viewer.tell(_event(RELOAD))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow())
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Let somebody go."""
        self._viewers.discard(viewer)
        self._newcomers.discard(viewer)
        if self.deserted and self._task is not None:
            self._task.cancel()
            self._task = self._told = None

    async def _look_first(self) -> Rendition:
        async with self._first_look:
            if self._told is None:
                self._told = await self._look()
            return self._told

    async def _follow(self) -> None:
        while self._viewers and not self._over():
            await asyncio.sleep(self._seconds)
            # The database may be away: nothing is told, and the page shows how old it is.
            with suppress(LastmetreError):
                await self._tell()
        for viewer in self._viewers:
            viewer.tell(None)
        self._told = None

    async def _tell(self) -> None:
        now = await self._look()
        news = now.since(self._told) if self._told else RELOAD
        self._told = now
        event = _event(RELOAD if news is None else news)
        for viewer in self._viewers - self._newcomers:
            viewer.tell(event)
        if self._newcomers:
            whole = event if news is None else _event(now.news(now.parts))
            for viewer in self._newcomers:
                viewer.tell(whole)
            self._newcomers.clear()


class Channels:
    """All views that are open somewhere.

    Args:
        over: says that the process is being stopped
        seconds: how often each is looked at

    """

    def __init__(self, over: Callable[[], bool], seconds: float) -> None:
        self._over = over
        self._seconds = seconds
        self._channels: dict[Hashable, Channel] = {}

    async def follow(
        self,
        question: Hashable,
        tag: str,
        shape: str,
        look: Callable[[], Awaitable[Rendition]],
        limit: int | None = None,
    ) -> AsyncIterator[bytes]:
        """Join who looks at the same; the events of it, until the viewer goes away.

        Raises what looking raises, before the first event.

        Args:
            question: what is looked at
            tag: of the edition that the viewer has
            shape: of that edition
            look: shows the view as it is now
            limit: of events; None: without end

        """
        channel = self._channels.get(question)
        if channel is None or channel.deserted:
            channel = self._channels[question] = Channel(look, self._over, self._seconds)
        try:
            viewer = await channel.join(tag, shape)
        except BaseException:
            self._forget(question, channel)
            raise
        return self._until_left(question, channel, viewer, limit)

    async def _until_left(
        self, question: Hashable, channel: Channel, viewer: Viewer, limit: int | None
    ) -> AsyncIterator[bytes]:
        heard = 0
        try:
            yield b"retry: %d\n\n" % _retry_after()
            async for event in viewer.events():
                yield event
                heard += 1
                if heard == limit:
                    return
        finally:
            channel.leave(viewer)
            self._forget(question, channel)

    def _forget(self, question: Hashable, channel: Channel) -> None:
        if channel.deserted and self._channels.get(question) is channel:
            del self._channels[question]


def _retry_after() -> int:
    """Tell a viewer how many milliseconds to wait before they come again; each another number.

    After a restart everybody comes again: not all in one moment.
    """
    return randint(*RETRY)  # noqa: S311 - nothing depends on it
