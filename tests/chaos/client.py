"""The clients: processes that send what is planned, are killed, and send it again.

A client writes down what was answered after it was answered. In its next life it takes up the plan
again and sends whatever has no answer on file: some of that was recorded, and only its answer lost.
A field team also writes down whom it visits before it tells of it, as a device does that is often
offline.

    python -m tests.chaos.client FOLDER site|team ROUND PART OF
"""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import msgspec

from deploy.local.calls import Api, Refused
from tests.chaos.plan import TEAMS, Plan, Round, Swab, Unit, at_the_door, revoked

SENDERS = 3
"""Batches that a site has under way at once."""
STOPS = 20
"""Visits that a team goes on before it asks for its list again."""
AGAIN_AFTER = 0.5
"""Seconds until something is tried again that failed, or a list asked for that was empty."""
PATIENCE = 3600.0
SERVER_ERROR = 500


class Line(msgspec.Struct, omit_defaults=True):
    """One line of a journal."""

    kind: str
    """`answered` a unit or visit; `going` to a visit; `trouble`: an answer that no client should
    get; `rejected`: rows that should have been taken."""
    key: str = ""
    statuses: dict[str, int] = {}
    swab: Swab | None = None
    told: str = ""


class Journal:
    """What a client knows of its former lives: an append-only file of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def write(self, line: Line) -> None:
        """Add a line: in one call, so that who is killed leaves all of it or nothing."""
        if self._descriptor is None:
            raise ValueError("the journal is not open")
        os.write(self._descriptor, msgspec.json.encode(line) + b"\n")

    def news(self) -> Iterator[Line]:
        """Read what was added since this was last asked for."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            yield msgspec.json.decode(line, type=Line)


@dataclass(frozen=True)
class Desk:
    """The folder that a run's clients work in."""

    folder: Path

    @property
    def plan(self) -> Path:
        """What is to be sent."""
        return self.folder / "plan.json"

    def units(self, number: int) -> Path:
        """What sites are to send in a round."""
        return self.folder / f"round-{number}.json"

    @property
    def addresses(self) -> Path:
        """Where the services answer, by name."""
        return self.folder / "addresses.json"

    def token(self, who: str) -> Path:
        """The token of a site, or of a team by its name."""
        return self.folder / f"{who}.token"

    def journal(self, name: str) -> Path:
        """What a client writes down; `name` is a client's, the same in every life."""
        return self.folder / f"{name}.ndjson"

    def over(self, number: int) -> Path:
        """A file that says that a round's field teams may go home."""
        return self.folder / f"round-{number}.over"


@dataclass
class Client:
    """One client in one of its lives."""

    desk: Desk
    round: Round
    journal: Journal
    answered: set[str] = field(default_factory=set)
    going: dict[str, Line] = field(default_factory=dict)

    def remember(self) -> None:
        """Read what former lives wrote down."""
        for line in self.journal.news():
            if line.kind == "answered":
                self.answered.add(line.key)
                self.going.pop(line.key, None)
            elif line.kind == "going":
                self.going[line.key] = line

    def calls(self, service: str, who: str) -> Api:
        """Connect to a service as a site or a team."""
        token = self.desk.token(who).read_text()
        addresses = msgspec.json.decode(self.desk.addresses.read_bytes(), type=dict[str, str])
        return Api(addresses[service], lambda: token, patience=PATIENCE)

    async def ask(self, calls: Api, method: str, path: str, body: object = None) -> Any:
        """Call until there is an answer; one that no client should get is written down."""
        while True:
            try:
                return await calls.call(method, path, body=body)
            except Refused as refused:
                if refused.status < SERVER_ERROR:
                    raise
                self.journal.write(
                    Line("trouble", told=f"{method} {path.split('/')[2]}: {refused}")
                )
                await asyncio.sleep(AGAIN_AFTER)

    # --- a site ---

    async def send(self, units: list[Unit]) -> None:
        """Send what has no answer on file, some of it at once."""
        left = iter([unit for unit in units if unit.key not in self.answered])
        async with self.calls("registry", "site") as calls, asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(self._send_in_turn(calls, left))

    async def _send_in_turn(self, calls: Api, left: Iterator[Unit]) -> None:
        for unit in left:
            path = "/v1/results" if len(unit.rows) == 1 else f"/v1/{unit.kind}:batch"
            body = unit.rows[0] if path == "/v1/results" else unit.rows
            answer = await self.ask(calls, "POST", path, body)
            self._check(unit, answer)
            if unit.kind == "exclusions":
                for row in unit.rows:
                    if revoked(row["id"]):
                        await self.ask(calls, "POST", f"/v1/exclusions/{row['id']}:revoke")
            statuses = Counter(row["status"] for row in answer["rows"])
            self.journal.write(Line("answered", unit.key, dict(statuses)))

    def _check(self, unit: Unit, answer: Any) -> None:
        for row in answer["rows"]:
            if row["status"] == "rejected":
                self.journal.write(Line("rejected", unit.key, told=row["reason"]["type"]))

    # --- a field team ---

    async def visit(self) -> None:
        """Go from door to door until the round is over."""
        async with asyncio.TaskGroup() as group:
            for team in TEAMS:
                group.create_task(self._tour(team))

    async def _tour(self, team: str) -> None:
        async with self.calls("dispatch", team) as calls:
            for line in [line for line in self.going.values() if line.told == team]:
                await self._tell(calls, team, line)
            while not self.desk.over(self.round.number).exists():
                worklist = await self.ask(calls, "GET", f"/v1/teams/{team}/worklist")
                here = [stop for stop in worklist["items"] if stop["round"] == self.round.id]
                for stop in here[:STOPS]:
                    await self._knock(calls, team, stop)
                if not here:
                    await asyncio.sleep(AGAIN_AFTER)

    async def _knock(self, calls: Api, team: str, stop: Any) -> None:
        _, swab = at_the_door(self.round, stop["visit"])
        line = Line(
            "going",
            stop["visit"],
            swab=replace(swab, resident=stop["resident"]) if swab else None,
            told=team,
        )
        self.journal.write(line)
        with suppress(Refused):  # called back on the way (R15); they knock all the same
            await self.ask(calls, "POST", f"/v1/visits/{stop['visit']}:start")
        await self._tell(calls, team, line)

    async def _tell(self, calls: Api, team: str, line: Line) -> None:
        report, _ = at_the_door(self.round, line.key)
        try:
            await self.ask(calls, "POST", f"/v1/visits/{line.key}:finish", report)
        except Refused as refused:
            self.journal.write(Line("rejected", line.key, told=refused.problem))
            return
        self.journal.write(Line("answered", line.key, swab=line.swab, told=team))


async def work(folder: Path, role: str, number: int, part: int, parts: int) -> None:
    """Live once."""
    desk = Desk(folder)
    plan = Plan.read(desk.plan)
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(desk.journal(f"{role}-{number}-{part}")))
        client = Client(desk, plan.round(number), journal)
        client.remember()
        if role == "team":
            await client.visit()
        else:
            units = msgspec.json.decode(desk.units(number).read_bytes(), type=list[Unit])
            await client.send(units[part::parts])


def main() -> None:
    """Run a client; it ends in 0 when all is answered."""
    folder, role, *numbers = sys.argv[1:]
    asyncio.run(work(Path(folder), role, *map(int, numbers)))


if __name__ == "__main__":
    main()
