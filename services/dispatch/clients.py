"""What dispatch asks of registry: the contacts of those on a worklist. Nothing of them is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import httpx
import structlog

from shared.errors import TransientError

PER_CALL = 500
"""Residents asked for in one call at most."""

Contact = dict[str, Any]
"""Name, phone, address, as registry shows them to this caller; its shape is registry's own."""

ContactState = Literal["shown", "unavailable", "refused"]
"""`unavailable`: registry does not answer; `refused`: it does not show them to this caller."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Contacts:
    """What registry told of the people on a worklist."""

    state: ContactState
    by_resident: Mapping[str, Contact] = field(default_factory=dict)


async def contacts(
    registry: httpx.AsyncClient, residents: Sequence[str], authorization: str
) -> Contacts:
    """Ask for contacts in the caller's own name.

    The caller's token is handed on and not ours used: registry limits what it shows to the
    caller's areas and role, and its audit names who looked (R20).
    """
    found: dict[str, Contact] = {}
    remaining = iter(dict.fromkeys(residents))
    while ids := list(islice(remaining, PER_CALL)):
        try:
            answer = await registry.post(
                "/v1/residents:contacts",
                json={"ids": ids},
                headers={"Authorization": authorization},
                auth=httpx.Auth(),  # ours stays at home
            )
        except TransientError as error:
            log.warning("contacts_unavailable", why=str(error))
            return Contacts("unavailable")
        if not answer.is_success:
            log.warning("contacts_refused", status=answer.status_code)
            return Contacts("refused")
        found |= {contact["id"]: contact for contact in answer.json()["contacts"]}
    return Contacts("shown", found)
