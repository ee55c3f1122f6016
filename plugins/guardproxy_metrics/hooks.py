"""The plugin's hooks, and the one meter that they share in a process."""

import multiprocessing
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import structlog
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry

from guardproxy import Exchange, Settings, Step, StepKind, hookimpl
from guardproxy_metrics import exposition
from guardproxy_metrics.exposition import Page
from guardproxy_metrics.instruments import STATE, Instruments
from guardproxy_metrics.provider import Provider, exporters_from
from guardproxy_metrics.store import METER
from guardproxy_tracing import environment, variables
from guardproxy_tracing.doubts import doubts

_log = structlog.stdlib.get_logger("guardproxy.metrics")


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[plugins.metrics]`. Where metrics are exported to is said by the standard OTEL_* environment."""

    prometheus: bool = True  # serve GET /metrics
    # Seconds that the last metrics have to leave: one request, and a worker's end has to wait for spans, too.
    shutdown_timeout: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 2.0


@dataclass(slots=True)
class _Process:
    """What the hooks of one serving process share. Without instruments nothing is measured."""

    settings: MetricsSettings = field(default_factory=MetricsSettings)
    provider: Provider | None = None
    instruments: Instruments | None = None
    page: Page | None = None

    def open(self, provider: Provider, registry: CollectorRegistry | None) -> None:
        self.provider = provider
        self.instruments = Instruments(provider.get_meter(METER), provider.stores)
        self.page = Page(registry) if registry is not None else None

    def close(self) -> None:
        provider, self.provider, self.instruments, self.page = self.provider, None, None, None
        if provider is not None and not provider.close(self.settings.shutdown_timeout):
            _log.warning("metrics_given_up", seconds=self.settings.shutdown_timeout)


_process = _Process()


@hookimpl
def guardproxy_register_settings() -> type[msgspec.Struct]:
    """The plugin's settings."""
    return MetricsSettings


@hookimpl
def guardproxy_register_routes(settings: Settings) -> Iterable[HTTPRouteHandler]:
    """`GET /metrics`, unless the settings say otherwise."""
    if not settings.of_plugin("metrics", MetricsSettings).prometheus:
        return []
    if settings.workers > 1:
        return [exposition.refusal()]
    return [exposition.route(lambda: _process.page)]


@hookimpl
def guardproxy_check(settings: Settings) -> list[str]:
    """Refuse what the environment gets wrong, and say what is hardly meant.

    Raises:
        ConfigError: it asks for what there is not, or has a wrong value.
    """
    variables.check(os.environ, "METRICS")
    return doubts(os.environ, "METRICS")


@hookimpl
def guardproxy_startup(settings: Settings) -> None:
    """Open the readers that the environment and the settings ask for.

    Raises:
        ConfigError: the environment asks for what there is not.
    """
    exporters = exporters_from(os.environ)
    _process.close()
    _process.settings = settings.of_plugin("metrics", MetricsSettings)
    scraped = _process.settings.prometheus and not environment.disabled(os.environ)
    if scraped and settings.workers > 1:
        scraped = False
        if _first_worker():
            _log.warning("metrics_page_refused", reason=exposition.REFUSED)
    registry = CollectorRegistry() if scraped else None
    if exporters or registry is not None:
        _process.open(Provider(exporters, registry), registry)
    to = environment.destinations(os.environ, "METRICS") + (["/metrics"] if scraped else [])
    _log.info("metrics", to=to or ["nowhere"])


def _first_worker() -> bool:
    """Whether this process speaks for all: the first of the workers, whose names are numbered."""
    number = multiprocessing.current_process().name.rpartition("-")[2]
    return not number.isdecimal() or number == "1"


@hookimpl
def guardproxy_step(exchange: Exchange, step: Step) -> AbstractContextManager[object] | None:
    """What is to be measured at the end of `step`."""
    instruments = _process.instruments
    if instruments is None:
        return None
    if step.kind is StepKind.GUARD:
        return _Guard(instruments, step)
    if step.kind is StepKind.EXCHANGE:
        return _Whole(instruments, exchange)
    if step.kind is StepKind.ATTEMPT:
        exchange.state[STATE] = step
    return None


class _Guard(AbstractContextManager[None]):
    def __init__(self, instruments: Instruments, step: Step) -> None:
        self._instruments, self._step = instruments, step

    def __exit__(self, *_: object) -> None:
        self._instruments.guard(self._step)


class _Whole(AbstractContextManager[None]):
    def __init__(self, instruments: Instruments, exchange: Exchange) -> None:
        self._instruments, self._exchange = instruments, exchange

    def __enter__(self) -> None:
        self._instruments.begin()

    def __exit__(self, *_: object) -> None:
        self._instruments.end(self._exchange)


@hookimpl
def guardproxy_shutdown() -> None:
    """Export the last metrics and close the exporters."""
    _process.close()
