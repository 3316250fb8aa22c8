"""Residents' lives around one swab: who is counted as what, and where, in whatever order we hear.

Each line of a table is a life, with an event at 3 o'clock, and each column a person who leads it:

`never`   is not sampled at all
`before`  is sampled at 4, and entered after we heard of the event
`during`  is sampled at 2; we hear of the event between the swab and its result
`after`   is sampled at 2 and has a result; then we hear of the event
`paper`   is sampled at 2; the paper form is entered after we heard of the event

A cell says where that person stands in the end, by "The account, exactly": who is sampled counts
where they lived then, or where they joined later; who is not, where they live now; who is gone is
off the roll. There is a table for a round that is open when we hear of the event, one for a closed
round, which knows nobody's later life but takes late entries, and one for a sealed round.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from uuid import UUID, uuid4

import msgspec
import pytest

from shared.contracts.registry import RollChanged
from tests.registry.books import ELSEWHERE, OUTSIDE
from tests.registry.words import OFFICE_ROLES, announced, exclude, hour, lives, told
from tests.support.town import CHAOHE, DISTRICT, DONGFANG, JSON, LANQIAO, LUYUAN, Town

PLACES = {
    "luyuan": LUYUAN,
    "lanqiao": LANQIAO,
    "dongfang": DONGFANG,
    "unmapped": f"{CHAOHE}000",
    "unknown": f"{DISTRICT}000000",
}
"""`unmapped`: addresses of an office that are not found yet; `unknown`: of the district (R5)."""
NAMES = {code: name for name, code in PLACES.items()}
COLUMNS = ("never", "before", "during", "after", "paper")
Phase = Literal["open", "closed", "sealed"]
STEPS = {"open": (), "closed": ("close",), "sealed": ("close", "seal")}
"""How a round comes into each phase."""


@dataclass(frozen=True)
class Life:
    """A life as an office hears of it. `starts` None: not on file before the event."""

    starts: str | None
    event: JSON
    earlier: JSON | None = None
    """What they heard before anybody was sampled."""


def moved(community: str, since: float | None = 3) -> JSON:
    """They live there now, since so many hours after the opening."""
    dated = {"since": hour(since)} if since is not None else {}
    return {"address": {"community_code": community} | dated}


EXCLUDED: JSON = {"exclusion": "filed"}
REVOKED: JSON = {"exclusion": "revoked"}
LIVES = {
    "moves next door": Life(LUYUAN, moved(LANQIAO)),
    "changes offices": Life(LUYUAN, moved(DONGFANG)),
    "moves away": Life(LUYUAN, moved(OUTSIDE)),
    "moves in": Life(OUTSIDE, moved(LANQIAO)),
    "comes back": Life(LUYUAN, moved(LANQIAO), earlier=moved(OUTSIDE, 1)),
    "is put on the map": Life(CHAOHE, moved(LANQIAO, None)),
    "is born": Life(None, lives(LUYUAN)),
    "dies": Life(LUYUAN, {"alive": False}),
    "is found alive": Life(LUYUAN, {"alive": True}, earlier={"alive": False}),
    "is excluded": Life(LUYUAN, EXCLUDED),
    "is excluded no more": Life(LUYUAN, REVOKED, earlier=EXCLUDED),
}

# "-": nobody can be sampled before they are on file.
OPEN = """
                     never                 before            during           after            paper
moves next door      unaccounted lanqiao   sampled lanqiao   sampled luyuan   sampled luyuan   sampled luyuan
changes offices      unaccounted dongfang  sampled dongfang  sampled luyuan   sampled luyuan   sampled luyuan
moves away           off                   visitor unknown   sampled luyuan   sampled luyuan   sampled luyuan
moves in             unaccounted lanqiao   sampled lanqiao   sampled lanqiao  sampled lanqiao  sampled lanqiao
comes back           unaccounted lanqiao   sampled lanqiao   sampled lanqiao  sampled lanqiao  sampled lanqiao
is put on the map    unaccounted lanqiao   sampled lanqiao   sampled lanqiao  sampled lanqiao  sampled lanqiao
is born              unaccounted luyuan    sampled luyuan    -                -                sampled luyuan
dies                 off                   sampled luyuan    sampled luyuan   sampled luyuan   sampled luyuan
is found alive       unaccounted luyuan    sampled luyuan    sampled luyuan   sampled luyuan   sampled luyuan
is excluded          excluded luyuan       sampled luyuan    sampled luyuan   sampled luyuan   sampled luyuan
is excluded no more  unaccounted luyuan    sampled luyuan    sampled luyuan   sampled luyuan   sampled luyuan
"""  # noqa: E501 - a table
# Closing froze who belongs and where they live. Swabs of its time are taken; exclusions, too.
CLOSED = """
                     never                 before            during            after             paper
moves next door      unaccounted luyuan    sampled luyuan    sampled luyuan    sampled luyuan    sampled luyuan
changes offices      unaccounted luyuan    sampled luyuan    sampled luyuan    sampled luyuan    sampled luyuan
moves away           unaccounted luyuan    sampled luyuan    sampled luyuan    sampled luyuan    sampled luyuan
moves in             off                   visitor unknown   visitor unknown   visitor unknown   visitor unknown
comes back           off                   visitor unknown   visitor unknown   visitor unknown   visitor unknown
is put on the map    unaccounted unmapped  sampled unmapped  sampled unmapped  sampled unmapped  sampled unmapped
is born              off                   visitor unknown   -                 -                 visitor unknown
dies                 unaccounted luyuan    sampled luyuan    sampled luyuan    sampled luyuan    sampled luyuan
is found alive       off                   sampled luyuan    sampled luyuan    sampled luyuan    sampled luyuan
is excluded          excluded luyuan       sampled luyuan    sampled luyuan    sampled luyuan    sampled luyuan
is excluded no more  unaccounted luyuan    sampled luyuan    sampled luyuan    sampled luyuan    sampled luyuan
"""  # noqa: E501 - a table
# Nothing moves: everybody stands where they stood, and later swabs are refused.
SEALED = """
                     never                 before                during            after             paper
moves next door      unaccounted luyuan    unaccounted luyuan    sampled luyuan    sampled luyuan    unaccounted luyuan
changes offices      unaccounted luyuan    unaccounted luyuan    sampled luyuan    sampled luyuan    unaccounted luyuan
moves away           unaccounted luyuan    unaccounted luyuan    sampled luyuan    sampled luyuan    unaccounted luyuan
moves in             off                   off                   visitor unknown   visitor unknown   off
comes back           off                   off                   visitor unknown   visitor unknown   off
is put on the map    unaccounted unmapped  unaccounted unmapped  sampled unmapped  sampled unmapped  unaccounted unmapped
is born              off                   off                   -                 -                 off
dies                 unaccounted luyuan    unaccounted luyuan    sampled luyuan    sampled luyuan    unaccounted luyuan
is found alive       off                   off                   sampled luyuan    sampled luyuan    off
is excluded          unaccounted luyuan    unaccounted luyuan    sampled luyuan    sampled luyuan    unaccounted luyuan
is excluded no more  excluded luyuan       excluded luyuan       sampled luyuan    sampled luyuan    excluded luyuan
"""  # noqa: E501 - a table

Led = tuple[str, str]
"""Who: their life, and when they were sampled."""


def read(table: str) -> dict[Led, str]:
    """Read a table: where each person stands in the end."""
    cells: dict[Led, str] = {}
    for line in table.strip("\n").splitlines()[1:]:
        life, *standings = re.split(" {2,}", line)
        cells |= {(life, column): s for column, s in zip(COLUMNS, standings, strict=True)}
    return {led: stands for led, stands in cells.items() if stands != "-"}


class Neighbourhood:
    """People who lead every life, once for each column of a table."""

    def __init__(self, town: Town, people: dict[Led, UUID]) -> None:
        self.town = town
        self.people = people
        self.round = ""
        self.swabs: dict[Led, JSON] = {}

    @classmethod
    async def settled(cls, town: Town, led: Iterator[Led]) -> "Neighbourhood":
        """Put everybody on file who is there before the event; each cannot come to a site."""
        areas = town.headers("district", areas=["41"])
        put = await town.registry.put("/v1/areas:batch", json=ELSEWHERE, headers=areas)
        assert put.is_success, put.text
        here = cls(town, {who: uuid4() for who in led})
        starts = {who: LIVES[who[0]].starts for who in here.people}
        await here.hear({who: lives(community) for who, community in starts.items() if community})
        here.round = await town.round()
        await town.tick(here.round, 5)
        return here

    async def hear(self, news: dict[Led, JSON]) -> None:
        """Hear what happened to some: changes of residents in one import, exclusions one by one."""
        rows = [
            {"id": str(self.people[who]), "name": "居民", "needs": [{"code": "mobility"}]} | what
            for who, what in news.items()
            if "exclusion" not in what
        ]
        sender = self.town.headers(*OFFICE_ROLES, areas=["41"])
        answer = await self.town.sent(self.town.registry, "/v1/residents:batch", rows, sender)
        assert answer["rejected"] == 0, answer
        for who, what in news.items():
            if "exclusion" in what:
                await self.exclude(str(self.people[who]), revoke=what is REVOKED)

    async def exclude(self, who: str, *, revoke: bool) -> None:
        """File or revoke an exclusion; a sealed round refuses it."""
        filed = {"id": who, "round_id": self.round, "resident": {"id": who}, "reason": "recovered"}
        answer = await self.town.registry.post(
            f"/v1/exclusions/{who}:revoke" if revoke else "/v1/exclusions",
            json=None if revoke else filed,
            headers=self.town.headers("office"),
        )
        assert answer.is_success or answer.json()["type"].endswith("/round-not-open"), answer.text

    async def swab(self, column: str, at: float, *, result: bool = False) -> set[str]:
        """Enter the swabs of a column, with results or without; how they were answered."""
        rows = []
        for who, resident in self.people.items():
            if who[1] == column:
                row = self.swabs.setdefault(who, self.town.result(self.round, resident, at))
                reported = {"outcome": "negative", "released_at": hour(at + 1)}
                rows.append(row | {"result_id": str(uuid4())} | (reported if result else {}))
        return set(told(await self.town.results(*rows)))

    async def standings(self) -> dict[Led, str]:
        """Where everybody stands, as the other services heard it."""
        latest: dict[str, tuple[int, str]] = {}
        for raw in await announced(self.town, "roll_changed"):
            for community, changes in msgspec.convert(raw, RollChanged).communities.items():
                for change in changes:
                    place = NAMES.get(change.after.counted_in or community, "elsewhere")
                    klass = change.after.klass
                    stands = klass if klass == "off" else f"{klass} {place}"
                    known = latest.get(change.resident, (0, ""))
                    latest[change.resident] = max(known, (change.rev, stands))
        return {
            who: latest.get(str(resident), (0, "off"))[1] for who, resident in self.people.items()
        }


@pytest.mark.parametrize(
    ("phase", "table"), [("open", OPEN), ("closed", CLOSED), ("sealed", SEALED)]
)
async def test_lives_around_a_swab(town: Town, phase: Phase, table: str) -> None:
    expected = read(table)
    assert {life for life, _ in expected} == set(LIVES)
    here = await Neighbourhood.settled(town, iter(expected))
    earlier = {who: LIVES[who[0]].earlier for who in expected}
    await here.hear({who: heard for who, heard in earlier.items() if heard})

    assert await here.swab("during", 2) | await here.swab("after", 2, result=True) == {"accepted"}
    for step in STEPS[phase]:
        await town.step(here.round, step)
    await here.hear({who: LIVES[who[0]].event for who in expected})
    late = (
        await here.swab("before", 4)
        | await here.swab("during", 2, result=True)
        | await here.swab("paper", 2)
    )
    assert late == ({"round-not-open"} if phase == "sealed" else {"accepted"})

    await town.settle()
    assert await here.standings() == expected
    classes = Counter(stands.partition(" ")[0] for stands in expected.values())
    results = sum(
        stands.startswith("sampled") and column in ("after", *(("during",) * (phase != "sealed")))
        for (_, column), stands in expected.items()
    )
    await town.expect(
        here.round,
        sampled=classes["sampled"],
        excluded=classes["excluded"],
        unaccounted=classes["unaccounted"],
        visitors=classes["visitor"],
        resulted=results,
        visits_open=classes["unaccounted"] if phase == "open" else 0,
    )


@pytest.mark.parametrize(("phase", "quarantined"), [("open", 0), ("closed", 4), ("sealed", 4)])
async def test_a_quarantine_ends_by_the_clock_with_its_visit(
    town: Town, phase: Phase, quarantined: int
) -> None:
    """Before, after and without being sampled; a round that is over keeps the needs of its end."""
    until_three = [{"code": "quarantine", "until": hour(3)}]
    _, paper, sampled, excluded = await town.people(*(lives(needs=until_three) for _ in range(4)))
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.results(town.result(round_id, sampled))
    await exclude(town, round_id, excluded)
    await town.expect(round_id, sampled=1, excluded=1, unaccounted=2, visits_open=2)
    for step in STEPS[phase]:
        await town.step(round_id, step)

    await town.tick(round_id, 4)
    taken = phase != "sealed"
    answer = await town.results(town.result(round_id, paper, 1.5))
    assert told(answer) == ["accepted" if taken else "round-not-open"]
    await town.expect(
        round_id, roll=4, sampled=1 + taken, excluded=1, unaccounted=2 - taken, visits_open=0
    )
    by_need = await town.coverage(round_id, by="need")
    assert by_need.get("quarantine", {"roll": 0})["roll"] == quarantined


async def test_a_quarantine_begins_by_the_clock_and_a_visit_is_planned(town: Town) -> None:
    from_three = [{"code": "quarantine", "from": hour(3), "until": hour(5)}]
    sampled, _ = await town.people(*(lives(needs=from_three) for _ in range(2)))
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.results(town.result(round_id, sampled))
    await town.expect(round_id, sampled=1, unaccounted=1, visits_open=0)
    await town.tick(round_id, 3)
    await town.expect(round_id, sampled=1, unaccounted=1, visits_open=1)
    assert (await town.coverage(round_id, by="need"))["quarantine"]["roll"] == 2
    await town.tick(round_id, 5)
    await town.expect(round_id, sampled=1, unaccounted=1, visits_open=0)
