"""Rotating the key that seals residents' numbers. Nobody's account changes by it."""

from uuid import UUID

from services.registry.domain.errors import KeyNotCurrent
from services.registry.store import sealing, sight
from services.registry.store.sealing import Stretch
from services.registry.vault import Vault
from shared import audit
from shared.auth import Caller
from shared.database import Transaction


async def count(tx: Transaction) -> dict[str, int]:
    """Count the numbers sealed under each key."""
    await sight.whole(tx)
    return await sealing.count(tx)


async def reseal(tx: Transaction, vault: Vault, key: str, start: UUID, caller: Caller) -> Stretch:
    """Seal the numbers of the residents from an id on under the current key.

    Raises:
        KeyNotCurrent: this process seals under another key than the asker believes. It may not know
            yet; sealing under the former one would undo what others have done.

    """
    if vault.current != key:
        raise KeyNotCurrent
    await sight.whole(tx)
    done = await sealing.reseal(tx, vault, start, key)
    if done.resealed:
        await audit.record(tx, caller, "reseal id numbers", key=key, rows=done.resealed)
    return done
