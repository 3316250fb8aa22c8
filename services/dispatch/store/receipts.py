"""What people told us under ids of their own, to know a repeat from a reuse (R19)."""

from uuid import UUID

from services.dispatch.domain.decisions import Decision
from services.dispatch.domain.people import Person
from services.dispatch.domain.visits import Visit, VisitReport
from shared.database import Transaction


async def keep_report(
    tx: Transaction, report: VisitReport, visit: Visit, told_by: str, fingerprint: bytes
) -> bytes | None:
    """Keep a report, whatever comes of it; give the fingerprint of the one before, if any."""
    kept = await tx.value(
        """
        INSERT INTO report (id, round, visit, fingerprint, received_at, outcome, told_by)
        VALUES ($1, $2, $3, $4, now(), $5, $6) ON CONFLICT DO NOTHING RETURNING id
        """,
        report.id, visit.round, visit.id, fingerprint, report.outcome, told_by,
    )  # fmt: skip
    return None if kept is not None else await _fingerprint(tx, "report", report.id)


async def keep_decision(
    tx: Transaction, decision: Decision, person: Person, by: str, fingerprint: bytes
) -> bytes | None:
    """Keep what an office decided, and who; give the fingerprint of the one before, if any."""
    kept = await tx.value(
        """
        INSERT INTO decision (id, round, resident, verb, decided_by, decided_at, fingerprint)
        VALUES ($1, $2, $3, $4, $5, now(), $6) ON CONFLICT DO NOTHING RETURNING id
        """,
        decision.id, person.round, person.resident, decision.verb, by, fingerprint,
    )  # fmt: skip
    return None if kept is not None else await _fingerprint(tx, "decision", decision.id)


async def _fingerprint(tx: Transaction, table: str, told: UUID) -> bytes | None:
    found: bytes | None = await tx.value(f"SELECT fingerprint FROM {table} WHERE id = $1", told)
    return found
