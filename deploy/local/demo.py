"""`lastmetre demo`: a testing day in one district, played over HTTP as its people would.

Areas and people go in, the next round opens on a manual clock, sites send swabs, the laboratory
releases results, teams work their lists, the round closes. Then the coverage of every office and
what the ledger says: only `balanced: true` ends in 0.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from http import HTTPStatus
from itertools import islice
from typing import Any, Protocol, TypeVar
from uuid import NAMESPACE_DNS, uuid5

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from deploy.local import areas, borders
from deploy.local.calls import Api, CallError, Refused
from deploy.local.day import TEAMS_FROM, TEAMS_UNTIL, VISIT, ZONE, Person, Script
from deploy.local.errors import LocalError
from deploy.local.population import Population
from deploy.local.stack import Addresses
from deploy.local.tokens import development_token
from shared.contracts.registry import Area

FIRST_DAY = date(2022, 1, 9)
"""The day of the first round; every further one is played on the day after the last."""

BATCH = 2_000
IN_FLIGHT = 3
TEAMS = 6
PEOPLE_PER_TEAM = 4_000
TABLE_WIDTH = 110
VISITS_PER_HOUR = timedelta(hours=1) // VISIT
REFERRED_FOR = timedelta(hours=3)
CONFLICT = 409
LOOK_AGAIN = 0.3
PATIENCE = 20.0
"""Seconds a service may be away before the demo gives up."""

COUNTS = {
    "roll": "roll",
    "excluded": "excluded",
    "sampled": "sampled",
    "resulted": "resulted",
    "in_hand": "in hand",
    "unaccounted": "unaccounted",
    "visits_open": "visits open",
    "visits_done": "done",
}
"""Figures of reporting's rows, and what the table calls them."""

AT_THE_TEAMS = 30.0
"""Seconds until the first visits have reached the teams."""
BALANCED_WITHIN = 60.0
"""Seconds until everything that happened has been counted and compared."""

T = TypeVar("T")


class DemoError(LocalError):
    """The day cannot be played to its end."""


def run(
    addresses: Addresses,
    *,
    residents: int = 20_000,
    district: str = "410171",
    seed: int = 1,
    attached: bool = False,
) -> int:
    """Play a day, as the next round, and show what came of it; gives the exit code.

    `residents` people of the district are loaded first; those of an earlier demo with the same
    seed are known already. `attached`: the stack was up before and stays up.
    """
    # Piped into a file the table would be folded to 80 columns.
    out = Console()
    if not out.is_terminal:
        out = Console(width=TABLE_WIDTH)

    def connect(service: str, *roles: str, team: str | None = None) -> Api:
        token = development_token(roles, [district], team=team)
        return Api(addresses.of(service), lambda: token, patience=PATIENCE)

    try:
        population = Population(residents, district, seed, FIRST_DAY)
        status = asyncio.run(play(connect, population, out))
    except KeyboardInterrupt:
        out.print("interrupted")
        return 130
    except (LocalError, LookupError) as error:
        out.print(f"demo: {error}", style="red", markup=False, highlight=False)
        return 1
    if attached:
        out.print(f"The figures stay at {addresses.reporting}", highlight=False)
    return status


class Connect(Protocol):
    """Makes a client of a service for somebody with these roles, or for a team."""

    def __call__(self, service: str, *roles: str, team: str | None = None) -> Api:
        """Connect."""
        ...


async def play(connect: Connect, population: Population, out: Console) -> int:
    """Play a day, as `run` does, with clients of the caller's choice.

    Raises `CallError` when a service is away or refuses, `DemoError` when the day gets stuck.
    """
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        reporting = await stack.enter_async_context(connect("reporting", "district", "system"))
        with _progress(out) as progress:
            day = await morning(stack, connect, population, progress)
            await day.play(progress)
        ledger, coverage = await _evening(reporting, day.round_.id)
    out.print(_table(coverage, day.round_))
    return _conclude(ledger, out, time.monotonic() - began)


async def morning(
    stack: AsyncExitStack, connect: Connect, population: Population, progress: Progress
) -> "Day":
    """Put people on the roll and draft the next round; its day can be played then."""

    async def opened(service: str, *roles: str, team: str | None = None) -> Api:
        return await stack.enter_async_context(connect(service, *roles, team=team))

    office = await opened("registry", "system", "admin")
    people = await _populate(office, population, progress)
    round_ = await _next_round(office, population)
    return Day(
        round_=round_,
        script=Script.write(people, round_.day, population.seed),
        office=office,
        dispatch=await opened("dispatch", "system", "admin"),
        teams=[
            Team(name, await opened("dispatch", "team", team=name))
            for name in _team_names(population)
        ],
        area=population.prefix,
    )


# --- before the day ---


@dataclass(frozen=True, slots=True)
class Round:
    """The round that is played."""

    id: str
    number: int
    day: date
    offices: list[str]


async def _populate(office: Api, population: Population, progress: Progress) -> list[Person]:
    """Send areas and residents; those who are known already are duplicates."""
    await office.put("/v1/areas:batch", await _areas(office, population.prefix))
    people: list[Person] = []

    def arriving() -> Iterator[Mapping[str, Any]]:
        # Noted as they are made: the order of answers differs from day to day, the script must not.
        for resident in population.residents():
            people.append(Person.of(resident))
            yield resident

    bar = progress.add_task("residents", total=population.people)
    await _send(
        office,
        "/v1/residents:batch",
        arriving(),
        sent=lambda count: progress.advance(bar, count),
    )
    return people


async def _areas(office: Api, prefix: str) -> list[Area]:
    """List the areas, with made-up borders unless somebody has sent real ones."""
    known = (await office.get("/v1/areas", {"geometry": "true"}))["items"]
    placed = any(area.get("geometry") for area in known if area["code"].startswith(prefix))
    return areas.under(prefix) if placed else borders.made_up(prefix)


async def _next_round(office: Api, population: Population) -> Round:
    """Make the round after the last one of this district, as a draft."""
    chosen = [area.code for area in areas.offices(population.prefix)]
    campaign = f"demo-{population.prefix}"
    past = [
        known
        for known in (await office.get("/v1/rounds"))["items"]
        if known["campaign"] == campaign or _share(known["offices"], chosen)
    ]
    number = (
        max((known["number"] for known in past if known["campaign"] == campaign), default=0) + 1
    )
    closings = [datetime.fromisoformat(known["closes_at"]) for known in past]
    # A round closes at midnight, which is the next day already.
    days = [(closing - timedelta(seconds=1)).astimezone(ZONE).date() for closing in closings]
    day = max([FIRST_DAY, *(played + timedelta(days=1) for played in days)])
    round_ = Round(str(uuid5(NAMESPACE_DNS, f"{campaign}:{number}:{day}")), number, day, chosen)
    script = Script.write([], day, population.seed)
    await office.post(
        "/v1/rounds",
        {
            "id": round_.id,
            "campaign": campaign,
            "number": number,
            "name": f"第{number}轮全员核酸检测",
            "opens_at": script.opens.isoformat(),
            "closes_at": script.closes.isoformat(),
            "offices": chosen,
            "manual_clock": True,
        },
    )
    return round_


def _share(some: Iterable[str], others: Iterable[str]) -> bool:
    """Say whether two rounds meet in an office; a district's code stands for all of its offices."""
    return any(one.startswith(other) or other.startswith(one) for one in some for other in others)


def _team_names(population: Population) -> list[str]:
    """Six joint teams, as in the practice this comes from, and more for more people."""
    count = max(TEAMS, population.people // PEOPLE_PER_TEAM + 1)
    return [f"team-{population.prefix}-{number}" for number in range(1, count + 1)]


# --- the day ---


@dataclass(frozen=True, slots=True)
class Team:
    """A team in the field and the client on its device."""

    name: str
    device: Api


@dataclass(slots=True)
class Day:
    """One round, from its opening to its closing."""

    round_: Round
    script: Script
    office: Api
    dispatch: Api
    teams: list[Team]
    area: str

    async def play(self, progress: Progress) -> None:
        """Play the day, hour by hour."""
        await self._muster()
        await self._step("open")
        await self._exclude()
        hours = list(self.script.hours())
        bar = progress.add_task(f"round {self.round_.number}", total=len(hours))
        for begin, end in hours:
            # The clock first: a swab later than its round's clock is rejected.
            await self._step("tick", {"clock_at": end.isoformat()})
            if begin.time() == TEAMS_FROM:
                await self._lists_are_out()
            # At the end of the shift what is left of the lists is taken back.
            out = self.teams if TEAMS_FROM <= begin.time() < end.time() < TEAMS_UNTIL else []
            await _together(
                [
                    self._sites(begin, end),
                    self._laboratory(begin, end),
                    *(self._visits(team, begin, end) for team in out),
                ]
            )
            clock = f"round {self.round_.number}, {begin.hour + 1}:00"
            progress.update(bar, advance=1, description=clock)
        await self._step("close")

    async def send_again(self) -> None:
        """Send all of the day's rows again, and close: what is on file is a duplicate (R19)."""
        hours = list(self.script.hours())
        await self._step("tick", {"clock_at": hours[-1][1].isoformat()})
        for begin, end in hours:
            await self._sites(begin, end)
            await self._laboratory(begin, end)
        await self._step("close")

    async def _step(self, verb: str, body: object = None) -> None:
        await self.office.post(f"/v1/rounds/{self.round_.id}:{verb}", body)

    async def _muster(self) -> None:
        """Put the joint teams on shift: medics of the health centre, staff of the communities."""
        day = self.round_.day
        for team in self.teams:
            await self.dispatch.put(
                f"/v1/teams/{team.name}",
                {
                    "name": f"联合采样小组 {team.name.rsplit('-', 1)[1]}",
                    "areas": [self.area],
                    "members": [
                        {"id": f"{team.name}-medic", "role": "medic"},
                        {"id": f"{team.name}-cadre", "role": "community_cadre"},
                        {"id": f"{team.name}-head", "role": "building_head"},
                    ],
                    "shift": {
                        "starts": datetime.combine(day, TEAMS_FROM, ZONE).isoformat(),
                        "until": datetime.combine(day, TEAMS_UNTIL, ZONE).isoformat(),
                    },
                    "capacity": VISITS_PER_HOUR * (TEAMS_UNTIL.hour - TEAMS_FROM.hour),
                    "serves_quarantine": True,
                },
            )

    async def _exclude(self) -> None:
        """File the exclusions with their reasons; an excluded person gets no visit."""
        rows = [
            {
                "id": str(uuid5(NAMESPACE_DNS, f"{self.round_.id}:{person.id}:exclusion")),
                "round_id": self.round_.id,
                "resident": {"id": person.id},
                "reason": reason,
            }
            for person, reason in self.script.exclusions
        ]
        await _send(self.office, "/v1/exclusions:batch", rows)

    async def _sites(self, begin: datetime, end: datetime) -> None:
        swabs = [swab for swab in self.script.taken(begin, end) if swab.channel == "site"]
        rows = [swab.taken(self.round_.id) for swab in swabs]
        await _send(self.office, "/v1/results:batch", rows)

    async def _laboratory(self, begin: datetime, end: datetime) -> None:
        rows = [swab.found(self.round_.id) for swab in self.script.released(begin, end)]
        await _send(self.office, "/v1/results:batch", rows)

    async def _lists_are_out(self) -> None:
        """Wait until the opening has become visits and the visits have come to the teams."""
        query: dict[str, str | int] = {"round": self.round_.id, "status": "assigned", "limit": 1}
        give_up = time.monotonic() + AT_THE_TEAMS
        while not (await self.dispatch.get("/v1/visits", query))["items"]:
            if time.monotonic() > give_up:
                raise DemoError(f"no visit reached a team within {AT_THE_TEAMS:.0f} s")
            await asyncio.sleep(LOOK_AGAIN)

    async def _visits(self, team: Team, begin: datetime, end: datetime) -> None:
        """Let a team knock on the doors of its list, one after the other, for an hour."""
        worklist = await team.device.get(f"/v1/teams/{team.name}/worklist")
        stops = [stop for stop in worklist["items"] if stop["round"] == self.round_.id]
        at = begin
        for stop in stops[:VISITS_PER_HOUR]:
            at += VISIT
            await self._knock(team, stop, min(at, end - timedelta(seconds=1)))

    async def _knock(self, team: Team, stop: Mapping[str, Any], at: datetime) -> None:
        """Make one visit: one ask, two look, three test; then say what happened (R16)."""
        visit = f"/v1/visits/{stop['visit']}"
        try:
            await team.device.post(f"{visit}:start")
        except Refused as refused:
            if refused.status == CONFLICT:
                return  # called back: the person was sampled or excluded on the way (R15)
            raise
        outcome = self.script.at_the_door()
        report: dict[str, Any] = {
            "report_id": str(uuid5(NAMESPACE_DNS, f"{visit}:{team.name}")),
            "outcome": outcome,
            "at": at.isoformat(),
        }
        if outcome == "sampled":
            office = stop["community"][:9]
            swab = self.script.swab(stop["resident"], office, at, "home_visit")
            report["sample"] = {"sample_id": swab.sample, "sampled_at": at.isoformat()}
        elif outcome == "referred":
            until = min(at + REFERRED_FOR, self.script.closes)
            report["referral"] = {"site": f"{self.area}-1", "until": until.isoformat()}
        await team.device.post(f"{visit}:finish", report)


# --- what came of it ---


async def _evening(reporting: Api, round_id: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Ask for ledger and figures until they are balanced and the day is over, or patience ends.

    It is over when everybody has heard of the closing: nobody is in hand, no visit is open.
    """
    give_up = time.monotonic() + BALANCED_WITHIN
    while True:
        late = time.monotonic() > give_up
        try:
            coverage = await reporting.get("/v1/coverage", {"round": round_id, "by": "office"})
            ledger: Mapping[str, Any] = await reporting.get("/v1/ledger", {"round": round_id})
        except Refused as error:
            # While Kafka is away reporting may not have heard of the round before the day is over.
            if late or error.status != HTTPStatus.NOT_FOUND:
                raise
        else:
            left = coverage["total"]["in_hand"] + coverage["total"]["visits_open"]
            if late or (ledger["balanced"] is True and left == 0):
                return ledger, coverage
        await asyncio.sleep(LOOK_AGAIN)


def _table(coverage: Mapping[str, Any], round_: Round) -> Table:
    """One line per office and the district's; who is left is the column that should be zero."""
    table = Table(title=f"{coverage['round']['name']}, {round_.day}", title_justify="left")
    table.add_column("office")
    for name in (*COUNTS.values(), "coverage"):
        table.add_column(name, justify="right")
    for row in coverage["rows"]:
        table.add_row(*_cells(row, _short(row["name"])))
    table.add_section()
    table.add_row(*_cells(coverage["total"], "total"), style="bold")
    return table


def _cells(row: Mapping[str, Any], name: str) -> list[str]:
    counts = [f"{row[key]:,}" for key in COUNTS]
    return [name, *counts, "" if row["coverage"] is None else f"{row['coverage']:.2%}"]


def _short(name: str) -> str:
    """Leave the district's name away from an office's."""
    for area in areas.load():
        if area.kind == "district" and name != area.name:
            name = name.removeprefix(area.name)
    return name


def _conclude(ledger: Mapping[str, Any], out: Console, seconds: float) -> int:
    """Say what the ledger says; 0 only if it is balanced."""
    account = ledger["account"]
    out.print(
        f"roll {account['roll']:,} = sampled {account['sampled']:,}"
        f" + excluded {account['excluded']:,} + in hand {account['in_hand']:,}"
        f" + unaccounted {account['unaccounted']:,}",
        highlight=False,
    )
    balanced = msgspec.json.encode(ledger["balanced"]).decode()
    why = "" if ledger["balanced"] is True else f" ({', '.join(ledger['reasons'])})"
    out.print(f"ledger: balanced: {balanced}{why}", highlight=False, markup=False)
    out.print(f"played in {seconds:.0f} s", highlight=False)
    return 0 if ledger["balanced"] is True else 1


# --- calls ---


async def _send(
    api: Api, path: str, rows: Iterable[object], sent: Callable[[int], None] = lambda _: None
) -> None:
    """Send rows in batches, a few under way at once. Raises `DemoError` if one is rejected."""
    batches = _batches(rows, BATCH)

    async def sender() -> None:
        for batch in batches:  # the senders take turns at one iterator
            await _all_taken(api.post(path, batch))
            sent(len(batch))

    await _together(sender() for _ in range(IN_FLIGHT))


async def _together(actions: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all at once; the first failure ends the others and is told as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for action in actions:
                group.create_task(action)
    except* (CallError, DemoError) as failures:
        raise failures.exceptions[0] from None


async def _all_taken(answer: Awaitable[Any]) -> None:
    """Raise `DemoError` with the first row that was rejected."""
    for row in (await answer)["rows"]:
        if row["status"] == "rejected":
            raise DemoError(
                f"a row was rejected: {row['reason']['type']}: {row['reason']['detail']}"
            )


def _batches(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def _progress(out: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=out,
    )
