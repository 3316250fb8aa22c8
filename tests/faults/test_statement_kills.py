"""A process is killed before each statement of its loop: nothing is lost, nothing done twice."""

import pytest

from deploy.local.servers import Broker
from services.dispatch.api.access import ACCESS as DISPATCH
from services.registry.api.access import ACCESS as REGISTRY
from services.reporting.api.access import ACCESS as REPORTING
from shared import outbox
from shared.auth import ROLES
from shared.contracts.registry import ROUNDS
from tests.contracts.playing import Call, Player, calls
from tests.faults.arrivals import Arrivals
from tests.faults.sweep import Sweeper
from tests.faults.works import database_of, vacated
from tests.support.counting import Tell
from tests.support.town import DISTRICT, DONGFANG, Town

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
