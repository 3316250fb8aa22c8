"""One case: settled by the office that is answerable for it, before the clock does."""

from services.dispatch.domain import decisions
from services.dispatch.domain.decisions import Decision
from services.dispatch.domain.people import Person
from services.dispatch.domain.policy import Policy
from services.dispatch.flow.steps import fingerprint_of, scene_of, take
from services.dispatch.store import cases, people, receipts, rounds
from shared.auth import Caller
from shared.database import Transaction
from shared.errors import IdReused, NotFound


async def decide(
    tx: Transaction,
    round_id: str,
    resident: str,
    decision: Decision,
    caller: Caller,
    *,
    policy: Policy,
) -> Person:
    """Take a case over, ask for a visit now, or refer somebody to a site.

    The same decision again gives the case as it is by now (R19).

    Raises:
        NotFound: no such case within the caller's areas.
        Conflict: the case is closed, a team has it in hand, or a visit is planned already; or the
            decision's id came with other content.

    """
    case = await find_case(tx, round_id, resident, caller)
    scene = scene_of(await rounds.enter(tx, round_id), policy)
    fingerprint = fingerprint_of(round_id, resident, decision)
    before = await receipts.keep_decision(tx, decision, case, caller.sub, fingerprint)
    if before not in {None, fingerprint}:
        raise IdReused("id: came before with other content")
    person = (await people.lock(tx, round_id, [resident]))[resident]
    if before is not None:
        return person
    step = decisions.decide(person, decision, caller.sub, scene)
    await take(tx, [step])
    return step.after


async def find_case(tx: Transaction, round_id: str, resident: str, caller: Caller) -> Person:
    """Find a case within the caller's areas.

    Raises:
        NotFound: there is none.

    """
    person = await cases.find(tx, round_id, resident, caller.area_patterns)
    if person is None:
        raise NotFound("no such case within the token's areas")
    return person
