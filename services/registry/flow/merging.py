"""Two records turn out to be one person, or not to be one after all.

A sealed round stays as it is: its facts keep the record they were filed under. In every other round
the person is from now on in the account once, where the kept record lives, by the facts of both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from services.registry import messages
from services.registry.domain import merging as domain
from services.registry.domain.errors import MergeUnknown, ResidentUnknown
from services.registry.domain.merging import Merge
from services.registry.domain.residents import Resident
from services.registry.domain.rounds import Round, time_where
from services.registry.flow.residents import take_in
from services.registry.flow.settle import announce
from services.registry.store import account, locks, merging, residents, rounds, sight
from services.registry.vault import Vault
from shared import audit
from shared.auth import Caller
from shared.database import Transaction
from shared.errors import IdReused


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two records of one person, locked, and the rounds that they are still told apart in."""

    absorbed: Resident
    kept: Resident
    rounds: Sequence[Round]

    @property
    def ids(self) -> list[UUID]:
        return [self.absorbed.id, self.kept.id]

    @property
    def unsealed(self) -> list[UUID]:
        return [where.id for where in self.rounds]

    @property
    def under_way(self) -> list[Round]:
        return [where for where in self.rounds if where.state == "open"]

    @property
    def closed(self) -> list[UUID]:
        return [where.id for where in self.rounds if where.state == "closed"]

    def time(self, resident: Resident, now: datetime) -> datetime:
        """Tell the time where a resident lives, which may be that of a drill."""
        there = (where for where in self.under_way if where.covers(resident.community))
        return time_where(there, now)


async def merge(tx: Transaction, vault: Vault, asked: Merge, caller: Caller) -> Merge:
    """Let one record absorb another. The same merge again is answered as it is on file (R19).

    Args:
        tx: the transaction
        vault: opens identity numbers
        asked: who is merged into whom, by whom and when
        caller: who asks; they have to answer for the communities of both

    Raises:
        ResidentUnknown, CannotMerge
        IdReused: the id is another merge's.

    """
    pair = await _take(tx, vault, asked, caller.covers)
    if known := await merging.find(tx, asked.id):
        return _repeated(known, asked)
    has_absorbed = await merging.has_absorbed(tx, asked.absorbed)
    domain.check(pair.absorbed, pair.kept, has_absorbed=has_absorbed)
    at = pair.time(pair.kept, asked.merged_at)
    absorbed, kept = domain.join(pair.absorbed, pair.kept, at)

    await _enter(tx, pair)
    await merging.refile(tx, pair.unsealed, absorbed.id, kept.id)
    made = replace(
        asked,
        alive=pair.absorbed.alive,
        closed_rounds=pair.closed,
        alive_rounds=await merging.leave_frozen(tx, pair.closed, absorbed.id),
        gained=domain.gains(pair.kept, kept),
    )
    if not await merging.add(tx, made):
        raise IdReused("id: another merge has it")
    await _settle(tx, vault, pair, absorbed, kept.judged(at), asked.merged_at)
    await audit.record(tx, caller, "merge", pair.ids)
    return made


async def undo(
    tx: Transaction, vault: Vault, merge_id: UUID, caller: Caller, now: datetime
) -> Merge:
    """Undo a merge: facts that named the absorbed record are its own again, later ones too.

    What was undone before is answered as it is on file.

    Raises:
        MergeUnknown: there is none of this id, or not where the caller may see it.

    """
    named = await _find(tx, merge_id)
    try:
        pair = await _take(tx, vault, named, caller.covers)
    except ResidentUnknown:
        raise MergeUnknown("id: no such merge in the caller's areas") from None
    found = await _find(tx, merge_id)  # behind the lock of both
    if found.undone_at:
        return found
    absorbed, kept = domain.part(pair.absorbed, pair.kept, found)

    await _enter(tx, pair)
    await merging.put_back(tx, pair.unsealed, absorbed.id, kept.id)
    await merging.revive(tx, found.revived_in(pair.closed), absorbed.id)
    undone = found.undo(caller.sub, now)
    await merging.save(tx, undone)
    absorbed = absorbed.judged(pair.time(absorbed, now))
    await _settle(tx, vault, pair, absorbed, kept.judged(pair.time(kept, now)), now)
    await audit.record(tx, caller, "undo merge", pair.ids)
    return undone


async def load(tx: Transaction, merge_id: UUID, covers: Callable[[str], bool]) -> Merge:
    """Read one merge.

    Raises:
        MergeUnknown: there is none of this id, or not where the caller may see it.

    """
    await sight.whole(tx)
    found = await _find(tx, merge_id)
    communities = await residents.communities(tx, [found.absorbed, found.kept])
    if not all(map(covers, communities)):
        raise MergeUnknown("id: no such merge in the caller's areas")
    return found


async def page(
    tx: Transaction,
    patterns: Sequence[str],
    *,
    resident: UUID | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Merge]:
    """List merges of records within some areas, the newest first, perhaps of one resident."""
    await sight.whole(tx)
    return await merging.page(tx, patterns, resident=resident, after=after, limit=limit)


async def _take(
    tx: Transaction, vault: Vault, asked: Merge, covers: Callable[[str], bool]
) -> _Pair:
    """Lock two records, and every round that is not sealed in its state."""
    await sight.whole(tx)
    await locks.share_residents(tx)
    await locks.share_rounds(tx, [where.id for where in await _unsealed(tx)])
    loaded = await residents.load_for_change(tx, vault, [asked.absorbed, asked.kept], [])
    found = {resident.id: resident for resident in loaded if covers(resident.community)}
    for name, resident in (("id", asked.absorbed), ("into", asked.kept)):
        if resident not in found:
            raise ResidentUnknown(f"{name}: no such resident in the caller's areas")
    # Read behind their locks: one may have been sealed while we waited.
    return _Pair(found[asked.absorbed], found[asked.kept], await _unsealed(tx))


async def _unsealed(tx: Transaction) -> list[Round]:
    return [where for where in await rounds.listed(tx) if where.state != "sealed"]


async def _find(tx: Transaction, merge_id: UUID) -> Merge:
    if found := await merging.find(tx, merge_id):
        return found
    raise MergeUnknown("id: no such merge in the caller's areas")


def _repeated(known: Merge, asked: Merge) -> Merge:
    if not known.says_the_same(asked):
        raise IdReused("id: another merge has it")
    return known


async def _enter(tx: Transaction, pair: _Pair) -> None:
    """Give both their rows in the open rounds while nothing has changed: changes have a before."""
    for where in pair.under_way:
        await account.materialise(tx, where, pair.ids)


async def _settle(
    tx: Transaction, vault: Vault, pair: _Pair, absorbed: Resident, kept: Resident, now: datetime
) -> None:
    """Store both records, and settle them wherever there is an account that is not final."""
    changed = sorted(((pair.absorbed, absorbed), (pair.kept, kept)), key=lambda both: both[0].id)
    await take_in(tx, vault, pair.under_way, [], changed, now)
    for where in pair.rounds:
        if where.state != "draft":
            moved = await account.settle(tx, where, pair.ids)
            announce(tx, messages.roll_changed(where, moved, joining=True))
