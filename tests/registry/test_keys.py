"""The key of identity numbers is rotated while registry works: nothing is lost, nobody waits."""

import asyncio
import base64
import stat
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from deploy.local.cli import app as cli
from deploy.local.credentials import change_keys
from deploy.local.errors import KeysError
from deploy.local.servers import free_ports
from services.registry.app import create_app
from services.registry.domain.documents import Document
from services.registry.store import sealing, sight
from services.registry.vault import Vault
from shared.keyring import Keyring
from shared.process import serve
from tests.registry.conftest import Registry
from tests.registry.words import lives, ric
from tests.support.waiting import eventually

Say = Callable[..., Awaitable[tuple[int, str]]]

PEOPLE = 25
BODIES = [f"4101711950{month:02}01{day:03}" for month in range(1, 6) for day in range(1, 6)]
NUMBERS = [ric(body) for body in BODIES]


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """Keys of this town alone: they are rotated here."""
    file = tmp_path / "keys.json"
    file.write_text(Keyring.new().text())
    file.chmod(0o600)
    return file


@pytest.fixture(autouse=True)
def in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few people a transaction, so that there are many."""
    monkeypatch.setattr(sealing, "AT_ONCE", 4)


async def populated(town: Registry) -> list[UUID]:
    """People with numbers, and one without."""
    given = [lives(id_document={"type": "cn_ric", "number": number}) for number in NUMBERS]
    return (await town.people(*given, lives()))[:PEOPLE]


async def rotated(town: Registry, file: Path) -> None:
    """Add a key and make it current; registry knows it when this returns."""
    change_keys(file, lambda keys: keys.with_new("k2"))
    change_keys(file, lambda keys: keys.using("k2"))
    town.apps["registry"].state.wiring.vault.look()


async def resealed(town: Registry, steps: int | None = None) -> int:
    """Seal the numbers anew, from the first, so many steps; how many were."""
    done, asked = 0, {"key": "k2"}
    while steps is None or steps > 0:
        answer = await town.registry.post(
            "/v1/keys:reseal", params=asked, headers=town.headers("admin")
        )
        assert answer.is_success, answer.text
        told = answer.json()
        assert told["damaged"] == []
        done += told["resealed"]
        if told["following"] is None:
            break
        asked["start"] = told["following"]
        steps = None if steps is None else steps - 1
    return done


async def sealed_under(town: Registry) -> dict[str, int]:
    """How many numbers there are under each key, as registry tells."""
    answer = await town.registry.get("/v1/keys", headers=town.headers("admin"))
    told = answer.json()
    counted = {key["id"]: key["residents"] for key in told["keys"]}
    assert told["left"] == sum(n for key, n in counted.items() if key != told["current"])
    return counted


async def assert_found(town: Registry, people: list[UUID], numbers: list[str]) -> None:
    """Everybody is found by their number, and it is shown as it was."""
    for person, number in zip(people, numbers, strict=True):
        found = await town.sent(
            town.registry,
            "/v1/residents:search",
            {"id_document": {"type": "cn_ric", "number": number}},
        )
        assert [one["id"] for one in found["items"]] == [str(person)]
        assert found["items"][0]["id_document"]["number"] == f"{number[:4]}{'*' * 10}{number[-4:]}"


async def all_else(town: Registry) -> Counter[str]:
    """Everything about residents but their sealed numbers, as text."""
    async with town.apps["registry"].state.wiring.database.begin(readonly=True) as tx:
        await sight.whole(tx)
        rows = await tx.rows("SELECT to_jsonb(r) - 'document_number' FROM resident r")
    return Counter(str(row[0]) for row in rows)


async def test_numbers_are_found_and_shown_before_during_and_after(
    town: Registry, keys_file: Path
) -> None:
    people = await populated(town)
    before = await all_else(town)
    so_far = await announced(town)
    assert await sealed_under(town) == {"k1": PEOPLE}
    await rotated(town, keys_file)
    await assert_found(town, people, NUMBERS)
    assert await resealed(town, steps=3) > 0
    counted = await sealed_under(town)
    assert counted["k1"] > 0
    assert counted["k2"] > 0
    await assert_found(town, people, NUMBERS)

    # Whoever began died here. Another goes on from the first, and finds the rest.
    assert await resealed(town) == counted["k1"]
    assert await sealed_under(town) == {"k1": 0, "k2": PEOPLE}
    assert await resealed(town) == 0
    assert await all_else(town) == before
    assert await announced(town) == so_far
    assert await noted(town) == PEOPLE

    change_keys(keys_file, lambda keys: keys.without("k1"))
    town.apps["registry"].state.wiring.vault.look()
    await assert_found(town, people, NUMBERS)
    assert await sealed_under(town) == {"k2": PEOPLE}


async def announced(town: Registry) -> int:
    """How many events registry has announced."""
    async with town.apps["registry"].state.wiring.database.begin(readonly=True) as tx:
        return int(await tx.value("SELECT count(*) FROM outbox"))


async def noted(town: Registry) -> int:
    """How many numbers were sealed anew by the audit log."""
    async with town.apps["registry"].state.wiring.database.begin(readonly=True) as tx:
        return int(
            await tx.value(
                "SELECT sum((details ->> 'rows')::int) FROM audit_log"
                " WHERE action = 'reseal id numbers' AND details ->> 'key' = 'k2'"
            )
        )


async def test_writes_meanwhile_are_not_lost(town: Registry, keys_file: Path) -> None:
    people = await populated(town)
    await rotated(town, keys_file)
    renewed = [ric(f"42{body[2:]}") for body in BODIES]

    async def renew(person: UUID, number: str) -> None:
        answer = await town.registry.patch(
            f"/v1/residents/{person}",
            json={"id_document": {"type": "cn_ric", "number": number}, "phone": number[:11]},
            headers=town.headers("office"),
        )
        assert answer.is_success, answer.text

    half = PEOPLE // 2
    more = [uuid4() for _ in range(3)]
    await asyncio.gather(
        *(renew(person, number) for person, number in zip(people[:half], renewed, strict=False)),
        *(resealed(town) for _ in range(3)),
        town.people(*({"id": str(each)} for each in more)),
    )
    await resealed(town)
    assert await sealed_under(town) == {"k1": 0, "k2": PEOPLE}
    await assert_found(town, people, renewed[:half] + NUMBERS[half:])


async def test_whoever_is_being_written_is_passed_over_and_found_again(
    town: Registry, keys_file: Path
) -> None:
    people = await populated(town)
    await rotated(town, keys_file)
    async with town.apps["registry"].state.wiring.database.begin() as tx:
        await sight.whole(tx)
        await tx.do("SELECT FROM resident WHERE id = $1 FOR NO KEY UPDATE", people[0])
        async with asyncio.timeout(30):
            assert await resealed(town) == PEOPLE - 1
    assert await sealed_under(town) == {"k1": 1, "k2": PEOPLE - 1}
    assert await resealed(town) == 1


async def test_a_process_that_does_not_know_yet_does_not_undo_it(town: Registry) -> None:
    await populated(town)
    answer = await town.registry.post(
        "/v1/keys:reseal", params={"key": "k2"}, headers=town.headers("admin")
    )
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/key-not-current")


async def test_a_number_under_a_missing_key_is_told_as_503_and_comes_back(
    town: Registry, keys_file: Path
) -> None:
    people = await populated(town)
    whole = Keyring.read(keys_file)
    await rotated(town, keys_file)
    later = Keyring.read(keys_file)
    change_keys(keys_file, lambda keys: keys.without("k1"))
    town.apps["registry"].state.wiring.vault.look()
    path, headers = f"/v1/residents/{people[0]}", town.headers("office")
    answer = await town.registry.get(path, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/try-again")
    told = (await town.registry.get("/v1/keys", headers=town.headers("admin"))).json()
    assert told["keys"][0] == {"id": "k1", "on_file": False, "residents": PEOPLE}

    change_keys(keys_file, lambda _: later)
    assert (await town.registry.get(path, headers=headers)).is_success
    assert whole.index == later.index


async def test_a_damaged_number_is_named_and_the_others_are_sealed(
    town: Registry, keys_file: Path
) -> None:
    people = await populated(town)
    await rotated(town, keys_file)
    vault: Vault = town.apps["registry"].state.wiring.vault
    async with town.apps["registry"].state.wiring.database.begin() as tx:
        await sight.whole(tx)
        await tx.do(
            "UPDATE resident SET document_number = document_number || '\\x00' WHERE id = $1",
            people[0],
        )
        done = await sealing.reseal(tx, vault, min(people), "k2")
        damaged, following = done.damaged, done.following
        while following is not None:
            done = await sealing.reseal(tx, vault, following, "k2")
            damaged, following = damaged + done.damaged, done.following
        assert damaged == [people[0]]
        assert await sealing.count(tx) == {"k1": 1, "k2": PEOPLE - 1}


@pytest.fixture
async def command(town: Registry, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Say]:
    """The `lastmetre keys` command, with a second registry to ask; exit code and what it said."""
    app = create_app(town.apps["registry"].state.wiring.settings)
    stop, port = asyncio.Event(), free_ports(1)[0]
    monkeypatch.setenv("LASTMETRE_TOKEN", town.issuer.token("admin"))
    monkeypatch.setenv("LASTMETRE_STACK", ",".join([f"http://127.0.0.1:{port}"] * 3))

    async def say(*words: object) -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, cli, ["keys", *map(str, words)])
        return done.exit_code, f"{done.output}{done.exception or ''}"

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(app, "127.0.0.1", port, stop))
        yield say
        stop.set()


async def test_a_rotation_by_command(town: Registry, keys_file: Path, command: Say) -> None:
    people = await populated(town)
    secrets = {*Keyring.read(keys_file).keys.values()}
    said = [await command("add", keys_file, "k2")]
    assert (await command("add", keys_file, "k2"))[0] == 1
    assert (await command("use", keys_file, "k3"))[0] == 1
    assert (await command("add", keys_file, "k:3"))[0] == 1
    said.append(await command("use", keys_file, "k2"))
    keyring = Keyring.read(keys_file)
    secrets |= {*keyring.keys.values(), keyring.index}
    assert keyring.current == "k2"
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600

    async def taken() -> bool:
        return (await command("reseal", "k2"))[0] == 0

    assert (await command("remove", keys_file, "k1"))[0] == 1
    await eventually(taken, hint="the process looks at the file again")
    said.append(await command("reseal", "k2"))
    said.append(await command("status"))
    assert (await command("remove", keys_file, "k2"))[0] == 1
    said.append(await command("remove", keys_file, "k1"))
    assert [code for code, _ in said] == [0] * len(said), said
    assert "0 left" in said[2][1]
    assert list(Keyring.read(keys_file).keys) == ["k2"]
    await assert_found(town, people, NUMBERS)
    for secret in secrets:
        assert base64.b64encode(secret).decode() not in str(said)


def test_a_file_that_cannot_be_replaced_is_as_it_was_and_leaves_no_copy(
    keys_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.fchown", refuse)
    before = keys_file.read_text()
    with pytest.raises(KeysError):
        change_keys(keys_file, lambda keys: keys.with_new("k2"))
    assert keys_file.read_text() == before
    assert list(keys_file.parent.iterdir()) == [keys_file]


def test_sealing_anew_keeps_the_number(keys_file: Path) -> None:
    vault = Vault(keys_file, look_seconds=0)
    document = Document("cn_ric", NUMBERS[0])
    sealed = vault.seal(document)
    change_keys(keys_file, lambda keys: keys.with_new("k2").using("k2"))
    again = vault.reseal("cn_ric", sealed)
    assert again.startswith(b"k2:")
    assert vault.reveal("cn_ric", again) == document.number
