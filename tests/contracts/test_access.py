"""Who may see what: every route with every role, inside its place and outside.

The examples of the OpenAPI documents are played as one day. Before a call, everybody tries it who
must not: without a token, with each role that the table does not name, and with each role it does
name, from elsewhere. After it, everybody who may.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence

import httpx

from services.dispatch.api import access as dispatch
from services.dispatch.api import examples as field
from services.registry.api import access as registry
from services.registry.api import examples as people
from services.registry.store import sight
from services.reporting.api import access as reporting
from shared.auth import ROLES
from shared.errors import Forbidden, Unauthorised
from shared.examples import Example
from shared.http import Access
from tests.contracts.outsiders import OUTSIDE, TO_OTHER_TEAMS, Given
from tests.contracts.playing import Call, Player, calls
from tests.support.counting import Tell
from tests.support.town import DISTRICT, JSON, MINGHU, Town

ACCESS: dict[str, Access] = {
    "registry": registry.ACCESS,
    "dispatch": dispatch.ACCESS,
    "reporting": reporting.ACCESS,
}
INSIDE: Sequence[tuple[str, ...]] = ((DISTRICT,), ("41",))
STRANGERS: Sequence[tuple[str, ...]] = (("410172",), ("42", "4101720"), ())
"""Of another district; of a place whose code looks alike; of nowhere."""
NEIGHBOURS: Sequence[tuple[str, ...]] = ((MINGHU,),)
"""Of another office of the same district."""

HERE = "410171001001"
OF_THE_PLACE = (
    people.WANG, people.LI, people.ZHAO, people.EXCLUSION, people.MERGE, field.VISIT,
    field.OTHER_VISIT, field.TEAM, HERE, "王某英", "1390000000", "绿园", "潮河",
)  # fmt: skip
"""What must not be in the answer to somebody elsewhere."""

CONFLICT = 409
"""The first who may has done it already."""
UNASSIGNED = ("dispatch", "GET", "/v1/visits/{visit_id}")
"""The example shows a visit before a team has it: no team may see it then."""


def test_every_route_says_what_outsiders_get() -> None:
    routes = {(service, *route) for service, table in ACCESS.items() for route in table}
    assert routes == OUTSIDE.keys()
    assert {call for call in routes if "team" in ACCESS[call[0]][call[1:]]} >= TO_OTHER_TEAMS.keys()
    free = [call for call, outside in OUTSIDE.items() if outside.to_strangers == "area-free"]
    assert all(OUTSIDE[call].why for call in free)


class Walk:
    """One day, and everybody at every door."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._player = Player(town)
        self.tried: Counter[str] = Counter()

    async def day(self) -> None:
        """Walk through the day."""
        for call, example in calls():
            await self._player.prepare(call)
            before = await self._announced()
            await self._locked_out(call, example)
            for role, areas, given in outsiders(call):
                if given != "area-free":
                    headers = self.headers(role, areas)
                    await self._try_outside(call, example, headers, given)
            if call in TO_OTHER_TEAMS:
                headers = self._town.headers("team", team="minghu-2")
                await self._try_outside(call, example, headers, TO_OTHER_TEAMS[call])
            assert await self._announced() == before, f"{call}: a refused request changed something"
            await self._player.play(call, example)
            for role in sorted(ACCESS[call[0]][call[1:]]):
                for areas in INSIDE:
                    await self._try_inside(call, example, role, areas)
            for role, areas, given in outsiders(call):
                if given == "area-free":
                    await self._try_inside(call, example, role, areas)

    def headers(self, role: str, areas: Sequence[str]) -> JSON:
        """Be somebody with one role. Teams and sites are those that the examples are about."""
        return self._town.headers(role, areas=areas, team=field.TEAM, site="chaohe")

    async def _locked_out(self, call: Call, example: Example) -> None:
        answer = await self._player.ask(call, example, {})
        assert problem(answer) == (401, Unauthorised.slug), call
        self.tried["without a token"] += 1
        roles = ACCESS[call[0]][call[1:]]
        for role in sorted(ROLES - roles):
            answer = await self._player.ask(call, example, self.headers(role, [DISTRICT]))
            assert problem(answer) == (403, Forbidden.slug), (call, role)
            assert answer.json()["roles"] == sorted(roles)
            self.tried["with another role"] += 1

    async def _try_inside(
        self, call: Call, example: Example, role: str, areas: Sequence[str]
    ) -> None:
        answer = await self._player.ask(call, example, self.headers(role, areas))
        good = {CONFLICT} | ({404} if call == UNASSIGNED and role == "team" else set())
        assert answer.is_success or answer.status_code in good, (call, role, areas, answer.text)
        self.tried["who may"] += 1

    async def _try_outside(self, call: Call, example: Example, headers: JSON, given: Given) -> None:
        answer = await self._player.ask(call, example, headers)
        told = (call, given, answer.text)
        match given:
            case "forbidden":
                assert problem(answer) == (403, Forbidden.slug), told
            case "not-found":
                assert answer.status_code == 404, told
            case "rejected":
                assert answer.is_success, told
                assert answer.json()["rejected"] == len(example.body), told
            case "empty":
                assert answer.is_success, told
        asked = json.dumps([example.path, example.query, example.body], ensure_ascii=False)
        for secret in OF_THE_PLACE:
            real = self._player.real(secret)
            # What somebody sent may come back to them, as the `ref` of a row.
            assert real not in answer.text or secret in asked, told
        self.tried["from elsewhere"] += 1

    async def _announced(self) -> list[tuple[object, ...]]:
        """Read how far each service announced, and what stands on the roll."""
        found: list[tuple[object, ...]] = []
        for name in ("registry", "dispatch"):
            async with self._town.apps[name].state.wiring.database.begin() as tx:
                rows = await tx.rows("SELECT topic, partition, pos FROM outbox_head ORDER BY 1, 2")
                found += map(tuple, rows)
        async with self._town.apps["registry"].state.wiring.database.begin() as tx:
            await sight.whole(tx)
            found += map(tuple, await tx.rows("SELECT * FROM resident ORDER BY id"))
        return found


def outsiders(call: Call) -> Iterator[tuple[str, Sequence[str], Given]]:
    """List who has the role for a route but not the place, and what each is given."""
    outside = OUTSIDE[call]
    for role in sorted(ACCESS[call[0]][call[1:]]):
        for places, given in (
            (STRANGERS, outside.to_strangers), (NEIGHBOURS, outside.to_neighbours)
        ):  # fmt: skip
            for areas in places:
                yield role, areas, "area-free" if role in outside.whole_to else given


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Read status and type of a problem."""
    return answer.status_code, str(answer.json()["type"]).rpartition("/")[2]


async def test_every_role_at_every_route_inside_and_outside(town: Town, tell: Tell) -> None:
    walk = Walk(town)
    await walk.day()
    routes = sum(map(len, ACCESS.values()))
    tries = ", ".join(f"{count} {kind}" for kind, count in walk.tried.items())
    areas = len(INSIDE) + len(STRANGERS) + len(NEIGHBOURS)
    tell(f"{routes} routes x {len(ROLES)} roles x {areas} sets of areas: {tries}")
