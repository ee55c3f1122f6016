"""The meter provider: readers for OTLP as the OTEL_* environment asks, one for Prometheus, a bounded end."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    MetricExporter,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from prometheus_client import CollectorRegistry

from guardproxy_metrics.store import Store
from guardproxy_tracing import environment
from guardproxy_tracing.failures import watched


def exporters_from(environ: Mapping[str, str]) -> list[MetricExporter]:
    """The exporters that the environment asks for: none unless an endpoint or OTEL_METRICS_EXPORTER is set.

    Raises:
        ConfigError: an exporter or a protocol that there is not, or an endpoint that is no URL.
    """
    names = environment.exporters(environ, "METRICS")
    return [watched(_exporter(name), "METRICS", environ, name) for name in names]


def _exporter(name: str) -> MetricExporter:
    if name == "console":
        return ConsoleMetricExporter()
    # Imported when needed: gRPC alone takes as long to import as the rest of the plugin.
    if name == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc

        return Grpc()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http

    return Http()


class _Joining(MetricReader):
    """A reader that tells what is in its store, too."""

    store: Store

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        super()._receive_metrics(self.store.join(metrics_data), timeout_millis, **kwargs)  # type: ignore[safe-super]


class _Exported(_Joining, PeriodicExportingMetricReader):
    """Reads for an exporter, every now and then and at the end."""

    def __init__(self, exporter: MetricExporter) -> None:
        preferred = exporter._preferred_temporality or {}
        self.store = Store(delta=preferred.get(Histogram) is AggregationTemporality.DELTA)
        super().__init__(exporter)


class _Scraped(_Joining, PrometheusMetricReader):
    """Reads whenever its registry is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.store = Store()
        super().__init__(registry=registry, scope_info_enabled=False)


class Provider(MeterProvider):
    """A meter provider, never the global one, that can be closed within a bounded time.

    `exporters` get all metrics every OTEL_METRIC_EXPORT_INTERVAL milliseconds (60,000), in threads of their
    own; `registry` reads them when it is scraped. `stores` want what is recorded in histograms. There are no
    exemplars: the SDK takes their trace from the current span, and no span of ours is ever current.
    """

    def __init__(
        self, exporters: Sequence[MetricExporter], registry: CollectorRegistry | None = None
    ) -> None:
        readers: list[_Exported | _Scraped] = [_Exported(exporter) for exporter in exporters]
        if registry is not None:
            readers.append(_Scraped(registry))
        self.stores = [reader.store for reader in readers]
        super().__init__(
            readers,
            environment.resource(),
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )

    def close(self, seconds: float) -> bool:
        """Export what there is and close the exporters; whether all was done within `seconds`.

        An export that hangs in the network is left behind in a daemon thread, and ends with the exporter's
        own time-out or with the process.
        """
        deadline = time.monotonic() + seconds
        try:
            self.shutdown(timeout_millis=seconds * 1000)
        except Exception:  # the SDK's word for readers whose turn did not come in time
            return False
        return time.monotonic() < deadline
