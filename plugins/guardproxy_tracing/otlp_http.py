"""Export of spans over OTLP/HTTP: the SDK's exporter, but for how spans become bytes."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.semconv.attributes.http_attributes import HTTP_RESPONSE_STATUS_CODE

from guardproxy_tracing.encoding import encode


class HttpExporter(OTLPSpanExporter):
    """Endpoint, headers, time-out, retries and all else are the SDK's, by the standard environment."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send one request."""
        if self._shutdown:
            return SpanExportResult.FAILURE
        with self._metrics.export_operation(len(spans)) as result:
            sent = self._client.export(encode(spans))
            if sent.success:
                return SpanExportResult.SUCCESS
            result.error = sent.error
            if sent.status_code is not None:
                result.error_attrs = {HTTP_RESPONSE_STATUS_CODE: sent.status_code}
            return SpanExportResult.FAILURE
