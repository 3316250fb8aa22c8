"""What registry announces: areas and rounds, and on the roll who stands where.

`registry.rounds.v1`  AreasChanged, DenominatorsChanged         (partition of the district)
                      RoundChanged, RoundTicked                 (partition of the round id)
`registry.roll.v1`    RoundOpened, RollChanged, VisitsAnswered  (partition of the community)

After registry was restored from an older backup and adopted, each partition tells everything anew:
`RoundsSnapshotBegun`, areas, denominators and rounds, `RoundsSnapshotEnded`; and
`RollSnapshotBegun`, RollCounted, RollStated, `RollSnapshotEnded`.
"""

from datetime import date, datetime
from typing import ClassVar, Literal

import msgspec

from shared.contracts.envelope import Message
from shared.contracts.geometry import Geometry
from shared.contracts.vocabulary import (
    AreaKind,
    Channel,
    Class,
    HandKind,
    Need,
    Outcome,
    RoundState,
)

ROUNDS = "registry.rounds.v1"
ROLL = "registry.roll.v1"


class Area(msgspec.Struct, frozen=True, omit_defaults=True):
    """A district (6 digits), office (9) or community (12); `parent` is the code above it."""

    code: str
    name: str
    kind: AreaKind
    parent: str | None = None
    lat: float | None = None
    lon: float | None = None
    geometry: Geometry | None = None
    """Its borders, or a point, if somebody has told them; a few hundred positions at most."""


class AreasChanged(Message, frozen=True, omit_defaults=True):
    """Areas that were added, renamed or placed, whole."""

    topic: ClassVar[str] = ROUNDS
    type: ClassVar[str] = "lastmetre.registry.areas_changed.v1"

    areas: list[Area]


class Denominator(msgspec.Struct, frozen=True):
    """How many people somebody outside says live in an area: a census, a police list (R3).

    There is one number for each area and source; the one announced last holds.
    """

    code: str
    source: str
    people: int
    as_of: date


class DenominatorsChanged(Message, frozen=True, omit_defaults=True):
    """Numbers from outside that are new or differ, whole."""

    topic: ClassVar[str] = ROUNDS
    type: ClassVar[str] = "lastmetre.registry.denominators_changed.v1"

    denominators: list[Denominator]


class RoundChanged(Message, frozen=True, omit_defaults=True):
    """A round was made, opened, closed or sealed. Always whole; the newest `version` wins."""

    topic: ClassVar[str] = ROUNDS
    type: ClassVar[str] = "lastmetre.registry.round_changed.v1"

    round: str
    version: int
    campaign: str
    number: int
    name: str
    state: RoundState
    opens_at: datetime
    closes_at: datetime
    offices: list[str]
    manual_clock: bool = False
    clock_at: datetime | None = None
    """The manual clock's time; None on the wall clock."""
    opened_at: datetime | None = None
    """When it was really opened, in the round's own time."""


class RoundTicked(Message, frozen=True, omit_defaults=True):
    """The manual clock of a round moved on to `clock_at`; never backwards."""

    topic: ClassVar[str] = ROUNDS
    type: ClassVar[str] = "lastmetre.registry.round_ticked.v1"

    round: str
    clock_at: datetime


class CommunityRoll(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many people a community had on the roll when the round opened, all unaccounted."""

    community: str
    roll: int
    needs: dict[Need, int] = {}


class RoundOpened(Message, frozen=True, omit_defaults=True):
    """The communities of this partition enter the round, everybody in them unaccounted."""

    topic: ClassVar[str] = ROLL
    type: ClassVar[str] = "lastmetre.registry.round_opened.v1"

    round: str
    communities: list[CommunityRoll]


class Hand(msgspec.Struct, frozen=True, array_like=True):
    """The latest hand dispatch announced for a person; `kind` None says that it ended.

    `incarnation` and `revision` are dispatch's own and order hands of one person and round.
    """

    kind: HandKind | None
    due: datetime | None
    revision: int
    incarnation: str


class Standing(msgspec.Struct, frozen=True, omit_defaults=True, rename={"klass": "class"}):
    """Where one person stands in the account of one round, complete.

    Defaults are left out on the wire: an untouched resident is `{}` in their community's group.
    """

    klass: Class = "unaccounted"
    counted_in: str = ""
    """Community whose figures count this person; "" is the community of the group."""
    lived_in: str = ""
    """Community the person lives in now; "" is `counted_in`."""
    needs: tuple[Need, ...] = ()
    reason: str | None = None
    """Code of the exclusion that counts."""
    hand: Hand | None = None
    channel: Channel | None = None
    sampled_at: datetime | None = None
    result: Outcome | None = None
    """The released outcome of the sample that counts (R4, R10)."""
    alive: bool = True


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One person moved in the account. `rev` counts the changes of a resident in a round.

    `before` None: a joiner, counted nowhere until now. A change that touches two communities is
    sent as two halves with one `rev`, each in its own community's group: each folds only the sides
    whose `counted_in` is that community, both carry the complete `after`.
    """

    resident: str
    rev: int
    before: Standing | None
    after: Standing


class RollChanged(Message, frozen=True, omit_defaults=True):
    """Changes of one transaction, by community; at most 1,000 in one message."""

    topic: ClassVar[str] = ROLL
    type: ClassVar[str] = "lastmetre.registry.roll_changed.v1"

    round: str
    communities: dict[str, list[Change]]
    results: int = 0
    """How many accepted samples or results stand behind it, for the freshness metric."""


class Move(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A `Change` as those read it who only count: its standings stay as they were written.

    In a thousand changes few standings differ, and what is written the same is the same.
    """

    resident: str
    rev: int
    before: msgspec.Raw
    after: msgspec.Raw


class RollMoved(Message, frozen=True, omit_defaults=True):
    """`RollChanged`, read so; nobody announces it."""

    topic: ClassVar[str] = ROLL
    type: ClassVar[str] = RollChanged.type

    round: str
    communities: dict[str, list[Move]]
    results: int = 0


class VisitAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """registry's answer to a finished visit that took a sample, whether or not the account moved.

    `reason` is the problem type when `status` is `refused`.
    """

    visit: str
    resident: str
    sample: str
    status: Literal["recorded", "refused"]
    reason: str | None = None


class VisitsAnswered(Message, frozen=True, omit_defaults=True):
    """Answers to finished visits of one round."""

    topic: ClassVar[str] = ROLL
    type: ClassVar[str] = "lastmetre.registry.visits_answered.v1"

    round: str
    answers: list[VisitAnswer]


class RoundsSnapshotBegun(Message, frozen=True, omit_defaults=True):
    """From here on this partition tells anew, whole: what it does not name is no more."""

    topic: ClassVar[str] = ROUNDS
    type: ClassVar[str] = "lastmetre.registry.rounds_snapshot_begun.v1"


class RoundsSnapshotEnded(Message, frozen=True, omit_defaults=True):
    """All areas, denominators and rounds of this partition were told."""

    topic: ClassVar[str] = ROUNDS
    type: ClassVar[str] = "lastmetre.registry.rounds_snapshot_ended.v1"


class RollSnapshotBegun(Message, frozen=True, omit_defaults=True):
    """The account of this partition's communities is told anew; forget what was counted of it."""

    topic: ClassVar[str] = ROLL
    type: ClassVar[str] = "lastmetre.registry.roll_snapshot_begun.v1"


class CommunityCount(msgspec.Struct, frozen=True):
    """The figures of one community: `cells` as named by `shared/contracts/cells.py`.

    `series` holds the sampled by slot of sampling time, seconds since 1970 ÷ 300; `due` those in
    hand by kind and slot of when that is due.
    """

    cells: dict[str, int]
    series: dict[int, int]
    due: dict[HandKind, dict[int, int]] = {}


class RollCounted(Message, frozen=True, omit_defaults=True):
    """Communities of one round as they stand, counted from the facts; to be added to nothing."""

    topic: ClassVar[str] = ROLL
    type: ClassVar[str] = "lastmetre.registry.roll_counted.v1"

    round: str
    communities: dict[str, CommunityCount]


class Stated(msgspec.Struct, frozen=True, array_like=True):
    """Where one person stands, and the `rev` of that."""

    resident: str
    rev: int
    standing: Standing


class RollStated(Message, frozen=True, omit_defaults=True):
    """Who in one round has a need or is in a hand, by the community that counts them.

    At most 1,000 people in one message.
    """

    topic: ClassVar[str] = ROLL
    type: ClassVar[str] = "lastmetre.registry.roll_stated.v1"

    round: str
    communities: dict[str, list[Stated]]


class RollSnapshotEnded(Message, frozen=True, omit_defaults=True):
    """All of this partition was told. Once all partitions were, who was not named is unknown."""

    topic: ClassVar[str] = ROLL
    type: ClassVar[str] = "lastmetre.registry.roll_snapshot_ended.v1"


MESSAGES = (
    AreasChanged,
    DenominatorsChanged,
    RoundChanged,
    RoundTicked,
    RoundOpened,
    RollChanged,
    VisitsAnswered,
    RoundsSnapshotBegun,
    RoundsSnapshotEnded,
    RollSnapshotBegun,
    RollCounted,
    RollStated,
    RollSnapshotEnded,
)
