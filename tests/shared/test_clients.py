"""Calls between services: who we say we are, and what a failure means."""

from pathlib import Path

import httpx
import pytest
import structlog

from shared.clients import service_client
from shared.errors import TransientError, Unavailable
from shared.settings import ServiceSettings


class Other:
    """The other service; it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.status = 200
        self.error: Exception | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.error:
            raise self.error
        return httpx.Response(self.status, json={})


@pytest.fixture
def other() -> Other:
    return Other()


def client_to(other: Other, token: Path | None = None) -> httpx.AsyncClient:
    settings = ServiceSettings(jwks="/keys.json", service_token_file=token)
    return service_client("http://other:8001", settings, httpx.MockTransport(other))


async def test_the_token_is_read_again_when_its_file_is_replaced(
    other: Other, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    async with client_to(other, token) as client:
        await client.get("/v1/rounds")
        fresh = tmp_path / "fresh"
        fresh.write_text("second")
        fresh.replace(token)
        await client.get("/v1/rounds")
        token.unlink()
        with pytest.raises(Unavailable, match="token"):
            await client.get("/v1/rounds")
    assert [request.headers["authorization"] for request in other.asked] == [
        "Bearer first",
        "Bearer second",
    ]


async def test_a_call_carries_the_id_of_the_request_it_is_made_for(other: Other) -> None:
    async with client_to(other) as client:
        with structlog.contextvars.bound_contextvars(request_id="phone-17"):
            await client.get("/v1/rounds")
        await client.get("/v1/rounds")
    first, second = other.asked
    assert first.headers["x-request-id"] == "phone-17"
    assert "x-request-id" not in second.headers
    assert "authorization" not in first.headers


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_overloaded_or_broken_service_is_a_fault_of_the_moment(
    other: Other, status: int
) -> None:
    other.status = status
    async with client_to(other) as client:
        with pytest.raises(TransientError, match=f"other answered {status}"):
            await client.get("/v1/rounds")


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")]
)
async def test_no_answer_is_a_fault_of_the_moment(other: Other, error: Exception) -> None:
    other.error = error
    async with client_to(other) as client:
        with pytest.raises(TransientError, match="other does not answer"):
            await client.get("/v1/rounds")


async def test_what_is_answered_is_the_callers_to_judge(other: Other) -> None:
    other.status = 404
    async with client_to(other) as client:
        assert (await client.get("/v1/rounds/none")).status_code == 404
