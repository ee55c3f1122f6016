"""`GET /metrics`: the page that Prometheus scrapes, or why there is none."""

import gzip
import threading
from collections.abc import Callable
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, gzip_accepted

REFUSED = (
    "With workers above 1 GET /metrics would tell of the one process that it happens to reach. Have metrics "
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
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # the library's word for a version that is no number
            encode, content_type = choose_encoder("")
        with self._lock:
            body = encode(self._registry)
        headers = {"content-type": content_type, "vary": "accept, accept-encoding"}
        if gzip_accepted(encodings):
            body, headers["content-encoding"] = gzip.compress(body), "gzip"
        return Response(body, headers=headers)


def route(page: Callable[[], Page | None]) -> HTTPRouteHandler:
    """The route, for the page that there is at the time of a scrape; without one it has nothing to tell."""

    @get("/metrics", sync_to_thread=True)  # collecting and writing takes milliseconds
    def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        found = page()
        if found is None:
            return Response(b"", headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})
        return found.answer(request.headers.get("accept", ""), request.headers.get("accept-encoding", ""))

    return metrics


def refusal() -> HTTPRouteHandler:
    """The route where one process cannot tell of all: an error in the project's envelope."""
    error = {"type": "invalid_request_error", "code": "not_implemented", "param": None}
    body = {"error": {"message": REFUSED, **error}}

    @get("/metrics", sync_to_thread=False, status_code=501)
    def metrics() -> dict[str, Any]:
        return body

    return metrics
