"""registry alone on a PostgreSQL of its own, with routes beside its own to compare it with.

==================  ===========================================================================
`POST /v1/empty`    reads a body and answers, behind the same front door
`POST /v1/insert`   also decodes the row, and writes it with one INSERT in a transaction
`POST /v1/naive`    as one would write it at first: pydantic in, the ORM's `add` and `commit`
==================  ===========================================================================
"""

import asyncio
import importlib
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import psutil
import uvloop
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlalchemy import DateTime
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.ground import Ground, cpu
from deploy.local import folders, servers
from deploy.local.credentials import Credentials
from deploy.local.stack import Addresses
from deploy.local.tokens import development_issuer
from services.registry import app as registry
from services.registry.api.results import GATHERED, Result
from services.registry.settings import Settings
from shared import process
from shared.bodies import decode_one, json_reply, read_body
from shared.database import Database
from shared.http import create_app as front_door
from shared.telemetry import configure_logging

EMPTY, INSERT, NAIVE = "/v1/empty", "/v1/insert", "/v1/naive"
CONNECTIONS = 14
"""Of the routes we compare with: more do not make them faster on two cores."""


class _Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's own


class NaiveResult(_Base):
    """A result as an ORM has it: one table, one key, an index on whom it is about."""

    __tablename__ = "naive_result"

    result_id: Mapped[UUID] = mapped_column(primary_key=True)
    sample_id: Mapped[UUID]
    resident: Mapped[UUID] = mapped_column(index=True)
    round_id: Mapped[UUID]
    sampled_at: Mapped[datetime]
    channel: Mapped[str]
    site: Mapped[str | None]
    outcome: Mapped[str | None]
    resulted_at: Mapped[datetime | None]
    released_at: Mapped[datetime | None]


class _Who(BaseModel):
    id: UUID


class NaiveRow(BaseModel):
    """A row as pydantic reads it."""

    sample_id: UUID
    result_id: UUID
    resident: _Who
    round_id: UUID
    sampled_at: datetime
    channel: str
    site: str | None = None
    outcome: str | None = None
    resulted_at: datetime | None = None
    released_at: datetime | None = None


def _compared(database: Database) -> APIRouter:
    routes = APIRouter()
    turns = asyncio.Semaphore(CONNECTIONS)
    session = async_sessionmaker(
        database.engine.execution_options(isolation_level="READ COMMITTED"), expire_on_commit=False
    )

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

    @routes.post(NAIVE)
    async def naive(row: NaiveRow) -> dict[str, str]:
        async with turns, session() as unit:
            given = row.model_dump(exclude={"resident"})
            unit.add(NaiveResult(**given, resident=row.resident.id))
            await unit.commit()
        return {"status": "accepted"}

    return routes


def _serve(settings: Settings, port: int) -> None:
    """Serve registry and the routes beside its own; in a process of its own."""

    def wider(**given: Any) -> Any:  # noqa: ANN401 - what the front door takes
        compared = _compared(Database(settings.database_url, pool_size=CONNECTIONS + 2))
        routers = [*given.pop("routers"), compared]
        more = {("POST", path): {"site"} for path in (EMPTY, INSERT, NAIVE)}
        given["access"] = {**given["access"], **more}
        given["examples"] = None
        return front_door(routers=routers, **{**given, "gathered": GATHERED | more.keys()})

    configure_logging("registry", "api", "warning")
    process.settle_memory()
    with patch.object(registry, "front_door", wider):
        app = registry.create_app(settings)
    uvloop.run(process.serve(app, "127.0.0.1", port, asyncio.Event()))


@contextmanager
def alone(
    tuned: Mapping[str, str] | None = None,
    **settings: Any,  # noqa: ANN401 - whatever settings there are
) -> Iterator[Ground]:
    """Run registry's API on a durable PostgreSQL; the ground's `supervisor` is the API itself."""
    with folders.scratch(Path(tempfile.gettempdir())) as claim:
        home = claim.path
        os.environ["XDG_STATE_HOME"] = str(home / "state")
        (home / "state" / "lastmetre").mkdir(parents=True, mode=0o700)
        with servers.postgres(
            home / "pg", durable=True, keep_open=[claim.descriptor], extra=tuned or {}
        ) as postgres:
            postgres.create_databases("registry")
            url = postgres.url("registry")
            importlib.import_module("services.registry.migrations").upgrade(url)
            credentials = Credentials(home, development_issuer())
            (port,) = servers.free_ports(1)
            given = Settings(
                jwks=str(credentials.jwks), service_token_file=credentials.token("registry"),
                kafka_bootstrap="", database_url=url, keys_file=credentials.keys,
                **settings,
            )  # fmt: skip
            address = f"http://127.0.0.1:{port}"
            with _server(given, port) as api:
                yield Ground(
                    postgres,
                    api,
                    Addresses(address, address, address),
                    {},
                    random.Random(1),  # noqa: S311 - a load, nothing to guess
                )


@contextmanager
def _server(settings: Settings, port: int) -> Iterator[psutil.Process]:
    child = multiprocessing.get_context("spawn").Process(target=_serve, args=(settings, port))
    child.start()
    try:
        while servers.port_is_free(port):
            if not child.is_alive():
                raise SystemExit("the server did not start")
            time.sleep(0.05)
        yield psutil.Process(child.pid)
    finally:
        child.kill()
        child.join()


async def make_tables(ground: Ground) -> None:
    """Make the tables of the routes we compare with."""
    database = await ground.superuser("registry")
    await database.execute(
        "CREATE TABLE plain (sample uuid PRIMARY KEY, result uuid, resident uuid, round uuid,"
        " sampled_at timestamptz, channel text, outcome text);"
        "CREATE TABLE naive_result (result_id uuid PRIMARY KEY, sample_id uuid NOT NULL,"
        " resident uuid NOT NULL, round_id uuid NOT NULL, sampled_at timestamptz NOT NULL,"
        " channel text NOT NULL, site text, outcome text, resulted_at timestamptz,"
        " released_at timestamptz);"
        "CREATE INDEX ON naive_result (resident);"
        "GRANT ALL ON plain, naive_result TO services"
    )
    await database.close()


@contextmanager
def spent(ground: Ground) -> Iterator[dict[str, float]]:
    """Tell the CPU seconds that API and PostgreSQL used in the block, and how long it took."""
    told: dict[str, float] = {}
    began, before = time.perf_counter(), _spent(ground)
    yield told
    told["seconds"] = time.perf_counter() - began
    told.update({name: n - before[name] for name, n in _spent(ground).items()})


def _spent(ground: Ground) -> dict[str, float]:
    postmaster = psutil.Process(ground.postgres.process.pid)
    family = [postmaster, *postmaster.children()]
    return {"api": cpu(ground.supervisor), "postgres": sum(map(cpu, family))}
