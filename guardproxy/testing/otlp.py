"""A loopback OTLP backend for tests: takes spans over HTTP and gRPC, and keeps them and every byte."""

import gzip
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

_PATH = "/v1/traces"
_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


@dataclass(frozen=True, slots=True)
class ExportedEvent:
    """An event of an exported span."""

    name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExportedSpan:
    """A span as the backend got it. Ids are lower-case hex, times nanoseconds since 1970.

    `parent_id` is empty for a root; `kind` and `status` are the words of the OTLP enums (`SERVER`,
    `UNSET`, `ERROR`); `links` are (trace id, span id).
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    status: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    events: tuple[ExportedEvent, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    resource: Mapping[str, Any] = field(default_factory=dict)
    trace_state: str = ""
    status_message: str = ""


class OtlpCollector:
    """A context manager that serves OTLP on two free ports of 127.0.0.1.

    `status` other than 200 refuses HTTP exports with it (gRPC: UNAVAILABLE); `hang` keeps every export
    waiting until `release` or the end of the block.

    >>> with OtlpCollector() as collector:
    ...     collector.http_endpoint.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, status: int = 200, hang: bool = False) -> None:
        self.status = status
        self.spans: list[ExportedSpan] = []
        self.exports = 0  # how many arrived, refused ones included
        self._raw: list[bytes] = []
        self._changed = threading.Condition()
        self._released = threading.Event()
        if not hang:
            self._released.set()

    def __enter__(self) -> "OtlpCollector":
        handler = type("Handler", (_Handler,), {"collector": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._grpc = grpc.server(self._pool)
        export = grpc.unary_unary_rpc_method_handler(self._on_grpc, _same, _same)
        self._grpc.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, {"Export": export}),)
        )
        self._grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._grpc.stop(grace=None).wait()
        self._pool.shutdown()

    def release(self) -> None:
        """Answer the exports that hang, and all that follow."""
        self._released.set()

    @property
    def http_endpoint(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT with the protocol http/protobuf."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def grpc_endpoint(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT with the protocol grpc."""
        return f"http://127.0.0.1:{self._grpc_port}"

    @property
    def raw(self) -> bytes:
        """Every byte that arrived: paths, headers and metadata, and the bodies, decompressed."""
        with self._changed:
            return b"\n".join(self._raw)

    def named(self, name: str) -> ExportedSpan:
        """The one span of that name.

        Raises:
            LookupError: there is none, or several.
        """
        found = [span for span in self.spans if span.name == name]
        if len(found) != 1:
            every = [span.name for span in self.spans]
            raise LookupError(f"{len(found)} spans are named {name!r}; there are {every}")
        return found[0]

    def wait(self, spans: int = 1, seconds: float = 10.0) -> list[ExportedSpan]:
        """The spans, once there are that many.

        Raises:
            TimeoutError: there were fewer after `seconds`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.spans) >= spans, seconds):
                raise TimeoutError(f"{len(self.spans)} spans arrived, not {spans}")
            return list(self.spans)

    def wait_for_export(self, seconds: float = 10.0) -> None:
        """Return once an export arrived, refused or not.

        Raises:
            TimeoutError: none did within `seconds`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.exports > 0, seconds):
                raise TimeoutError("no export arrived")

    def _take(self, head: bytes, body: bytes) -> bool:
        """Keep an export; whether it is to be confirmed."""
        with self._changed:
            self.exports += 1
            self._raw += [head, body]
            if self.status == 200:
                self.spans += decode(body)
            self._changed.notify_all()
        self._released.wait()
        return self.status == 200

    def _on_grpc(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = "\n".join(f"{key}: {value!r}" for key, value in context.invocation_metadata())
        if not self._take(metadata.encode(), body):
            context.abort(grpc.StatusCode.UNAVAILABLE, "refused")
        answer: bytes = ExportTraceServiceResponse().SerializeToString()
        return answer


class _Handler(BaseHTTPRequestHandler):
    collector: OtlpCollector
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path != _PATH:
            self._answer(404)
            return
        head = f"{self.requestline}\n{self.headers}".encode()
        confirmed = self.collector._take(head, body)
        self._answer(200 if confirmed else self.collector.status)

    def _answer(self, status: int) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()
        except OSError:  # the exporter no longer waits
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Nothing is written to the console."""


def decode(body: bytes) -> list[ExportedSpan]:
    """The spans of an OTLP export request.

    Raises:
        google.protobuf.message.DecodeError: `body` is no such request.
    """
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _span(span, _attributes(of_resource.resource.attributes))
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _span(span: trace_pb2.Span, resource: Mapping[str, Any]) -> ExportedSpan:
    return ExportedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        status=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=tuple(ExportedEvent(event.name, _attributes(event.attributes)) for event in span.events),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        resource=resource,
        trace_state=span.trace_state,
        status_message=span.status.message,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pair: KeyValue
    for pair in pairs:
        found[pair.key] = _value(pair.value)
    return found


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def _same(body: bytes) -> bytes:
    return body
