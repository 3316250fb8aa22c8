"""A process is killed before each statement of its loop: nothing is lost, nothing done twice."""

from datetime import timedelta

import pytest

from deploy.local.servers import Broker
from services.dispatch.api.access import ACCESS as DISPATCH
from services.dispatch.worker import keep_house
from services.registry.api.access import ACCESS as REGISTRY
from services.reporting.api.access import ACCESS as REPORTING
from shared import outbox
from shared.auth import ROLES
from shared.contracts.dispatch import HANDS
from shared.contracts.registry import ROLL, ROUNDS
from tests.contracts.playing import Call, Player, calls
from tests.faults.arrivals import Arrivals
from tests.faults.sweep import Sweeper
from tests.faults.test_corruption import damage_the_newest
from tests.faults.works import database_of, vacated
from tests.journeys.field import on_shift
from tests.support.counting import Tell
from tests.support.town import DISTRICT, DONGFANG, OPENS, Town

ACCESS = {"registry": REGISTRY, "dispatch": DISPATCH, "reporting": REPORTING}
IN_DONGFANG = {"community_code": DONGFANG, "building": "1", "unit": "1", "door": "1"}

REFUSED_AGAIN = {
    "/v1/rebuild": "one is under way",
    "/v1/parked/{parked_id}:redrive": "it was decided already",
    "/v1/parked/{parked_id}:discard": "it was decided already",
}
"""Routes that carry no client's id: asked again they say that it has been done, and do nothing."""


SHARES = [
    pytest.param(service, share, shares, id=f"{service}-{share + 1}-of-{shares}")
    for service, shares in (("registry", 4), ("dispatch", 2), ("reporting", 1))
    for share in range(shares)
]
"""Much to try: it is shared by the processes that run the tests."""


def writing(service: str) -> list[Call]:
    """Every route of a service that may write."""
    return [(service, method, path) for method, path in ACCESS[service] if method != "GET"]


@pytest.mark.parametrize(("service", "share", "shares"), SHARES)
async def test_every_writing_route_is_killed_at_every_statement(
    service: str, share: int, shares: int, town: Town, sweeper: Sweeper, tell: Tell
) -> None:
    mine = sorted(writing(service))[share::shares]
    player = Player(town)
    for call, example in calls():
        _, method, template = call
        if call in mine:
            await player.prepare(call)
            await sweeper.sweep(
                f"{method} {template}", "call", service, await vacated(town.apps, service),
                refused_again=template in REFUSED_AGAIN,
                method=method, url=player.real(template.format(**example.path)),
                params=player.real(dict(example.query)), json=player.real(example.body),
                headers=town.headers(*ROLES, areas=[DISTRICT]),
            )  # fmt: skip
        await player.play(call, example)
    assert set(sweeper.points) == {f"{method} {path}" for _, method, path in mine}
    tell(sweeper.told())


async def test_a_relay_is_killed_at_every_statement(
    town: Town, sweeper: Sweeper, tell: Tell, broker: Broker
) -> None:
    """Room is made in the outbox, and all of it arrives: repeated perhaps, in order, no gap."""
    await town.round()
    await town.people({}, {"address": IN_DONGFANG})
    registry = database_of(town.apps["registry"])
    async with registry.begin() as tx:
        written = {
            (row["topic"], row["partition"]): row["pos"]
            for row in await tx.rows("SELECT topic, partition, pos FROM outbox_head WHERE pos > 0")
        }
        incarnation = await tx.value("SELECT incarnation FROM outbox_head LIMIT 1")
        # The topic's last segment but one is being written; the room that is made lies ahead.
        await tx.do(
            "UPDATE outbox_head SET pos = $2 WHERE topic = $1 AND partition = ("
            " SELECT min(partition) FROM outbox_head WHERE topic = $1 AND pos = 0)",
            ROUNDS, outbox.SEGMENT + 5,
        )  # fmt: skip

    with Arrivals(broker.bootstrap, written, str(incarnation)) as arrivals:
        await sweeper.sweep(
            "publish", "publish", "registry", await vacated(town.apps, "registry"),
            chained=False, check=arrivals.assert_all_again, bootstrap=broker.bootstrap,
        )  # fmt: skip
    tell(sweeper.told())


@pytest.mark.parametrize("work", ["pull", "take"])
async def test_a_consumer_is_killed_at_every_statement(
    work: str, town: Town, sweeper: Sweeper, tell: Tell
) -> None:
    """Each service follows the others, and sets aside an event that is damaged."""
    await visits_wait_for_a_team(town)
    for service, producer, topic in (
        ("dispatch", "registry", ROLL),
        ("registry", "dispatch", HANDS),
    ):
        await damage_the_newest(town, producer, topic)
        await sweeper.sweep(f"{service} {work}", work, service, await vacated(town.apps, service))
        await town.consumers[service].catch_up()
        if service == "dispatch":
            await keep_house(town.apps[service].state.wiring)
    await sweeper.sweep(
        f"reporting {work}", work, "reporting", await vacated(town.apps, "reporting")
    )
    tell(sweeper.told())


async def test_a_clock_is_killed_at_every_statement(
    town: Town, sweeper: Sweeper, tell: Tell
) -> None:
    """Dispatch keeps house; a round on the wall's clock opens, closes and is sealed."""
    await visits_wait_for_a_team(town)
    await town.consumers["dispatch"].catch_up()
    await sweeper.sweep(
        "keep_house", "keep_house", "dispatch", await vacated(town.apps, "dispatch")
    )
    await town.round(2, opened=False, manual_clock=False)
    await sweeper.sweep(
        "keep_time", "keep_time", "registry", await vacated(town.apps, "registry"),
        now=(OPENS + timedelta(days=30)).isoformat(),
    )  # fmt: skip
    tell(sweeper.told())


async def test_a_rebuild_is_killed_at_every_statement(
    town: Town, sweeper: Sweeper, tell: Tell
) -> None:
    await visits_wait_for_a_team(town)
    await town.settle()
    begun = await town.reporting.post("/v1/rebuild", headers=town.headers("admin"))
    assert begun.is_success, begun.text
    await sweeper.sweep("rebuild", "rebuild", "reporting", await vacated(town.apps, "reporting"))
    tell(sweeper.told())


async def visits_wait_for_a_team(town: Town) -> None:
    """A round is open, a team is on the road, somebody needs a visit; nobody else knows yet."""
    _, walker = await town.people({"needs": [{"code": "mobility"}]}, {})
    round_id = await town.round(opened=False)
    await on_shift(town)
    await town.step(round_id, "open")
    swab = [town.result(round_id, walker, hours=0)]
    await town.sent(town.registry, "/v1/results:batch", swab, town.headers("site"))
