"""Traces by OpenTelemetry's SDK; imported only once they are wanted (`shared.tracing`)."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Thread

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanKind,
    StatusCode,
    get_current_span,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.contracts.envelope import Record
from shared.errors import LastmetreError

CLOSE_SECONDS = 3.0
"""How long the last spans may take to be sent."""
MOST = 100
"""Traces that one handling of records is told in; a batch of a thousand results is one."""

_TRACEPARENT = "traceparent"
_SERVER_ERROR = 500
_NANOSECONDS = 1_000_000_000
_propagator = TraceContextTextMapPropagator()


class OpenTelemetry:
    """Spans of one process, sent by OTLP over HTTP.

    Args:
        service: ours; `OTEL_SERVICE_NAME` outranks it
        process: api, worker or relay

    """

    def __init__(self, service: str, process: str) -> None:
        about = {"lastmetre.process": process}
        if not os.environ.get("OTEL_SERVICE_NAME"):
            about["service.name"] = f"lastmetre-{service}"
        self._provider = TracerProvider(
            resource=Resource.create(about),
            shutdown_on_exit=False,  # ended with the process's work, before its loop
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("lastmetre")

    def close(self) -> None:
        """Send what was not sent yet; a collector that is away does not keep us from leaving."""
        last = Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(CLOSE_SECONDS)

    def current(self) -> str | None:
        """Give the `traceparent` of what is being done, unless it is not sampled."""
        if not get_current_span().get_span_context().trace_flags.sampled:
            return None
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get(_TRACEPARENT)

    @contextmanager
    def serving(self, name: str, parent: str | None, status: Callable[[], int]) -> Iterator[None]:
        """Be a request, for the length of a block; `status` is asked at its end."""
        method, _, route = name.partition(" ")
        told = {"http.request.method": method, "http.route": route}
        span = self._tracer.start_span(name, _after(parent), SpanKind.SERVER, told)
        answered = 0
        try:
            with _being(span):
                yield
            answered = status()
        except LastmetreError as error:
            answered = error.status
            raise
        except Exception:
            answered = _SERVER_ERROR
            raise
        finally:
            if answered:
                span.set_attribute("http.response.status_code", answered)
            if answered >= _SERVER_ERROR:
                span.set_status(StatusCode.ERROR)
            span.end()

    @contextmanager
    def working(self, name: str, parents: Sequence[str]) -> Iterator[None]:
        """Be one piece of work for several askers: of the first one's trace, linked to the rest."""
        if not parents:
            # Whoever asked is not traced; nor is this, in the task of somebody who was.
            with _being(INVALID_SPAN):
                yield
            return
        links = [Link(get_current_span(_after(each)).get_span_context()) for each in parents[1:]]
        span = self._tracer.start_span(
            name, _after(parents[0]), SpanKind.INTERNAL, {"lastmetre.askers": len(parents)}, links
        )
        try:
            with _being(span):
                yield
        finally:
            span.end()

    @contextmanager
    def applying(self, consumer: str, records: Sequence[Record]) -> Iterator[None]:
        """Be the handling of records of one type, in the trace of each."""
        first = {record.traceparent: record for record in reversed(records) if record.traceparent}
        spans = [
            self._tracer.start_span(
                f"apply {record.type}", _after(parent), SpanKind.CONSUMER,
                {**_place(record), "messaging.consumer.group.name": consumer},
            )
            for parent, record in list(first.items())[-MOST:]
        ]  # fmt: skip
        try:
            with ExitStack() as stack:
                if spans:
                    # What is announced on the way goes on in the trace of the earliest.
                    stack.enter_context(_being(spans[-1]))
                yield
        except BaseException:
            for span in spans:
                span.set_status(StatusCode.ERROR)
            raise
        finally:
            for span in spans:
                span.end()

    def published(self, records: Sequence[Record]) -> None:
        """Tell that records went from the outbox to Kafka, by now."""
        for record in records:
            if record.traceparent:
                # The database's clock and ours may differ by more than the way took.
                waited_since = int(record.recorded_at.timestamp() * _NANOSECONDS)
                self._tracer.start_span(
                    f"publish {record.topic}", _after(record.traceparent), SpanKind.PRODUCER,
                    _place(record), start_time=min(waited_since, time.time_ns()),
                ).end()  # fmt: skip


def _after(parent: str | None) -> Context:
    """Give the context of a `traceparent`; of none, or of one that is not well-formed, an empty."""
    return _propagator.extract({_TRACEPARENT: parent} if parent else {}, Context())


def _being(span: Span) -> AbstractContextManager[Span]:
    # Messages of errors may quote a value, so none is recorded.
    return use_span(span, record_exception=False, set_status_on_exception=False)


def _place(record: Record) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "lastmetre.type": record.type,
        "lastmetre.pos": record.pos,
    }
