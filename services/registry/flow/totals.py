"""The account counted anew from its facts: what the ledger holds against the fold."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

import msgspec

from services.registry import messages
from services.registry.store import account, rounds, sight
from shared import positions
from shared.contracts.vocabulary import HandKind, RoundState
from shared.database import Database
from shared.outbox import ConsumerPosition, Head, heads


class Totals(msgspec.Struct, frozen=True):
    """Figures of one moment, and the positions of that moment: `heads` ours, `applied` dispatch's.

    `communities` holds the cells of the account per community, zeros left out; `series` the sampled
    by slot of sampling time (seconds since 1970 ÷ 300); `due` those in hand by kind and slot of
    when it is due; `hands` the open hands by kind.
    """

    round: UUID
    state: RoundState
    as_of: datetime
    heads: list[Head]
    applied: list[ConsumerPosition]
    communities: dict[str, dict[str, int]]
    series: dict[str, dict[int, int]]
    due: dict[str, dict[HandKind, dict[int, int]]]
    hands: dict[str, int]

    def within(self, covers: Callable[[str], bool]) -> Self:
        """Leave out communities that somebody does not cover."""
        return msgspec.structs.replace(
            self,
            communities={code: cells for code, cells in self.communities.items() if covers(code)},
            series={code: slots for code, slots in self.series.items() if covers(code)},
            due={code: kinds for code, kinds in self.due.items() if covers(code)},
        )


@dataclass
class _Counted:
    totals: Totals
    at: float


class Recount:
    """Counts a round at most once at a time, whoever asks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted: dict[UUID, _Counted] = {}
        self._locks: dict[UUID, asyncio.Lock] = {}

    async def totals(self, round_id: UUID, max_age: float) -> Totals:
        """Count a round, or give a count that is at most `max_age` seconds old.

        Raises:
            RoundUnknown: there is no such round.

        """
        asked = time.monotonic()
        async with self._locks.setdefault(round_id, asyncio.Lock()):
            counted = self._counted.get(round_id)
            if counted is None or counted.at < asked - max_age:
                at = time.monotonic()
                counted = _Counted(await self._count(round_id), at)
                self._counted[round_id] = counted
        return counted.totals

    async def _count(self, round_id: UUID) -> Totals:
        async with self._database.snapshot() as tx:
            await sight.whole(tx)
            where = await rounds.load(tx, round_id)
            counted = await account.recount(tx, where)
            return Totals(
                round=round_id,
                state=where.state,
                as_of=datetime.now(UTC),
                heads=await heads(tx),
                applied=[
                    ConsumerPosition(p.topic, p.partition, p.pos)
                    for p in await positions.read(tx, "registry")
                ],
                communities=messages.recounted(counted),
                series=messages.recounted_series(counted),
                due=messages.recounted_due(counted),
                hands=await account.open_hands(tx, round_id),
            )
