"""Fixtures that several plugins' tests share."""

from collections.abc import Iterator

import pytest

import guardproxy_metrics as metrics
from guardproxy_metrics.hooks import _process

OTEL = ("ENDPOINT", "METRICS_ENDPOINT", "TRACES_ENDPOINT", "PROTOCOL", "METRICS_PROTOCOL")


@pytest.fixture
def metrics_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No exporter by the environment, and nothing left open."""
    for name in OTEL:
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    for name in ("SDK_DISABLED", "METRICS_EXPORTER", "METRIC_EXPORT_INTERVAL", "SERVICE_NAME"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    yield
    metrics.guardproxy_shutdown()
    assert _process.provider is None
