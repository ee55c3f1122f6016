"""Export of spans over OTLP/gRPC: the SDK's exporter, but for how spans become bytes."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

from guardproxy_tracing.encoding import encode


class GrpcExporter(OTLPSpanExporter):
    """Endpoint, headers, time-out, retries and all else are the SDK's, by the standard environment."""

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        # The stub serializes a message; to make it of bytes costs little, unlike to make it of objects.
        message = ExportTraceServiceRequest()
        message.ParseFromString(encode(data))
        return message
