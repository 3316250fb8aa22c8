"""The front door: who comes in, what is answered, and what is never said."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import APIRouter, FastAPI
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.auth import KeySet, Verifier
from shared.http import PUBLIC, Access, AccessError, Ops, create_app, ops_app
from tests.shared import toy
from tests.support.issuer import Issuer


@pytest.fixture
async def app(issuer: Issuer, tmp_path: Path) -> AsyncIterator[FastAPI]:
    app = toy.make_app(toy.Settings(jwks=str(issuer.jwks), marks=tmp_path))
    async with app.router.lifespan_context(app):
        yield app


def client_of(app: FastAPI, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://toy", headers=headers)


@pytest.fixture
async def client(app: FastAPI, issuer: Issuer) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, issuer.headers("site")) as client:
        yield client


@pytest.fixture
async def stranger(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, object]:
    """Check that an answer is this problem; return it without what is alike in all."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, object] = answer.json()
    assert told.pop("type") == f"/problems/{slug}"
    assert told.pop("status") == status
    assert told.pop("title")
    assert told.pop("request_id") == answer.headers["x-request-id"]
    return told


# --- who comes in ---


async def test_a_token_with_the_role_comes_in(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/boxes/7")
    assert answer.json() == {"box": 7, "sub": "tester"}
    assert answer.headers["cache-control"] == "no-store"


async def test_without_a_token_one_is_asked_for(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/v1/boxes/7")
    assert problem(answer, 401, "unauthorised") == {}
    assert answer.headers["www-authenticate"] == 'Bearer realm="lastmetre"'
    answer = await stranger.get("/v1/boxes/7", headers={"Authorization": "Basic Zhang"})
    assert problem(answer, 401, "unauthorised") == {}


async def test_a_bad_token_is_told_why(stranger: httpx.AsyncClient, issuer: Issuer) -> None:
    late = {"Authorization": f"Bearer {issuer.token('site', ttl=-60)}"}
    answer = await stranger.get("/v1/boxes/7", headers=late)
    assert problem(answer, 401, "unauthorised") == {"detail": "the token has expired"}
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_another_role_is_told_which_are_needed(client: httpx.AsyncClient) -> None:
    told = problem(await client.post("/v1/boxes/7:seal"), 403, "forbidden")
    assert told["roles"] == ["supervisor"]


async def test_who_may_not_come_in_is_turned_away_before_the_body_is_looked_at(
    stranger: httpx.AsyncClient,
) -> None:
    problem(await stranger.post("/v1/boxes", content=b"{"), 401, "unauthorised")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"])
async def test_health_metrics_and_documentation_are_public(
    stranger: httpx.AsyncClient, path: str
) -> None:
    assert (await stranger.get(path)).status_code == 200


async def test_every_other_route_needs_a_token_unless_the_table_says_public(
    stranger: httpx.AsyncClient,
) -> None:
    """Walk the role-by-route table."""
    for (method, template), roles in toy.ACCESS.items():
        path = template.replace("{box}", "7")
        if roles != PUBLIC:
            problem(await stranger.request(method, path), 401, "unauthorised")


def create(routers: list[APIRouter], access: Access, issuer: Issuer) -> FastAPI:
    return create_app(
        service="t",
        title="t",
        description="t",
        routers=routers,
        access=access,
        verifier=Verifier(KeySet(str(issuer.jwks)), audience="lastmetre"),
    )


@pytest.mark.parametrize(
    ("access", "complaint"),
    [
        ({}, "routes without roles"),
        ({("GET", "/a"): {"site"}, ("GET", "/b"): {"site"}}, "roles without a route"),
        ({("GET", "/a"): {"boss"}}, "unknown roles"),
        ({("GET", "/a"): set[str]()}, "routes that nobody may use"),
    ],
)
def test_a_table_that_does_not_agree_with_the_routes_starts_nothing(
    access: Access, complaint: str, issuer: Issuer
) -> None:
    router = APIRouter()
    router.add_api_route("/a", lambda: None, methods=["GET"])
    with pytest.raises(AccessError, match=complaint):
        create([router], access, issuer)


async def test_the_door_and_the_router_agree_on_which_route_it_is(issuer: Issuer) -> None:
    """Overlapping paths: the roles are those of the route that answers."""
    templates = [
        "/x/{a}",
        "/x/fixed",
        "/x/{a}:go",
        "/y/fixed",
        "/y/{a}",
        "/{a}/fixed",
        "/z/{p:path}",
    ]
    router = APIRouter()
    for template in templates:
        router.add_api_route(
            template, lambda template=template: template, methods=["GET"], name=template
        )
    inner = APIRouter(prefix="/x")
    inner.add_api_route("/{a}/{b}", lambda: "/x/{a}/{b}", methods=["GET", "POST"])
    access: Access = {
        **{("GET", template): PUBLIC for template in templates},
        ("GET", "/x/{a}/{b}"): PUBLIC,
        ("POST", "/x/{a}/{b}"): PUBLIC,
    }
    app = create([router, inner], access, issuer)
    async with client_of(app) as client:
        for path in [
            "/x/1",
            "/x/fixed",
            "/x/1:go",
            "/y/fixed",
            "/y/2",
            "/q/fixed",
            "/z/a/b",
            "/x/a/b",
        ]:
            with capture_logs() as logs:
                answer = await client.get(path)
            assert logs[-1]["route"] == answer.json(), path


async def test_a_path_is_that_of_the_template_that_says_most_of_it(
    client: httpx.AsyncClient,
) -> None:
    """`GET /v1/boxes/7:seal` does not read a box of that name."""
    answer = await client.get("/v1/boxes/7:seal")
    problem(answer, 405, "wrong-method")
    assert answer.headers["allow"] == "POST"


async def test_head_is_answered_as_get_without_the_body(client: httpx.AsyncClient) -> None:
    told = await client.get("/v1/boxes/7/tubes")
    answer = await client.head("/v1/boxes/7/tubes")
    assert (answer.status_code, answer.content) == (200, b"")
    for name in ("content-type", "content-length"):
        assert answer.headers[name] == told.headers[name]


# --- problems ---


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/nothing"), 404, "not-found")
    problem(await client.get("/v1/boxes/7/"), 404, "not-found")
    answer = await client.delete("/v1/boxes/7")
    problem(answer, 405, "wrong-method")
    assert answer.headers["allow"] == "GET, HEAD"
    problem(await client.get("/files/none.txt"), 404, "not-found")
    assert (await client.get("/files/toy.py")).status_code == 200


async def test_our_errors_are_told_with_their_type(issuer: Issuer, app: FastAPI) -> None:
    async with client_of(app, issuer.headers("supervisor")) as supervisor:
        answer = await supervisor.post("/v1/boxes/7:seal")
    assert problem(answer, 409, "box-sealed") == {"detail": "box 7 was sealed before"}


async def test_a_fault_of_the_moment_says_when_to_come_again(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fails/transient")
    problem(answer, 503, "try-again")
    assert answer.headers["retry-after"] == "1"


async def test_invalid_input_is_told_by_place_and_rule_only(client: httpx.AsyncClient) -> None:
    body = {"code": "Zhang San", "kind": "Zhang", "tubes": {"Zhang San": "Zhang"}, "Zhang": 1}
    answer = await client.post("/v1/boxes", json=body)
    assert problem(answer, 422, "bad-input")["errors"] == [
        {"location": "body.code", "rule": "string too long (max length 5)"},
        {"location": "body.kind", "rule": "literal error (expected 'cold' or 'warm')"},
        {"location": "body.tubes.*", "rule": "int parsing"},
        {"location": "body", "rule": "extra forbidden"},
    ]
    assert "Zhang" not in answer.text
    answer = await client.get("/v1/boxes/Zhang/tubes?limit=9999")
    assert problem(answer, 422, "bad-input")["errors"] == [
        {"location": "path.box", "rule": "int parsing"},
        {"location": "query.limit", "rule": "less than equal (le 1000)"},
    ]


async def test_a_body_that_is_no_json_is_a_problem(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    problem(await client.post("/v1/boxes", content=b"{", headers=headers), 400, "bad-body")
    problem(await client.post("/v1/boxes", content=b"\xff", headers=headers), 400, "bad-body")


async def test_errors_of_the_framework_are_problems_without_their_words(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/fails/missing")
    assert problem(answer, 404, "not-found") == {}
    answer = await client.get("/fails/teapot")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-pot"] == "tea"
    assert answer.json() == {"type": "about:blank", "title": "I'm a Teapot", "status": 418}


async def test_a_fault_of_ours_says_nothing_and_is_logged_by_place(
    client: httpx.AsyncClient,
) -> None:
    with capture_logs() as logs:
        answer = await client.get("/fails/somehow")
    assert problem(answer, 500, "internal-error") == {}
    (failure,) = [line for line in logs if line["event"] == "request_failed"]
    assert failure["failure"]["type"] == "builtins.ValueError"
    assert failure["failure"]["stack"][-1].endswith(" fail")
    assert "Zhang" not in repr(logs)


async def test_half_an_answer_is_broken_off(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://toy") as client:
        with capture_logs() as logs, pytest.raises(ValueError, match="Zhang"):
            await client.get("/fails/half")
    assert "Zhang" not in repr(logs)


# --- bodies ---


async def test_a_batch_is_answered_row_by_row(client: httpx.AsyncClient) -> None:
    lines = b'{"id":"a"}\n{"id":"b","tube":"Zhang"}\n{"id":"c"}'
    answer = await client.post(
        "/v1/swabs:batch",
        content=gzip.compress(lines),
        headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
    )
    assert answer.json() == {
        "accepted": 2,
        "reasons": [{"type": "/problems/bad-input", "detail": "tube: Expected int, got str"}],
    }


@pytest.mark.parametrize("path", ["/v1/swabs:batch", "/v1/boxes"])
async def test_too_large_bodies_are_refused_with_and_without_a_length(
    client: httpx.AsyncClient, path: str
) -> None:
    large = json.dumps({"code": "x" * 30_000}).encode()
    headers = {"Content-Type": "application/json"}
    answer = await client.post(path, content=large, headers=headers)
    assert problem(answer, 413, "too-large")["limit"] == 20_000

    async def pieces() -> AsyncIterator[bytes]:
        yield large[:15_000]
        yield large[15_000:]

    answer = await client.post(path, content=pieces(), headers=headers)
    problem(answer, 413, "too-large")


async def test_a_bomb_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/swabs:batch",
        content=gzip.compress(bytes(5_000_000)),
        headers={"Content-Encoding": "gzip"},
    )
    problem(answer, 413, "too-large")


# --- ids, logs, metrics ---


async def test_a_request_keeps_the_id_it_comes_with(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/boxes/7", headers={"X-Request-Id": "phone-17.3"})
    assert answer.headers["x-request-id"] == "phone-17.3"


@pytest.mark.parametrize("forged", ["", "a b", 'x"}', "x" * 65, "é"])
async def test_an_id_that_is_none_is_replaced(client: httpx.AsyncClient, forged: str) -> None:
    headers = [(b"x-request-id", forged.encode())]
    answer = await client.get("/v1/boxes/7", headers=headers)
    assert len(answer.headers["x-request-id"]) == 32


async def test_log_lines_of_a_request_carry_its_id(client: httpx.AsyncClient) -> None:
    merge = [structlog.contextvars.merge_contextvars]
    with capture_logs(processors=merge) as logs:
        await client.get("/fails/somehow", headers={"X-Request-Id": "phone-18"})
    assert {line["request_id"] for line in logs} == {"phone-18"}


def count(**labels: str) -> float:
    name = "lastmetre_http_request_duration_seconds_count"
    return REGISTRY.get_sample_value(name, {"service": "toy", **labels}) or 0.0


async def test_requests_are_measured_by_template_and_status(client: httpx.AsyncClient) -> None:
    cases = [
        ("GET", "/v1/boxes/7", "/v1/boxes/{box}", "200"),
        ("GET", "/v1/boxes/Zhang", "/v1/boxes/{box}", "422"),
        ("GET", "/Zhang", "(none)", "404"),
        ("BREW", "/fails/somehow", "(none)", "405"),
        ("GET", "/fails/somehow", "/fails/{how}", "500"),
    ]
    for method, path, route, status in cases:
        known = "other" if method == "BREW" else method
        before = count(method=known, route=route, status=status)
        await client.request(method, path)
        assert count(method=known, route=route, status=status) == before + 1
    assert "Zhang" not in (await client.get("/metrics")).text


# --- health ---


async def test_readiness_follows_the_checks_and_says_nothing_of_the_reason(
    app: FastAPI, stranger: httpx.AsyncClient
) -> None:
    answer = await stranger.get("/readyz")
    assert answer.json() == {"status": "ready", "checks": {"marks": "ok"}}

    async def fails() -> None:
        raise OSError(111, "Connection refused", "postgresql://secret")

    app.state.ops.checks["database"] = fails
    with capture_logs() as logs:
        answer = await stranger.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not_ready", "checks": {"marks": "ok", "database": "failed"}}
    assert "postgresql" not in repr(logs)
    assert (await stranger.get("/healthz")).status_code == 200


async def test_a_draining_process_is_alive_and_not_ready(
    app: FastAPI, stranger: httpx.AsyncClient
) -> None:
    app.state.ops.draining = True
    assert (await stranger.get("/readyz")).json()["status"] == "draining"
    assert (await stranger.get("/healthz")).status_code == 200


async def test_processes_without_an_api_have_health_and_metrics_too() -> None:
    asked: list[str] = []

    async def gauge() -> None:
        asked.append("gauge")

    app = ops_app(Ops(gauges=[gauge]))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://toy"
    ) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready", "checks": {}}
        assert "lastmetre_parked_events" in (await client.get("/metrics")).text
        assert asked == ["gauge"]
        answer = await client.get("/other")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


# --- documentation ---


async def test_docs_load_nothing_from_elsewhere(stranger: httpx.AsyncClient) -> None:
    page = (await stranger.get("/docs")).text
    assert "http://" not in page.replace("http://toy", "")
    assert "https://" not in page
    assert (await stranger.get("/static-offline-docs/swagger-ui-bundle.js")).status_code == 200
    problem(await stranger.get("/redoc"), 404, "not-found")


async def test_the_document_knows_raw_bodies_roles_and_problems(
    stranger: httpx.AsyncClient,
) -> None:
    made = (await stranger.get("/openapi.json")).json()
    batch = made["paths"]["/v1/swabs:batch"]["post"]
    swab = {"$ref": "#/components/schemas/Swab"}
    assert batch["requestBody"]["content"] == {
        "application/json": {"schema": {"type": "array", "items": swab}},
        "application/x-ndjson": {"schema": swab},
    }
    assert batch["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Answer"
    }
    assert batch["x-roles"] == ["site", "team"]
    assert batch["security"] == [{"bearer": []}]
    assert "security" not in made["paths"]["/fails/{how}"]["get"]
    schemas = made["components"]["schemas"]
    assert {"Swab", "Answer", "Problem", "Box"} <= schemas.keys()
    assert "HTTPValidationError" not in json.dumps(made)
    assert "x-components" not in json.dumps(made)
    references = {
        part.split('"')[0] for part in json.dumps(made).split("#/components/schemas/")[1:]
    }
    assert references <= schemas.keys()
