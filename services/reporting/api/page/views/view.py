"""What all views have in common: how one is looked at, and when it is rendered anew."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from services.reporting.api.answers import tag_of
from services.reporting.api.page.rendering import Parts, Rendition, content_tag, part
from services.reporting.api.page.views.question import Question
from services.reporting.api.shelf import Shelf
from services.reporting.domain.freshness import Edition
from services.reporting.flow import figures
from services.reporting.wiring import Wiring
from shared.database import Transaction


class View(ABC):
    """One view, whoever asks for it."""

    template: ClassVar[str]
    """Its page: extends `view.html`."""

    def __init__(self, wiring: Wiring) -> None:
        self._database = wiring.database

    @abstractmethod
    async def look(self, question: Question) -> Rendition:
        """Show it as it is now.

        Raises:
            RoundUnknown, NotFound: there is nothing like it in the areas of the token

        """

    def setting(self, question: Question) -> Mapping[str, object]:  # noqa: ARG002 - for those that have one
        """What its template shows around the parts and does not change."""
        return {}


class FiguresView(View):
    """A view of the figures of one round: rendered when they have changed, and once for all."""

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self._shelf: Shelf[tuple[str, Parts]] = Shelf()

    async def look(self, question: Question) -> Rendition:
        """Show it as it is now."""
        async with self._database.snapshot() as tx:
            edition = await figures.edition(tx, question.round, question.within)
            moment = (question.kind, question.language, question.office, self.moment())
            round_ = edition.view.round

            async def render() -> tuple[str, Parts]:
                parts = await self.parts(tx, edition, question)
                return content_tag(parts), parts

            # Made anew whenever something may have changed; another edition only if it shows.
            tag, parts = await self._shelf.copy(
                (question, round_.id), tag_of(edition, "page", *moment), render
            )
        as_of = edition.as_of.time.isoformat() if edition.as_of.time else ""
        return Rendition(tag, as_of, round_.id, parts)

    def moment(self) -> object:
        """Say what a view changes by that is none of the figures'."""
        return None

    @abstractmethod
    async def parts(self, tx: Transaction, edition: Edition, question: Question) -> Parts:
        """Render it, heading first."""


def heading(edition: Edition, question: Question, place: str | None = None) -> str:
    """Render what a view of figures is called: its place if it has one, the round and its state."""
    round_ = edition.view.round
    named = f"{round_.name} · {question.say(f'state.{round_.state}')}"
    return part("common.heading", f"{place} · {named}" if place else named)
