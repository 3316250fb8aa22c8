"""Signing in and out. Browsers have no bearer token: they show one once, and carry a cookie.

A token with an id of its own (`jti`) is a link that signs in once.
"""

import time
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from services.reporting.api.access import READERS
from services.reporting.api.page.rendering import render
from services.reporting.api.page.serving import COOKIE, SIGN_IN, address, form_of, html, language_of
from services.reporting.api.page.words import SPEECH, Language
from services.reporting.flow.sign_in import sign_in
from services.reporting.wiring import Wiring
from shared.auth import LONGEST_TOKEN, Token, Verifier
from shared.errors import Unauthorised

_FORM_LIMIT = LONGEST_TOKEN + 4096
"""Nobody has signed in yet."""


def router(wiring: Wiring, verifier: Verifier) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(SIGN_IN)
    async def get_sign_in(
        request: Request,
        lang: Language | None = None,
        to: Annotated[str, Query(alias="next")] = "/",
    ) -> Response:
        return _page(language_of(request, lang), _local(to), None)

    @routes.post(SIGN_IN)
    async def post_sign_in(request: Request) -> Response:
        form = await form_of(request, _FORM_LIMIT)
        given, to = form.get("token", "").strip(), _local(form.get("next", "/"))
        token, trouble = await admit(request, given)
        if token is None:
            return _page(language_of(request, form.get("lang")), to, trouble)
        answer = RedirectResponse(to, int(HTTPStatus.SEE_OTHER))
        answer.set_cookie(
            COOKIE, given, max_age=max(0, int(token.expires - time.time())), httponly=True,
            secure=request.url.scheme == "https", samesite="strict",
        )  # fmt: skip
        return answer

    @routes.post("/sign-out")
    async def post_sign_out() -> Response:
        answer = RedirectResponse(SIGN_IN, int(HTTPStatus.SEE_OTHER))
        answer.delete_cookie(COOKIE)
        return answer

    async def admit(request: Request, given: str) -> tuple[Token | None, str]:
        """Verify what was given; without a token the word says why."""
        # Another site must not sign somebody in as somebody else.
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return None, "sign_in.refused"
        try:
            token = await verifier.read(given)
        except Unauthorised:
            return None, "sign_in.refused"
        if token.caller.roles.isdisjoint(READERS):
            return None, "sign_in.rights"
        if not await wiring.database.transact(sign_in, token):
            return None, "sign_in.used"
        return token, ""

    return routes


def _page(language: Language, to: str, trouble: str | None) -> Response:
    page = render(
        "sign_in.html", say=SPEECH[language], trouble=trouble, next=to, wall=False,
        query=lambda **given: address(next=to, **given),
    )  # fmt: skip
    return html(page, language)


def _local(place: str) -> str:
    """Only an address of our own is gone to after signing in."""
    parts = urlsplit(place)
    ours = not parts.scheme and not parts.netloc and parts.path.startswith("/")
    return place if ours and not place.startswith(("//", "/\\")) else "/"
