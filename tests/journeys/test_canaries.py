"""A whole day on the real servers in which every name, number, phone, door and token is a canary.

Then everything that the day has left behind is searched for them: what processes logged, what they
measure, what they announced, every table of every service, every refusal, and where the requests
went. In the clear they stand where they belong, in one table of registry, and nowhere else (R20).
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from tests.kafka import outsider
from tests.registry.words import ric
from tests.support.counting import Tell
from tests.support.live import Command, live
from tests.support.stack import Up, running
from tests.support.town import CHAOHE, JSON, LANQIAO, LUYUAN, OPENS, Town

AT_HOME = ("name", "phone", "building", "unit", "door", "birth_date")
"""Columns of `resident` that hold what people are reached by. The number is sealed even there."""
PEOPLE = 8
REFUSED = 400


@dataclass
class Aviary:
    """The people of the day, and everything that must not be heard of them."""

    canaries: set[str] = field(default_factory=set)

    def person(self, number: int, community: str, *needs: str) -> JSON:
        """Somebody of whom every word is a canary."""
        person: JSON = {
            "name": f"金丝雀{number:04}",
            "id_document": {"type": "cn_ric", "number": ric(f"4101711950010{9000 + number}")},
            "phone": f"1390042{number:04}",
            "address": {
                "community_code": community,
                "building": f"雀楼{number:04}",
                "unit": f"雀单元{number:04}",
                "door": f"雀门{number:04}",
            },
            "needs": [{"code": need} for need in needs],
        }  # fmt: skip
        self.hide(person["name"], person["id_document"]["number"], person["phone"])
        address = person["address"]
        self.hide(address["building"], address["unit"], address["door"])
        return person

    def hide(self, *canaries: str) -> str:
        """Note what must not be heard; give back the last of it."""
        self.canaries |= set(canaries)
        return canaries[-1]


@dataclass
class Ears:
    """What clients of the day were told when they were refused, and where they asked."""

    refusals: list[str] = field(default_factory=list)
    addresses: set[str] = field(default_factory=set)

    def listen(self, client: httpx.AsyncClient) -> None:
        """Hear every answer of a service."""
        client.event_hooks["response"].append(self._hear)

    async def _hear(self, answer: httpx.Response) -> None:
        self.addresses.add(unquote(str(answer.request.url)))
        await answer.aread()
        if answer.status_code >= REFUSED or '"status":"rejected"' in answer.text:
            self.refusals.append(f"{answer.headers}\n{answer.text}")


async def test_nothing_personal_is_left_anywhere_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    # The most that processes can be made to say.
    monkeypatch.setenv("LASTMETRE_LOG_LEVEL", "debug")
    aviary, ears = Aviary(), Ears()
    async with running(tmp_path / "state", tmp_path / "data") as up, live(up) as town:
        for client in (town.registry, town.dispatch, town.reporting):
            ears.listen(client)
        await a_day(town, aviary)
        assert isinstance(town.issuer, Command)
        tokens = {*town.issuer.signed.values(), *service_tokens(up)}
        for token in tokens:
            aviary.hide(token, *token.split(".")[1:])
        places = [place async for place in left_behind(up, ears)]
    heard = [
        (name, canary) for name, text in places for canary in aviary.canaries if canary in text
    ]
    assert heard == []
    kinds = sorted({name.partition(":")[0] for name, _ in places})
    tell(
        f"{len(aviary.canaries)} canaries ({len(tokens)} tokens among them) x {len(places)} places"
        f" = {len(aviary.canaries) * len(places)}, in {sum(len(text) for _, text in places):,}"
        f" characters of {', '.join(kinds)}"
    )


async def a_day(town: Town, aviary: Aviary) -> None:
    """Let everything happen that may be talked about."""
    needs = (("mobility",), ("quarantine",), (), (), ("elderly_alone",), (), (), ())
    given = [
        aviary.person(number, LUYUAN if number % 2 else LANQIAO, *needs[number])
        for number in range(PEOPLE)
    ]
    people = await town.people(*given)
    await looked_up(town, people, given)
    round_id = await town.round()
    await town.expect(round_id, roll=PEOPLE, visits_open=3)
    await changed(town, aviary, people)
    await sampled(town, round_id, given)
    await town.expect(round_id, sampled=2)
    await knocked(town, round_id, people)
    await refused(town, aviary, round_id, people, given)
    await town.expect(round_id, sampled=3)
    await town.step(round_id, "close")
    await town.expect(round_id, sampled=3)


async def looked_up(town: Town, people: list[UUID], given: list[JSON]) -> None:
    """See that they are on file, as they were told, and that looking is possible."""
    asked = {"ids": [str(person) for person in people]}
    told = await town.sent(town.registry, "/v1/residents:contacts", asked)
    assert {c["name"] for c in told["contacts"]} == {person["name"] for person in given}
    for what in ({"phone": given[1]["phone"]}, {"id_document": given[2]["id_document"]}):
        assert len((await town.sent(town.registry, "/v1/residents:search", what))["items"]) == 1


async def changed(town: Town, aviary: Aviary, people: list[UUID]) -> None:
    """People move, get another phone, and turn out to be on file twice."""
    headers = town.headers("office")
    stated = [
        {"phone": aviary.hide("13900439999")},
        {"name": aviary.hide("金丝雀改名"), "address": {"door": aviary.hide("雀门改门")}},
        {"address": {"community_code": LUYUAN, "door": aviary.hide("雀门搬家")}},
    ]
    for person, change in zip(people, stated, strict=False):
        answer = await town.registry.patch(f"/v1/residents/{person}", json=change, headers=headers)
        assert answer.is_success, answer.text
    merge = {"id": str(uuid4()), "into": str(people[6])}
    await town.sent(town.registry, f"/v1/residents/{people[7]}:merge", merge)
    await town.sent(town.registry, f"/v1/merges/{merge['id']}:undo")


async def sampled(town: Town, round_id: str, given: list[JSON]) -> None:
    """People come to a site and are known by their document."""
    rows = [town.resulted(round_id, uuid4(), "negative") for _ in range(2)]
    for row, person in zip(rows, given[2:4], strict=True):
        row["resident"] = {"id_document": person["id_document"]}
    await town.tick(round_id, 2)
    assert (await town.results(*rows))["accepted"] == len(rows)


async def knocked(town: Town, round_id: str, people: list[UUID]) -> None:
    """A team sees names and doors on its worklist, and takes a swab at one of them."""
    shift = {"starts": OPENS.isoformat(), "until": (OPENS + timedelta(hours=8)).isoformat()}
    team = {"name": "第一小组", "areas": [CHAOHE], "capacity": 10, "shift": shift}
    put = await town.dispatch.put("/v1/teams/t1", json=team, headers=town.headers("office"))
    assert put.is_success, put.text
    await town.expect(round_id, in_hand=3)
    on_the_road = town.headers("team", areas=[CHAOHE], team="t1")
    worklist = (await town.dispatch.get("/v1/teams/t1/worklist", headers=on_the_road)).json()
    visits = {stop["resident"]: stop for stop in worklist["items"]}
    stop = visits[str(people[0])]
    assert stop["contact"]["name"].startswith("金丝雀")
    swab = {"sample_id": str(uuid4()), "sampled_at": (OPENS + timedelta(hours=2)).isoformat()}
    report = {"report_id": str(uuid4()), "outcome": "sampled", "sample": swab}
    await town.sent(town.dispatch, f"/v1/visits/{stop['visit']}:start", None, on_the_road)
    await town.sent(town.dispatch, f"/v1/visits/{stop['visit']}:finish", report, on_the_road)


async def refused(
    town: Town, aviary: Aviary, round_id: str, people: list[UUID], given: list[JSON]
) -> None:
    """Send what cannot be taken, all of it personal, in every way that it can be wrong."""
    stranger = aviary.person(99, LUYUAN)
    taken = stranger | {"id": str(people[5]), "id_document": given[4]["id_document"]}
    no_date = {"type": "cn_ric", "number": aviary.hide("410171195013990047")}
    wrong = [
        taken,
        stranger | {"id_document": no_date},
        stranger | {"address": {**stranger["address"], "community_code": "999999999999"}},
        stranger | {"birth_date": stranger["name"]},
        stranger | {"phone": [stranger["phone"]]},
        stranger | {stranger["name"]: stranger["phone"]},
    ]
    answer = await town.sent(town.registry, "/v1/residents:batch", wrong)
    assert answer["rejected"] == len(wrong)
    unknown = town.result(round_id, uuid4()) | {
        "resident": {"id_document": stranger["id_document"]}
    }
    office = town.headers("office", "district")
    elsewhere = town.headers("office", areas=["410172"])
    tampered = office["Authorization"][:-8] + "AAAAAAAA"
    aviary.hide(tampered.partition(" ")[2])
    search = {"id_document": stranger["id_document"], "phone": stranger["phone"]}
    for path, body, headers in (
        ("/v1/results", unknown, office),
        ("/v1/residents:search", search, office),
        ("/v1/residents:search", {"phone": [stranger["phone"]]}, office),
        ("/v1/residents:batch", wrong, town.headers("site")),
        ("/v1/residents:search", {"phone": stranger["phone"]}, {"Authorization": tampered}),
        ("/v1/exclusions", {"reason": stranger["name"]}, office),
    ):
        answered = await town.registry.post(path, json=body, headers=headers)
        assert answered.status_code >= REFUSED, answered.text
    # Half a body; and the change of somebody whom one may not know.
    half = f'[{{"name": "{stranger["name"]}", "phone": "{stranger["phone"]}'
    cut = await town.registry.post("/v1/residents:batch", content=half, headers=office)
    assert cut.status_code >= REFUSED
    patched = await town.registry.patch(
        f"/v1/residents/{people[0]}", json={"name": stranger["name"]}, headers=elsewhere
    )
    assert patched.status_code >= REFUSED


# --- where they might be heard ---

Place = tuple[str, str]
"""Its name, the kind before a colon; and all that can be read there."""


async def left_behind(up: Up, ears: Ears) -> AsyncIterator[Place]:
    """Read everything that a day leaves behind, but for where people are on file."""
    for number, told in enumerate(ears.refusals):
        yield f"refusals: {number}", told
    for address in ears.addresses:
        yield f"addresses: {urlsplit(address).path}", address
    for process in up.family():
        yield f"command lines: {process.name()}", " ".join(process.cmdline())
    async with httpx.AsyncClient() as client:
        for name, url in up.note["operations"].items():
            yield f"metrics: {name}", (await client.get(f"{url}/metrics")).text
    for place in topics(up):
        yield place
    for service in ("registry", "dispatch", "reporting"):
        async with database(up, service) as connection:
            async for place in tables(connection, service):
                yield place
    logs = [*Path(up.note["data"]).rglob("*.log"), *Path(up.note["data"]).rglob("*.log.old")]
    assert {"registry-api.log", "dispatch-worker.log", "postgres.log"} <= {p.name for p in logs}
    for log in logs:
        yield f"logs: {log.name}", log.read_text(errors="replace")


def topics(up: Up) -> Iterator[Place]:
    """Read every topic as somebody does who is not one of us."""
    command = up.member("tansu").cmdline()
    bootstrap = command[command.index("--listener-url") + 1].removeprefix("tcp://")
    for message in outsider.read_all(bootstrap, list(outsider.topics(bootstrap))):
        yield f"topics: {message.place} {message.pos}", f"{message.headers} {message.data}"


@asynccontextmanager
async def database(up: Up, service: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """Connect to a service's database as its owner."""
    command = up.member("postgres").cmdline()
    folder = command[command.index("-k") + 1]
    connection = await asyncpg.connect(host=folder, user="lastmetre", database=service)
    try:
        yield connection
    finally:
        await connection.close()


async def tables(connection: "asyncpg.Connection[Any]", service: str) -> AsyncIterator[Place]:
    """Read every table whole."""
    names = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    for (table,) in names:
        query = f'SELECT * FROM "{table}"'  # noqa: S608 - our own tables
        rows = [dict(row) for row in await connection.fetch(query)]
        if (service, table) == ("registry", "resident"):
            # Here they are: what is searched can be found.
            assert {"金丝雀0000", "金丝雀0005"} <= {row["name"] for row in rows}
            rows = [{k: v for k, v in row.items() if k not in AT_HOME} for row in rows]
        text = "\n".join(readable(value) for row in rows for value in row.values())
        yield f"tables: {service}.{table}", text


def readable(value: object) -> str:
    """Show a value as text; bytes too, which announcements are stored as."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def service_tokens(up: Up) -> list[str]:
    """Read the tokens by which services know each other."""
    return [path.read_text().strip() for path in Path(up.note["data"]).glob("*.token")]
