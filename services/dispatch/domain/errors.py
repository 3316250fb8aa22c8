"""Every rule that can be broken: each is a problem type."""

from shared.errors import Conflict, Forbidden


class VisitNotOpen(Conflict):
    """A visit that was finished or cancelled is to be assigned, started or cancelled."""

    slug = "visit-not-open"
    title = "The visit is over"
    cause = "The visit was finished or cancelled: by a team, or because the case closed (R15)."
    cure = "Read the visit; a new one is planned by itself while the person is still missing."


class VisitNotYours(Forbidden):
    """A team acts on a visit that another team, or nobody, has."""

    slug = "visit-not-yours"
    title = "The visit is not this team's"
    cause = "The visit was never assigned to the team of the token, or is another team's now."
    cure = "Read the team's worklist again."


class VisitNotAssigned(Conflict):
    """A visit is started that no team has."""

    slug = "visit-not-assigned"
    title = "The visit has no team"
    cause = "The visit is only planned: its hand expired, or its team dropped out."
    cure = "Assign it first. A visit that was made may be finished without being started."


class VisitAlreadyFinished(Conflict):
    """A second, different report of one visit."""

    slug = "visit-already-finished"
    title = "The visit was reported already"
    cause = "Another report, with another id, tells already what happened at this door."
    cure = "Read the visit. A second swab, or a correction, goes to registry's `POST /v1/results`."


class TeamCannotServe(Conflict):
    """A visit is given to a team that cannot make it."""

    slug = "team-cannot-serve"
    title = "The team cannot make this visit"
    cause = "The team is inactive, off shift, elsewhere, full, or not for such homes (R17)."
    cure = "`reason` says which; choose another of `GET /v1/teams`, or say `beyond_capacity`."


class RoundNotOpen(Conflict):
    """Work is handed out in a round that does not run."""

    slug = "round-not-running"
    title = "The round is not open"
    cause = "The round is a draft, or closed; visits are assigned in open rounds only."
    cure = "Wait for the opening. Visits made before the closing may still be finished."


class CaseNotOpen(Conflict):
    """Something is decided about a person whose case is closed."""

    slug = "case-not-open"
    title = "The case is closed"
    cause = "The person was sampled, excluded, left, has no need any more, or the round closed."
    cure = "Read the case: `reason` says why. Nothing is left to decide."


class CaseInHand(Conflict):
    """Something is decided about a person whom a team has in hand."""

    slug = "case-in-hand"
    title = "A team has this person in hand"
    cause = "A visit is assigned or begun, or a swab was taken and registry has yet to answer."
    cure = "Wait for the team's report, or call the visit off: whoever does decides then."


class VisitPlanned(Conflict):
    """A visit is asked for, or a hand taken over, where a visit waits for a team already."""

    slug = "visit-planned"
    title = "A visit is planned already"
    cause = "The next step is decided: a visit waits for a team, and `why_waiting` says why."
    cure = "Assign the visit, or call it off: whoever does answers for the next step."
