"""People are looked up: by id, by list, by document or phone, for a worklist. Looking is noted."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from services.registry.domain.documents import Document
from services.registry.domain.errors import ResidentUnknown
from services.registry.domain.residents import Resident
from services.registry.store import residents as store
from services.registry.store import results, rounds, sight
from services.registry.vault import Vault
from shared import audit
from shared.auth import Caller
from shared.database import Transaction


async def read(tx: Transaction, vault: Vault, caller: Caller, resident: UUID) -> Resident:
    """Load a resident within the caller's areas; whoever is shown the phone is noted (R20).

    Raises:
        ResidentUnknown: there is none, or not there.

    """
    await sight.within(tx, caller.areas)
    for found in await store.find(tx, vault, [resident]):
        if caller.covers(found.community):
            if sees_phones(caller):
                await audit.record(tx, caller, "read", [resident])
            return found
    raise ResidentUnknown("id: no such resident in the caller's areas")


async def must_know(tx: Transaction, caller: Caller, resident: UUID) -> None:
    """Check that a resident is on file within the caller's areas.

    Raises:
        ResidentUnknown: they are not.

    """
    await sight.within(tx, caller.areas)
    if not any(map(caller.covers, await store.communities(tx, [resident]))):
        raise ResidentUnknown("id: no such resident in the caller's areas")


async def changed(tx: Transaction, vault: Vault, caller: Caller, resident: UUID) -> Resident:
    """Load a resident whom the caller has just changed, also out of their areas."""
    await sight.whole(tx)
    (found,) = await store.find(tx, vault, [resident])
    if sees_phones(caller):
        await audit.record(tx, caller, "read", [resident])
    return found


async def page(
    tx: Transaction,
    vault: Vault,
    caller: Caller,
    *,
    prefix: str,
    need: str | None,
    household: UUID | None,
    after: UUID | None,
    limit: int,
) -> list[Resident]:
    """Load a page of residents within the caller's areas."""
    await sight.within(tx, caller.areas)
    ids = await store.page(
        tx,
        caller.area_patterns,
        prefix=prefix,
        need=need,
        household=household,
        after=after,
        limit=limit,
    )
    return await store.find(tx, vault, ids)


async def search(
    tx: Transaction,
    vault: Vault,
    caller: Caller,
    *,
    document: Document | None,
    phone: str,
) -> list[Resident]:
    """Find residents within the caller's areas by document or phone, and note who looked (R20).

    Either document of somebody whose records were merged finds the record that was kept.
    """
    # The record that was merged may live elsewhere than the one that is kept, and shown.
    await sight.whole(tx)
    if document is not None:
        by_document = await store.identify(tx, vault, [document])
        ids = [*(await store.kept(tx, by_document.values())).values()]
    else:
        ids = await store.by_phone(tx, caller.area_patterns, phone)
    await sight.within(tx, caller.areas)
    found = [r for r in await store.find(tx, vault, ids) if caller.covers(r.community)]
    did = "search by document" if document else "search by phone"
    await audit.record(tx, caller, did, [resident.id for resident in found])
    return found


async def contacts(
    tx: Transaction, vault: Vault, caller: Caller, ids: Sequence[UUID]
) -> tuple[dict[UUID, Resident], dict[str, str]]:
    """Load contacts within the caller's areas, with names of communities, and note who asked.

    Answers by the id that was asked for: a worklist may name a record that was merged since.
    """
    await sight.whole(tx)
    kept = await store.kept(tx, ids)
    await sight.within(tx, caller.areas)
    standing = {r.id: r for r in await store.find(tx, vault, set(kept.values()))}
    found = {
        asked: resident
        for asked in ids
        if (resident := standing.get(kept.get(asked, asked))) and caller.covers(resident.community)
    }
    did = "contacts" if sees_contacts(caller) else "masked contacts"
    areas = await rounds.areas(tx, sorted({resident.community for resident in found.values()}))
    await audit.record(tx, caller, did, found)
    return found, {area.code: area.name for area in areas}


def sees_phones(caller: Caller) -> bool:
    """Say whether somebody works with the phone numbers of single residents: calls them."""
    return caller.has("office", "system")


def sees_contacts(caller: Caller) -> bool:
    """Say whether somebody works with contacts: knocks at doors, or sends those who do."""
    return caller.has("team", "office", "system")


async def history(tx: Transaction, caller: Caller, resident: UUID) -> list[asyncpg.Record]:
    """Read a resident's samples with the released outcome of each (R10), by all their records.

    Raises:
        ResidentUnknown: there is none, or not within the caller's areas.

    """
    await must_know(tx, caller, resident)
    await sight.whole(tx)  # other records of the same person may live elsewhere
    return await results.of_person(tx, await store.one_person(tx, resident))
