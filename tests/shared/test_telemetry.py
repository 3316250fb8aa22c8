"""What a process says of itself, and what it must not."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from shared.errors import NotFound
from shared.telemetry import configure_logging, describe


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def fail() -> None:
    """Fail with data in every message of the chain."""
    households: dict[str, int] = {}
    try:
        households["Zhang San"] += 1
    except KeyError as error:
        raise NotFound("no such box") from error


def test_logs_are_json_lines_with_service_and_process(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("registry", "api", "info")
    log = structlog.get_logger()
    log.debug("too_quiet")
    log.info("round_opened", communities=78)
    (line,) = lines(capsys)
    assert line.pop("timestamp")
    assert line == {
        "event": "round_opened",
        "communities": 78,
        "level": "info",
        "service": "registry",
        "process": "api",
    }


def test_libraries_log_in_the_same_form_and_only_what_matters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("registry", "api", "debug")
    logging.getLogger("aiokafka").info("chatter")
    logging.getLogger("aiokafka").warning("lost %s", "broker")
    logging.getLogger("uvicorn.access").warning("GET /v1/residents?phone=13800000000")
    (line,) = lines(capsys)
    assert line["event"] == "lost broker"
    assert line["logger"] == "aiokafka"
    assert line["service"] == "registry"


def test_exceptions_are_told_by_type_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("registry", "api")
    try:
        fail()
    except NotFound:
        structlog.get_logger().exception("failed")
        logging.getLogger("library").exception("failed")
    for line in lines(capsys):
        told = line["exception"]
        assert isinstance(told, dict)
        assert told["type"] == "shared.errors.NotFound"
        assert told["message"] == "no such box"
        assert told["stack"][-1].endswith(" fail")
        assert told["cause"]["type"] == "builtins.KeyError"
        assert "Zhang" not in json.dumps(line)


def test_what_names_a_place_is_told_and_what_names_a_value_is_not() -> None:
    class UniqueViolationError(Exception):
        """As asyncpg's."""

        sqlstate = "23505"
        constraint_name = "residents_document"
        detail = "Key (phone)=(13800000000) already exists."

    told = describe(ExceptionGroup("Zhang", [UniqueViolationError("Zhang"), OSError(2, "gone")]))
    first, second = told["errors"]
    assert first["sqlstate"] == "23505"
    assert first["constraint_name"] == "residents_document"
    assert second["strerror"] == "gone"
    assert "13800000000" not in json.dumps(told)
    assert "Zhang" not in json.dumps(told)


def test_a_long_chain_of_causes_is_cut() -> None:
    error: Exception = ValueError()
    for _ in range(50):
        later = ValueError()
        later.__cause__ = error
        error = later
    assert json.dumps(describe(error)).count("builtins.ValueError") == 9
