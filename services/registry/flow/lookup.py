"""People are looked up: by id, by list, by document or phone, for a worklist. Looking is noted."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from services.registry.domain.residents import Document, Resident
from services.registry.store import residents as store
from services.registry.store import results, rounds
from services.registry.vault import Vault
from shared.auth import Caller
from shared.database import Transaction


async def residents(tx: Transaction, vault: Vault, ids: Sequence[UUID]) -> list[Resident]:
    """Load residents by id; the unknown are left out."""
    return await store.find(tx, vault, ids)


async def page(
    tx: Transaction,
    vault: Vault,
    patterns: Sequence[str],
    *,
    prefix: str,
    need: str | None,
    after: UUID | None,
    limit: int,
) -> list[Resident]:
    """Load a page of residents within some areas."""
    ids = await store.page(tx, patterns, prefix=prefix, need=need, after=after, limit=limit)
    return await store.find(tx, vault, ids)


async def search(
    tx: Transaction,
    vault: Vault,
    caller: Caller,
    *,
    document: Document | None,
    phone: str | None,
    now: datetime,
) -> list[Resident]:
    """Find residents within the caller's areas by document or phone, and note who looked (R20)."""
    if document is not None:
        by_document = await store.identify(tx, vault, [document])
        ids = list(by_document.values())
    else:
        ids = await store.search(tx, caller.area_patterns, "phone", phone)
    found = [r for r in await store.find(tx, vault, ids) if caller.covers(r.community)]
    did = "search by document" if document else "search by phone"
    await store.note(tx, caller.sub, did, [resident.id for resident in found], now)
    return found


async def contacts(
    tx: Transaction, vault: Vault, caller: Caller, ids: Sequence[UUID], now: datetime
) -> tuple[list[Resident], dict[str, str]]:
    """Load contacts within the caller's areas, with names of communities, and note who asked."""
    found = [r for r in await store.find(tx, vault, ids) if caller.covers(r.community)]
    await store.note(tx, caller.sub, "contacts", [resident.id for resident in found], now)
    areas = await rounds.areas(tx, sorted({resident.community for resident in found}))
    return found, {area.code: area.name for area in areas}


async def history(tx: Transaction, resident: UUID) -> list[asyncpg.Record]:
    """Read a resident's samples with the released outcome of each (R10)."""
    return await results.of_resident(tx, resident)
