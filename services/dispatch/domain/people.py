"""People: one resident in one round, as far as dispatch knows and decides about them."""

from uuid import UUID

import msgspec

from services.dispatch.domain.areas import office_of
from services.dispatch.domain.cases import Case
from services.dispatch.domain.hands import Hand
from services.dispatch.domain.rounds import NIL
from services.dispatch.domain.visits import Visit
from shared.contracts.vocabulary import Class, Need


class Standing(msgspec.Struct, frozen=True):
    """What registry says of one person in one round, as far as dispatch acts on it."""

    klass: Class = "unaccounted"
    community: str = ""
    """Where they live now."""
    needs: tuple[Need, ...] = ()
    alive: bool = True

    @property
    def quarantined(self) -> bool:
        """Tell whether theirs is a quarantined home (R17)."""
        return "quarantine" in self.needs


class Person(msgspec.Struct, frozen=True):
    """One resident in one round: registry's word, the case, the hand, the visit that is open.

    `visit` is the open one, or the finished one whose sample awaits registry's answer.
    `home` is the community the first case was opened in: it keys the hands, and stays.
    """

    round: str
    resident: str
    incarnation: UUID = NIL
    rev: int = 0
    standing: Standing = Standing()
    case: Case | None = None
    home: str | None = None
    visit: Visit | None = None
    attempts: int = 0
    hand: Hand | None = None
    hand_revision: int = 0

    @property
    def version(self) -> tuple[int, int]:
        """How new registry's word of them is."""
        return self.incarnation.int, self.rev

    @property
    def is_new(self) -> bool:
        """Tell whether we never heard of them before."""
        return self.rev == 0 and self.incarnation == NIL

    @property
    def in_case(self) -> bool:
        """Tell whether a case is open."""
        return self.case is not None and self.case.is_open

    @property
    def awaits_answer(self) -> bool:
        """Tell whether a sample of theirs awaits registry's answer."""
        return self.visit is not None and not self.visit.is_open

    @property
    def key(self) -> str:
        """The community whose partition carries their hands."""
        return self.home or self.standing.community

    @property
    def office(self) -> str:
        """The office they live under now."""
        return office_of(self.standing.community)

    @property
    def is_with_a_team(self) -> bool:
        """Tell whether a team goes, is there, or was there and registry has yet to say so."""
        if self.visit is not None and self.visit.status != "planned":
            return True
        return self.hand is not None and self.hand.kind == "visit"
