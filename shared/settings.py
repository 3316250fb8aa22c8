"""Settings: frozen, passed in, read from the environment by the one who starts a process.

A service's `Settings` inherits the common fields and names itself. Its own fields are read from
`LASTMETRE_<SERVICE>_<FIELD>`. The common ones are read from `LASTMETRE_<FIELD>`, or from the
service's own variable of that name, which outranks it.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from shared.errors import PermanentError

PREFIX = "LASTMETRE"

OptionalPath = Annotated[Path | None, BeforeValidator(lambda value: value or None)]
"""A path, or None for an empty variable."""


class SettingsError(PermanentError):
    """A variable is missing or wrong. Names the variable and the rule, never the value."""


class ServiceSettings(BaseModel):
    """What every service needs to be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: ClassVar[str] = ""
    """Name of the service, as in its variables, logs and metrics."""

    jwks: str = Field(
        description="keys that tokens are verified with: a JWKS file, or an `https` address "
        "(plain `http` only on the loopback)"
    )
    token_audience: str = Field("lastmetre", description="audience a token must name")
    service_token_file: OptionalPath = Field(
        None, description="file with this service's own token; read again when it changes"
    )
    kafka_bootstrap: str = Field(
        "127.0.0.1:9092", description="broker; empty: no Kafka, the pull carries everything"
    )
    kafka_idempotent: bool = Field(
        default=True, description="idempotent producer; off for the embedded broker"
    )
    registry_url: str = Field("http://127.0.0.1:8001", description="where registry answers")
    dispatch_url: str = Field("http://127.0.0.1:8002", description="where dispatch answers")
    database_pool: int = Field(
        8, ge=1, description="connections a process may hold to its database"
    )
    drain_seconds: float = Field(
        10, ge=0, description="time a process has to finish its work when asked to stop"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level logged"
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings.

        Raises:
            SettingsError: a variable is missing or breaks its rule

        """
        variables = os.environ if environment is None else environment
        values = {
            name: variables[variable]
            for name in cls.model_fields
            for variable in reversed(cls.variables(name))
            if variable in variables
        }
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError("; ".join(cls._complaints(error))) from None

    @classmethod
    def variables(cls, field: str) -> list[str]:
        """Name the variables that set a field, the one that outranks the other first."""
        common = f"{PREFIX}_{field.upper()}"
        if not cls.service:
            return [common]
        own = f"{PREFIX}_{cls.service.upper()}_{field.upper()}"
        return [own, common] if field in ServiceSettings.model_fields else [own]

    @classmethod
    def _complaints(cls, error: ValidationError) -> Iterator[str]:
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            field = str(problem["loc"][0]) if problem["loc"] else ""
            yield f"{cls.variables(field)[-1]}: {problem['type'].replace('_', ' ')}"


def settings_table(*classes: type[ServiceSettings]) -> str:
    """Render what can be set as Markdown, the common variables first."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [_row(ServiceSettings, *item) for item in ServiceSettings.model_fields.items()]
    for settings in classes:
        own = settings.model_fields.keys() - ServiceSettings.model_fields.keys()
        lines += [
            _row(settings, name, info)
            for name, info in settings.model_fields.items()
            if name in own
        ]
    return "\n".join(lines) + "\n"


def _row(settings: type[ServiceSettings], name: str, info: FieldInfo) -> str:
    return f"| `{settings.variables(name)[0]}` | {_default(info)} | {info.description or ''} |"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=False)
    if value is None or value == "":
        return "none"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
