"""People go on the roll, change, move and leave it."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from services.registry import messages
from services.registry.domain.answers import RowAnswer
from services.registry.domain.areas import Area
from services.registry.domain.residents import Desk, Draft, Register, Resident
from services.registry.domain.rounds import Round
from services.registry.flow.settle import announce
from services.registry.store import account, locks, residents, rounds, sight
from services.registry.vault import Vault
from shared.database import Transaction


async def register_areas(tx: Transaction, areas: Sequence[Area]) -> list[Area]:
    """Take in areas; answers those that are new or differ from what was on file."""
    changed = await rounds.save_areas(tx, areas)
    for message, key in messages.areas_changed(changed):
        tx.announce(message, key=key)
    return changed


async def register(
    tx: Transaction,
    vault: Vault,
    drafts: Sequence[Draft],
    *,
    home: str | None,
    covers: Callable[[str], bool],
    now: datetime,
) -> list[RowAnswer]:
    """Take in residents, new or known, and answer each row (R21).

    Args:
        tx: the transaction
        vault: seals identity numbers
        drafts: what was sent in; a community there is a code as sent, known or not
        home: area of those who came without any code (R5)
        covers: says whether the sender answers for a community
        now: the time

    """
    vault = vault.for_a_batch()
    await sight.whole(tx)
    under_way = await share_under_way(tx)
    noted_at = await locks.noting(tx)

    on_file = await residents.load_for_change(
        tx, vault, (d.id for d in drafts if d.id), (d.document for d in drafts if d.document)
    )
    register = Register(
        await residents.as_once_filed(tx, on_file),
        Desk(now, noted_at, await rounds.known_areas(tx), home, under_way, covers),
    )
    answers = [register.enter(draft) for draft in drafts]

    await residents.leave_behind(tx, register.left)
    await take_in(tx, vault, under_way, register.added, register.changed, now)
    return answers


async def share_under_way(tx: Transaction) -> list[Round]:
    """Keep the rounds under way as they are while residents are written, and tell them."""
    await locks.share_residents(tx)
    await locks.share_rounds(tx, [where.id for where in await rounds.listed(tx, "open")])
    # Read behind their locks: a clock may have ticked while we waited.
    return await rounds.listed(tx, "open")


async def take_in(
    tx: Transaction,
    vault: Vault,
    under_way: Sequence[Round],
    added: Sequence[Resident],
    changed: Sequence[tuple[Resident, Resident]],
    now: datetime,
) -> None:
    """Store residents who are new or changed, and settle what that means for the rounds under way.

    The caller holds the residents' lock, the rounds' and the rows of those who changed.

    Args:
        tx: the transaction
        vault: seals identity numbers
        under_way: the rounds that are open
        added: who was not on file
        changed: who was, before and after
        now: the time

    """
    affected = [(old, new) for old, new in changed if old.on_the_roll != new.on_the_roll]
    for where in under_way:
        await account.materialise(tx, where, [old.id for old, _ in affected])
    await residents.add(tx, vault, added, now)
    await residents.save(tx, vault, changed)
    for where in under_way:
        concerned = [new.id for new in added if where.covers(new.community)]
        concerned += await _members(tx, where, affected)
        moved = await account.settle(tx, where, concerned) if concerned else []
        announce(tx, messages.roll_changed(where, moved, joining=True))
    await account.count_into_population(tx, _population(added, affected))


async def _members(
    tx: Transaction, where: Round, affected: Sequence[tuple[Resident, Resident]]
) -> list[UUID]:
    """Tell whose change a round has to know: members before or after, and whoever it sampled."""
    members = {
        new.id
        for old, new in affected
        if where.covers(old.community) or where.covers(new.community)
    }
    others = [new.id for _, new in affected if new.id not in members]
    return [*members, *(await account.among(tx, where, others) if others else [])]


def _population(
    added: Sequence[Resident], affected: Sequence[tuple[Resident, Resident]]
) -> Counter[str]:
    deltas: Counter[str] = Counter(new.community for new in added if new.alive)
    deltas.update(new.community for _, new in affected if new.alive)
    deltas.subtract(old.community for old, _ in affected if old.alive)
    return deltas
