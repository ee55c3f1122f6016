"""The plugin's hooks, and the one tracer that they share in a process."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
import structlog
from opentelemetry.sdk.resources import SERVICE_NAME
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Tracer

from guardproxy import Exchange, Settings, Step, StepKind, hookimpl
from guardproxy_tracing import environment, variables
from guardproxy_tracing.doubts import doubts
from guardproxy_tracing.drawing import TreePrinter
from guardproxy_tracing.names import SETTLED, Names, chosen
from guardproxy_tracing.propagator import origin, request_headers
from guardproxy_tracing.provider import Provider, exporters_from
from guardproxy_tracing.recorder import Recorder
from guardproxy_tracing.spans import STATE, ExchangeSpan, StepSpan, Trace

_log = structlog.stdlib.get_logger("guardproxy.tracing")


class TracingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[plugins.tracing]`. Where spans go is said by the standard OTEL_* environment."""

    trust_inbound: bool = True  # continue the traces that requests name
    propagate: tuple[Literal["tracecontext", "opper"], ...] = ("tracecontext",)  # what the upstream is sent
    # Seconds that the last spans have to leave.
    shutdown_timeout: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 5.0


@dataclass(slots=True)
class _Process:
    """What the hooks of one serving process share. Without a recorder tracing is off."""

    provider: Provider | None = None
    recorder: Recorder | None = None
    settings: TracingSettings = field(default_factory=TracingSettings)
    names: Names = SETTLED
    recorders: tuple["_Recorder", ...] = ()
    wanted: bool = False  # whether settings or environment ask for traces

    def open(self, provider: Provider) -> None:
        self.provider = provider
        self.recorder = None if environment.disabled(os.environ) else Recorder(provider, "guardproxy")

    def close(self) -> None:
        provider, self.provider, self.recorder = self.provider, None, None
        if provider is not None and not provider.close(self.settings.shutdown_timeout):
            _log.warning("spans given up", hint="the backend was too slow for the last ones")


_process = _Process()


@hookimpl
def guardproxy_register_settings() -> type[msgspec.Struct]:
    """The plugin's settings."""
    return TracingSettings


@hookimpl
def guardproxy_check(settings: Settings) -> list[str]:
    """Refuse what the environment gets wrong, and say what is hardly meant.

    Raises:
        ConfigError: it asks for what there is not, or has a wrong value.
    """
    drawn = settings.trace == "console"
    variables.check(os.environ, "TRACES", drawn=drawn)
    return doubts(os.environ, "TRACES", drawn=drawn)


@hookimpl
def guardproxy_startup(settings: Settings) -> None:
    """Open the exporters that the environment asks for.

    Raises:
        ConfigError: the environment asks for what there is not.
    """
    exporters = exporters_from(os.environ)
    _process.close()
    _process.settings = settings.of_plugin("tracing", TracingSettings)
    _process.names = chosen(os.environ)
    printers = (TreePrinter(),) if settings.trace == "console" else ()
    _process.wanted = bool(exporters or printers)
    if _process.wanted or _process.recorders:
        _process.open(Provider(exporters, (*printers, *_process.recorders)))
    _say_where(_process.provider if exporters else None, bool(printers))


def _say_where(exporting: Provider | None, draws: bool) -> None:
    to = ["standard output, as trees"] if draws else []
    if exporting is not None:
        to += environment.destinations(os.environ, "TRACES")
        service = str(exporting.resource.attributes[SERVICE_NAME])
        hint = f"look for the service '{service}' in your backend"
    else:
        hint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 sends traces to a backend"
        hint += "" if draws else "; --trace console draws them here"
    _log.info("tracing", to=to or ["nowhere"], hint=hint)


@hookimpl
def guardproxy_step(exchange: Exchange, step: Step) -> AbstractContextManager[object] | None:
    """The span around `step`."""
    recorder = _process.recorder
    if recorder is None:
        return None
    if step.kind is StepKind.EXCHANGE:
        found = origin(exchange.headers, exchange.trace, _process.settings.trust_inbound)
        return ExchangeSpan(recorder, exchange, step, found)
    inside: Trace | None = exchange.state.get(STATE)
    if inside is None:
        return None
    span = StepSpan(recorder, exchange, step, inside, _process.names) if inside.kept else None
    if step.kind is StepKind.ATTEMPT and (words := _process.settings.propagate):
        # The upstream's parent is the attempt's span, or the exchange's, which is not kept.
        parent = inside.root if span is None else span.context
        step.request_headers.update(request_headers(parent, words, exchange.headers))
    return span


@hookimpl
def guardproxy_shutdown() -> None:
    """Send the last spans and close the exporters."""
    _process.close()


def tracer(scope: str, ids: IdGenerator | None = None) -> Tracer | None:
    """The tracer of another plugin, whose spans leave with this one's; None while tracing is off.

    `scope` is the instrumentation's name, one for each plugin; `ids` makes the ids of its spans.
    """
    if _process.provider is None:
        return None
    found = _process.provider.get_tracer(scope)
    if ids is not None and isinstance(found, SdkTracer):
        found.id_generator = ids
    return found


@contextmanager
def record() -> Iterator[list[ReadableSpan]]:
    """Trace within the block, whatever the environment says, into a list: the finished spans, in order.

    For demonstrations and tests, in the process that serves. OTEL_SDK_DISABLED leaves the list empty.
    """
    recorder = _Recorder()
    _process.recorders += (recorder,)
    if _process.provider is None:
        _process.open(Provider((), (recorder,)))
    else:
        _process.provider.add_span_processor(recorder)
    try:
        yield recorder.spans
    finally:
        recorder.active = False
        _process.recorders = tuple(other for other in _process.recorders if other is not recorder)
        if not _process.wanted and not _process.recorders:
            _process.close()


class _Recorder(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.active = True

    def on_end(self, span: ReadableSpan) -> None:
        if self.active:
            self.spans.append(span)
