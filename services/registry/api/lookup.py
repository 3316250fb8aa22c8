"""People looked up by whoever meets them: by document or phone, and contacts for a worklist."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta

from services.registry.api.masking import masked_name, masked_phone
from services.registry.api.residents import ResidentPage, shown
from services.registry.api.rows import DocumentIn, Short
from services.registry.domain.residents import Resident
from services.registry.flow import lookup
from services.registry.wiring import Wiring
from shared.auth import CallerDep
from shared.bodies import Given, decode_one, json_reply, read_body
from shared.contracts.vocabulary import Need
from shared.errors import RuleError
from shared.openapi import openapi_body, openapi_reply


class Search(Given, frozen=True):
    """Look a resident up by document or by phone."""

    id_document: DocumentIn | None = None
    phone: Short | None = None

    def __post_init__(self) -> None:
        if (self.id_document is None) == (self.phone is None):
            raise RuleError("one of id_document and phone")


class Wanted(Given, frozen=True):
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


class Contact(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whom a team is to see. `age` in completed years.

    `id` is the one that was asked for. Supervisors see names and phones masked.
    """

    id: UUID
    household: UUID
    name: str
    phone: str | None
    age: int | None
    sex: str | None
    address: ContactAddress
    needs: tuple[Need, ...]
    """Those that hold now."""
    merged_into: UUID | None = None
    """The record of the same person that was kept instead of this one; the contact is its."""


class Contacts(msgspec.Struct, frozen=True):
    """Contacts of the wanted who live within the caller's areas; the others are left out."""

    contacts: list[Contact]


def _contact(
    asked: UUID, resident: Resident, names: dict[str, str], now: datetime, *, whole: bool
) -> Contact:
    return Contact(
        id=asked,
        household=resident.household,
        name=resident.name if whole else masked_name(resident.name),
        phone=resident.phone if whole or not resident.phone else masked_phone(resident.phone),
        age=resident.age(now.date()),
        sex=resident.sex,
        address=ContactAddress(
            resident.community, names.get(resident.community, ""), resident.building,
            resident.unit, resident.door, resident.lat, resident.lon,
        ),
        needs=resident.held,
        merged_into=None if resident.id == asked else resident.id,
    )  # fmt: skip


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["residents"])

    @routes.post(
        "/v1/residents:search",
        openapi_extra=openapi_body(Search, list_=False),
        responses=openapi_reply(ResidentPage),
    )
    async def post_search(request: Request, caller: CallerDep) -> Response:
        """Look residents up by document or phone. Who looked is noted, and whom they found."""
        asked = decode_one(await read_body(request), Search)
        found = await wiring.database.transact(
            lookup.search,
            wiring.vault,
            caller,
            document=asked.id_document.checked() if asked.id_document else None,
            phone=asked.phone or "",
        )
        phones = lookup.sees_phones(caller)
        return json_reply(ResidentPage([shown(resident, phones=phones) for resident in found]))

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
            lookup.contacts, wiring.vault, caller, asked.ids
        )
        whole = lookup.sees_contacts(caller)
        return json_reply(
            Contacts([_contact(id_, r, names, now, whole=whole) for id_, r in found.items()])
        )

    return routes
