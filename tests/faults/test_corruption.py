"""A record is damaged in the outbox itself: nobody can apply it, and everybody can see that."""

from shared.contracts.registry import ROLL
from tests.support.counting import Tell, watch
from tests.support.town import Town

DAMAGED = b'{"round": \xff'


async def damage_the_newest(town: Town, producer: str = "registry", topic: str = ROLL) -> bytes:
    """Overwrite the newest event of a topic where it is kept; what it was."""
    async with town.apps[producer].state.wiring.database.begin() as tx:
        newest = await tx.row(
            "SELECT partition, pos, data FROM outbox WHERE topic = $1"
            " ORDER BY recorded_at DESC LIMIT 1", topic,
        )  # fmt: skip
        await tx.do(
            "UPDATE outbox SET data = $4 WHERE topic = $1 AND partition = $2 AND pos = $3",
            topic, newest["partition"], newest["pos"], DAMAGED,
        )  # fmt: skip
    whole: bytes = newest["data"]
    return whole


async def test_it_is_parked_the_ledger_says_so_and_no_decision_hides_that_it_is_missing(
    town: Town,
) -> None:
    somebody, another = await town.people({}, {})
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.results(town.result(round_id, somebody))
    await town.expect(round_id, roll=2, sampled=1)

    await town.sent(
        town.registry,
        "/v1/results:batch",
        [town.result(round_id, another)],
        town.headers("site"),
    )
    await damage_the_newest(town)
    await town.settle()
    assert (await town.coverage(round_id))["sampled"] == 1
    ledger = await town.ledger(round_id)
    assert ledger["balanced"] is not True
    assert ledger["parked"]["reporting"] == 1

    admin = town.headers("admin")
    listed = (await town.reporting.get("/v1/parked", headers=admin)).json()["items"]
    (parked,) = listed
    assert parked["reason"].startswith("unreadable lastmetre.registry.roll_changed.v1")
    path = f"/v1/parked/{parked['id']}"
    shown = (await town.reporting.get(path, headers=admin)).json()
    assert shown["data"] == DAMAGED.decode(errors="backslashreplace")

    # As it is, it cannot be applied.
    again = await town.reporting.post(f"{path}:redrive", headers=admin)
    assert again.status_code == 409
    assert (await town.ledger(round_id))["balanced"] is not True

    # Given up, it is not waited for; but it is missing, cell by cell.
    given_up = await town.reporting.post(
        f"{path}:discard", json={"reason": "its bytes are lost"}, headers=admin
    )
    assert given_up.is_success, given_up.text
    ledger = await town.ledger(round_id)
    assert ledger["parked"]["reporting"] == 0
    assert ledger["balanced"] is not True
    assert ledger["differing"] > 0


async def test_mended_and_driven_again_it_counts(town: Town, tell: Tell) -> None:
    (somebody,) = await town.people({})
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.sent(
        town.registry,
        "/v1/results:batch",
        [town.result(round_id, somebody)],
        town.headers("site"),
    )
    whole = await damage_the_newest(town)
    await town.settle()
    assert (await town.ledger(round_id))["balanced"] is not True

    seconds = watch()
    # By hand here: in the outbox for whoever is still to come, and where it was set aside.
    async with town.apps["registry"].state.wiring.database.begin() as tx:
        await tx.do("UPDATE outbox SET data = $1 WHERE data = $2", whole, DAMAGED)
    for service in ("reporting", "dispatch"):
        async with town.apps[service].state.wiring.database.begin() as tx:
            await tx.do("UPDATE parked SET data = $1 WHERE data = $2", whole, DAMAGED)
        client = getattr(town, service)
        admin = town.headers("admin")
        for parked in (await client.get("/v1/parked", headers=admin)).json()["items"]:
            driven = await client.post(f"/v1/parked/{parked['id']}:redrive", headers=admin)
            assert driven.is_success, driven.text
    await town.expect(round_id, roll=1, sampled=1)
    tell(f"mended, driven again and counted after {seconds():.1f} s")
