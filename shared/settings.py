"""Settings: frozen, passed in, read from the environment by the one who starts a process.

A service's `Settings` inherits the common fields and names itself. Its own fields are read from
`LASTMETRE_<SERVICE>_<FIELD>`. The common ones are read from `LASTMETRE_<FIELD>`, or from the
service's own variable of that name, which outranks it.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from shared.errors import PermanentError

T = TypeVar("T")

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
    kafka_security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="how the broker is talked to; `ssl` alone for mutual TLS"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="how we prove to the broker who we are, with `sasl_`"
    )
    kafka_sasl_username: str = Field(
        "", validate_default=True, description="who we are to the broker, with `sasl_`"
    )
    kafka_sasl_password_file: OptionalPath = Field(
        None,
        validate_default=True,
        description="file with that user's password; when it changes, we connect anew",
    )
    kafka_ca_file: OptionalPath = Field(
        None,
        description="authorities (PEM) that sign the brokers' certificates; none: whom the machine"
        " trusts",
    )
    kafka_cert_file: OptionalPath = Field(
        None, description="our own certificate (PEM), for mutual TLS"
    )
    kafka_key_file: OptionalPath = Field(
        None, description="key of that certificate (PEM); none: it is in the same file"
    )
    registry_url: str = Field("http://127.0.0.1:8001", description="where registry answers")
    dispatch_url: str = Field("http://127.0.0.1:8002", description="where dispatch answers")
    database_pool: int = Field(
        10,
        ge=1,
        description="connections a process may hold to its database; requests in work are fewer: "
        "a quarter for batches, a quarter for our own services, the rest but three for all others",
    )
    statement_seconds: float = Field(
        60, ge=0, description="how long one statement may run, or a transaction do nothing; 0: ever"
    )
    lock_seconds: float = Field(
        10, ge=0, description="how long a statement may wait for a lock; 0: ever"
    )
    gathered_requests: int = Field(
        128,
        ge=1,
        description="single samples and results in work in a process: they are written together",
    )
    waiting_requests: int = Field(
        64,
        ge=0,
        description="requests that may wait in a process; of batches a sixteenth, of single samples"
        " and results eight times as many",
    )
    waiting_seconds: float = Field(
        0.5, gt=0, description="how long a request may wait for its turn before it is refused"
    )
    bodies_megabytes: int = Field(
        64, ge=1, description="memory for the bodies of requests that a process has in hand"
    )
    connections: int = Field(
        800, ge=1, description="connections of clients to a process; fewer than its open files"
    )
    client_seconds: float = Field(
        10,
        gt=0,
        description="how long a client may stand still while it is its turn to send or read",
    )
    database_password_file: OptionalPath = Field(
        None, description="file with the password of the URL's user; read for every connection"
    )
    database_ca_file: OptionalPath = Field(
        None,
        description="authorities (PEM) that sign the database's certificate; with it, or with"
        " `?ssl=verify-full` in the URL, the server is verified",
    )
    database_cert_file: OptionalPath = Field(
        None, description="our own certificate (PEM) for the database"
    )
    database_key_file: OptionalPath = Field(
        None, description="key of that certificate (PEM); none: it is in the same file"
    )
    ca_file: OptionalPath = Field(
        None,
        description="authorities (PEM) that sign the certificates of registry and dispatch; none:"
        " whom the machine trusts",
    )
    tls_cert_file: OptionalPath = Field(
        None, description="certificate (PEM) that the API shows: then it serves `https` only"
    )
    tls_key_file: OptionalPath = Field(
        None, description="key of that certificate (PEM); none: it is in the same file"
    )
    drain_seconds: float = Field(
        10, ge=0, description="time a process has to finish its work when asked to stop"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level logged"
    )

    @field_validator("kafka_sasl_username", "kafka_sasl_password_file")
    @classmethod
    def _needed_for_sasl(cls, value: T, info: ValidationInfo) -> T:
        if not value and info.data.get("kafka_security", "").startswith("sasl_"):
            raise PydanticCustomError("needed_for_sasl", "needed for SASL")
        return value

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
