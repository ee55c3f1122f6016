"""The tracer provider: what the standard OTEL_* environment asks for, spans in batches, a bounded end."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk._shared_internal import BatchProcessor
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

from guardproxy_tracing import environment
from guardproxy_tracing.counts import SPANS
from guardproxy_tracing.failures import watched
from guardproxy_tracing.ids import OpperIdGenerator
from guardproxy_tracing.propagator import undecided


def exporters_from(environ: Mapping[str, str]) -> list[SpanExporter]:
    """The exporters that the environment asks for: none unless an endpoint or OTEL_TRACES_EXPORTER is set.

    Raises:
        ConfigError: an exporter or a protocol that there is not, or an endpoint that is no URL.
    """
    names = environment.exporters(environ, "TRACES")
    return [watched(_exporter(name), "TRACES", environ, name) for name in names]


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter()
    # Imported when needed: gRPC alone takes as long to import as the rest of the plugin.
    if name == "grpc":
        from guardproxy_tracing.otlp_grpc import GrpcExporter

        return GrpcExporter()
    from guardproxy_tracing.otlp_http import HttpExporter

    return HttpExporter()


class Provider(TracerProvider):
    """A tracer provider, never the global one, that can be closed within a bounded time.

    `exporters` get batches of spans from a bounded queue (OTEL_BSP_MAX_QUEUE_SIZE; full, it drops the
    oldest; `SPANS` counts these), `processors` each span at once. OTEL_TRACES_SAMPLER says which traces are
    kept.
    """

    def __init__(self, exporters: Sequence[SpanExporter], processors: Sequence[SpanProcessor] = ()) -> None:
        super().__init__(
            resource=environment.resource(), id_generator=OpperIdGenerator(), shutdown_on_exit=False
        )
        # Each takes a span that has ended and is sampled; the SDK's own way would ask each span again.
        self.takers: list[Callable[[ReadableSpan], None]] = []
        self.configured_sampler = self.sampler
        self.sampler = DerivedSampler(self.sampler)
        self._exporters = [_ClosedOnce(exporter) for exporter in exporters]
        for exporter in self._exporters:
            self.add_span_processor(_Batches(exporter))
        for processor in processors:
            self.add_span_processor(processor)

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Hand spans that end to `span_processor`, too."""
        super().add_span_processor(span_processor)
        take = span_processor.take if isinstance(span_processor, _Batches) else span_processor.on_end
        self.takers.append(take)

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


class _Batches(BatchSpanProcessor):
    """The SDK's, whose drops are counted, whether or not its own experimental metrics are on."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__(exporter)
        self._batch_processor._metrics = SPANS
        self.take = self._batch_processor.emit
        # It would make a record of every span that a full queue drops, for a filter to throw away.
        logging.getLogger(BatchProcessor.__module__).setLevel(logging.ERROR)


class _ClosedOnce(SpanExporter):
    """An exporter that counts what became of spans, and may be closed twice: to give up, and as usual."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._closed = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            if not self._closed.is_set():
                result = self._exporter.export(spans)
        finally:
            SPANS.add("exported" if result is SpanExportResult.SUCCESS else "failed", len(spans))
        return result

    def shutdown(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._exporter.shutdown()


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
