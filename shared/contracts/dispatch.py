"""What dispatch announces: in whose hands people are, and what happens to visits.

Both topics are partitioned by the community the case was opened in, and stay there.

After dispatch was restored from an older backup and adopted, each partition tells everything anew:
`HandsSnapshotBegun`, HandsChanged of all open hands, `HandsSnapshotEnded`; and
`VisitsSnapshotBegun`, VisitsCounted, VisitsRetold, `VisitsSnapshotEnded`.
"""

from datetime import datetime
from typing import ClassVar

import msgspec

from shared.contracts.envelope import Message
from shared.contracts.vocabulary import HandKind, Need, VisitOutcome, VisitStatus

HANDS = "dispatch.hands.v1"
VISITS = "dispatch.visits.v1"


class HandChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person came into somebody's hands (`kind`, `due`), or out of them (`kind` None)."""

    resident: str
    revision: int
    kind: HandKind | None = None
    due: datetime | None = None


class HandsChanged(Message, frozen=True, omit_defaults=True):
    """Hands of one round that changed in one transaction; the newest `revision` of each wins."""

    topic: ClassVar[str] = HANDS
    type: ClassVar[str] = "lastmetre.dispatch.hands_changed.v1"

    round: str
    hands: list[HandChange]


class VisitSample(msgspec.Struct, frozen=True, omit_defaults=True):
    """The swab taken at a door; `sample` and `result` ids are made by the team's device (R19)."""

    sample: str
    sampled_at: datetime
    tube_code: str | None = None


class Waiting(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a planned visit waits for a team: since when, and what its resident needs."""

    since: datetime
    needs: tuple[Need, ...] = ()


class VisitChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One visit moved on. `before` None: it was just made.

    `community` is the one the visit was made in and never changes, so its figures stay in one
    partition. `waits` says how it waits now, `waited` how it was last told to wait, so that who
    waits is counted by signed sums; a visit that was planned before that was told has neither.
    """

    visit: str
    resident: str
    community: str
    revision: int
    before: VisitStatus | None
    after: VisitStatus
    outcome: VisitOutcome | None = None
    team: str | None = None
    at: datetime | None = None
    sample: VisitSample | None = None
    waits: Waiting | None = None
    waited: Waiting | None = None


class VisitsChanged(Message, frozen=True, omit_defaults=True):
    """Visits of one round that changed in one transaction."""

    topic: ClassVar[str] = VISITS
    type: ClassVar[str] = "lastmetre.dispatch.visits_changed.v1"

    round: str
    visits: list[VisitChange]


class VisitsRetold(Message, frozen=True, omit_defaults=True):
    """Visits of one round whose swab awaits registry's answer: told once more, none moved.

    Whatever had become of the first telling, of the answer or of whoever was to hear it, is lost.
    """

    topic: ClassVar[str] = VISITS
    type: ClassVar[str] = "lastmetre.dispatch.visits_retold.v1"

    round: str
    visits: list[VisitChange]


class HandsSnapshotBegun(Message, frozen=True, omit_defaults=True):
    """From here on this partition tells all open hands anew."""

    topic: ClassVar[str] = HANDS
    type: ClassVar[str] = "lastmetre.dispatch.hands_snapshot_begun.v1"


class HandsSnapshotEnded(Message, frozen=True, omit_defaults=True):
    """All open hands of this partition were told. Once all partitions were, others have ended."""

    topic: ClassVar[str] = HANDS
    type: ClassVar[str] = "lastmetre.dispatch.hands_snapshot_ended.v1"


class VisitsSnapshotBegun(Message, frozen=True, omit_defaults=True):
    """The visits of this partition's communities are told anew; forget what was counted of them."""

    topic: ClassVar[str] = VISITS
    type: ClassVar[str] = "lastmetre.dispatch.visits_snapshot_begun.v1"


class VisitsCounted(Message, frozen=True, omit_defaults=True):
    """Visits of one round by the community they were made in, and by `status.X`, `outcome.X`.

    `waiting.NEED` counts those that wait for a team; `waiting` does so by slot of since when,
    seconds since 1970 ÷ 300.
    """

    topic: ClassVar[str] = VISITS
    type: ClassVar[str] = "lastmetre.dispatch.visits_counted.v1"

    round: str
    communities: dict[str, dict[str, int]]
    waiting: dict[str, dict[int, int]] = msgspec.field(default_factory=dict)


class VisitsSnapshotEnded(Message, frozen=True, omit_defaults=True):
    """All of this partition was told."""

    topic: ClassVar[str] = VISITS
    type: ClassVar[str] = "lastmetre.dispatch.visits_snapshot_ended.v1"


MESSAGES = (
    HandsChanged,
    VisitsChanged,
    VisitsRetold,
    HandsSnapshotBegun,
    HandsSnapshotEnded,
    VisitsSnapshotBegun,
    VisitsCounted,
    VisitsSnapshotEnded,
)
