"""What a process tells about itself: structured logs and the metrics that services share.

Logs are JSON lines on standard error. They never hold personal data, so exceptions are told by
type and place only: a message (PostgreSQL's `Key (phone)=(…)`, pydantic's `input`) may quote one.
"""

import logging
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram
from structlog.typing import EventDict, WrappedLogger

from shared.errors import LastmetreError

HTTP_SECONDS = Histogram(
    "lastmetre_http_request_duration_seconds",
    "Time from the first byte of a request to the last of its answer.",
    ["service", "method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
"""Rate, errors and duration of every route; `route` is its template."""

HTTP_REFUSED = Counter(
    "lastmetre_http_refused_total",
    "Requests refused because of load, before anything of them was done.",
    ["service", "reason"],
)
"""`reason`: `queue` and `late` are work, `memory` is bodies, `caller` is one with too many."""

HTTP_CUT = Counter(
    "lastmetre_http_cut_total",
    "Connections cut off, by what their clients did or left undone.",
    ["reason"],
)
"""`reason`: too slow in `sending` or `reading`, `discarding` a huge body that was refused,
`pipelined` too far ahead, or too many `connections`."""

HTTP_IN_WORK = Gauge(
    "lastmetre_http_in_work", "Requests that are being worked on.", ["service", "lane"]
)
HTTP_WAITING = Gauge(
    "lastmetre_http_waiting", "Requests that wait for their turn.", ["service", "lane"]
)

OUTBOX_UNPUBLISHED = Gauge(
    "lastmetre_outbox_unpublished",
    "Records in the outbox that the relay has not published yet.",
    ["service", "topic"],
)
OUTBOX_BYTES = Gauge(
    "lastmetre_outbox_bytes",
    "Size on disk of what was announced on a topic; it is kept for the whole campaign.",
    ["service", "topic"],
)
OUTBOX_OLDEST = Gauge(
    "lastmetre_outbox_oldest_unpublished_seconds",
    "Age of the oldest record in the outbox that is not on Kafka yet; 0: there is none.",
    ["service", "topic"],
)
OUTBOX_SECONDS = Histogram(
    "lastmetre_outbox_publish_seconds",
    "From the commit that announced a record to Kafka's acknowledgement, of every record.",
    ["service", "topic"],
    buckets=(0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300),
)
CONSUMER_LAG = Gauge(
    "lastmetre_consumer_lag_positions",
    "Positions between the producer's head and what this consumer applied.",
    ["service", "topic", "partition"],
)
OLDEST_UNAPPLIED = Gauge(
    "lastmetre_oldest_unapplied_seconds",
    "Age of the oldest record that this consumer has not applied.",
    ["service", "topic"],
)
PARKED = Gauge(
    "lastmetre_parked_events",
    "Records this consumer could not apply and set aside, undecided.",
    ["service", "topic"],
)
OLDEST_PARKED = Gauge(
    "lastmetre_oldest_parked_seconds",
    "How long the oldest undecided record has been set aside; 0: there is none.",
    ["service", "topic"],
)
PARKED_TOTAL = Counter(
    "lastmetre_parked_total",
    "Records this consumer set aside, by the kind of failure.",
    ["service", "topic", "kind"],
)
PARKED_DECISIONS = Counter(
    "lastmetre_parked_decisions_total",
    "What people did about records that were set aside.",
    ["service", "topic", "decision"],
)
"""`decision` is `mended`, `redriven` or `discarded`."""
APPLIED = Counter(
    "lastmetre_consumer_applied_total",
    "Records this consumer applied, by the way they came.",
    ["service", "topic", "source"],
)
"""`source` is `kafka` or `pull`."""

_SAFE_ATTRIBUTES = ("sqlstate", "table_name", "column_name", "constraint_name", "errno", "strerror")
"""What some exceptions carry that names a place and never a value."""

_DEEPEST = 8
_SERVER_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


def configure_logging(service: str, process: str, level: str = "info") -> None:
    """Log JSON lines to standard error, ours and the libraries' alike.

    Args:
        service: name of the service, in every line
        process: `api`, `worker`, …, in every line
        level: the least level logged

    """
    least = logging.getLevelNamesMapping()[level.upper()]
    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service, process),
        tell_exception,
    ]
    structlog.configure(
        processors=[*common, structlog.processors.JSONRenderer(ensure_ascii=False)],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(least, logging.WARNING), force=True)
    for name in _SERVER_LOGGERS:
        # Our front door measures and logs requests; a second line for each would only cost.
        logging.getLogger(name).setLevel(logging.ERROR)


def _named(service: str, process: str) -> structlog.typing.Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["process"] = process
        return event

    return add


def tell_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by types and places, without messages (a structlog processor)."""
    info = event.pop("exc_info", None)
    error = _exception(info)
    if error is not None:
        event["exception"] = describe(error)
    return event


def _exception(info: object) -> BaseException | None:
    match info:
        case BaseException():
            return info
        case (_, BaseException() as error, _):
            return error
        case True:
            return sys.exception()
    return None


def describe(error: BaseException, *, _depth: int = 0) -> dict[str, Any]:
    """Tell an exception and its causes by type and place; the message only of our own errors."""
    told: dict[str, Any] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "stack": _places(error.__traceback__),
    }
    if isinstance(error, LastmetreError):
        told["message"] = str(error)
    told |= _safe_attributes(error)
    if _depth < _DEEPEST:
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None:
            told["cause"] = describe(cause, _depth=_depth + 1)
        if isinstance(error, BaseExceptionGroup):
            told["errors"] = [describe(each, _depth=_depth + 1) for each in error.exceptions]
    return told


def _places(trace: TracebackType | None) -> list[str]:
    return [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)
    ]


def _safe_attributes(error: BaseException) -> Mapping[str, Any]:
    found = {name: getattr(error, name, None) for name in _SAFE_ATTRIBUTES}
    return {name: value for name, value in found.items() if isinstance(value, str | int)}
