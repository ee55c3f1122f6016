"""Export of spans over OTLP/HTTP: the SDK's exporter, but for how spans become bytes."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from guardproxy_tracing.encoding import encode


class HttpExporter(OTLPSpanExporter):
    """Endpoint, headers, time-out, retries and all else are the SDK's, by the standard environment."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send one request."""
        if self._shutdown:
            return SpanExportResult.FAILURE
        sent = self._client.export(encode(spans))
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE
