"""What do single scans cost, many tables at once? `make bench-scans`.

registry's own application, with two routes beside its own for comparison: `empty` reads a body and
answers, behind the same front door; `insert` also decodes the row and writes it with one INSERT in
a transaction of its own, as one would at first. The three take turns in one run: so many clients,
each on a connection of its own, ask again as soon as they are answered.
"""

import argparse
import asyncio
import importlib
import multiprocessing
import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import msgspec
import psutil
import uvloop
from fastapi import APIRouter, Request, Response
from rich.console import Console
from rich.table import Table

from benchmarks.ground import Ground
from benchmarks.wire import Lines, request
from deploy.local import folders, servers
from deploy.local.credentials import Credentials
from deploy.local.stack import Addresses
from deploy.local.tokens import development_issuer, development_token
from services.registry import app as registry
from services.registry.api.results import GATHERED, Result
from services.registry.settings import Settings
from shared import process
from shared.bodies import decode_one, json_reply, read_body
from shared.database import Database
from shared.http import create_app as front_door
from shared.telemetry import configure_logging

EMPTY, INSERT, SCAN = "/v1/empty", "/v1/insert", "/v1/results"
CONNECTIONS = 14
"""Of the one-INSERT endpoint: more do not make it faster on two cores."""
_OK = 200


def beside(database: Database) -> APIRouter:
    """Make the routes that scans are compared with."""
    routes = APIRouter()
    turns = asyncio.Semaphore(CONNECTIONS)

    @routes.post(EMPTY)
    async def empty(request: Request) -> Response:
        await read_body(request)
        return json_reply({})

    @routes.post(INSERT)
    async def insert(request: Request) -> Response:
        row = decode_one(await read_body(request), Result)
        async with turns, database.begin() as tx:
            await tx.do(
                "INSERT INTO plain VALUES ($1, $2, $3, $4, $5, $6, $7)", row.sample_id,
                row.result_id, row.resident.id, row.round_id, row.sampled_at, row.channel,
                row.outcome,
            )  # fmt: skip
        return json_reply({})

    return routes


def serve(settings: Settings, port: int) -> None:
    """Serve registry with the two routes beside its own; in a process of its own."""
    make = front_door

    def wider(**given: Any) -> Any:  # noqa: ANN401 - what the front door takes
        routers = [*given.pop("routers"), beside(Database(settings.database_url, pool_size=16))]
        more = {("POST", EMPTY): {"site"}, ("POST", INSERT): {"site"}}
        given["access"] = {**given["access"], **more}
        return make(routers=routers, **{**given, "gathered": GATHERED | more.keys()})

    configure_logging("registry", "api", settings.log_level)
    process._settle_memory()  # noqa: SLF001 - as every process of ours does
    with patch.object(registry, "front_door", wider):
        app = registry.create_app(settings)
    uvloop.run(process.serve(app, "127.0.0.1", port, asyncio.Event()))


@dataclass
class Run:
    """One turn of one route."""

    rate: float
    api: float
    """µs of CPU of the API process per request."""
    postgres: float


@contextmanager
def server(settings: Settings, port: int) -> Iterator[psutil.Process]:
    """Run the server beside the block."""
    child = multiprocessing.get_context("spawn").Process(target=serve, args=(settings, port))
    child.start()
    try:
        yield psutil.Process(child.pid)
    finally:
        child.kill()
        child.join()


async def turn(lines: Lines, path: str, bodies: Iterator[bytes], clients: int, most: float) -> int:
    """Ask from so many clients for so long; say how many were answered."""
    tokens = [development_token(["site"], ["41"], sub=f"site {n}") for n in range(20)]
    end = time.perf_counter() + most
    answered = 0

    async def ask(number: int) -> None:
        nonlocal answered
        while time.perf_counter() < end:
            answer = await lines.ask(
                request("POST", path, tokens[number % len(tokens)], next(bodies))
            )
            if answer.status != _OK:
                raise SystemExit(f"{path} answered {answer.status}: {answer.body[:300]!r}")
            answered += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(ask(number))
    return answered


async def measure(
    options: argparse.Namespace, ground: Ground, api: psutil.Process, out: Console
) -> None:
    """Let the three take turns, and tell."""
    await ground.populate(options.residents)
    round_id = await ground.open_round()
    database = await ground.superuser("registry")
    await database.execute(
        "CREATE TABLE plain (sample uuid PRIMARY KEY, result uuid, resident uuid, round uuid,"
        " sampled_at timestamptz, channel text, outcome text);"
        "GRANT ALL ON plain TO services"
    )
    await database.close()

    def bodies() -> Iterator[bytes]:
        while True:
            people = ground.rng.sample(ground.people, 1000)
            yield from map(msgspec.json.encode, ground.rows(round_id, people))

    runs: defaultdict[tuple[int, str], list[Run]] = defaultdict(list)
    postmaster = psutil.Process(ground.postgres.process.pid)
    ready = bodies()
    for clients in options.clients:
        lines = Lines(ground.addresses.registry, most=clients)
        for _ in range(options.turns):
            for path in (EMPTY, INSERT, SCAN):
                before = _cpu(api), _family(postmaster)
                began = time.perf_counter()
                answered = await turn(lines, path, ready, clients, options.seconds)
                seconds = time.perf_counter() - began
                api_used, postgres_used = _cpu(api) - before[0], _family(postmaster) - before[1]
                runs[clients, path].append(
                    Run(answered / seconds, api_used * 1e6 / answered,
                        postgres_used * 1e6 / answered)
                )  # fmt: skip
        lines.close()
    out.print(shown(runs))


def shown(runs: dict[tuple[int, str], list[Run]]) -> Table:
    """Make the table."""
    table = Table(
        "clients", "route", "requests/s", "least … most", "API µs", "PostgreSQL µs",
        "of empty", "of insert",
    )  # fmt: skip
    rates = {key: median(run.rate for run in own) for key, own in runs.items()}
    for (clients, path), own in runs.items():
        table.add_row(
            str(clients),
            path,
            f"{rates[clients, path]:,.0f}",
            f"{min(r.rate for r in own):,.0f} … {max(r.rate for r in own):,.0f}",
            f"{median(run.api for run in own):.0f}",
            f"{median(run.postgres for run in own):.0f}",
            f"{rates[clients, path] / rates[clients, EMPTY]:.2f} x",
            f"{rates[clients, path] / rates[clients, INSERT]:.2f} x",
        )
    return table


def _cpu(process_: psutil.Process) -> float:
    times = process_.cpu_times()
    return float(times.user + times.system)


def _family(postmaster: psutil.Process) -> float:
    return sum(_cpu(each) for each in [postmaster, *postmaster.children()])


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scans", description=__doc__)
    parser.add_argument("--residents", type=int, default=200_000)
    parser.add_argument("--clients", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of a turn")
    options = parser.parse_args()
    out = Console(width=120, highlight=False)
    with folders.scratch(Path(tempfile.gettempdir())) as claim:
        home = claim.path
        os.environ["XDG_STATE_HOME"] = str(home / "state")
        (home / "state" / "lastmetre").mkdir(parents=True, mode=0o700)
        with servers.postgres(home / "pg", durable=True, keep_open=[claim.descriptor]) as postgres:
            postgres.create_databases("registry")
            importlib.import_module("services.registry.migrations").upgrade(
                postgres.url("registry")
            )
            credentials = Credentials(home, development_issuer())
            (port,) = servers.free_ports(1)
            settings = Settings(
                jwks=str(credentials.jwks), service_token_file=credentials.token("registry"),
                kafka_bootstrap="", database_url=postgres.url("registry"),
                keys_file=credentials.keys, gathered_requests=1000,
            )  # fmt: skip
            address = f"http://127.0.0.1:{port}"
            with server(settings, port) as api:
                _await(api, port)
                ground = Ground(
                    postgres,
                    api,
                    Addresses(address, address, address),
                    {},
                    random.Random(1),  # noqa: S311 - a load, nothing to guess
                )
                uvloop.run(measure(options, ground, api, out))


def _await(api: psutil.Process, port: int) -> None:
    while servers.port_is_free(port):
        if api.status() == psutil.STATUS_ZOMBIE:
            raise SystemExit("the server did not start")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
