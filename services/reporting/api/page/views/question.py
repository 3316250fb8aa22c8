"""What somebody looks at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from services.reporting.api.page.words import SPEECH, Language, Speech
from shared.errors import NotFound

Kind = Literal["district", "office", "map", "community_map", "office_map", "ledger", "operations"]

PATHS: Mapping[Kind, str] = {
    "district": "/",
    "office": "/office/{code}",
    "map": "/map",
    "community_map": "/map/communities",
    "office_map": "/map/{code}",
    "ledger": "/ledger",
    "operations": "/operations",
}
"""Where each view is; who may open it, may follow it too."""


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody looks at. Those who ask the same see the same."""

    kind: Kind
    language: Language
    areas: tuple[str, ...]
    round: str | None = None
    office: str | None = None
    decides: bool = False
    """Whether they may decide on dead letters, and see how."""

    @property
    def say(self) -> Speech:
        """The words of its language."""
        return SPEECH[self.language]

    @property
    def within(self) -> tuple[str, ...]:
        """The areas to read.

        Raises:
            NotFound: the office is not in the areas of the token, nor any of it

        """
        office = self.office
        if office is None:
            return self.areas
        if office.startswith(self.areas):
            return (office,)
        parts = tuple(area for area in self.areas if area.startswith(office))
        if not parts:
            raise NotFound("there is no such office in the areas of the token")
        return parts
