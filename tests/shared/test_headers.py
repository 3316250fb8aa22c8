"""What answers tell browsers: nothing to be guessed, framed, kept, or loaded from elsewhere."""

import hashlib
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from shared.http import Ops, ops_app
from tests.shared import toy
from tests.support.guards import assert_guarded
from tests.support.issuer import Issuer


@pytest.fixture
async def app(issuer: Issuer, tmp_path: Path) -> AsyncIterator[ASGIApp]:
    app = toy.make_app(toy.Settings(jwks=str(issuer.jwks), marks=tmp_path))
    async with app.router.lifespan_context(app):
        yield app


def client_of(app: ASGIApp, scheme: str = "http") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=f"{scheme}://toy")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/boxes/7", 200),
        ("GET", "/v1/boxes/x", 422),
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/boxes/7", 405),
        ("GET", "/fails/crash", 500),
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/static-offline-docs/swagger-ui.css", 200),
    ],
)
async def test_every_kind_of_answer_is_guarded(
    app: ASGIApp, issuer: Issuer, method: str, path: str, status: int
) -> None:
    async with client_of(app) as client:
        answer = await client.request(method, path, headers=issuer.headers("site"))
    assert answer.status_code == status
    assert_guarded(answer)


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nothing"])
async def test_workers_and_relays_guard_theirs(path: str) -> None:
    async with client_of(ops_app(Ops())) as client:
        assert_guarded(await client.get(path))


async def test_who_came_by_tls_is_told_to_come_by_tls_only(app: ASGIApp) -> None:
    async with client_of(app, "https") as client:
        answer = await client.get("/healthz")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    async with client_of(app) as client:
        assert "strict-transport-security" not in (await client.get("/healthz")).headers


async def test_the_documentation_runs_its_own_scripts_and_no_others(app: ASGIApp) -> None:
    async with client_of(app) as client:
        answer = await client.get("/docs")
    inline = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    hashes = [b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in inline]
    (scripts,) = re.findall(r"script-src ([^;]*)", answer.headers["content-security-policy"])
    assert scripts.split() == ["'self'", *(f"'sha256-{each}'" for each in hashes)]
    assert len(hashes) == 1
