"""Settings of dispatch."""

from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from services.dispatch.domain.policy import NEEDS, Policy, QuarantinePolicy
from shared.contracts.vocabulary import Need
from shared.settings import ServiceSettings


def _words(value: object) -> object:
    """Split what the environment gives: words with commas between."""
    return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


class Settings(ServiceSettings):
    """What dispatch needs to be told."""

    service: ClassVar[str] = "dispatch"

    database_url: str = Field(description="dispatch's own database, a SQLAlchemy URL (asyncpg)")
    worthy_needs: Annotated[tuple[Need, ...], BeforeValidator(_words)] = Field(
        tuple(sorted(NEEDS)), description="needs that are worth a home visit, with commas between"
    )
    revisit_hours: float = Field(
        4, gt=0, description="how long a revisit counts as in hand after absent or locked (R16)"
    )
    escalation_hours: float = Field(
        24, gt=0, description="how long an escalation counts as in hand (R16)"
    )
    grace_hours: float = Field(
        1, ge=0, description="how long a started visit may run over its due time"
    )
    quarantine_policy: QuarantinePolicy = Field(
        "last", description="quarantined homes: `last` in the tour, or `separate` teams (R17)"
    )
    housekeeping_seconds: float = Field(
        2, gt=0, description="how often the worker ends hands and assigns visits, at the least"
    )

    @property
    def policy(self) -> Policy:
        """What the domain decides by."""
        return Policy(
            worthy=frozenset(self.worthy_needs),
            revisit=timedelta(hours=self.revisit_hours),
            escalation=timedelta(hours=self.escalation_hours),
            grace=timedelta(hours=self.grace_hours),
            quarantine=self.quarantine_policy,
        )
