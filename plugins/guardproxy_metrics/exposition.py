"""`GET /metrics`: the page that Prometheus scrapes, or why there is none."""

import gzip
import threading
from collections.abc import Callable
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

REFUSED = (
    "GET /metrics reaches one of {workers} worker processes, and would tell of that one only. Have metrics "
    "exported over OTLP (OTEL_EXPORTER_OTLP_ENDPOINT), where each process is an instance of its own, or "
    "serve with workers = 1. [plugins.metrics] prometheus = false takes the route away."
)


class Page:
    """One registry as text, in the format that is asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._lock = threading.Lock()  # two scrapes at a time would share what was collected

    def answer(self, accept: str, encodings: str) -> Response[bytes]:
        """The answer to a scrape with these `Accept` and `Accept-Encoding`."""
        encode, content_type = choose_encoder(accept)
        with self._lock:
            body = encode(self._registry)
        headers = {"vary": "accept, accept-encoding"}
        if gzip_accepted(encodings):
            body, headers["content-encoding"] = gzip.compress(body), "gzip"
        return Response(body, media_type=content_type, headers=headers)


def route(page: Callable[[], Page | None]) -> HTTPRouteHandler:
    """The route, for the page that there is at the time of a scrape; without one it has nothing to tell."""

    @get("/metrics", sync_to_thread=True)  # collecting and writing takes milliseconds
    def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        found = page()
        if found is None:
            return Response(b"", media_type="text/plain; version=0.0.4; charset=utf-8")
        return found.answer(request.headers.get("accept", ""), request.headers.get("accept-encoding", ""))

    return metrics


def refusal(workers: int) -> HTTPRouteHandler:
    """The route where one process cannot tell of all: an error in the project's envelope."""
    error = {"type": "invalid_request_error", "code": "not_implemented", "param": None}
    body = {"error": {"message": REFUSED.format(workers=workers), **error}}

    @get("/metrics", sync_to_thread=False, status_code=501)
    def metrics() -> dict[str, Any]:
        return body

    return metrics
