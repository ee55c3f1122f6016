"""Exports that fail, in the log: which signal, to where, and how; and that they work again."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import structlog

from guardproxy_tracing import environment
from guardproxy_tracing.environment import Signal

_log = structlog.stdlib.get_logger("guardproxy.tracing")
_PAUSE: Final = 60.0  # seconds between two lines about a signal
_LIBRARIES: Final = tuple(
    f"opentelemetry.exporter.otlp.proto.{name}"
    for name in ("http.trace_exporter", "http.metric_exporter", "grpc.exporter")
)
_watched = threading.local()  # `.now` is set in a thread while it exports under a watch
Exporter = TypeVar("Exporter")


class Failures:
    """What becomes of the exports of one signal to one destination. Any thread may tell it.

    A failure is one line, `export_failed`, at most once in a minute, with how many were lost since the last
    one; the first export that works again is another, `export_restored`. `to` holds no credential.
    """

    def __init__(self, signal: str, to: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._where = {"signal": signal, "to": to}
        self._clock = clock
        self._lock = threading.Lock()
        self._lost = 0
        self._said: float | None = None  # when the last failure was told
        self._open = False  # whether one was told that is not over

    def failed(self, count: int, status: int | str | None = None, error: str | None = None) -> None:
        """`count` spans or points are lost: the answer's `status`, or the type of the exception."""
        with self._lock:
            self._lost += count
            now = self._clock()
            if self._said is not None and now - self._said < _PAUSE:
                return
            lost, self._lost, self._said, self._open = self._lost, 0, now, True
        how = {"error": error} if status is None else {"status": status}
        _log.warning("export_failed", **self._where, **how, lost=lost)

    def worked(self) -> None:
        """An export arrived."""
        with self._lock:
            was_open, self._open = self._open, False
        if was_open:
            _log.info("export_restored", **self._where)


def watched(exporter: Exporter, signal: Signal, environ: Mapping[str, str], name: str) -> Exporter:
    """`exporter`, OpenTelemetry's of that name, whose exports are told to a `Failures` if they leave by OTLP.

    What its library would log while it exports is not printed as well.
    """
    if name == "console":
        return exporter
    inside: Any = exporter
    inside._metrics = _Operations(inside, Failures(signal.lower(), environment.origin(environ, signal, name)))
    for name in _LIBRARIES:
        logging.getLogger(name).addFilter(_is_not_told)  # adding it twice changes nothing
    return exporter


def _is_not_told(_: logging.LogRecord) -> bool:
    return not getattr(_watched, "now", False)


class _Operations:
    """Stands where exporters measure themselves: they alone know status and error, and tell them there."""

    def __init__(self, exporter: Any, failures: Failures) -> None:
        self._exporter, self._measures, self._failures = exporter, exporter._metrics, failures

    @contextmanager
    def export_operation(self, num_items: int) -> Iterator[Any]:
        """Around one export, retries included."""
        _watched.now = True
        try:
            with self._measures.export_operation(num_items) as result:
                yield result
        except Exception as error:
            self._failures.failed(num_items, error=_type_name(error))
            raise
        finally:
            _watched.now = False
        status = next(iter((result.error_attrs or {}).values()), None)
        if status is not None or result.error is not None:
            self._failures.failed(num_items, status, _type_name(result.error))
        elif self._exporter._shutdown:  # it gave up waiting for its next try
            self._failures.failed(num_items, error="shutdown")
        else:
            self._failures.worked()


def _type_name(error: BaseException | None) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"
