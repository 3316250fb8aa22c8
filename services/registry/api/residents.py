"""Residents: sent in, looked up, and their contacts for those who knock at doors."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET, Meta, UnsetType

from services.registry.api.results import Short, Time
from services.registry.api.rows import BatchAnswer, DocumentIn, answered, translated
from services.registry.domain.errors import ResidentUnknown
from services.registry.domain.residents import Document, Draft, NeedSpan, Resident
from services.registry.flow import lookup
from services.registry.flow.residents import register
from services.registry.vault import masked
from services.registry.wiring import Wiring
from shared.auth import Caller, CallerDep
from shared.bodies import ROW_LIMIT, Rows, decode_one, decode_rows, json_reply, read_body
from shared.contracts.vocabulary import Need
from shared.errors import BadInput, RuleError
from shared.openapi import openapi_body, openapi_reply
from shared.paging import Cursor, Limit, pack_cursor, unpack_cursor

Text = Annotated[str, Meta(max_length=200)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
AreaCode = Annotated[str, Meta(pattern=r"^\d{6}(\d{3}(\d{3})?)?$")]

DISTRICT_DIGITS = 6


class NeedIn(msgspec.Struct, frozen=True, rename={"since": "from"}, omit_defaults=True):
    """A need (特殊需求); without bounds it always holds."""

    code: Need
    since: Time | None = None
    until: Time | None = None

    def __post_init__(self) -> None:
        if self.since and self.until and self.until <= self.since:
            raise RuleError("until: after from")


class AddressIn(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where somebody lives. An unknown community counts in its office's row `…000` (R5)."""

    community_code: AreaCode | None = None
    building: Short = ""
    unit: Short = ""
    door: Short = ""
    lat: Latitude | None = None
    lon: Longitude | None = None
    since: Time | None = None
    """When they moved there; without it, now."""


class ResidentIn(msgspec.Struct, frozen=True):
    """A resident. What is left out of a later row keeps its value on file."""

    id: UUID | None = None
    name: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    sex: Literal["male", "female"] | None | UnsetType = UNSET
    birth_date: date | None | UnsetType = UNSET
    id_document: DocumentIn | UnsetType = UNSET
    phone: Short | None | UnsetType = UNSET
    address: AddressIn | UnsetType = UNSET
    needs: Annotated[list[NeedIn], Meta(max_length=20)] | UnsetType = UNSET
    alive: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.id is None and self.id_document is UNSET and self.name is UNSET:
            raise RuleError("id or id_document: needed for a resident on file")
        if self.needs and len({need.code for need in self.needs}) != len(self.needs):
            raise RuleError("needs: each code once")


def _draft(ordinal: int, row: ResidentIn) -> Draft:
    stated: dict[str, Any] = {
        name: getattr(row, name)
        for name in ("name", "sex", "birth_date", "phone", "alive")
        if getattr(row, name) is not UNSET
    }
    if row.id_document is not UNSET:
        stated["document"] = row.id_document.checked()
    if row.needs is not UNSET:
        stated["needs"] = tuple(
            sorted(
                (NeedSpan(need.code, need.since, need.until) for need in row.needs),
                key=lambda span: span.code,
            )
        )
    if row.address is not UNSET:
        address = row.address
        stated |= {
            "community": address.community_code,
            "building": address.building,
            "unit": address.unit,
            "door": address.door,
            "lat": address.lat,
            "lon": address.lon,
            "since": address.since,
        }
    return Draft(ordinal, row.id, stated)


class ResidentOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """A resident on file; the number of the document is masked."""

    id: UUID
    household: UUID
    name: str
    address: AddressIn
    needs: list[NeedIn]
    sex: str | None = None
    birth_date: date | None = None
    id_document: dict[str, str] | None = None
    phone: str | None = None
    alive: bool = True


def _shown(resident: Resident) -> ResidentOut:
    document = resident.document
    return ResidentOut(
        id=resident.id,
        household=resident.household,
        name=resident.name,
        address=AddressIn(
            resident.community, resident.building, resident.unit, resident.door,
            resident.lat, resident.lon, resident.since,
        ),
        needs=[NeedIn(span.code, span.since, span.until) for span in resident.needs],
        sex=resident.sex,
        birth_date=resident.birth_date,
        id_document={"type": document.type, "number": masked(document.number)} if document else None,
        phone=resident.phone,
        alive=resident.alive,
    )  # fmt: skip


class ResidentPage(msgspec.Struct, frozen=True):
    """A page of residents, in order of their ids."""

    items: list[ResidentOut]
    next_cursor: str | None = None


class Search(msgspec.Struct, frozen=True):
    """Look a resident up by document or by phone."""

    id_document: DocumentIn | None = None
    phone: Short | None = None

    def __post_init__(self) -> None:
        if (self.id_document is None) == (self.phone is None):
            raise RuleError("one of id_document and phone")


class Wanted(msgspec.Struct, frozen=True):
    """Whose contacts are wanted."""

    ids: Annotated[list[UUID], Meta(min_length=1, max_length=500)]


class ContactAddress(msgspec.Struct, frozen=True):
    """Where to knock."""

    community_code: str
    community_name: str
    building: str
    unit: str
    door: str
    lat: float | None
    lon: float | None


class Contact(msgspec.Struct, frozen=True):
    """Whom a team is to see. `age` in completed years."""

    id: UUID
    name: str
    phone: str | None
    age: int | None
    sex: str | None
    address: ContactAddress
    needs: list[Need]


class Contacts(msgspec.Struct, frozen=True):
    """Contacts of the wanted who live within the caller's areas; the others are left out."""

    contacts: list[Contact]


def _contact(resident: Resident, names: dict[str, str], now: datetime) -> Contact:
    return Contact(
        id=resident.id,
        name=resident.name,
        phone=resident.phone,
        age=resident.age(now.date()),
        sex=resident.sex,
        address=ContactAddress(
            resident.community, names.get(resident.community, ""), resident.building,
            resident.unit, resident.door, resident.lat, resident.lon,
        ),
        needs=resident.needs_now(now),
    )  # fmt: skip


def _home(caller: Caller) -> str | None:
    """Tell where those belong who came without any area: to the sender's, if it is but one (R5)."""
    (area,) = caller.areas if len(caller.areas) == 1 else ("",)
    return area if len(area) >= DISTRICT_DIGITS else None


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["residents"])

    async def _register(rows: Rows[ResidentIn], caller: Caller) -> BatchAnswer:
        drafts, refused = translated(rows, _draft)
        answers = (
            await wiring.database.transact(
                register, wiring.vault, drafts, _home(caller), datetime.now(UTC)
            )
            if drafts
            else []
        )
        return answered(rows, [*refused, *answers], lambda row: row.id)

    @routes.post(
        "/v1/residents:batch",
        openapi_extra=openapi_body(ResidentIn),
        responses=openapi_reply(BatchAnswer),
    )
    async def post_residents(request: Request, caller: CallerDep) -> Response:
        """Send up to 10,000 residents. Matched by `id`, else by document; each row is answered."""
        rows = decode_rows(
            await read_body(request), request.headers.get("content-type"), ResidentIn, ROW_LIMIT,
            ref="id",
        )  # fmt: skip
        return json_reply(await _register(rows, caller))

    @routes.patch(
        "/v1/residents/{resident_id}",
        openapi_extra=openapi_body(ResidentIn, list_=False),
        responses=openapi_reply(ResidentOut),
    )
    async def patch_resident(resident_id: UUID, request: Request, caller: CallerDep) -> Response:
        """Change what is stated of a resident and leave the rest as it is."""
        row = decode_one(await read_body(request), ResidentIn)
        if row.id not in {None, resident_id}:
            raise BadInput.at("id", "must be the resident of the path")
        await _one(resident_id, caller)
        named = msgspec.structs.replace(row, id=resident_id)
        answer = (
            await wiring.database.transact(
                register, wiring.vault, [_draft(0, named)], _home(caller), datetime.now(UTC)
            )
        )[0]
        if answer.reason:
            raise answer.reason
        return json_reply(_shown(await _one(resident_id, caller)))

    @routes.get("/v1/residents/{resident_id}", responses=openapi_reply(ResidentOut))
    async def get_resident(resident_id: UUID, caller: CallerDep) -> Response:
        """Read one resident who lives within the caller's areas."""
        return json_reply(_shown(await _one(resident_id, caller)))

    async def _one(resident_id: UUID, caller: Caller) -> Resident:
        found = await wiring.database.transact(lookup.residents, wiring.vault, [resident_id])
        if not found or not caller.covers(found[0].community):
            raise ResidentUnknown("id: no such resident in the caller's areas")
        return found[0]

    @routes.get("/v1/residents", responses=openapi_reply(ResidentPage))
    async def get_residents(
        caller: CallerDep,
        office: Annotated[str, Query(pattern=r"^(\d{9})?$")] = "",
        community: Annotated[str, Query(pattern=r"^(\d{12})?$")] = "",
        need: Need | None = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """List residents within the caller's areas, by office, community or need."""
        after = unpack_cursor(cursor, tuple[UUID])[0] if cursor else None
        found = await wiring.database.transact(
            lookup.page, wiring.vault, caller.area_patterns, community or office, need, after, limit
        )
        following = pack_cursor(found[-1].id) if len(found) == limit else None
        return json_reply(ResidentPage([_shown(resident) for resident in found], following))

    @routes.post(
        "/v1/residents:search",
        openapi_extra=openapi_body(Search, list_=False),
        responses=openapi_reply(ResidentPage),
    )
    async def post_search(request: Request, caller: CallerDep) -> Response:
        """Look residents up by document or phone. Who looked is noted, and whom they found."""
        asked = decode_one(await read_body(request), Search)
        document: Document | None = asked.id_document.checked() if asked.id_document else None
        found = await wiring.database.transact(
            lookup.search, wiring.vault, caller, document, asked.phone, datetime.now(UTC)
        )
        return json_reply(ResidentPage([_shown(resident) for resident in found]))

    @routes.post(
        "/v1/residents:contacts",
        openapi_extra=openapi_body(Wanted, list_=False),
        responses=openapi_reply(Contacts),
    )
    async def post_contacts(request: Request, caller: CallerDep) -> Response:
        """Read names, phones and addresses for a worklist. Who asked is noted, and for whom."""
        asked = decode_one(await read_body(request), Wanted)
        now = datetime.now(UTC)
        found, names = await wiring.database.transact(
            lookup.contacts, wiring.vault, caller, asked.ids, now
        )
        return json_reply(Contacts([_contact(resident, names, now) for resident in found]))

    return routes
