"""Which team makes which visit: a pure function behind a seam, so that a better one can replace it.

`in_order` is the simple one. Whom we missed before comes first (R16); quarantined homes have teams
of their own or come last in the tour, by policy (R17); a community's visits go to one team as long
as it has room, so that tours stay short.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from services.dispatch.domain.policy import Policy
from services.dispatch.domain.teams import Team

Why = Literal["no_team", "no_quarantine_team", "off_shift", "teams_full", "round_over"]
"""Why a planned visit has no team yet (`waiting_for_team`).

`no_team`: none works there, or only such as serve quarantined homes; `no_quarantine_team`: none of
those that do works there (R17); `off_shift`: those that could go are not at work now; `teams_full`:
they are, and have no room; `round_over`: the round's time is up.
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A planned visit, as far as an assigner has to know it."""

    id: UUID
    resident: str
    community: str
    priority: int
    quarantined: bool


@dataclass(frozen=True, slots=True)
class WaitingGroup:
    """Planned visits of one community and kind of home, counted."""

    round: str
    community: str
    quarantined: bool
    visits: int
    since: datetime
    """When the one that waits longest began to."""


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
            candidates[door] = [crew.team for crew in crews if _fits(crew.team, *door, policy)]
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
    community: str,
    quarantined: bool,
    crews: Sequence[Crew],
    resting: Sequence[Team],
    policy: Policy,
) -> Why | None:
    """Say why a planned visit has no team; None when one is free, and it is about to have it.

    Args:
        community: where the visit is to be made
        quarantined: whether to a quarantined home
        crews: the teams on shift, with their room
        resting: the teams that are not
        policy: who serves quarantined homes

    """
    fitting = [crew for crew in crews if _fits(crew.team, community, quarantined, policy)]
    if fitting:
        return None if any(crew.room > 0 for crew in fitting) else "teams_full"
    if any(_fits(team, community, quarantined, policy) for team in resting):
        return "off_shift"
    others = (*(crew.team for crew in crews), *resting)
    if quarantined and any(team.serves(community) for team in others):
        return "no_quarantine_team"
    return "no_team"


def _fits(team: Team, community: str, quarantined: bool, policy: Policy) -> bool:
    return team.serves(community) and team.takes(quarantined, policy)


def _freest(teams: Sequence[Team], room: dict[str, int]) -> Team | None:
    free = [team for team in teams if room[team.id] > 0]
    return max(free, key=lambda team: (room[team.id], team.id), default=None)
