"""A loopback OTLP backend for tests: takes spans and metrics over HTTP and gRPC, keeps every byte."""

import gzip
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import grpc  # type: ignore[import-untyped]

from guardproxy.testing.exported import ExportedEvent, ExportedPoint, ExportedSpan, decode, decode_points

__all__ = ["ExportedEvent", "ExportedPoint", "ExportedSpan", "OtlpCollector"]

_TRACES, _METRICS = "traces", "metrics"
_SERVICES = {
    _TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    _METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
_PATHS = {"/v1/traces": _TRACES, "/v1/metrics": _METRICS}
_CONFIRMED = b""  # a response without fields is an empty message


class OtlpCollector:
    """A context manager that serves OTLP on two free ports of 127.0.0.1.

    `status` other than 200 refuses HTTP exports with it (gRPC: UNAVAILABLE); `hang` keeps every export
    waiting until `release` or the end of the block. What is refused is in `raw` only.

    An exporter repeats an export that was not confirmed in time, in the same bytes. So an export whose bytes
    are those of one that hung is a retry, and its spans and points are kept once.

    >>> with OtlpCollector() as collector:
    ...     collector.http_endpoint.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, status: int = 200, hang: bool = False) -> None:
        self.status = status
        self.spans: list[ExportedSpan] = []
        self.points: list[ExportedPoint] = []  # of every export: cumulative ones come again each time
        self.exports = 0  # how many of spans arrived, refused ones included
        self.metric_exports = 0  # how many of metrics
        self._raw: list[bytes] = []
        self._hung: set[bytes] = set()  # digests of exports that were not confirmed at once
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
        for signal, service in _SERVICES.items():
            export = grpc.unary_unary_rpc_method_handler(self._on_grpc(signal), _same, _same)
            self._grpc.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {"Export": export}),)
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
        with self._until(lambda: len(self.spans) >= spans, seconds, f"fewer than {spans} spans arrived"):
            return list(self.spans)

    def orphans(self) -> list[ExportedSpan]:
        """The spans whose parent is of the same program, and did not arrive.

        One that is still open arrives later than its children: ask when all is over.
        """
        with self._changed:
            known = {(span.trace_id, span.span_id) for span in self.spans}
            return [
                span
                for span in self.spans
                if span.parent_id and not span.parent_remote and (span.trace_id, span.parent_id) not in known
            ]

    def duplicates(self) -> list[ExportedSpan]:
        """The spans whose ids arrived more than once, all of them; retries are none (see the class)."""
        with self._changed:
            seen = Counter((span.trace_id, span.span_id) for span in self.spans)
            return [span for span in self.spans if seen[span.trace_id, span.span_id] > 1]

    def metric(self, name: str) -> list[ExportedPoint]:
        """The newest point of each set of attributes and resource that the metric of that name has."""
        with self._changed:
            newest = {
                repr((sorted(point.resource.items()), sorted(point.attributes.items()))): point
                for point in self.points
                if point.name == name
            }
        return list(newest.values())

    def wait_for_metrics(self, seconds: float = 10.0) -> None:
        """Return once an export of metrics arrived, refused or not.

        Raises:
            TimeoutError: none did within `seconds`.
        """
        with self._until(lambda: self.metric_exports > 0, seconds, "no export of metrics arrived"):
            pass

    def wait_for_export(self, seconds: float = 10.0) -> None:
        """Return once an export of spans arrived, refused or not.

        Raises:
            TimeoutError: none did within `seconds`.
        """
        with self._until(lambda: self.exports > 0, seconds, "no export arrived"):
            pass

    @contextmanager
    def _until(self, happened: Callable[[], bool], seconds: float, otherwise: str) -> Iterator[None]:
        """A block in which that has happened, and nothing else does.

        Raises:
            TimeoutError: it did not within `seconds`.
        """
        with self._changed:
            if not self._changed.wait_for(happened, seconds):
                raise TimeoutError(otherwise)
            yield

    def _take(self, signal: str, head: bytes, body: bytes) -> bool:
        """Keep an export; whether it is to be confirmed."""
        with self._changed:
            if signal == _TRACES:
                self.exports += 1
            else:
                self.metric_exports += 1
            self._raw += [head, body]
            digest = hashlib.sha256(body).digest()
            if self.status == 200 and digest not in self._hung:
                if signal == _TRACES:
                    self.spans += decode(body)
                else:
                    self.points += decode_points(body)
            if not self._released.is_set():
                self._hung.add(digest)
            self._changed.notify_all()
        self._released.wait()
        return self.status == 200

    def _on_grpc(self, signal: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            metadata = "\n".join(f"{key}: {value!r}" for key, value in context.invocation_metadata())
            if not self._take(signal, metadata.encode(), body):
                context.abort(grpc.StatusCode.UNAVAILABLE, "refused")
            return _CONFIRMED

        return export


class _Handler(BaseHTTPRequestHandler):
    collector: OtlpCollector
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        signal = _PATHS.get(self.path)
        if signal is None:
            self._answer(404)
            return
        head = f"{self.requestline}\n{self.headers}".encode()
        confirmed = self.collector._take(signal, head, body)
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


def _same(body: bytes) -> bytes:
    return body
