"""What everybody sees, without signing in: the last release, where that is switched on (R20)."""

import time
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from services.reporting.api.answers import same
from services.reporting.api.page.rendering import POLICY, render
from services.reporting.api.page.serving import Packed, address
from services.reporting.api.page.words import SPEECH, Language, preferred
from services.reporting.api.shelf import Shelf
from services.reporting.domain.publishing import CLASSES, ROLL, Release
from services.reporting.store import releases
from services.reporting.wiring import Wiring
from shared.errors import NotFound

PUBLIC_PATH = "/public"
"""Where everybody looks."""

COLUMNS = ("unaccounted", "coverage", ROLL, "sampled", "excluded", "in_hand")
"""Of the table, after the name and the bar."""

READ_SECONDS = 2.0
"""How often a process looks for a new release, however many ask."""

KEPT_SECONDS = 60
"""How long caches between us and everybody may give out what they have."""


@dataclass(frozen=True, slots=True)
class _Printed:
    tag: str
    page: str


class Press:
    """Prints the last release once in each language, for all."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._releases: Shelf[Release] = Shelf()
        self._printed: Shelf[_Printed] = Shelf()

    async def printed(self, language: Language) -> _Printed:
        """Give out the last release.

        Raises:
            NotFound: nothing is shown to everybody, or nothing yet

        """
        if not self._wiring.settings.public:
            raise NotFound("nothing is shown to everybody here")
        moment = str(int(time.monotonic() // READ_SECONDS))
        release = await self._releases.copy("last", moment, self._last)
        print_it = partial(self._print, release, language)
        return await self._printed.copy(language, release.made_at.isoformat(), print_it)

    async def _last(self) -> Release:
        async with self._wiring.database.begin(readonly=True) as tx:
            last = await releases.last(tx)
        if last is None:
            raise NotFound("nothing was published yet")
        return last

    async def _print(self, release: Release, language: Language) -> _Printed:
        about = {
            "say": SPEECH[language],
            "release": release,
            "columns": COLUMNS,
            "classes": CLASSES,
            "minutes": self._wiring.settings.public_minutes,
            "wall": False,
            "query": partial(address, lang=language),
        }
        content = render("public.html", tag="", **about)
        tag = f'W/"{sha256(content.encode()).hexdigest()[:24]}"'
        return _Printed(tag, render("public.html", tag=tag, **about))


def router(wiring: Wiring) -> APIRouter:
    """Build the route."""
    routes = APIRouter(include_in_schema=False, route_class=Packed)
    press = Press(wiring)

    @routes.get(PUBLIC_PATH)
    async def get_public(request: Request, lang: Language | None = None) -> Response:
        language = preferred(lang, request.headers.get("accept-language"))
        printed = await press.printed(language)
        # No cookie, unlike other pages: caches give it to everybody.
        kept = {
            "etag": printed.tag,
            "cache-control": f"public, max-age={KEPT_SECONDS}",
            "content-security-policy": POLICY,
            "vary": "Accept-Language",
        }
        if same(request.headers.get("if-none-match"), printed.tag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=kept)
        return HTMLResponse(printed.page, headers=kept)

    return routes
