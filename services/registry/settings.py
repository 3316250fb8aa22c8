"""What registry needs to be told."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """Settings of registry: the common ones and its own."""

    service: ClassVar[str] = "registry"

    database_url: str = Field(description="registry's database, `postgresql+asyncpg://…`")
    keys_file: Path = Field(
        description="JSON file with the keys that seal identity numbers: `current`, `keys`,"
        " `index`; read again when it changes"
    )
    validity_hours: float = Field(
        48, gt=0, description="how long a result holds, counted from its sampling time (R14)"
    )
    seal_hours: float = Field(
        72, gt=0, description="how long after its closing a round is sealed, if it is `automatic`"
    )
    clock_seconds: float = Field(
        2, gt=0, description="how often the worker looks which rounds and needs are due"
    )
