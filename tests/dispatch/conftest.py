"""A testing day as dispatch sees it: registry speaks, time passes, the outbox is read."""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from services.dispatch.domain.people import Person
from services.dispatch.domain.teams import Member, Team
from services.dispatch.domain.visits import Visit
from services.dispatch.flow import teams
from services.dispatch.settings import Settings
from services.dispatch.store import people
from services.dispatch.wiring import Wiring, connect
from services.dispatch.worker import handlers, keep_house
from shared.auth import Caller
from shared.contracts.dispatch import MESSAGES, HandChange, HandsChanged, VisitChange, VisitsChanged
from shared.contracts.envelope import Event, Message, Record, registered
from shared.contracts.registry import (
    Area,
    AreasChanged,
    Change,
    RollChanged,
    RoundChanged,
    RoundTicked,
    Standing,
    VisitAnswer,
    VisitsAnswered,
)
from shared.contracts.vocabulary import RoundState
from tests.support.servers import DatabaseUrl

HOUR = timedelta(hours=1)
MORNING = datetime(2022, 1, 7, 8, tzinfo=UTC)
EVENING = MORNING + 12 * HOUR
OFFICE = "410171001"
HERE, THERE = "410171001001", "410171002001"
REGISTRY = UUID(int=1)
OFFICER = Caller("officer", frozenset({"office"}), ("410171",))

_rev = count(1)


def standing(klass: str = "unaccounted", *needs: str, **more: Any) -> Standing:
    """What registry says of somebody, in the words of the contract."""
    return msgspec.convert({"class": klass, "needs": needs, **more}, Standing)


def change(resident: str, after: Standing, before: Standing | None = None, rev: int = 0) -> Change:
    """One change of the roll; revisions grow by themselves."""
    return Change(resident, rev or next(_rev), before or standing(), after)


class Day:
    """One database of dispatch, and everybody who speaks to it."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.database = wiring.database
        self.policy = wiring.policy
        self._version = count(1)
        self._read: dict[tuple[str, int], int] = {}

    # --- registry speaks ---

    async def hear(self, *messages: Message, incarnation: UUID = REGISTRY) -> None:
        """Apply messages of one type in one transaction, as the consumer does."""
        handler = handlers(self.policy)[type(messages[0])]
        events = [
            Event(
                Record(
                    message.topic, 0, pos, UUID(int=pos), UUID(int=pos - 1), incarnation,
                    message.type, MORNING, b"",
                ),
                message,
            )
            for pos, message in enumerate(messages, 1)
        ]  # fmt: skip
        await self.database.transact(handler, events)

    async def round_is(
        self, state: RoundState, closes_at: datetime = EVENING, clock_at: datetime = MORNING
    ) -> None:
        """Registry tells of the round, by a manual clock."""
        await self.hear(self.round_told(state, closes_at, clock_at=clock_at))

    def round_told(
        self,
        state: RoundState,
        closes_at: datetime,
        round_id: str = "r1",
        clock_at: datetime = MORNING,
    ) -> RoundChanged:
        """What registry tells of a round; each word is newer than the one before."""
        return RoundChanged(
            round=round_id,
            version=next(self._version),
            campaign="zz-2022",
            number=2,
            name="第二轮",
            state=state,
            opens_at=MORNING,
            closes_at=closes_at,
            offices=[OFFICE],
            manual_clock=True,
            clock_at=clock_at,
        )

    async def areas(self) -> None:
        """Registry names an office and a community."""
        await self.hear(
            AreasChanged(
                [
                    Area(OFFICE, "潮河办事处", "office", "410171"),
                    Area(HERE, "第一社区", "community", OFFICE),
                ]
            )
        )

    async def roll(self, *changes: Change, community: str = HERE) -> None:
        """Registry tells of people."""
        await self.hear(RollChanged("r1", {community: list(changes)}))

    async def tick(self, clock_at: datetime) -> None:
        """The manual clock moves on."""
        await self.hear(RoundTicked("r1", clock_at))

    async def answer(self, visit: Visit, reason: str | None = None) -> None:
        """Registry answers to a finished visit."""
        assert visit.sample is not None
        told = VisitAnswer(
            visit=str(visit.id),
            resident=visit.resident,
            sample=visit.sample.id,
            status="refused" if reason else "recorded",
            reason=reason,
        )
        await self.hear(VisitsAnswered("r1", [told]))

    # --- people work ---

    async def team(self, team_id: str = "t1", caller: Caller = OFFICER, **more: Any) -> Team:
        """An office sets up a team that works in the morning."""
        plain: dict[str, Any] = {
            "name": "第一联合小组",
            "areas": (OFFICE,),
            "members": (Member("m1", "medic"), Member("m2", "community_cadre")),
            "shift_from": MORNING - HOUR,
            "shift_until": MORNING + 6 * HOUR,
            "capacity": 40,
        }
        team = Team(team_id, **{**plain, **more})
        return await self.database.transact(teams.put_team, team, caller, policy=self.policy)

    async def keep_house(self) -> int:
        """The worker's round: hands end, visits are assigned."""
        return await keep_house(self.wiring)

    # --- what came of it ---

    async def person(self, resident: str) -> Person:
        """Read one person."""
        async with self.database.begin() as tx:
            return (await people.lock(tx, "r1", [resident]))[resident]

    async def visit_of(self, resident: str) -> Visit:
        """Read the current visit of one person."""
        visit = (await self.person(resident)).visit
        assert visit is not None
        return visit

    async def residents(self) -> set[str]:
        """List whom dispatch keeps."""
        async with self.database.begin() as tx:
            return set(await people.everybody(tx, "r1"))

    async def announced(self) -> list[tuple[int, Message]]:
        """Read what was announced since the last time: (partition, message)."""
        types = registered(MESSAGES)
        found: list[tuple[int, Message]] = []
        async with self.database.begin() as tx:
            rows = await tx.rows("SELECT * FROM outbox ORDER BY topic, partition, pos")
        for row in rows:
            place = row["topic"], row["partition"]
            if row["pos"] > self._read.get(place, 0):
                self._read[place] = row["pos"]
                message = msgspec.json.decode(row["data"], type=types[row["type"]])
                found.append((row["partition"], message))
        return found

    async def hands(self) -> list[HandChange]:
        """Read the hands announced since the last time; visits with them."""
        return hands_in(await self.announced())


def hands_in(announced: Iterable[tuple[int, Message]]) -> list[HandChange]:
    """Pick hands out of what was announced."""
    return [
        hand
        for _, message in announced
        if isinstance(message, HandsChanged)
        for hand in message.hands
    ]


def visits_in(announced: Iterable[tuple[int, Message]]) -> Sequence[VisitChange]:
    """Pick visits out of what was announced."""
    return [
        visit
        for _, message in announced
        if isinstance(message, VisitsChanged)
        for visit in message.visits
    ]


@pytest.fixture
def dispatch_settings(database_url: DatabaseUrl, tmp_path: Path) -> Settings:
    """Settings of a dispatch with a database of its own and no broker."""
    return Settings(
        jwks=str(tmp_path / "none.json"),
        database_url=database_url("dispatch"),
        kafka_bootstrap="",
        database_pool=4,
    )


@pytest.fixture
async def day(dispatch_settings: Settings) -> AsyncIterator[Day]:
    """A day on a database of its own."""
    async with connect(dispatch_settings) as wiring:
        yield Day(wiring)
