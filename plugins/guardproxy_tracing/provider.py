"""The tracer provider: what the standard OTEL_* environment asks for, spans in batches, a bounded end."""

import importlib.metadata
import threading
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from guardproxy_tracing.ids import OpperIdGenerator
from guardproxy_tracing.propagator import undecided

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def exporters_from(environ: Mapping[str, str]) -> list[SpanExporter]:
    """The exporters that the environment asks for: none unless an endpoint or OTEL_TRACES_EXPORTER is set.

    Raises:
        ValueError: an exporter or a protocol that there is not.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    implied = "otlp" if any(environ.get(name, "").strip() for name in _ENDPOINTS) else "none"
    listed = environ.get("OTEL_TRACES_EXPORTER", "").strip() or implied
    names = dict.fromkeys(name.strip().lower() for name in listed.split(",") if name.strip())
    return [_exporter(name, environ) for name in names if name != "none"]


def _exporter(name: str, environ: Mapping[str, str]) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter()
    if name != "otlp":
        raise ValueError("OTEL_TRACES_EXPORTER: there are otlp, console and none.")
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    # Imported when needed: gRPC alone takes as long to import as the rest of the plugin.
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        return Grpc()
    if protocol in (None, "", "http/protobuf"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

        return Http()
    raise ValueError("OTEL_EXPORTER_OTLP_PROTOCOL: there are http/protobuf and grpc.")


class Provider(TracerProvider):
    """A tracer provider, never the global one, that can be closed within a bounded time.

    `exporters` get batches of spans from a bounded queue (OTEL_BSP_MAX_QUEUE_SIZE; full, it drops the
    oldest), `processors` each span at once. OTEL_TRACES_SAMPLER says which traces are kept.
    """

    def __init__(self, exporters: Sequence[SpanExporter], processors: Sequence[SpanProcessor] = ()) -> None:
        super().__init__(resource=_resource(), id_generator=OpperIdGenerator(), shutdown_on_exit=False)
        self.sampler = DerivedSampler(self.sampler)
        self._exporters = [_ClosedOnce(exporter) for exporter in exporters]
        for exporter in self._exporters:
            self.add_span_processor(BatchSpanProcessor(exporter))
        for processor in processors:
            self.add_span_processor(processor)

    @property
    def exports(self) -> bool:
        """Whether spans go anywhere but to processors."""
        return bool(self._exporters)

    def close(self, seconds: float) -> bool:
        """Send what is queued and close the exporters; whether all was done within `seconds`.

        Then exports are given up. One that hangs in the network is left behind in a daemon thread, and
        ends with the exporter's own time-out or with the process.
        """
        closing = threading.Thread(target=self.shutdown, name="guardproxy-tracing-close", daemon=True)
        closing.start()
        closing.join(seconds)
        if not closing.is_alive():
            return True
        for exporter in self._exporters:
            exporter.shutdown()
        closing.join(1.0)
        return False


class _ClosedOnce(SpanExporter):
    """An exporter that may be closed twice: to give up, and by its processor."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._closed = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._closed.is_set():
            return SpanExportResult.FAILURE
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._exporter.shutdown()


def _resource() -> Resource:
    found = Resource.create({SERVICE_VERSION: importlib.metadata.version("guardproxy")})
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: "guardproxy"}))
    return found


class DerivedSampler(Sampler):
    """Lets the configured sampler decide by the trace id where the parent brought no decision."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The decision; equal for all spans of a trace, on every replica, if the sampler's is."""
        context = Context() if undecided(parent_context) else parent_context
        return self._sampler.should_sample(context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """The configured sampler's."""
        return self._sampler.get_description()
