"""Residents: sent in, changed, read."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET, Meta, UnsetType

from services.registry.api.masking import masked, masked_phone
from services.registry.api.rows import (
    AreaCode,
    BatchAnswer,
    DocumentIn,
    Short,
    Time,
    answered,
    check_times,
    translated,
)
from services.registry.domain.answers import RowAnswer
from services.registry.domain.areas import DISTRICT_DIGITS
from services.registry.domain.residents import Draft, NeedSpan, Resident
from services.registry.flow import lookup
from services.registry.flow.residents import register
from services.registry.wiring import Wiring
from shared.auth import Caller, CallerDep
from shared.bodies import ROW_LIMIT, Given, decode_one, decode_rows, json_reply, read_body
from shared.contracts.geometry import Latitude, Longitude
from shared.contracts.vocabulary import Need
from shared.errors import BadInput, RuleError
from shared.openapi import openapi_body, openapi_reply
from shared.paging import Cursor, Limit, pack_cursor, unpack_cursor

Name = Annotated[str, Meta(min_length=1, max_length=200)]


class NeedIn(Given, frozen=True, rename={"since": "from"}, omit_defaults=True):
    """A need (特殊需求); without bounds it always holds."""

    code: Need
    since: Time | None = None
    until: Time | None = None

    def __post_init__(self) -> None:
        check_times(**{"from": self.since, "until": self.until})
        if self.since and self.until and self.until <= self.since:
            raise RuleError("until: after from")


class AddressIn(Given, frozen=True):
    """Where somebody lives. An unknown community counts in its office's row `…000` (R5)."""

    community_code: AreaCode | UnsetType | None = UNSET
    building: Short | UnsetType = UNSET
    unit: Short | UnsetType = UNSET
    door: Short | UnsetType = UNSET
    lat: Latitude | UnsetType | None = UNSET
    lon: Longitude | UnsetType | None = UNSET
    since: Time | None = None
    """When they moved there; without it, now."""

    def __post_init__(self) -> None:
        check_times(since=self.since)


class Stated(Given, frozen=True):
    """What is said of a resident. What is left out keeps its value on file, address by member."""

    id: UUID | None = None
    name: Name | UnsetType = UNSET
    sex: Literal["male", "female"] | UnsetType | None = UNSET
    birth_date: date | UnsetType | None = UNSET
    id_document: DocumentIn | UnsetType = UNSET
    phone: Short | UnsetType | None = UNSET
    address: AddressIn | UnsetType = UNSET
    needs: Annotated[list[NeedIn], Meta(max_length=20)] | UnsetType = UNSET
    alive: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.needs and len({need.code for need in self.needs}) != len(self.needs):
            raise RuleError("needs: each code once")


class ResidentIn(Stated, frozen=True):
    """A resident, found by `id` or `id_document`, or new."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.id is None and self.id_document is UNSET and self.name is UNSET:
            raise RuleError("id or id_document: needed for a resident on file")


def _draft(ordinal: int, row: Stated) -> Draft:
    stated = _given(row, "name", "sex", "birth_date", "phone", "alive")
    if row.id_document is not UNSET:
        stated["document"] = row.id_document.checked()
    if row.needs is not UNSET:
        spans = (NeedSpan(need.code, need.since, need.until) for need in row.needs)
        stated["needs"] = tuple(sorted(spans, key=lambda span: span.code))
    if row.address is not UNSET:
        stated |= _given(row.address, "building", "unit", "door", "lat", "lon")
        stated["since"] = row.address.since
        if row.address.community_code is not UNSET:
            stated["community"] = row.address.community_code
    return Draft(ordinal, row.id, stated)


def _given(row: Stated | AddressIn, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(row, name)) is not UNSET}


class AddressOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where somebody lives; `…000` says that the community is not known (R5)."""

    community_code: str
    building: str = ""
    unit: str = ""
    door: str = ""
    lat: float | None = None
    lon: float | None = None
    since: datetime | None = None


class ResidentOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """A resident on file. The document's number is masked, and so is the phone in lists."""

    id: UUID
    household: UUID
    name: str
    address: AddressOut
    needs: list[NeedIn]
    sex: str | None = None
    birth_date: date | None = None
    id_document: dict[str, str] | None = None
    phone: str | None = None
    alive: bool = True
    merged_into: UUID | None = None
    """The record of the same person that was kept instead of this one."""
    doubts: list[str] = []
    """Fields that contradict the identity number."""


def shown(resident: Resident, *, phones: bool) -> ResidentOut:
    """Show a resident to those who may see them, and the phone to those who call."""
    phone, document = resident.phone, None
    if resident.document:
        document = {"type": resident.document.type, "number": masked(resident.document.number)}
    return ResidentOut(
        id=resident.id,
        household=resident.household,
        name=resident.name,
        address=AddressOut(
            resident.community, resident.building, resident.unit, resident.door,
            resident.lat, resident.lon, resident.since,
        ),
        needs=[NeedIn(span.code, span.since, span.until) for span in resident.needs],
        sex=resident.sex,
        birth_date=resident.birth_date,
        id_document=document,
        phone=phone if phones or not phone else masked_phone(phone),
        # A record that was merged is not that of somebody dead.
        alive=resident.alive or resident.merged_into is not None,
        merged_into=resident.merged_into,
        doubts=resident.doubts,
    )  # fmt: skip


class ResidentPage(msgspec.Struct, frozen=True):
    """A page of residents, in order of their ids."""

    items: list[ResidentOut]
    next_cursor: str | None = None


def _home(caller: Caller) -> str | None:
    """Tell where those belong who came without any area: to the sender's, if it is but one (R5)."""
    (area,) = caller.areas if len(caller.areas) == 1 else ("",)
    return area if len(area) >= DISTRICT_DIGITS else None


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["residents"])
    _writing(routes, wiring)
    _reading(routes, wiring)
    return routes


def _writing(routes: APIRouter, wiring: Wiring) -> None:
    async def enter(drafts: list[Draft], caller: Caller) -> list[RowAnswer]:
        return await wiring.database.transact(
            register,
            wiring.vault,
            drafts,
            home=_home(caller),
            covers=caller.covers,
            now=datetime.now(UTC),
        )

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
        drafts, refused = translated(rows, _draft)
        answers = await enter(drafts, caller)
        return json_reply(answered(rows, [*refused, *answers], lambda row: row.id))

    @routes.patch(
        "/v1/residents/{resident_id}",
        openapi_extra=openapi_body(Stated, list_=False),
        responses=openapi_reply(ResidentOut),
    )
    async def patch_resident(resident_id: UUID, request: Request, caller: CallerDep) -> Response:
        """Change what is stated of a resident and leave the rest as it is."""
        row = decode_one(await read_body(request), Stated)
        if row.id not in {None, resident_id}:
            raise BadInput.at("id", "must be the resident of the path")
        await wiring.database.transact(lookup.must_know, caller, resident_id)
        (answer,) = await enter([_draft(0, msgspec.structs.replace(row, id=resident_id))], caller)
        if answer.reason:
            raise answer.reason
        # Shown also to those whose area they have just left: it is what was sent. Where the record
        # was merged, it is the kept one that changed.
        changed = await wiring.database.transact(
            lookup.changed, wiring.vault, caller, answer.id or resident_id
        )
        return json_reply(shown(changed, phones=lookup.sees_phones(caller)))


def _reading(routes: APIRouter, wiring: Wiring) -> None:
    @routes.get("/v1/residents/{resident_id}", responses=openapi_reply(ResidentOut))
    async def get_resident(resident_id: UUID, caller: CallerDep) -> Response:
        """Read one resident who lives within the caller's areas; who is shown a phone is noted."""
        found = await wiring.database.transact(lookup.read, wiring.vault, caller, resident_id)
        return json_reply(shown(found, phones=lookup.sees_phones(caller)))

    @routes.get("/v1/residents", responses=openapi_reply(ResidentPage))
    async def get_residents(
        caller: CallerDep,
        office: Annotated[str, Query(pattern=r"^(\d{9})?$")] = "",
        community: Annotated[str, Query(pattern=r"^(\d{12})?$")] = "",
        need: Need | None = None,
        household: UUID | None = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """List residents within the caller's areas, by office, community, need or household.

        Phones are masked; records that were merged into others are left out.
        """
        found = await wiring.database.transact(
            lookup.page,
            wiring.vault,
            caller,
            prefix=community or office,
            need=need,
            household=household,
            after=unpack_cursor(cursor, tuple[UUID])[0] if cursor else None,
            limit=limit,
        )
        following = pack_cursor(found[-1].id) if len(found) == limit else None
        return json_reply(ResidentPage([shown(r, phones=False) for r in found], following))
