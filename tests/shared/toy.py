"""A small service with one route of every kind, behind the real front door.

Run as a program it is also a process to send signals to.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.staticfiles import StaticFiles

from shared.auth import CallerDep, KeySet, Verifier
from shared.bodies import decode_rows, json_reply, read_body
from shared.errors import Conflict, TransientError
from shared.http import PUBLIC, Access, Ops, create_app
from shared.openapi import openapi_body, openapi_reply
from shared.paging import Cursor, Limit, Page
from shared.process import Program
from shared.settings import ServiceSettings
from tests.support.waiting import eventually


class Settings(ServiceSettings):
    """The toy's own settings."""

    service = "toy"

    marks: Path = Field(Path(), description="folder where it leaves marks of what it did")


class Swab(msgspec.Struct):
    """A row of the batch."""

    id: str
    tube: int = 0


class Answer(msgspec.Struct):
    """The batch's answer."""

    accepted: int
    reasons: list[dict[str, str]]


class Box(BaseModel):
    """A body that FastAPI reads."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(max_length=5)
    kind: Literal["cold", "warm"] = "cold"
    tubes: dict[str, int] = {}


class BoxSealed(Conflict):
    """A problem of the toy's own."""

    slug = "box-sealed"
    title = "The box is sealed"
    cause = "A sealed box takes no tube."
    cure = "Take a new box."


router = APIRouter()


@router.get("/v1/boxes/{box}")
async def get_box(box: int, caller: CallerDep) -> dict[str, object]:
    """Read one."""
    return {"box": box, "sub": caller.sub}


@router.get("/v1/boxes/{box}/tubes")
async def get_tubes(box: int, limit: Limit = 100, cursor: Cursor = None) -> Page[int]:
    """List."""
    return Page(items=[box, limit], next_cursor=cursor)


@router.post("/v1/boxes")
async def put_box(box: Box) -> Box:
    """Write one."""
    return box


@router.post("/v1/boxes/{box}:seal")
async def seal(box: int) -> None:
    """Fail by a rule."""
    raise BoxSealed(f"box {box} was sealed before")


@router.post("/v1/swabs:batch", openapi_extra=openapi_body(Swab), responses=openapi_reply(Answer))
async def swabs(request: Request) -> Response:
    """Take a batch."""
    body = await read_body(request, 10_000)
    rows = decode_rows(body, request.headers.get("content-type"), Swab)
    return json_reply(Answer(len(rows.good), [error.reason() for error in rows.errors]))


@router.get("/fails/{how}")
async def fail(how: str) -> Response:
    """Fail in many ways."""
    match how:
        case "transient":
            raise TransientError("deadlock")
        case "teapot":
            raise HTTPException(418, "Zhang San", {"X-Pot": "tea"})
        case "missing":
            raise HTTPException(404, "Zhang San")
        case "half":
            return StreamingResponse(_half())
    raise ValueError("Zhang San 110101199003070134")


async def _half() -> AsyncIterator[bytes]:
    yield b"half"
    raise ValueError("Zhang San")


@router.get("/slow")
async def slow(request: Request) -> dict[str, str]:
    """Answer only when the process is asked to stop, or never if it is stuck."""
    marks: Path = request.app.state.marks
    (marks / "asked").touch()
    if (marks / "stuck").exists():
        await asyncio.Event().wait()
    ops: Ops = request.app.state.ops
    await eventually(lambda: ops.draining)
    return {"answered": "while draining"}


FIELD = {"site", "team"}

ACCESS: Access = {
    ("GET", "/v1/boxes/{box}"): FIELD,
    ("GET", "/v1/boxes/{box}/tubes"): FIELD,
    ("POST", "/v1/boxes"): FIELD,
    ("POST", "/v1/boxes/{box}:seal"): {"supervisor"},
    ("POST", "/v1/swabs:batch"): FIELD,
    ("GET", "/fails/{how}"): PUBLIC,
    ("GET", "/slow"): {"public"},
    ("GET", "/files/{path:path}"): PUBLIC,
    ("HEAD", "/files/{path:path}"): PUBLIC,
}


def make_app(settings: Settings) -> FastAPI:
    """Make the application; it leaves a mark when it closes."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.marks = settings.marks
        app.state.ops.checks["marks"] = lambda: asyncio.to_thread(settings.marks.stat)
        yield
        (settings.marks / "closed").touch()

    return create_app(
        service="toy",
        title="Toy",
        description="A toy",
        routers=[router],
        access=ACCESS,
        verifier=Verifier(KeySet(settings.jwks), audience=settings.token_audience),
        lifespan=lifespan,
        mounts={"/files": StaticFiles(directory=Path(__file__).parent)},
        body_limit=20_000,
    )


async def work(settings: Settings, ops: Ops, stop: asyncio.Event) -> None:
    """Work until told to stop, and finish, unless it is stuck."""
    ops.checks["always"] = lambda: asyncio.sleep(0)
    await stop.wait()
    if (settings.marks / "stuck").exists():
        await asyncio.Event().wait()
    (settings.marks / "finished").touch()


async def fall(settings: Settings, ops: Ops, stop: asyncio.Event) -> None:
    """Fail after a while, with data in the message."""
    del ops, stop
    await asyncio.to_thread((settings.marks / "fell").touch)
    raise ValueError("Zhang San 110101199003070134")


def migrate(settings: Settings) -> None:
    """Leave a mark."""
    (settings.marks / "migrated").touch()


PROGRAM = Program(
    "toy", Settings.from_environment, api=make_app, worker=work, relay=fall, migrate=migrate
)

if __name__ == "__main__":
    raise SystemExit(PROGRAM.main())
