"""The cells of the account: which figures of a community one person's standing is counted in.

reporting folds these, registry recounts these; the ledger compares them cell by cell.

====================  ==========================================================================
cell                  counts
====================  ==========================================================================
`roll`                everybody on the roll: sampled + excluded + in hand + unaccounted
`sampled` …           one of the four classes; `visitors` stand beside the account
`excluded.REASON`     by reason of exclusion; sums to `excluded`
`in_hand.KIND`        by kind of hand; sums to `in_hand`
`channel.CHANNEL`     the sampled, by channel; sums to `sampled`
`resulted`            the sampled whose result was released; `negative` … sum to it (R4)
`need.NEED.CELL`      roll, classes and results of those with a need; needs overlap
====================  ==========================================================================

Some are counted along time too, by slots of five minutes: the sampled by sampling time, those in
hand by kind and by when that is due, visits that wait by since when.
"""

from collections.abc import Iterator
from datetime import datetime

from shared.contracts.registry import Standing
from shared.contracts.vocabulary import ON_ROLL

SLOT_SECONDS = 300
"""Width of one slot of time, in seconds. Slot = seconds since 1970 ÷ 300, rounded down.

The sampled of a community, by slot of sampling time (R19), sum to `sampled`; those in hand, by
kind and slot of when it is due, to `in_hand.KIND`.
"""


def slot_of(at: datetime) -> int:
    """Number the slot that a moment lies in."""
    return int(at.timestamp() // SLOT_SECONDS)


def cells_of(standing: Standing) -> Iterator[str]:
    """Name every cell that counts this standing, in the community of its `counted_in`."""
    if standing.klass == "visitor":
        yield "visitors"
        return
    if standing.klass not in ON_ROLL:
        return
    common = ["roll", standing.klass]
    if standing.klass == "sampled" and standing.result is not None:
        common += ["resulted", standing.result]
    yield from common
    match standing.klass:
        case "sampled":
            yield f"channel.{standing.channel}"
        case "excluded":
            yield f"excluded.{standing.reason}"
        case "in_hand" if standing.hand is not None:
            yield f"in_hand.{standing.hand.kind}"
    for need in standing.needs:
        for cell in common:
            yield f"need.{need}.{cell}"
