"""Visits: home-visit tasks (上门任务), and what a team tells of a door (R16)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self
from uuid import UUID

import msgspec
from msgspec.structs import replace

from services.dispatch.domain.areas import office_of
from services.dispatch.domain.cases import Closing
from services.dispatch.domain.errors import VisitNotOpen
from shared.contracts.vocabulary import Need, VisitOutcome, VisitStatus
from shared.errors import BadInput

OPEN: frozenset[VisitStatus] = frozenset({"planned", "assigned", "started"})

Cancelling = Literal[Closing, "moved_home", "by_office"]
"""Why a visit is called off: its case closed, the door is another now, or an office says so."""

Answer = Literal["awaited", "recorded", "refused"]
"""What registry says of the sample of a visit."""


class Sample(msgspec.Struct, frozen=True):
    """The swab taken at a door; the id is made by the team's device."""

    id: str
    sampled_at: datetime
    tube_code: str | None = None


@dataclass(frozen=True, slots=True)
class Referral:
    """A named site an untested person is sent to, and by when."""

    site: str
    until: datetime


@dataclass(frozen=True, slots=True)
class VisitReport:
    """What happened at one door, as the team tells it (R16, R19).

    Raises:
        BadInput: the outcome and what comes with it do not agree.

    """

    id: UUID
    outcome: VisitOutcome
    at: datetime | None = None
    sample: Sample | None = None
    referral: Referral | None = None

    def __post_init__(self) -> None:
        if (self.outcome == "sampled") != (self.sample is not None):
            raise BadInput.at("sample", "comes with the outcome sampled, and only with it")
        if (self.outcome == "referred") != (self.referral is not None):
            raise BadInput.at("referral", "comes with the outcome referred, and only with it")


class Visit(msgspec.Struct, frozen=True):
    """One dispatched visit for one resident in one round.

    `planned → assigned → started → finished | cancelled`; back to `planned` when the hand expires
    or the team drops out. `status` is its life cycle, `outcome` what happened at the door (R16).
    """

    id: UUID
    round: str
    resident: str
    community: str
    planned_at: datetime
    """Since when it waits for a team, or waited before it had one."""
    status: VisitStatus = "planned"
    revision: int = 1
    attempt: int = 1
    priority: int = 0
    quarantined: bool = False
    team: str | None = None
    teams: tuple[str, ...] = ()
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: Cancelling | None = None
    report: UUID | None = None
    outcome: VisitOutcome | None = None
    sample: Sample | None = None
    answer: Answer | None = None
    refusal: str | None = None
    needs: tuple[Need, ...] | None = None
    """What its resident needs, for as long as it waits; None: planned before others heard of it."""

    @property
    def waits(self) -> tuple[datetime, tuple[Need, ...]] | None:
        """How others hear of it that it waits for a team: since when, with which needs."""
        if self.status != "planned" or self.needs is None:
            return None
        return self.planned_at, self.needs

    @property
    def is_open(self) -> bool:
        """Tell whether somebody has yet to make it or is making it."""
        return self.status in OPEN

    @property
    def office(self) -> str:
        """The office of the community it is made in."""
        return office_of(self.community)

    def require_open(self) -> None:
        """Refuse to go on with a visit that is over.

        Raises:
            VisitNotOpen: it was finished or cancelled.

        """
        if not self.is_open:
            raise VisitNotOpen

    def given_to(self, team: str, at: datetime) -> Self:
        """Let a team have it."""
        return replace(
            self,
            status="assigned",
            team=team,
            teams=self.teams if team in self.teams else (*self.teams, team),
            assigned_at=at,
            started_at=None,
        )

    def started(self, at: datetime) -> Self:
        """Let the team be at the door."""
        return replace(self, status="started", started_at=at)

    def waiting_again(self, at: datetime) -> Self:
        """Take it back from its team."""
        return replace(
            self, status="planned", planned_at=at, team=None, assigned_at=None, started_at=None
        )

    def cancelled(self, reason: Cancelling, at: datetime) -> Self:
        """Call it off."""
        return replace(self, status="cancelled", reason=reason, ended_at=at)

    def reported(self, report: VisitReport, team: str | None, at: datetime) -> Self:
        """Write down what a team, or the office in its place, tells of it; the status stays."""
        return replace(
            self,
            team=team or self.team,
            report=report.id,
            outcome=report.outcome,
            sample=report.sample,
            answer="awaited" if report.sample else None,
            ended_at=report.at or at,
        )

    def answered(self, refusal: str | None) -> Self:
        """Write down registry's answer to its sample."""
        return replace(self, answer="refused" if refusal else "recorded", refusal=refusal)
