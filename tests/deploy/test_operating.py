"""Dead letters and audit logs by command: what is said, what is done, and the exit code."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.local.cli import app
from deploy.local.servers import free_ports
from shared import process
from tests.shared.exchange import Follower, following, producing
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl

MEANT = '{"round": "round", "communities": {}, "results": 20}'
HOST = "127.0.0.1"


@dataclass
class Command:
    """The `lastmetre` command, asking a service that had to set 2 and 4 aside."""

    follower: Follower

    async def say(self, *words: str, given: str | None = None) -> tuple[int, str]:
        """Give a command; its exit code, and what it said."""
        done = await asyncio.to_thread(CliRunner().invoke, app, words, input=given)
        # What is wrong is raised to `main`, which says it in a line.
        return done.exit_code, f"{done.output}{done.exception or ''}"

    async def well(self, *words: str, given: str | None = None) -> str:
        """Give a command that succeeds; what it said."""
        code, said = await self.say(*words, given=given)
        assert code == 0, said
        return said


@asynccontextmanager
async def served(follower: Follower) -> AsyncIterator[str]:
    """Serve a follower's API on the loopback."""
    stop, port = asyncio.Event(), free_ports(1)[0]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.serve(follower.app, HOST, port, stop))
        yield f"http://{HOST}:{port}"
        stop.set()


@pytest.fixture
async def command(
    database_url: DatabaseUrl, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Command]:
    monkeypatch.setenv("LASTMETRE_TOKEN", issuer.token("admin"))
    monkeypatch.setenv("COLUMNS", "300")
    async with (
        producing(database_url(""), issuer) as producer,
        following(database_url(""), producer) as (follower,),
    ):
        follower.faults = {2: repeat(ValueError), 4: repeat(ValueError)}
        await producer.announce(1, 2, 3, 4)
        await follower.consumer.catch_up()
        async with served(follower) as url:
            monkeypatch.setenv("LASTMETRE_STACK", ",".join([url] * 3))
            yield Command(follower)


async def test_a_dead_letter_is_listed_explained_mended_and_redriven(
    command: Command, tmp_path: Path
) -> None:
    assert "refused" in await command.well("parked", "list")
    explained = await command.well("parked", "explain", "registry", "1")
    assert "registry 1: lastmetre.registry.roll_changed.v1, refused: ValueError" in explained
    assert "1. " in explained
    file = tmp_path / "meant.json"
    file.write_text(MEANT)
    mending = ("parked", "mend", "registry", "1", "--reason", "as it was meant")
    tried = await command.well(*mending, "--dry-run", str(file))
    assert "tried; it can be applied" in tried
    assert "mended_by" not in await command.well("parked", "show", "registry", "1")
    assert "mended; it can be applied" in await command.well(*mending, "-", given=MEANT)
    assert '"mended_why": "as it was meant"' in await command.well(
        "parked", "show", "registry", "1"
    )
    await command.well("parked", "redrive", "registry", "1")
    assert await command.follower.numbers() == [1, 20, 3]


async def test_what_cannot_be_is_said_in_a_line(command: Command) -> None:
    mending = ("parked", "mend", "registry", "1", "-", "--reason", "as it was meant")
    code, said = await command.say(*mending, given='{"round": 1}')
    assert (code, "data.round: Expected str, got int" in said) == (1, True), said
    code, said = await command.say(*mending, given="{")
    assert (code, "not JSON" in said) == (1, True), said
    code, said = await command.say("parked", "mend", "registry", "1", "-", given=MEANT)
    assert (code, "--reason" in said) == (2, True), said
    code, said = await command.say("parked", "redrive", "registry", "1")
    assert (code, "still cannot be applied" in said) == (1, True), said
    for wrong in (("1", "--all"), ()):
        assert (await command.say("parked", "redrive", "registry", *wrong))[0] == 2


async def test_all_are_redriven_and_the_rest_is_given_up_for_a_reason(command: Command) -> None:
    command.follower.faults = {2: repeat(ValueError)}
    code, said = await command.say("parked", "redrive", "registry", "--all", "--kind", "refused")
    assert (code, "registry: 1 redriven; still parked: 1" in said) == (1, True), said
    assert (await command.say("parked", "discard", "registry", "1"))[0] == 2
    await command.well("parked", "discard", "registry", "1", "--reason", "it came again")
    assert "nothing is parked" in await command.well("parked", "list")
    assert "0 redriven" in await command.well("parked", "redrive", "registry", "--all")


async def test_the_audit_log_is_listed_and_verified(command: Command) -> None:
    await command.well("parked", "discard", "registry", "1", "--reason", "it came again")
    await command.well("parked", "show", "registry", "2")
    listed = await command.well("audit", "list", "registry", "--action", "discard parked event")
    assert ("tester" in listed, "it came again" in listed, "show" in listed) == (True, True, False)
    verified = await command.well("audit", "verify", "registry")
    assert "registry: 2 records hold, head " in verified
    head = verified.split()[-1]
    await command.well("audit", "verify", "--head", head)
    async with command.follower.database.begin() as tx:
        await tx.do("ALTER TABLE audit_log DISABLE TRIGGER ALL")
        await tx.do("DELETE FROM audit_log WHERE seq = 2")
    code, said = await command.say("audit", "verify", "registry")
    assert (code, "BROKEN at record 2: cut" in said) == (1, True), said
    async with command.follower.database.begin() as tx:
        await tx.do("UPDATE audit_log_head SET (seq, hash) = (SELECT seq, hash FROM audit_log)")
    await command.well("audit", "verify", "registry")
    code, said = await command.say("audit", "verify", "--head", head)
    assert (code, "CUT or written anew" in said) == (1, True), said
