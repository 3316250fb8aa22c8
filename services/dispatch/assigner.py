"""Which team makes which visit: a pure function behind a seam, so that a better one can replace it.

`in_order` is the simple one. Whom we missed before comes first (R16); quarantined homes have teams
of their own or come last in the tour, by policy (R17); a community's visits go to one team as long
as it has room, so that tours stay short.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from services.dispatch.domain import Policy, Team

Why = Literal["no_team", "no_quarantine_team", "teams_full", "round_over"]
"""Why a planned visit has no team yet (`waiting_for_team`)."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A planned visit, as far as an assigner has to know it."""

    id: UUID
    resident: str
    community: str
    priority: int
    quarantined: bool


@dataclass(frozen=True, slots=True)
class Crew:
    """A team on shift, and how many more visits it can take in it."""

    team: Team
    room: int


class Assigner(Protocol):
    """Chooses a team for each visit that can have one; the others go on waiting."""

    def __call__(
        self, visits: Sequence[Waiting], crews: Sequence[Crew], policy: Policy
    ) -> dict[UUID, Team]:
        """Map visits to teams, no team beyond its room."""
        ...


def in_order(visits: Sequence[Waiting], crews: Sequence[Crew], policy: Policy) -> dict[UUID, Team]:
    """Serve the visits in the order of their tour, each community by one team while it has room."""
    room = {crew.team.id: crew.room for crew in crews}
    candidates: dict[tuple[str, bool], list[Team]] = {}
    chosen: dict[tuple[str, bool], Team] = {}
    plan: dict[UUID, Team] = {}
    for visit in sorted(visits, key=tour_order):
        door = visit.community, visit.quarantined
        if door not in candidates:
            candidates[door] = [crew.team for crew in crews if _fits(crew.team, visit, policy)]
        team = chosen.get(door)
        if team is None or room[team.id] <= 0:
            team = _freest(candidates[door], room)
            if team is None:
                continue
            chosen[door] = team
        plan[visit.id] = team
        room[team.id] -= 1
    return plan


def tour_order(visit: Waiting) -> tuple[bool, int, str, UUID]:
    """Order visits as a tour: quarantined homes last, missed ones first, then by place."""
    return visit.quarantined, -visit.priority, visit.community, visit.id


def why_waiting(
    community: str, quarantined: bool, crews: Sequence[Crew], policy: Policy
) -> Why | None:
    """Say why a planned visit has no team; None when one is free, and it is about to have it."""
    here = [crew for crew in crews if crew.team.serves(community)]
    if not here:
        return "no_team"
    fitting = [crew for crew in here if crew.team.takes(quarantined, policy)]
    if not fitting:
        return "no_quarantine_team" if quarantined else "no_team"
    return None if any(crew.room > 0 for crew in fitting) else "teams_full"


def _fits(team: Team, visit: Waiting, policy: Policy) -> bool:
    return team.serves(visit.community) and team.takes(visit.quarantined, policy)


def _freest(teams: Sequence[Team], room: dict[str, int]) -> Team | None:
    free = [team for team in teams if room[team.id] > 0]
    return max(free, key=lambda team: (room[team.id], team.id), default=None)
