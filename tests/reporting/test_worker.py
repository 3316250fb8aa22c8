"""The worker as a whole: it lives with silent producers, does its chores, and leaves when told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY

from services.reporting import worker
from services.reporting.migrations import HERE, upgrade
from services.reporting.settings import Settings
from shared import migrating
from shared.contracts.registry import RollChanged
from shared.errors import problems
from shared.http import Ops
from tests.reporting.conftest import FIRST, QIANCHENG, Desk
from tests.reporting.producers import change
from tests.reporting.test_fold import SAMPLED, UNTESTED
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl
from tests.support.waiting import eventually


@asynccontextmanager
async def working(desk: Desk) -> AsyncIterator[None]:
    """A worker beside the block, asked to stop and waited for at its end."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.live(desk.wiring, stop))
        yield
        stop.set()


async def test_a_result_is_counted_dated_and_gauged_without_anybodys_help(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 4})
    labels = {"round": round_id, "office": QIANCHENG}

    async def sampled() -> bool:
        answer = (await desk.get("/v1/coverage")).json()
        return answer["total"]["sampled"] == 1 and answer["as_of"]["time"] is not None

    async with working(desk):
        desk.world.registry.announce(
            RollChanged(round_id, {FIRST: [change(UNTESTED, SAMPLED)]}), FIRST
        )
        await eventually(sampled)
        await eventually(
            lambda: REGISTRY.get_sample_value("lastmetre_unaccounted", labels) == 3,
            hint="the gauge of the office",
        )


async def test_a_rebuild_that_was_asked_for_is_done(desk: Desk) -> None:
    await desk.open_round({FIRST: 4})
    admin = desk.read_as("admin")

    async def swapped() -> bool:
        told = (await desk.client.get("/v1/rebuild", headers=admin)).json()
        return bool(told["generations"][0]["state"] == "current")

    async with working(desk):
        begun = await desk.client.post("/v1/rebuild", headers=admin)
        assert begun.status_code == 202
        await eventually(swapped)
    assert (await desk.get("/v1/coverage")).json()["total"]["roll"] == 4


async def test_the_gauge_of_the_ledger_turns_when_a_counter_is_changed_by_hand(
    desk: Desk,
) -> None:
    round_id = await desk.open_round({FIRST: 4})
    desk.world.testify(round_id, [(FIRST, UNTESTED)] * 4)

    def balanced() -> float | None:
        return REGISTRY.get_sample_value("lastmetre_ledger_balanced", {"round": round_id})

    async with working(desk):
        await eventually(lambda: balanced() == 1)
        async with desk.database.begin() as tx:
            await tx.do("UPDATE counter SET n = n + 1 WHERE cell = 'unaccounted'")
        await eventually(lambda: balanced() == 0, hint="a counter of reporting")
        async with desk.database.begin() as tx:
            await tx.do("UPDATE counter SET n = n - 1 WHERE cell = 'unaccounted'")
        await eventually(lambda: balanced() == 1)
        # Somebody deletes a resident in registry's database: the recount misses one.
        desk.world.testify(round_id, [(FIRST, UNTESTED)] * 3)
        await eventually(lambda: balanced() == 0, hint="a row of registry")


async def test_a_worker_outlives_silent_producers(desk: Desk) -> None:
    """Others restart and networks break; the events wait in their outbox."""
    round_id = await desk.open_round({FIRST: 4})
    labels = {"round": round_id, "office": QIANCHENG}
    desk.world.registry.down = desk.world.dispatch.down = True

    async def sampled() -> bool:
        return bool((await desk.get("/v1/coverage")).json()["total"]["sampled"] == 1)

    async with working(desk):
        desk.world.registry.announce(
            RollChanged(round_id, {FIRST: [change(UNTESTED, SAMPLED)]}), FIRST
        )
        await eventually(
            lambda: REGISTRY.get_sample_value("lastmetre_unaccounted", labels) == 4,
            hint="figures are still told",
        )
        desk.world.registry.down = desk.world.dispatch.down = False
        await eventually(sampled)


async def test_a_worker_of_real_addresses_checks_its_database_and_stops(
    database_url: DatabaseUrl, issuer: Issuer
) -> None:
    nobody = "http://127.0.0.1:1"
    settings = Settings(
        jwks=str(issuer.jwks),
        service_token_file=None,
        kafka_bootstrap="",
        registry_url=nobody,
        dispatch_url=nobody,
        database_url=database_url("reporting"),
    )
    ops, stop = Ops(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.work(settings, ops, stop))
        await eventually(lambda: "database" in ops.checks)
        assert await ops.readiness() == (True, {"database": "ok"})
        stop.set()


async def test_the_schema_is_what_the_tables_say(database_url: DatabaseUrl) -> None:
    url = database_url("reporting")
    migrating.check(url, HERE)
    upgrade(url)  # once more is harmless


async def test_every_route_says_its_roles_and_answers(desk: Desk) -> None:
    document = (await desk.client.get("/openapi.json")).json()
    coverage = document["paths"]["/v1/coverage"]["get"]
    assert coverage["x-roles"] == ["admin", "district", "office", "supervisor", "system"]
    assert {"200", "304", "404"} <= coverage["responses"].keys()
    rows = document["components"]["schemas"]["Row"]["properties"]
    assert {"roll", "excluded_by_reason", "in_hand_by_kind", "visits_open"} <= rows.keys()
    assert (await desk.client.get("/readyz")).json()["checks"] == {"database": "ok"}
    assert {"round-unknown", "rebuild-running"} <= {problem.slug for problem in problems()}
