"""Export of spans over OTLP/gRPC: the SDK's exporter, but for how spans become bytes."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from guardproxy_tracing.encoding import Encoded, EncodedExporter, request


class GrpcExporter(EncodedExporter, OTLPSpanExporter):
    """Endpoint, headers, time-out, retries and all else are the SDK's, by the standard environment."""

    def _translate_data(self, data: Sequence[Encoded]) -> ExportTraceServiceRequest:  # type: ignore[override]
        # The stub serializes a message; to make it of bytes costs little, unlike to make it of objects.
        message = ExportTraceServiceRequest()
        message.ParseFromString(request(data))
        return message
