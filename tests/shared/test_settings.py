"""Settings are passed in; only `from_environment` reads variables, and only when asked."""

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from shared.settings import ServiceSettings, SettingsError, settings_table


class Settings(ServiceSettings):
    """A service's own."""

    service = "depot"

    database_url: str = Field(description="its database")
    shelf_hours: float = Field(48, description="hours a tube may stand")


GIVEN = {"LASTMETRE_JWKS": "/keys.json", "LASTMETRE_DEPOT_DATABASE_URL": "postgresql://x"}


def test_own_fields_have_the_services_prefix_and_common_ones_the_common() -> None:
    settings = Settings.from_environment({**GIVEN, "LASTMETRE_KAFKA_BOOTSTRAP": ""})
    assert settings.database_url == "postgresql://x"
    assert settings.kafka_bootstrap == ""
    assert settings.shelf_hours == 48


def test_the_services_own_variable_outranks_the_common_one() -> None:
    both = {"LASTMETRE_DATABASE_POOL": "4", "LASTMETRE_DEPOT_DATABASE_POOL": "16"}
    assert Settings.from_environment({**GIVEN, **both}).database_pool == 16


def test_an_empty_path_is_none() -> None:
    given = {**GIVEN, "LASTMETRE_SERVICE_TOKEN_FILE": ""}
    assert Settings.from_environment(given).service_token_file is None
    given = {**GIVEN, "LASTMETRE_SERVICE_TOKEN_FILE": "/run/token"}
    assert Settings.from_environment(given).service_token_file == Path("/run/token")


def test_a_wrong_variable_is_named_and_its_value_is_not() -> None:
    wrong = {"LASTMETRE_JWKS": "/keys.json", "LASTMETRE_DATABASE_POOL": "password"}
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(wrong)
    assert str(caught.value) == (
        "LASTMETRE_DATABASE_POOL: int parsing; LASTMETRE_DEPOT_DATABASE_URL: missing"
    )


def test_settings_are_frozen_and_know_their_fields() -> None:
    settings = Settings(jwks="/keys.json", database_url="postgresql://x")
    with pytest.raises(ValidationError):
        settings.__setattr__("jwks", "/others.json")
    with pytest.raises(ValidationError):
        Settings.model_validate({"jwks": "a", "database_url": "b", "unknown": 1})


def test_the_table_lists_common_variables_once_and_each_services_own() -> None:
    lines = settings_table(Settings).splitlines()
    assert "| `LASTMETRE_DEPOT_SHELF_HOURS` | `48` | hours a tube may stand |" in lines
    assert sum("DATABASE_POOL" in line for line in lines) == 1
    assert any(line.startswith("| `LASTMETRE_JWKS` | required |") for line in lines)
    assert any(line.startswith("| `LASTMETRE_KAFKA_IDEMPOTENT` | `true` |") for line in lines)


def test_a_user_of_the_broker_needs_a_name_and_a_password_file() -> None:
    sasl = {**GIVEN, "LASTMETRE_KAFKA_SECURITY": "sasl_ssl"}
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(sasl)
    assert str(caught.value) == (
        "LASTMETRE_KAFKA_SASL_USERNAME: needed for sasl;"
        " LASTMETRE_KAFKA_SASL_PASSWORD_FILE: needed for sasl"
    )
    named = {
        "LASTMETRE_KAFKA_SASL_USERNAME": "lastmetre",
        "LASTMETRE_KAFKA_SASL_PASSWORD_FILE": "/run/secrets/kafka",
    }
    assert Settings.from_environment({**sasl, **named}).kafka_sasl_mechanism == "SCRAM-SHA-512"
