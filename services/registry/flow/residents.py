"""People go on the roll, change, move and leave it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from services.registry import messages
from services.registry.domain.answers import RowAnswer
from services.registry.domain.areas import Area, place
from services.registry.domain.residents import Draft, Register, Resident
from services.registry.flow.settle import announce
from services.registry.store import account, locks, residents, rounds
from services.registry.vault import Vault
from shared.database import Transaction
from shared.errors import ProblemError


async def register_areas(tx: Transaction, areas: Sequence[Area]) -> list[Area]:
    """Take in areas; answers those that are new or differ from what was on file."""
    changed = await rounds.save_areas(tx, areas)
    for message, key in messages.areas_changed(changed):
        tx.announce(message, key=key)
    return changed


async def register(
    tx: Transaction, vault: Vault, drafts: Sequence[Draft], home: str | None, now: datetime
) -> list[RowAnswer]:
    """Take in residents, new or known, and answer each row (R21).

    Args:
        tx: the transaction
        vault: seals identity numbers
        drafts: what was sent in; a community there is a code as sent, known or not
        home: area of those who came without any code (R5)
        now: the time

    """
    await locks.share_residents(tx)
    under_way = await rounds.listed(tx, "open")
    await locks.share_rounds(tx, [where.id for where in under_way])

    areas = await rounds.known_areas(tx)
    register = Register(
        await residents.load_for_change(
            tx, vault, (d.id for d in drafts if d.id), (d.document for d in drafts if d.document)
        ),
        now,
    )
    answers = [_enter(register, draft, areas, home) for draft in drafts]

    added = [register.now(i) for i in sorted(register.touched) if i not in register.before]
    changed = [
        (register.before[i], register.now(i))
        for i in sorted(register.touched & register.before.keys())
    ]
    affected = [
        (old, new) for old, new in changed if _on_the_roll(old, now) != _on_the_roll(new, now)
    ]
    for where in under_way:
        await account.materialise(tx, where, [old.id for old, _ in affected])
    await residents.add(tx, vault, added, now)
    await residents.save(tx, vault, changed, now)
    for where in under_way:
        concerned = _concerned(where.covers, added, affected)
        moved = await account.settle(tx, where, concerned) if concerned else []
        announce(tx, messages.roll_changed(where, moved, joining=True))
    await account.count_into_population(tx, _population(added, affected))
    return answers


def _enter(register: Register, draft: Draft, areas: set[str], home: str | None) -> RowAnswer:
    try:
        return register.enter(_placed(draft, areas, home))
    except ProblemError as reason:
        return RowAnswer(draft.ordinal, "rejected", draft.id, reason)


def _placed(draft: Draft, areas: set[str], home: str | None) -> Draft:
    """Replace the code that was sent by the community that counts (R5)."""
    if "community" not in draft.stated:
        return draft
    community = place(draft.stated["community"], areas, home)
    return replace(draft, stated={**draft.stated, "community": community})


def _on_the_roll(resident: Resident, now: datetime) -> tuple[object, ...]:
    """What of a resident the account depends on."""
    return resident.community, resident.since, resident.alive, resident.needs_now(now)


def _concerned(
    covers: Callable[[str], bool],
    added: Sequence[Resident],
    affected: Sequence[tuple[Resident, Resident]],
) -> list[UUID]:
    return [new.id for new in added if covers(new.community)] + [
        new.id for old, new in affected if covers(old.community) or covers(new.community)
    ]


def _population(
    added: Sequence[Resident], affected: Sequence[tuple[Resident, Resident]]
) -> Counter[str]:
    deltas: Counter[str] = Counter(new.community for new in added if new.alive)
    deltas.update(new.community for _, new in affected if new.alive)
    deltas.subtract(old.community for old, _ in affected if old.alive)
    return deltas
