"""The views of the page, the stream of what changes in them, and our own files."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from services.reporting.api.access import DECIDERS, PAGES
from services.reporting.api.answers import same
from services.reporting.api.page.live import Channels
from services.reporting.api.page.rendering import POLICY, STATIC, asset, render, static
from services.reporting.api.page.serving import YEAR, Packed, address, html, language_of
from services.reporting.api.page.views import Views
from services.reporting.api.page.views.question import PATHS, Kind, Question
from services.reporting.api.page.words import Language, preferred
from services.reporting.wiring import Wiring
from shared.auth import Caller, CallerDep
from shared.errors import Forbidden, NotFound

EVENT_STREAM = "text/event-stream"

NAVIGATION: tuple[Kind, ...] = ("district", "map", "ledger", "operations")
"""Views that every page leads to; the others are found from these."""

WITHIN: dict[Kind, Kind] = {"office": "district", "community_map": "map", "office_map": "map"}
"""Views that are found from another one."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for a page, and how it is to be shown."""

    request: Request
    caller: Caller
    language: Language
    round: str | None
    wall: bool

    def question(self, kind: Kind, office: str | None = None) -> Question:
        """Ask for a view."""
        return Question(
            kind, self.language, self.caller.areas, self.round, office,
            decides=kind == "operations" and not self.caller.roles.isdisjoint(DECIDERS),
        )  # fmt: skip

    def speaking(self, chosen: str | None) -> "Asking":
        """Ask in the language that a form was in."""
        return replace(self, language=preferred(chosen, self.language))


def _asking(
    request: Request,
    caller: CallerDep,
    round_id: Annotated[str | None, Query(alias="round", max_length=64)] = None,
    lang: Language | None = None,
    *,
    wall: bool = False,
) -> Asking:
    return Asking(request, caller, language_of(request, lang), round_id, wall)


AskingDep = Annotated[Asking, Depends(_asking)]


OfficeParameter = Annotated[
    str | None, Query(max_length=12, description="code of the office, where the view is of one")
]
ShapeParameter = Annotated[
    str, Query(max_length=64, description="`data-stream` of the page has it: which parts there are")
]
TagParameter = Annotated[str, Query(max_length=64, description="of the edition one has")]
LimitParameter = Annotated[
    int | None, Query(ge=1, le=1000, description="end after so many events; without: never")
]

_NEWS: dict[str, Any] = {
    "title": "News",
    "description": "What is new in a view. `reload`: it is another page now, to be loaded anew.",
    "type": "object",
    "properties": {
        "tag": {"type": "string", "description": "of this edition"},
        "as_of": {"type": "string", "description": "RFC 3339; empty while it is not known"},
        "parts": {
            "type": "object",
            "description": "HTML by the id of the element whose place it takes",
            "additionalProperties": {"type": "string"},
        },
        "reload": {"type": "boolean"},
    },
}
_HEARD = """\
retry: 2718

data: {"tag":"W/\\"5f0c…\\"","as_of":"2022-01-14T02:00:07+00:00","parts":{"total":"<tr …</tr>"}}

"""
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events, until one of both sides ends it",
        "content": {
            EVENT_STREAM: {
                "schema": {
                    "type": "string",
                    "contentMediaType": EVENT_STREAM,
                    "contentSchema": _NEWS,
                },
                "example": _HEARD,
            }
        },
    }
}


def router(wiring: Wiring, channels: Channels) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(route_class=Packed)
    views = Views(wiring)

    for kind, path in PATHS.items():
        routes.add_api_route(path, _viewer(views, kind), methods=["GET"], include_in_schema=False)

    @routes.get("/v1/stream", response_class=StreamingResponse, responses=_EVENTS, tags=["page"])
    async def get_stream(
        *,
        asking: AskingDep,
        view: Kind = "district",
        office: OfficeParameter = None,
        shape: ShapeParameter = "",
        tag: TagParameter = "",
        limit: LimitParameter = None,
    ) -> Response:
        """Hear what changes in a view of the page, as server-sent events, a second after it did.

        Each event's `data` is JSON. The first one comes at once where `tag` is that of the edition
        now: it has no parts. Where it is another one of the same shape, the next edition is told
        whole. The field `retry` says when to come again once the stream has ended.
        """
        if not _may_see(asking.caller, view):
            raise Forbidden("this view is not for the roles of the token")
        question = asking.question(view, office)
        look = partial(views.look, question)
        events = await channels.follow(question, tag, shape, look, limit)
        return StreamingResponse(
            events,
            media_type=EVENT_STREAM,
            # nginx would hold events back until it has a few kilobytes of them.
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    @routes.get("/page/{version}/{name}", include_in_schema=False)
    async def get_file(version: str, name: str) -> Response:
        if name not in STATIC or asset(name) != f"/page/{version}/{name}":
            raise NotFound("there is no such file")
        kept = {"cache-control": f"public, max-age={YEAR}, immutable"}
        return Response(static(name), headers=kept, media_type=STATIC[name])

    return routes


def _may_see(caller: Caller, kind: Kind) -> bool:
    return not caller.roles.isdisjoint(PAGES["GET", PATHS[kind]])


def navigation(caller: Caller, here: Kind) -> Iterator[dict[str, str]]:
    """List where one can go; of a view that is found from another one, that one is marked."""
    for kind in NAVIGATION:
        if _may_see(caller, kind):
            current = "page" if kind == here else "true" if kind == WITHIN.get(here) else ""
            yield {"kind": kind, "path": PATHS[kind], "current": current}


def _viewer(views: Views, kind: Kind) -> Callable[..., Awaitable[Response]]:
    async def get_view(asking: AskingDep) -> Response:
        code = asking.request.path_params.get("code")
        return await _page(views, asking, asking.question(kind, code))

    return get_view


async def _page(views: Views, asking: Asking, question: Question) -> Response:
    shown = await views.look(question)
    # A 304 has its policy too: browsers put its headers in the place of those they have.
    kept = {
        "etag": shown.tag,
        "cache-control": "private, no-cache",
        "content-security-policy": POLICY,
        "vary": "Cookie",
    }
    if shown.as_of:
        kept["as-of"] = shown.as_of
    if same(asking.request.headers.get("if-none-match"), shown.tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=kept)
    view = views.of(question)
    query = partial(address, round=question.round, lang=question.language)
    page = render(
        view.template,
        say=question.say,
        rendition=shown,
        wall=asking.wall,
        stream=f"/v1/stream?{query(view=question.kind, office=question.office, shape=shown.shape)}",
        navigation=list(navigation(asking.caller, question.kind)),
        query=query,
        **view.setting(question),
    )
    return html(page, question.language, kept)
