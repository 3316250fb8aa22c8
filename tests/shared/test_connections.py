"""Clients that are slow, large or many, on raw sockets."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from prometheus_client import REGISTRY

from shared import process
from shared.auth import KeySet, Verifier
from shared.bodies import BODY_LIMIT
from shared.connections import Patience
from shared.http import create_app
from tests.support.issuer import Issuer
from tests.support.waiting import eventually

HASTY = Patience(seconds=0.3, rate=100_000)
LARGE = 64 * 1024 * 1024


@dataclass
class Line:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, *lines: str, body: bytes = b"") -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode() + body)

    async def drip(self, piece: bytes) -> None:
        """Send it again and again, a little at a time, until we are cut off."""
        with contextlib.suppress(ConnectionError):
            while not self.reader.at_eof():
                self.writer.write(piece)
                await self.writer.drain()
                await self.silence(0.02)

    async def silence(self, seconds: float) -> None:
        """Let so long pass in which nothing comes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.reader.read(1)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body

    async def ended(self) -> bytes:
        """What came until the other side hung up."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""


@dataclass
class Server:
    """A server whose work can be stopped and looked at."""

    port: int
    streamed: int = 0
    left: bool = False

    @contextlib.asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        try:
            yield Line(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def router(self) -> APIRouter:
        routes = APIRouter()

        async def take(request: Request) -> int:
            return len(await request.body())

        async def stream() -> StreamingResponse:
            async def pages() -> AsyncIterator[bytes]:
                try:
                    while self.streamed < LARGE:
                        self.streamed += 65_536
                        yield await asyncio.to_thread(bytes, 65_536)
                finally:
                    self.left = True

            return StreamingResponse(pages())

        routes.add_api_route("/take", take, methods=["POST"])
        routes.add_api_route("/stream", stream, methods=["GET"])
        return routes


@contextlib.asynccontextmanager
async def serving(issuer: Issuer, patience: Patience) -> AsyncIterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        server = Server(free.getsockname()[1])
    app = create_app(
        service="lines",
        title="Lines",
        description="Lines",
        routers=[server.router()],
        access={("POST", "/take"): {"public"}, ("GET", "/stream"): {"public"}},
        verifier=Verifier(KeySet(str(issuer.jwks)), audience="lastmetre"),
    )
    stop = asyncio.Event()
    running = asyncio.create_task(
        process.serve(app, "127.0.0.1", server.port, stop, drain=1, patience=patience)
    )

    async def up() -> bool:
        with contextlib.suppress(ConnectionError):
            async with server.line() as line:
                line.say("GET /healthz HTTP/1.1", "")
                return (await line.answer())[0] == 200
        return False

    await eventually(up)
    try:
        yield server
    finally:
        stop.set()
        await running


@pytest.fixture
async def hasty(issuer: Issuer) -> AsyncIterator[Server]:
    """A server with little patience."""
    async with serving(issuer, HASTY) as server:
        yield server


def cut(reason: str) -> float:
    return REGISTRY.get_sample_value("lastmetre_http_cut_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize(
    ("lines", "piece"),
    [
        ([], b""),
        ([], b"\r\n"),
        (["GET /healthz HTTP/1.1"], b"x: y\r\n"),
        (["GET /healthz HTTP/1.1"], b"y"),
        (["POST /take HTTP/1.1", "content-length: 10000000", ""], b"y"),
        (["POST /take HTTP/1.1", "transfer-encoding: chunked", ""], b"1\r\ny\r\n"),
    ],
    ids=["silence", "empty lines", "headers", "one header", "a body", "chunks"],
)
async def test_who_drips_is_cut_off(hasty: Server, lines: list[str], piece: bytes) -> None:
    before = cut("sending")
    async with hasty.line() as line:
        line.say(*lines)
        await (line.drip(piece) if piece else line.ended())
    await eventually(lambda: cut("sending") == before + 1)


async def test_who_does_not_read_is_cut_off_and_the_answer_is_not_made(hasty: Server) -> None:
    before = cut("reading")
    async with hasty.line() as line:
        line.say("GET /stream HTTP/1.1", "")
        await eventually(lambda: hasty.left)
    assert cut("reading") == before + 1
    assert hasty.streamed < LARGE


async def test_who_is_slow_but_moves_is_served(issuer: Issuer) -> None:
    async with serving(issuer, Patience(seconds=0.3, rate=1)) as server, server.line() as line:
        for piece in (b"POST /take HT", b"TP/1.1\r\ncontent-le", b"ngth: 2\r\n\r\n", b"x", b"y"):
            line.writer.write(piece)
            await line.writer.drain()
            await line.silence(0.1)
        assert (await line.answer())[2] == b"2"
        # Between requests a client may rest, as long as uvicorn says.
        line.say("GET /healthz HTTP/1.1", "")
        assert (await line.answer())[0] == 200


@pytest.mark.parametrize(
    "lines",
    [
        ["GET /healthz HTTP/1.1", *(f"x-{n}: {'y' * 1000}" for n in range(40)), ""],
        [f"GET /healthz?{'y' * 40_000} HTTP/1.1", ""],
    ],
    ids=["headers", "query"],
)
async def test_heads_are_bounded(issuer: Issuer, lines: list[str]) -> None:
    async with serving(issuer, Patience()) as server, server.line() as line:
        line.say(*lines)
        status, headers, body = await line.answer()
        assert (status, json.loads(body)["type"]) == (431, "/problems/head-too-large")
        assert (headers["connection"], headers["x-content-type-options"]) == ("close", "nosniff")
        assert await line.ended() == b""


async def test_a_header_without_end_is_bounded(issuer: Issuer) -> None:
    async with serving(issuer, Patience()) as server, server.line() as line:
        line.say("GET /healthz HTTP/1.1", body=b"x: ")
        await line.drip(b"y" * 8192)


async def test_what_is_no_http_is_told_so_as_a_problem(issuer: Issuer) -> None:
    async with serving(issuer, Patience()) as server, server.line() as line:
        line.say("HELO there", "")
        status, headers, body = await line.answer()
        assert (status, headers["content-type"]) == (400, "application/problem+json")
        assert json.loads(body)["type"] == "/problems/bad-request"


async def test_of_a_body_that_was_refused_so_much_is_thrown_away_and_no_more(
    issuer: Issuer,
) -> None:
    before = cut("discarding")
    async with serving(issuer, Patience()) as server, server.line() as line:
        line.say("POST /healthz HTTP/1.1", f"content-length: {10**12}", "")
        status, _, _ = await line.answer()
        assert status == 405
        with contextlib.suppress(ConnectionError):
            for _ in range(4 * BODY_LIMIT // 2**20):
                line.writer.write(bytes(2**20))
                await line.writer.drain()
    assert cut("discarding") == before + 1


async def test_who_sends_far_ahead_of_the_answers_is_cut_off(issuer: Issuer) -> None:
    before = cut("pipelined")
    async with serving(issuer, Patience()) as server, server.line() as line:
        line.say(*["GET /healthz HTTP/1.1", ""] * 3)
        assert [(await line.answer())[0] for _ in range(3)] == [200] * 3
        line.say(*["GET /healthz HTTP/1.1", ""] * 1000)
        await line.ended()
    assert cut("pipelined") == before + 1


async def test_when_there_are_too_many_the_idle_make_room(issuer: Issuer) -> None:
    before = cut("connections")
    async with (
        serving(issuer, Patience(connections=2)) as server,
        server.line() as idle,
        server.line() as busy,
    ):
        idle.say("GET /healthz HTTP/1.1", "")
        assert (await idle.answer())[0] == 200
        busy.say("POST /take HTTP/1.1", "content-length: 2", "", body=b"x")
        async with server.line() as third:
            assert await idle.ended() == b""
            third.say("POST /take HTTP/1.1", "content-length: 2", "", body=b"x")
            async with server.line() as fourth:
                status, headers, _ = await fourth.answer()
                assert (status, headers["retry-after"].isdigit()) == (503, True)
            for line in (busy, third):
                line.writer.write(b"y")
                assert (await line.answer())[2] == b"2"
    assert cut("connections") == before + 1


async def test_hundreds_of_silent_connections_keep_nobody_out(
    issuer: Issuer,
) -> None:
    patience = Patience(connections=150, seconds=0.5)
    async with serving(issuer, patience) as server, contextlib.AsyncExitStack() as stack:
        for _ in range(400):
            await stack.enter_async_context(server.line())

        async def served() -> bool:
            async with server.line() as line:
                line.say("GET /healthz HTTP/1.1", "")
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    return (await line.answer())[0] == 200
            return False

        await eventually(served)
