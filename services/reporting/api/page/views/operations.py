"""Operations: how fast is counted, who is behind, what is being rebuilt, what is set aside.

None of it is of a round or an area, so all who may look see the same. The others are asked in our
own name, once in a while and not once a viewer; what somebody decides is asked in theirs.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.reporting.api.answers import tag_over
from services.reporting.api.page.rendering import Parts, Rendition, part
from services.reporting.api.page.views.question import Question
from services.reporting.api.page.views.view import View
from services.reporting.api.shelf import Shelf
from services.reporting.domain.operations import Operations as State
from services.reporting.domain.throughput import SLOT, Counted
from services.reporting.flow import operations, rebuild
from services.reporting.flow.operations import DRAWN, LISTED
from services.reporting.flow.rebuild import Progress
from services.reporting.wiring import Wiring
from shared.parked import Parked

ASK_SECONDS = 3.0
"""How often the others are asked while anybody looks."""

LATELY = 12
"""Slots that "now" is the mean of: a minute."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to see at one moment."""

    state: State
    generations: Sequence[Progress]
    parked: dict[str, Sequence[Parked] | None]

    @property
    def set_aside(self) -> list[tuple[str, Parked]]:
        """Every listed event, with the service that set it aside."""
        return [(name, each) for name, events in self.parked.items() for each in events or ()]

    @property
    def silent(self) -> list[str]:
        """Services that did not say what they set aside."""
        return [name for name, events in self.parked.items() if events is None]

    @property
    def more(self) -> bool:
        """Whether there may be more than are listed."""
        return any(len(events or ()) >= LISTED for events in self.parked.values())


@dataclass(frozen=True, slots=True)
class Graph:
    """Rates as they are drawn: 1000 wide, 140 high."""

    top: float
    """What the full height stands for: a second."""
    results: str
    changes: str
    minutes: Sequence[Counted]
    """The mean of each minute, the last one first."""


class Operations(View):
    """Operations, for those who may look after them."""

    template = "operations.html"

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self._peers = wiring.peers
        self._seen: Shelf[Seen] = Shelf()
        self._shelf: Shelf[Parts] = Shelf()

    async def look(self, question: Question) -> Rendition:
        """Show it as it was a moment ago."""
        slot = str(int(time.time() // ASK_SECONDS))
        seen = await self._seen.copy("all", slot, self._look)
        parts = await self._shelf.copy(
            question, seen.state.at.isoformat(), lambda: _say(question, seen)
        )
        tag = tag_over("operations", question.language, question.decides, list(parts.values()))
        return Rendition(tag, seen.state.at.isoformat(), "", parts)

    async def _look(self) -> Seen:
        state = await operations.survey(self._database, self._peers)
        parked = await operations.set_aside(self._database, self._peers)
        async with self._database.snapshot() as tx:
            return Seen(state, await rebuild.progress(tx), parked)


async def _say(question: Question, seen: Seen) -> Parts:
    say, state = question.say, seen.state
    return {
        "heading": part("common.heading", say("operations.title")),
        "vital": part("operations.vital", say, state, _lately(state.rates), _oldest(state)),
        "throughput": part("operations.throughput", say, draw(state.rates), DRAWN // SLOT // 12),
        "consumers": part("operations.consumers", say, state),
        "relays": part("operations.relays", say, state),
        "generations": part("operations.generations", say, seen.generations),
        "parked": part(
            "operations.parked",
            say,
            seen.set_aside,
            seen.silent,
            question.decides,
            LISTED if seen.more else 0,
        ),
    }


def _lately(rates: Sequence[Counted]) -> Counted:
    return _mean(rates[-LATELY:])


def _mean(rates: Sequence[Counted]) -> Counted:
    total = sum(rates, Counted())
    n = max(1, len(rates))
    return Counted(total.results / n, total.changes / n)


def _oldest(state: State) -> float:
    """Seconds that the oldest event has waited to be applied, by anybody."""
    times = [each.waiting_since for each in state.followers if each.waiting_since is not None]
    return max(0.0, max(((state.at - time).total_seconds() for time in times), default=0.0))


def draw(rates: Sequence[Counted]) -> Graph:
    """Scale rates to a picture whose top is a round number."""
    top = _round_up(max((max(each.results, each.changes) for each in rates), default=0))
    return Graph(
        top,
        _line([each.results / top for each in rates]),
        _line([each.changes / top for each in rates]),
        list(reversed(list(_minutes(rates)))),
    )


def _minutes(rates: Sequence[Counted]) -> Iterator[Counted]:
    for start in range(0, len(rates), LATELY):
        yield _mean(rates[start : start + LATELY])


def _line(shares: Sequence[float]) -> str:
    step = 1000 / max(1, len(shares) - 1)
    return " ".join(f"{step * n:.1f},{140 - 140 * share:.1f}" for n, share in enumerate(shares))


def _round_up(most: float) -> float:
    """Go up to the next of 10, 20, 50, 100 and so on."""
    size = 10.0
    while True:
        for step in (1, 2, 5):
            if most <= size * step:
                return size * step
        size *= 10
