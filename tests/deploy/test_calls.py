"""Calls to the services: patient with those who are busy, honest about those who say no."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from deploy.local.calls import Api, Refused, Unreachable

Answer = httpx.Response | httpx.TransportError


def api(
    *answers: Answer,
    sleeps: list[float] | None = None,
    patience: float = 60,
    waiting: Callable[[str], None] = lambda _: None,
) -> Api:
    """A client whose service gives these answers, one after the other."""
    left = list(answers)

    def give(_: httpx.Request) -> httpx.Response:
        answer = left.pop(0)
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer

    async def sleep(seconds: float) -> None:
        if sleeps is not None:
            sleeps.append(seconds)

    transport = httpx.MockTransport(give)
    return Api(
        "http://x/",
        lambda: "t",
        transport=transport,
        sleep=sleep,
        patience=patience,
        waiting=waiting,
    )


async def test_json_goes_out_and_comes_back_with_the_token() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer t1"
        assert request.headers["Content-Type"] == "application/json"
        return httpx.Response(200, content=b'{"got":' + request.content + b"}")

    async with Api("http://x", lambda: "t1", transport=httpx.MockTransport(answer)) as client:
        assert await client.post("/v1/things", [1, 2]) == {"got": [1, 2]}


async def test_an_empty_answer_is_none() -> None:
    assert await api(httpx.Response(204)).put("/v1/things", {}) is None


async def test_a_problem_is_told_with_its_type_and_detail() -> None:
    problem = {"type": "/problems/round-state", "title": "Wrong state", "detail": "is closed"}
    with pytest.raises(Refused) as caught:
        await api(httpx.Response(409, json=problem)).post("/v1/rounds/1:open")
    assert caught.value.status == 409
    assert str(caught.value) == "409 /problems/round-state: is closed"


async def test_an_answer_that_is_no_problem_document_is_still_told() -> None:
    with pytest.raises(Refused, match="404 about:blank: Not Found"):
        await api(httpx.Response(404, text="<html>")).get("/")


async def test_growing_pauses_between_attempts() -> None:
    sleeps: list[float] = []
    away = [httpx.ConnectError("refused") for _ in range(6)]
    await api(*away, httpx.Response(200, json={}), sleeps=sleeps).get("/")
    assert len(sleeps) == 6
    assert sleeps[0] <= 0.2
    assert 3.2 <= sleeps[5] <= 6.4


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (lambda: "3", 3, 3),
        (lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=30)), 25, 30),
        (lambda: format_datetime(datetime.now(UTC) - timedelta(seconds=30)), 0, 0),
        (lambda: "soon", 0.1, 0.2),
    ],
)
async def test_retry_after_is_honoured(value: Callable[[], str], low: float, high: float) -> None:
    sleeps: list[float] = []
    busy = httpx.Response(429, headers={"Retry-After": value()})
    await api(busy, httpx.Response(200, json={}), sleeps=sleeps).get("/")
    assert low <= sleeps[0] <= high


async def test_patience_ends() -> None:
    with pytest.raises(Unreachable, match=r"http://x: answered 503"):
        await api(httpx.Response(503), patience=0).get("/")


async def test_waiting_is_told_once() -> None:
    told: list[str] = []
    away = httpx.ConnectError("refused")
    await api(away, away, httpx.Response(204), waiting=told.append).get("/")
    assert told == ["http://x: ConnectError: refused; trying for up to 60 s"]
