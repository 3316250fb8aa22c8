"""Lives of the counters: one is read, another may be built beside it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.errors import Conflict

CONSUMER = "reporting"
"""Our name in `applied`, at the producers and as Kafka's group."""

ALONG_TIME = FOLD = 2
"""How events are folded now. A generation that an older way has filled lacks what is counted since
(along time: from 2 on) until it is built anew: processes of both versions may have fed it."""


class RebuildRunning(Conflict):
    """A rebuild is asked for while another one has not swapped yet."""

    slug = "rebuild-running"
    title = "A rebuild is already running"
    cause = "The counters are being built anew already."
    cure = "Wait until `GET /v1/rebuild` says that it has swapped; it is then as good as yours."


@dataclass(frozen=True, slots=True)
class Generation:
    """One life of the counters."""

    id: int
    state: Literal["building", "current", "retired"]
    started_at: datetime
    swapped_at: datetime | None

    @property
    def consumer(self) -> str:
        """Name under which a building generation keeps its positions."""
        return consumer_of(self.id)


def consumer_of(building: int | None) -> str:
    """Name under which a generation that is being built, or the current one, keeps positions."""
    return CONSUMER if building is None else f"{CONSUMER}-{building}"
