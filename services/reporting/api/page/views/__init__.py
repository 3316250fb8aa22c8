"""What there is to look at: one module a view, with its own template, found by its kind."""

from collections.abc import Mapping

from services.reporting.api.page.rendering import Rendition
from services.reporting.api.page.views.district import District
from services.reporting.api.page.views.ledger import Ledger
from services.reporting.api.page.views.map import CommunityMap, Map
from services.reporting.api.page.views.office import Office
from services.reporting.api.page.views.operations import Operations
from services.reporting.api.page.views.question import Kind, Question
from services.reporting.api.page.views.view import View
from services.reporting.wiring import Wiring

VIEWS: Mapping[Kind, type[View]] = {
    "district": District,
    "office": Office,
    "map": Map,
    "community_map": CommunityMap,
    "office_map": CommunityMap,
    "ledger": Ledger,
    "operations": Operations,
}


class Views:
    """All of them, over one wiring."""

    def __init__(self, wiring: Wiring) -> None:
        self._views = {kind: view(wiring) for kind, view in VIEWS.items()}

    def of(self, question: Question) -> View:
        """Find the view that is asked for."""
        return self._views[question.kind]

    async def look(self, question: Question) -> Rendition:
        """Show what is asked for, as it is now.

        Raises:
            RoundUnknown, NotFound: there is nothing like it in the areas of the token

        """
        return await self.of(question).look(question)
