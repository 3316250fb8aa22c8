"""The views of the page, the stream of what changes in them, and our own files."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Annotated

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


def router(wiring: Wiring, channels: Channels) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(include_in_schema=False, route_class=Packed)
    views = Views(wiring)

    for kind, path in PATHS.items():
        routes.add_api_route(path, _viewer(views, kind), methods=["GET"])

    @routes.get("/v1/stream")
    async def get_stream(
        asking: AskingDep,
        view: Kind = "district",
        office: str | None = None,
        shape: str = "",
        tag: str = "",
    ) -> Response:
        """Server-sent events: what changes in a view of the page, a second after it did."""
        if not _may_see(asking.caller, view):
            raise Forbidden("this view is not for the roles of the token")
        question = asking.question(view, office)
        events = await channels.follow(question, tag, shape, partial(views.look, question))
        return StreamingResponse(
            events,
            media_type="text/event-stream",
            # nginx would hold events back until it has a few kilobytes of them.
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    @routes.get("/page/{version}/{name}")
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
