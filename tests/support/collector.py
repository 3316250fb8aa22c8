"""A collector of traces: takes OTLP over HTTP as the real one does, and remembers every span."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.listening import listening


@dataclass(frozen=True)
class Received:
    """One span, with the words of whoever sent it."""

    trace: str
    id: str
    parent: str
    service: str
    name: str
    start: int
    """Nanoseconds since 1970."""
    end: int
    attributes: dict[str, str]
    links: tuple[str, ...]
    """Ids of traces that it is linked to."""
    failed: bool
    said: str
    """All of it, as text."""


@dataclass
class Collector:
    """What came."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What makes our processes send here, and soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def named(self, name: str) -> list[Received]:
        """Find spans by name."""
        return [span for span in self.spans if span.name == name]

    def trace(self, trace: str) -> list[Received]:
        """Give the spans of a trace in the order in which they began."""
        return sorted((s for s in self.spans if s.trace == trace), key=lambda span: span.start)

    def take(self, body: bytes) -> None:
        """Read one export."""
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {each.key: each.value.string_value for each in sent.resource.attributes}
            for scope in sent.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Received(
                            trace=span.trace_id.hex(),
                            id=span.span_id.hex(),
                            parent=span.parent_span_id.hex(),
                            service=f"{about['service.name']} {about['lastmetre.process']}",
                            name=span.name,
                            start=span.start_time_unix_nano,
                            end=span.end_time_unix_nano,
                            attributes={
                                each.key: each.value.string_value or str(each.value.int_value)
                                for each in span.attributes
                            },
                            links=tuple(each.trace_id.hex() for each in span.links),
                            failed=span.status.code == span.status.STATUS_CODE_ERROR,
                            said=str(span),
                        )
                    )

    def told(self, trace: str) -> str:
        """Draw a trace: each span below its parent, with milliseconds from the beginning."""
        spans = self.trace(trace)
        depth: dict[str, int] = {}
        lines = [f"trace {trace}"]
        for span in spans:
            depth[span.id] = depth.get(span.parent, -1) + 1
            began, took = (span.start - spans[0].start) / 1e6, (span.end - span.start) / 1e6
            title = f"{'  ' * depth[span.id]}{span.name}"
            lines.append(f"{began:8.1f} ms {took:7.1f} ms  {span.service:<28} {title}")
        return "\n".join(lines)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens on the loopback for the length of a block."""
    collector = Collector()

    def take(path: str, _headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        assert path == "/v1/traces"
        collector.take(body)
        return 200, {}

    with listening(take) as origin:
        collector.url = origin
        yield collector
