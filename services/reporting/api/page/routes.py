"""The views of the page, the stream of what changes in them, and our own files."""

from functools import partial
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from services.reporting.api.answers import same
from services.reporting.api.page.live import Channels
from services.reporting.api.page.rendering import POLICY, STATIC, asset, render, static
from services.reporting.api.page.serving import YEAR, address, html, language_of
from services.reporting.api.page.views import COLUMNS, Question, Views
from services.reporting.api.page.words import SPEECH, Language
from services.reporting.wiring import Wiring
from shared.auth import CallerDep
from shared.errors import NotFound

VIEWS = ("/", "/office/{code}")
"""Routes that answer with a page."""

RoundParameter = Annotated[str | None, Query(alias="round", max_length=64)]
LanguageParameter = Annotated[Language | None, Query(alias="lang")]


def router(wiring: Wiring, channels: Channels) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(include_in_schema=False)
    views = Views(wiring)

    @routes.get("/")
    async def get_district(
        request: Request,
        caller: CallerDep,
        round_id: RoundParameter = None,
        lang: LanguageParameter = None,
        wall: int = 0,
    ) -> Response:
        question = Question(language_of(request, lang), caller.areas, round_id)
        return await _page(request, views, question, wall=bool(wall))

    @routes.get("/office/{code}")
    async def get_office(
        request: Request,
        caller: CallerDep,
        code: str,
        round_id: RoundParameter = None,
        lang: LanguageParameter = None,
        wall: int = 0,
    ) -> Response:
        question = Question(language_of(request, lang), caller.areas, round_id, code)
        return await _page(request, views, question, wall=bool(wall))

    @routes.get("/v1/stream")
    async def get_stream(
        request: Request,
        caller: CallerDep,
        round_id: RoundParameter = None,
        office: str | None = None,
        lang: LanguageParameter = None,
        tag: str = "",
    ) -> Response:
        """Server-sent events: what changes in a view of the page, a second after it did."""
        question = Question(language_of(request, lang), caller.areas, round_id, office)
        events = await channels.follow(question, tag, partial(views.look, question))
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


async def _page(request: Request, views: Views, question: Question, *, wall: bool) -> Response:
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
    if same(request.headers.get("if-none-match"), shown.tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=kept)
    streamed = {"round": question.round, "office": question.office, "lang": question.language}
    page = render(
        "view.html",
        say=SPEECH[question.language],
        rendition=shown,
        columns=COLUMNS,
        office=question.office,
        wall=wall,
        stream=f"/v1/stream?{address(**streamed)}",
        query=partial(address, round=question.round, lang=question.language),
    )
    return html(page, question.language, kept)
