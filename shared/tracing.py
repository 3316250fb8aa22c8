"""Traces over HTTP, outbox, Kafka and the fold: off unless OpenTelemetry's own variables want them.

`OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) switches them on, and all
other variables of the SDK mean what its documentation says. Off, nothing of the SDK is
imported, and whoever asks here is told that there is nothing to do.

What a transaction announces keeps the `traceparent` (W3C) it was announced under, in the outbox and
on its way by Kafka or the pull; whoever applies it goes on from there. So one trace leads from an
accepted result to the counter. Spans hold names of routes, topics and types, never a path, a value
or the message of an error (R20).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from shared.contracts.envelope import Record

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Spans(Protocol):
    """What `shared.spans` does when traces are wanted."""

    def current(self) -> str | None:
        """Give the `traceparent` of what is being done."""

    def serving(
        self, name: str, parent: str | None, status: Callable[[], int]
    ) -> AbstractContextManager[object]:
        """Be a request, for the length of a block; `status` is asked at its end."""

    def working(self, name: str, parents: Sequence[str]) -> AbstractContextManager[object]:
        """Be one piece of work for several askers: of the first one's trace, linked to the rest."""

    def applying(self, consumer: str, records: Sequence[Record]) -> AbstractContextManager[object]:
        """Be the handling of records of one type, in the trace of each."""

    def published(self, records: Sequence[Record]) -> None:
        """Tell that records went from the outbox to Kafka, by now."""

    def close(self) -> None:
        """Send what was not sent yet."""


_NOTHING = nullcontext()
_spans: Spans | None = None


def wanted(environment: Mapping[str, str]) -> bool:
    """Tell whether the standard variables ask for traces."""
    return (
        any(environment.get(name) for name in _ENDPOINTS)
        and environment.get("OTEL_SDK_DISABLED", "").lower() != "true"
        and environment.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"
    )


def begin(service: str, process: str) -> None:
    """Switch traces on for this process, if they are wanted."""
    global _spans  # noqa: PLW0603 - a process has one
    if wanted(os.environ):
        from shared.spans import OpenTelemetry  # noqa: PLC0415 - off, it costs nothing

        _spans = OpenTelemetry(service, process)


def end() -> None:
    """Send what is left, and switch traces off."""
    global _spans  # noqa: PLW0603 - a process has one
    if _spans is not None:
        _spans.close()
        _spans = None


def on() -> bool:
    """Tell whether traces are on."""
    return _spans is not None


def current() -> str | None:
    """Give the `traceparent` of what is being done, if it is traced."""
    return None if _spans is None else _spans.current()


def serving(
    name: str, parent: str | None, status: Callable[[], int]
) -> AbstractContextManager[object]:
    """Be a request, for the length of a block; `status` is asked at its end."""
    return _NOTHING if _spans is None else _spans.serving(name, parent, status)


def working(name: str, parents: Sequence[str | None]) -> AbstractContextManager[object]:
    """Be one piece of work for several askers: of the first one's trace, linked to the rest."""
    if _spans is None:
        return _NOTHING
    return _spans.working(name, [each for each in parents if each])


def applying(consumer: str, records: Sequence[Record]) -> AbstractContextManager[object]:
    """Be the handling of records of one type, in the trace of each."""
    return _NOTHING if _spans is None else _spans.applying(consumer, records)


def published(records: Sequence[Record]) -> None:
    """Tell that records went from the outbox to Kafka, by now."""
    if _spans is not None:
        _spans.published(records)
