"""What dispatch asks of registry: the contacts of those on a worklist. Nothing of them is kept."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import httpx
import structlog

from shared.errors import TransientError

PER_CALL = 500
"""Residents asked for in one call at most."""

Contact = dict[str, Any]
"""Name, phone, address, as registry shows them to this caller; its shape is registry's own."""

log = structlog.get_logger(__name__)


async def contacts(
    registry: httpx.AsyncClient, residents: Sequence[str], authorization: str
) -> dict[str, Contact] | None:
    """Ask for contacts in the caller's own name; None when registry does not tell.

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
            return None
        if not answer.is_success:
            log.warning("contacts_refused", status=answer.status_code)
            return None
        found |= {contact["id"]: contact for contact in answer.json()["contacts"]}
    return found
