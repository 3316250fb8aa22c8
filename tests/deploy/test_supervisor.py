"""`lastmetre up`: comes up, looks after its own, leaves nothing behind, finds its data again."""

import contextlib
import signal
import socket
from pathlib import Path

import httpx
import pytest

from deploy.local.stack import SERVICES
from tests.support.stack import FREE_PORTS, START, gone, lastmetre, outcome, running
from tests.support.waiting import eventually


async def ready(url: str) -> bool:
    """Whether a process answers that it is ready."""
    async with httpx.AsyncClient() as client:
        with contextlib.suppress(httpx.TransportError):
            return (await client.get(f"{url}/readyz")).is_success
    return False


async def test_a_life_of_a_stack(tmp_path: Path) -> None:
    state, data = tmp_path / "state", tmp_path / "data"

    # It comes up whole, and other commands find it.
    async with running(state, data) as up:
        operations = up.note["operations"]
        assert len(operations) == 8
        assert all([await ready(url) for url in operations.values()])
        status, said = await outcome(await lastmetre(state, "status"))
        assert all(service in said for service in SERVICES)
        keys = (data / "keys.json").read_bytes()

        # Who dies is started again, on the same port; so is the broker.
        worker = up.member("dispatch worker")
        broker = up.member("tansu")
        worker.kill()
        broker.kill()
        await eventually(lambda: gone([worker, broker]))
        await eventually(lambda: any(each.name() == "tansu" for each in up.family()))
        await eventually(lambda: ready(operations["dispatch worker"]), START)

        # The folder is taken.
        status, said = await outcome(
            await lastmetre(tmp_path / "other", "up", "--data", str(data), *FREE_PORTS)
        )
        assert status == 1
        assert "in use by another stack" in said

        # Killed without a chance to say goodbye: the kernel takes the rest along.
        family = up.family()
        await up.stop(signal.SIGKILL)
        await eventually(lambda: gone(family))
        status, said = await outcome(await lastmetre(state, "status"))
        assert (status, "the stack is gone" in said) == (1, True)
        (state / "lastmetre" / "stack.json").unlink()

    # Its data are found again, with the keys they were encrypted with.
    async with running(state, data) as up:
        assert (data / "keys.json").read_bytes() == keys

        # Ctrl-C: all of it leaves, in good order.
        family = up.family()
        assert await up.stop(signal.SIGINT) == 0
        assert gone(family)
        assert not (state / "lastmetre" / "stack.json").exists()


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        up = await lastmetre(tmp_path, "up", *FREE_PORTS, "--registry-port", port)
        status, said = await outcome(up)
    assert status == 1
    assert f"127.0.0.1:{port}" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--postgres", "postgresql://127.0.0.1:1/"], "--postgres needs --data"),
        (["--postgres", "mysql://127.0.0.1/", "--data", "DATA"], "an address like postgresql://"),
        (["--postgres", "postgresql://127.0.0.1:1/", "--data", "DATA"], "PostgreSQL at 127.0.0.1"),
        (["--postgres", "postgresql://u:guess@h/", "--data", "DATA"], "DATABASE_PASSWORD_FILE"),
        (["--postgres", "postgresql://h/?password=guess", "--data", "DATA"], "PASSWORD_FILE"),
        (["--postgres", "postgresql://h/?ssl=require", "--data", "DATA"], "verify-full"),
    ],
)
async def test_what_cannot_work_is_refused_in_a_sentence(
    tmp_path: Path, words: list[str], why: str
) -> None:
    given = [str(tmp_path / "data") if word == "DATA" else word for word in words]
    status, said = await outcome(await lastmetre(tmp_path, "up", *FREE_PORTS, *given))
    assert status == 1
    assert why in said
    assert "Traceback" not in said
    assert "guess" not in said
