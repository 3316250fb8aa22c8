"""What reporting needs to be told."""

from typing import ClassVar

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """Settings of reporting: the common ones and its own."""

    service: ClassVar[str] = "reporting"

    database_url: str = Field(description="reporting's database, `postgresql+asyncpg://…`")
    watch_seconds: float = Field(
        1, gt=0, description="how often the producers are asked for their heads, for `as_of`"
    )
    look_seconds: float = Field(
        1, gt=0, description="how often a view of the page is looked at while somebody has it open"
    )
    ledger_seconds: float = Field(
        2, gt=0, description="how often the worker proves the account, for the metrics"
    )
    result_hours: float = Field(
        24, gt=0, description="how long a result may take after sampling before it is late (R13)"
    )
    sealed_gauge_seconds: float = Field(
        86_400, ge=0, description="how long the gauges of a sealed round are still shown"
    )
    milestone_coverage: float = Field(
        0.95, gt=0, le=1, description="coverage of an office that webhooks are told of"
    )
    public: bool = Field(
        default=False,
        description="whether `GET /public` shows everybody the figures of offices (R20)",
    )
    public_least: int = Field(
        10, ge=2, description="how many people a figure must be of to be shown to everybody (R20)"
    )
    public_minutes: float = Field(
        15, gt=0, description="how often everybody is told new figures, in minutes"
    )
