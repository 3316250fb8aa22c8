"""The front of every HTTP server: one door that all requests come through.

`create_app` puts a service's routes behind the door. The door gives each request its id, finds the
route, admits the caller by the service's role-by-route table, measures, and turns every error into
a problem document (RFC 9457). `ops_app` serves health and metrics where there is no API.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from http import HTTPStatus
from operator import attrgetter, itemgetter
from secrets import token_hex
from typing import Any, NamedTuple

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.routing import iter_route_contexts
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.routing import BaseRoute, Mount, Route, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import tracing
from shared.admission import BULK, GATHERED, SINGLE, SYSTEM, Admission, Bodies, Limits, Turn
from shared.auth import CALLER, ROLES, Caller, Verifier
from shared.bodies import BODY_LIMIT, NUL_RULE, encode, json_reply
from shared.errors import (
    BadBody,
    BadInput,
    Forbidden,
    LastmetreError,
    NotFound,
    Overloaded,
    TooLarge,
    Unauthorised,
    Unavailable,
    UnsupportedMedia,
    WrongMethod,
)
from shared.examples import Examples
from shared.headers import Guarded, guarded, page_policy
from shared.openapi import PROBLEM_JSON, document
from shared.telemetry import HTTP_SECONDS, describe

PUBLIC: frozenset[str] = frozenset({"public"})
"""Roles of a route that needs no token."""

Access = Mapping[tuple[str, str], AbstractSet[str]]
"""Who may use what: (method, path template) → roles, or `PUBLIC`. Every route must be in it."""

Check = Callable[[], Awaitable[object]]
"""Fails by raising."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

CHECK_SECONDS = 2.0
"""How long a readiness check may take."""

REQUEST_ID = "x-request-id"

SINGLE_LIMIT = 1024 * 1024
"""Bytes of the body of a request that is not a batch."""

_REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_PARAMETER = re.compile(r"\{[^}]*\}")
_EXPLAIN = "lastmetre.explain"
"""Where the front door leaves in the ASGI scope how a page tells of errors."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_ANSWER = 499
"""As nginx has it: the asker went away before there was an answer."""
_SERVER_ERROR = 500
_READING = frozenset({"GET", "HEAD"})
_OWN = frozenset({"system", "admin"})
"""Roles of routes that nobody but our own services and operators may use."""
_DOCS = "/docs"
_DOCS_FILES = "/static-offline-docs"
_log = structlog.get_logger(__name__)


@dataclass
class Ops:
    """How a process is, as probes and Prometheus ask: one object per process.

    `checks` decide readiness. `gauges` are run before metrics are read, to set those that are
    cheaper to ask than to keep. `draining` is set when the process was asked to stop.
    """

    checks: dict[str, Check] = field(default_factory=dict)
    gauges: list[Check] = field(default_factory=list)
    draining: bool = False

    async def readiness(self) -> tuple[bool, dict[str, str]]:
        """Run all checks; tell whether work may be sent here, and the state of each check."""
        names = list(self.checks)
        passed = await asyncio.gather(*(_passes(name, self.checks[name]) for name in names))
        states = {
            name: "ok" if good else "failed" for name, good in zip(names, passed, strict=True)
        }
        return all(passed) and not self.draining, states

    async def metrics(self) -> bytes:
        """Render all metrics of this process."""
        await asyncio.gather(*(_passes("gauge", gauge) for gauge in self.gauges))
        return generate_latest(REGISTRY)


async def _passes(name: str, check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever it is, the check did not pass
        _log.warning("check_failed", check=name, failure=describe(error))
        return False
    return True


def ops_app(ops: Ops) -> Starlette:
    """Serve only `/healthz`, `/readyz` and `/metrics`, for workers and relays."""
    app = Starlette(
        routes=_ops_routes(ops),
        middleware=[Middleware(Guarded)],
        exception_handlers=_HANDLERS,
    )
    app.state.ops = ops
    return app


def _ops_routes(ops: Ops) -> list[Route]:
    async def healthz(_request: Request) -> Response:
        return json_reply({"status": "alive"})

    async def readyz(_request: Request) -> Response:
        ready, checks = await ops.readiness()
        status = "ready" if ready else "draining" if ops.draining else "not_ready"
        return json_reply({"status": status, "checks": checks}, 200 if ready else 503)

    async def metrics(_request: Request) -> Response:
        return Response(await ops.metrics(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


@dataclass(frozen=True)
class Pages:
    """Routes that people open in a browser, which has no bearer token but a cookie.

    The cookie holds the token. It counts for reading, and for writing only where the browser itself
    says that it is our own page that asks (`Sec-Fetch-Site`): other sites cannot make it say so.
    """

    templates: frozenset[str]
    """Paths whose errors are told by a page, too, and not by a problem document."""
    cookie: str
    explain: Callable[[LastmetreError, Scope], Response]
    """Makes that page."""

    def token(self, method: str, headers: Mapping[bytes, bytes]) -> str:
        """Take the token from the cookie; empty if there is none, or none that counts here."""
        if method not in _READING and headers.get(b"sec-fetch-site") != b"same-origin":
            return ""
        cookies = cookie_parser(headers.get(b"cookie", b"").decode("latin-1"))
        return cookies.get(self.cookie, "")


def create_app(
    *,
    service: str,
    title: str,
    description: str,
    routers: Sequence[APIRouter],
    access: Access,
    verifier: Verifier,
    examples: Examples | None = None,
    version: str = "1",
    lifespan: Lifespan | None = None,
    ops: Ops | None = None,
    mounts: Mapping[str, ASGIApp] | None = None,
    body_limit: int = BODY_LIMIT,
    limits: Limits | None = None,
    gathered: AbstractSet[tuple[str, str]] = frozenset(),
    pages: Pages | None = None,
) -> FastAPI:
    """Put a service's routes behind the front door.

    Args:
        service: name in metrics
        title: of the documentation
        description: of the documentation
        routers: the routes, all of them
        access: roles of every route; mounts are entered as `("GET", "/path/{path:path}")`
        verifier: of bearer tokens
        examples: of every route, for the documentation
        version: of the interface
        lifespan: opens what the service needs; it may add checks to `app.state.ops`
        ops: health of the process, kept at `app.state.ops`
        mounts: further applications by path, such as static files
        body_limit: bytes of any request body; single requests have a lower one, `SINGLE_LIMIT`
        limits: how much the process takes on at a time
        gathered: routes whose requests are worked on together, as method and path
        pages: routes for browsers, if there are any

    Raises:
        AccessError: the table misses a route, names one that is not there, or an unknown role

    """
    app: FastAPI = FastAPIOffline(
        # The page is made below, with its policy. Of the package we take the files.
        docs_url=None,
        redoc_url=None,
        static_url=_DOCS_FILES,
        title=title,
        description=description,
        version=version,
        lifespan=lifespan,
        exception_handlers=_HANDLERS,
        redirect_slashes=False,
        # Clients call what they generate by these: a handler's name says enough.
        generate_unique_id_function=attrgetter("name"),
    )
    app.state.ops = ops or Ops()
    app.router.routes.extend([*_ops_routes(app.state.ops), _docs_route(title)])
    own = paths(app.routes)
    for router in routers:
        app.include_router(router)
    for path, mounted in (mounts or {}).items():
        app.mount(path, mounted)
    doors = _Doors(paths(app.routes), {**dict.fromkeys(own, PUBLIC), **access})
    app.openapi = lambda: _documented(app, access, examples or {})  # type: ignore[method-assign]
    app.add_middleware(
        _FrontDoor,
        service=service,
        doors=doors,
        verifier=verifier,
        admission=Admission(service, limits or Limits()),
        limit=body_limit,
        gathered=gathered,
        pages=pages,
    )
    return app


def _docs_route(title: str) -> Route:
    async def docs(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title=title,
            swagger_js_url=f"{root}{_DOCS_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{_DOCS_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{root}{_DOCS_FILES}/favicon.png",
        )
        page.headers["content-security-policy"] = page_policy(bytes(page.body))
        return page

    return Route(_DOCS, docs)


def _documented(app: FastAPI, access: Access, examples: Examples) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = document(app, access, examples)
    return app.openapi_schema


class AccessError(LastmetreError):
    """The role-by-route table and the routes do not agree."""


class _Door(NamedTuple):
    template: str
    roles: AbstractSet[str]
    place: int = 0
    """In the order of the router."""
    via_get: bool = False
    """HEAD, for a route that knows GET only."""

    @property
    def bulk(self) -> bool:
        """Takes many rows at a time."""
        return self.template.endswith(":batch")


class _Doors:
    """All routes, found the way the router finds them: in their order, the first that matches.

    A path belongs to the template that says most of it: `/rounds/{id}:open` is not a round with an
    odd id, and whoever reads it is told which methods it takes.

    Args:
        paths: (method, path template) of every route, in order
        access: roles of each

    """

    def __init__(self, paths: Sequence[tuple[str, str]], access: Access) -> None:
        _check_access(paths, access)
        by_template: dict[str, dict[str, _Door]] = {}
        for place, (method, template) in enumerate(paths):
            doors = by_template.setdefault(template, {})
            doors[method] = _Door(template, access[method, template], place)
            if method == "GET":
                doors.setdefault("HEAD", doors["GET"]._replace(via_get=True))
        self._ordered = [
            (compile_path(template)[0], len(_PARAMETER.sub("", template)), doors)
            for template, doors in by_template.items()
        ]
        # Paths without parameters, the busiest among them, need no search.
        self._fixed = {
            (method, path): self._search(method, path)
            for path, doors in by_template.items()
            for method in doors
            if "{" not in path
        }

    def find(self, method: str, path: str) -> _Door:
        """Find the route of a request.

        Raises:
            NotFound: there is none
            WrongMethod: there is one with other methods

        """
        return self._fixed.get((method, path)) or self._search(method, path)

    def _search(self, method: str, path: str) -> _Door:
        matching = [(said, doors) for pattern, said, doors in self._ordered if pattern.match(path)]
        if not matching:
            raise NotFound("there is no such path")
        _, meant = max(matching, key=itemgetter(0))
        if method not in meant:
            raise WrongMethod(", ".join(sorted(meant)))
        # The roles are those of the route that the router takes, and that is the first.
        candidates = [doors[method] for _, doors in matching if method in doors]
        return min(candidates, key=attrgetter("place"))


def _check_access(paths: Iterable[tuple[str, str]], access: Access) -> None:
    known = set(paths)
    for complaint, wrong in (
        ("routes without roles", known - access.keys()),
        ("roles without a route", access.keys() - known),
        ("unknown roles", {key for key in access if not access[key] <= ROLES | PUBLIC}),
        ("routes that nobody may use", {key for key in access if not access[key]}),
    ):
        if wrong:
            raise AccessError(f"{complaint}: {sorted(wrong)}")


def paths(routes: Sequence[BaseRoute]) -> list[tuple[str, str]]:
    """List (method, path template) of all routes, in their order."""
    found: list[tuple[str, str]] = []
    for route in iter_route_contexts(routes):
        if isinstance(route.original_route, Mount):
            template = f"{route.path}/{{path:path}}"
            found += [("GET", template), ("HEAD", template)]
        else:
            found += [(method, route.path or "") for method in sorted(route.methods or ())]
    return found


class _FrontDoor:
    """The one middleware. Plain ASGI: it is on the hot path of every request.

    Args:
        app: what lies behind
        service: name in metrics
        doors: the routes and their roles
        verifier: of bearer tokens
        admission: how much is taken on
        limit: bytes of a body
        gathered: routes whose requests are worked on together
        pages: routes for browsers

    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: str,
        doors: _Doors,
        verifier: Verifier,
        admission: Admission,
        limit: int,
        gathered: AbstractSet[tuple[str, str]],
        pages: Pages | None,
    ) -> None:
        self._app = app
        self._admission = admission
        self._service = service
        self._doors = doors
        self._verifier = verifier
        self._limit = limit
        self._gathered = gathered
        self._pages = pages
        # Looked up once: both cost more than what they are used for on every request.
        self._seen: dict[tuple[str, str, int], Histogram] = {}
        self._log = _log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            # There are no websockets here; refuse them before anything is accepted.
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers = dict(scope["headers"])
        visit = _Visit(_request_id(headers), scope, send)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=visit.request_id)
        door = _Door("(none)", PUBLIC)
        try:
            _check_text(scope)
            door = self._doors.find(scope["method"], scope["path"])
            if self._pages is not None and door.template in self._pages.templates:
                scope[_EXPLAIN] = self._pages.explain
            with _traced(visit, door, headers):
                if PUBLIC.isdisjoint(door.roles):
                    caller = scope[CALLER] = await self._admit(scope["method"], headers, door)
                    receive = await self._take_on(visit, door, caller, receive)
                await self._app(_as_get(scope, door), receive, visit.send)
        except asyncio.CancelledError:
            # The drain is over. Who is still waiting may ask another process.
            if not visit.status:
                stopping = Unavailable("the process is stopping")
                await visit.answer(problem_response(stopping), scope, receive)
            raise
        except ClientDisconnect:
            _log.debug("client_gone", route=door.template)
        except LastmetreError as error:
            visit.refused = isinstance(error, Overloaded)
            await visit.answer(_told(error, scope), scope, receive)
        except Exception as error:
            _log_failure(error)
            if visit.status:
                # Half an answer is out: only a broken connection can tell the asker.
                raise
            await visit.answer(problem_response(LastmetreError()), scope, receive)
        finally:
            visit.leave()
            self._measure(scope["method"], door, visit, time.perf_counter() - started)

    async def _admit(self, method: str, headers: Mapping[bytes, bytes], door: _Door) -> Caller:
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if not scheme and self._pages is not None:
            scheme, token = "bearer", self._pages.token(method, headers)
        if scheme.lower() != "bearer" or not token:
            raise Unauthorised
        caller = await self._verifier.verify(token.strip())
        if caller.roles.isdisjoint(door.roles):
            roles = sorted(door.roles)
            raise Forbidden(f"one of these roles is needed: {', '.join(roles)}", roles=roles)
        return caller

    async def _take_on(
        self, visit: "_Visit", door: _Door, caller: Caller, receive: Receive
    ) -> Receive:
        """Read the body and wait for a turn; refused where there is no room for it."""
        lane = self._admission.lane(self._lane(visit.scope["method"], door, caller))
        lane.arrive(caller.sub)
        headers = dict(visit.scope["headers"])
        if b"content-length" in headers or b"transfer-encoding" in headers:
            receive = visit.body = _Body(receive, self._admission.bodies)
            limit = self._limit if door.bulk else min(self._limit, SINGLE_LIMIT)
            await visit.body.read(headers.get(b"content-length", b""), limit)
        visit.turn = await lane.turn(caller.sub)
        return receive

    def _lane(self, method: str, door: _Door, caller: Caller) -> str:
        if door.bulk:
            return BULK
        if (method, door.template) in self._gathered:
            return GATHERED
        # What our own services follow each other by goes on when everybody else has to wait. Their
        # writes do not: other systems send single rows under the same role.
        own = door.roles <= _OWN or (method in _READING and caller.has("system"))
        return SYSTEM if own else SINGLE

    def _measure(self, method: str, door: _Door, visit: "_Visit", seconds: float) -> None:
        status = visit.status or _NO_ANSWER
        known = method if method in _METHODS else "other"
        key = (known, door.template, status)
        seen = self._seen.get(key)
        if seen is None:
            seen = HTTP_SECONDS.labels(self._service, known, door.template, str(status))
            self._seen[key] = seen
        seen.observe(seconds)
        failed = status >= _SERVER_ERROR and not visit.refused
        log = self._log.error if failed else self._log.debug
        log("http_request", method=known, route=door.template, status=status, seconds=seconds)


def _check_text(scope: Scope) -> None:
    # PostgreSQL has no U+0000 in text, so nothing that is looked for can hold it.
    if "\0" in scope["path"]:
        raise BadInput.at("path", NUL_RULE)
    if b"%00" in scope["query_string"]:
        raise BadInput.at("query", NUL_RULE)


def _as_get(scope: Scope, door: _Door) -> Scope:
    """Let HEAD be answered as GET is (RFC 9110, 9.3.2); the server leaves the body out."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" and door.via_get else scope


class _Body:
    """A request's body, read before its turn comes, and handed on in one piece."""

    def __init__(self, receive: Receive, bodies: Bodies) -> None:
        self._receive = receive
        self._bodies = bodies
        self._chunks: list[bytes] = []
        self._held = 0
        self._given = False

    async def read(self, announced: bytes, limit: int) -> None:
        """Read it to its end; stop at the limit, whether or not it announced its length.

        Raises:
            TooLarge: over the limit
            Overloaded: there is no room for it in memory
            ClientDisconnect: the sender went away

        """
        if announced.isdigit():
            _check_size(int(announced), limit)
            self._bodies.fits(int(announced))
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            _check_size(self._held + len(chunk), limit)
            self._bodies.hold(len(chunk))
            self._held += len(chunk)
            self._chunks.append(chunk)
            more = message.get("more_body", False)

    async def __call__(self) -> Message:
        """Hand it on; after it, wait for the end as anybody does."""
        if self._given:
            return await self._receive()
        self._given = True
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        return {"type": "http.request", "body": body, "more_body": False}

    def drop(self) -> None:
        """Let go of it."""
        self._chunks.clear()
        self._bodies.drop(self._held)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"the body is larger than {limit} bytes", limit=limit)


class _Visit:
    """One request's answer on its way out: remembers its status, adds what all answers carry."""

    def __init__(self, request_id: str, scope: Scope, send: Send) -> None:
        self.request_id = request_id
        self.status = 0
        self.refused = False
        self.scope = scope
        self.turn: Turn | None = None
        self.body: _Body | None = None
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            identified = [*message["headers"], (b"x-request-id", self.request_id.encode())]
            message["headers"] = guarded(identified, self.scope)
            # The work is done, or goes on page by page: who reads slowly holds nobody up.
            self._end_turn()
        await self._send(message)

    async def answer(self, response: Response, scope: Scope, receive: Receive) -> None:
        await response(scope, receive, self.send)

    def leave(self) -> None:
        """Give back what it still holds."""
        self._end_turn()
        if self.body is not None:
            self.body.drop()

    def _end_turn(self) -> None:
        if self.turn is not None:
            self.turn.end()


_UNTRACED = nullcontext()


def _traced(
    visit: _Visit, door: _Door, headers: Mapping[bytes, bytes]
) -> AbstractContextManager[object]:
    if not tracing.on():
        return _UNTRACED
    parent = headers.get(b"traceparent", b"").decode("latin-1") or None
    # Probes, and what our own services ask of each other all the time, begin no trace.
    if parent is None and door.roles <= _OWN | PUBLIC:
        return _UNTRACED
    method = visit.scope["method"]
    known = method if method in _METHODS else "other"
    return tracing.serving(f"{known} {door.template}", parent, lambda: visit.status)


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    """Take the asker's id if it is one; anything else could forge log lines."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else token_hex(16)


def _told(error: LastmetreError, scope: Scope) -> Response:
    """Tell of an error: by a page to who wanted one, else by a problem document."""
    explain = scope.get(_EXPLAIN)
    return explain(error, scope) if explain else problem_response(error)


def problem_response(error: LastmetreError) -> Response:
    """Answer with a problem document."""
    content = error.problem()
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    if request_id is not None:
        content["request_id"] = request_id
    return Response(encode(content), error.status, dict(error.headers), PROBLEM_JSON)


def _log_failure(error: Exception) -> None:
    # Told here and not left to the logger's set-up: a rendered traceback may show values.
    _log.error("request_failed", failure=describe(error))


async def _on_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, LastmetreError):
        raise error
    if error.status >= _SERVER_ERROR:
        _log_failure(error)
    return _told(error, request.scope)


async def _on_http_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    # FastAPI turns whatever fails while it reads a body into a bare 400.
    if isinstance(error.__cause__, LastmetreError):
        return problem_response(error.__cause__)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return problem_response(BadBody())
    known = {each.status: each for each in (NotFound, UnsupportedMedia, TooLarge, Forbidden)}
    if error.status_code in known:
        return problem_response(known[error.status_code]())
    content = {
        "type": "about:blank",
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
    }
    return Response(encode(content), error.status_code, dict(error.headers or {}), PROBLEM_JSON)


async def _on_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return problem_response(BadBody("the body is not JSON"))
    errors = [{"location": _location(each), "rule": _rule(each)} for each in found]
    return _told(BadInput(errors=errors), request.scope)


_HANDLERS: dict[int | type[Exception], Any] = {
    LastmetreError: _on_error,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
}

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_BOUNDS = ("expected", "pattern", "gt", "ge", "lt", "le", "min_length", "max_length")


def _location(problem: Mapping[str, Any]) -> str:
    """Name the place, not what was sent: a member we do not know may be somebody's name."""
    path = list(problem["loc"])
    if problem["type"] == "extra_forbidden":
        path = path[:-1]
    return ".".join(
        str(part) if isinstance(part, int) or _NAME.fullmatch(part) else "*" for part in path
    )


def _rule(problem: Mapping[str, Any]) -> str:
    """Name the rule and its bound. pydantic's own messages may quote the value."""
    rule = str(problem["type"]).replace("_", " ")
    bounds = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in problem.get("ctx", {}).items()
        if name in _BOUNDS
    ]
    return f"{rule} ({', '.join(bounds)})" if bounds else rule
