"""Dead letters of all services: shown whole, mended, re-driven and given up, by those who may.

Each is a small page with a form: nothing is decided by a single click. Our own are decided on as
our API does it, the others' by theirs, with the token of who decides: roles are checked and acts
are audited where the event is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Literal, Protocol

import msgspec
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import RedirectResponse

from services.reporting.api.access import LETTERS
from services.reporting.api.page.rendering import render
from services.reporting.api.page.routes import Asking, AskingDep, navigation
from services.reporting.api.page.serving import COOKIE, address, form_of, html
from services.reporting.api.page.views.question import PATHS
from services.reporting.api.page.words import SPEECH
from services.reporting.clients import TheirLetters
from services.reporting.flow.operations import OurLetters
from services.reporting.wiring import Wiring
from shared.bodies import decode_one
from shared.errors import BadInput, NotFound, ProblemError, TransientError
from shared.parked import DiscardIn, MendIn, Parked, ParkedWhole, Tried

LETTER, ACTION = LETTERS

FORM_LIMIT = 16_000_000
"""Of a form with an event's data in it: three bytes for each of a letter's."""

Service = Literal["registry", "dispatch", "reporting"]
Action = Literal["redrive", "discard"]
ParkedId = Annotated[int, Path(ge=1, lt=2**63)]


class Letters(Protocol):
    """Dead letters of one service, in the name of one caller."""

    async def show(self, parked_id: int) -> ParkedWhole:
        """Show one event, whole."""

    async def mend(self, parked_id: int, asked: MendIn) -> Parked:
        """Give it other data."""

    async def attempt(self, parked_id: int) -> Tried:
        """Say what re-driving it would do."""

    async def redrive(self, parked_id: int) -> Parked:
        """Apply it now."""

    async def discard(self, parked_id: int, asked: DiscardIn) -> Parked:
        """Give it up."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One event on somebody's desk."""

    asking: Asking
    service: Service
    parked_id: int
    letters: Letters

    async def look(
        self,
        action: Action | None,
        refused: ProblemError | TransientError | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Response:
        """Show the event with the form of an action; what was given, and why it was refused."""
        letter = tried = None
        try:
            letter = await self.letters.show(self.parked_id)
            if action == "redrive" and letter.state == "parked" and refused is None:
                tried = await self.letters.attempt(self.parked_id)
        except (ProblemError, TransientError) as error:
            refused = refused or error
        return self._page(action, letter, tried, refused, form or {})

    def _page(
        self,
        action: Action | None,
        letter: ParkedWhole | None,
        tried: Tried | None,
        refused: ProblemError | TransientError | None,
        form: Mapping[str, str],
    ) -> Response:
        asking, say = self.asking, SPEECH[self.asking.language]
        page = render(
            "letter_decided.html" if action else "letter_shown.html",
            say=say,
            wall=False,
            navigation=list(navigation(asking.caller, "operations")),
            query=lambda **given: address(
                **{"round": asking.round, "lang": asking.language} | given
            ),
            title=say(f"parked.{action or 'show'}"),
            service=self.service,
            here=LETTER.format(service=self.service, parked_id=self.parked_id),
            action=action,
            letter=letter,
            tried=tried,
            data=form.get("data") or (_pretty(letter.mended_data or letter.data) if letter else ""),
            original=_pretty(letter.data) if letter else "",
            reason=form.get("reason", ""),
            trouble=self._trouble(refused),
            errors=refused.extensions.get("errors", ()) if refused else (),
        )
        return html(page, asking.language, status=refused.status if refused else HTTPStatus.OK)

    def _trouble(self, refused: ProblemError | TransientError | None) -> str:
        say = SPEECH[self.asking.language]
        match refused:
            case None:
                return ""
            case NotFound():
                return say("parked.gone")
            case TransientError():
                return say("parked.silent", say(f"service.{self.service}"))
        return say("parked.refused", refused)


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(include_in_schema=False)

    def desk(asking: Asking, service: Service, parked_id: int) -> Desk:
        peers = wiring.peers.named()
        letters: Letters = (
            OurLetters(wiring.database, wiring.consumer, asking.caller)
            if service == "reporting"
            else TheirLetters(peers[service], _token(asking.request))
        )
        return Desk(asking, service, parked_id, letters)

    @routes.get(LETTER)
    async def get_letter(asking: AskingDep, service: Service, parked_id: ParkedId) -> Response:
        return await desk(asking, service, parked_id).look(None)

    @routes.post(LETTER)
    async def post_mended(asking: AskingDep, service: Service, parked_id: ParkedId) -> Response:
        form = await form_of(asking.request, FORM_LIMIT)
        here = desk(asking.speaking(form.get("lang")), service, parked_id)
        try:
            await here.letters.mend(parked_id, _mended(form))
        except (ProblemError, TransientError) as error:
            return await here.look(None, error, form)
        # What re-driving it would do now is the next thing to be known.
        return _to(ACTION.format(service=service, parked_id=parked_id, action="redrive"))

    @routes.get(ACTION)
    async def get_action(
        asking: AskingDep, service: Service, parked_id: ParkedId, action: Action
    ) -> Response:
        return await desk(asking, service, parked_id).look(action)

    @routes.post(ACTION)
    async def post_action(
        asking: AskingDep, service: Service, parked_id: ParkedId, action: Action
    ) -> Response:
        form = await form_of(asking.request, FORM_LIMIT)
        here = desk(asking.speaking(form.get("lang")), service, parked_id)
        try:
            if action == "redrive":
                await here.letters.redrive(parked_id)
            else:
                given = msgspec.json.encode({"reason": form.get("reason", "")})
                await here.letters.discard(parked_id, decode_one(given, DiscardIn))
        except (ProblemError, TransientError) as error:
            return await here.look(action, error, form)
        return _to(PATHS["operations"])

    return routes


def _mended(form: Mapping[str, str]) -> MendIn:
    """Read the form of mending by the rules of the API."""
    try:
        data = msgspec.json.decode(form.get("data", ""))
    except (msgspec.DecodeError, RecursionError):
        raise BadInput.at("data", "is not JSON") from None
    return decode_one(msgspec.json.encode({"data": data, "reason": form.get("reason", "")}), MendIn)


def _to(path: str) -> Response:
    return RedirectResponse(path, int(HTTPStatus.SEE_OTHER))


def _token(request: Request) -> str:
    """The token that the front door let in."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else request.cookies.get(COOKIE, "")


def _pretty(data: str) -> str:
    """Lay JSON out in lines; what is none is shown as it is."""
    try:
        return msgspec.json.format(data)
    except msgspec.DecodeError:
        return data
