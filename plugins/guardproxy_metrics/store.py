"""Sums and histograms, kept as plain numbers until a reader collects.

The SDK takes some ten microseconds to record one value: with all values of an exchange that was a fifth of
what the exchange cost. So sums are observed, and histograms join what a reader got.
"""

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import time_ns

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    MetricsData,
    ResourceMetrics,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData

from guardproxy_metrics.table import Instrument

METER = "guardproxy"
Value = str | bool | int | None  # of an attribute; None leaves it out


class Sums:
    """Sums of one instrument, by the values of its attributes. Only the event loop adds."""

    def __init__(self, of: Instrument) -> None:
        self._of = of
        self._sums: dict[tuple[Value, ...], int] = {}

    def add(self, number: int, *values: Value) -> None:
        """Add for these values, in the order of the attributes."""
        self._sums[values] = self._sums.get(values, 0) + number

    def observe(self, _: CallbackOptions) -> list[Observation]:
        """What the SDK collects; in any thread."""
        return [
            Observation(number, attributes(self._of, values)) for values, number in list(self._sums.items())
        ]


@dataclass(slots=True)
class _Series:
    began: int
    buckets: list[int]
    total: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")


class Store:
    """What was recorded in histograms, for one reader: since the beginning, or (`delta`) its last reading."""

    def __init__(self, *, delta: bool = False) -> None:
        self._temporality = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
        self._lock = threading.Lock()
        self._read = 0  # when, by the clock of `time_ns`
        self._series: dict[str, tuple[Instrument, dict[tuple[Value, ...], _Series]]] = {}

    def record(self, of: Instrument, number: float, values: tuple[Value, ...]) -> None:
        """Record `number` for these values, in the order of the attributes; in any thread."""
        with self._lock:
            found = self._series.get(of.name)
            if found is None:
                found = self._series[of.name] = (of, {})
            series = found[1].get(values)
            if series is None:
                series = found[1][values] = _Series(self._read or time_ns(), [0] * (len(of.bounds) + 1))
            series.buckets[bisect_left(of.bounds, number)] += 1
            series.total += number
            if number < series.least:
                series.least = number
            if number > series.most:
                series.most = number

    def join(self, collected: MetricsData) -> MetricsData:
        """`collected`, and what is here."""
        own = self._collect()
        if not own:
            return collected
        return MetricsData([_joined(of_resource, own) for of_resource in collected.resource_metrics])

    def _collect(self) -> list[Metric]:
        now = time_ns()
        with self._lock:
            read = [(of, _points(of, series, now)) for of, series in self._series.values()]
            if self._temporality is AggregationTemporality.DELTA:
                self._series, self._read = {}, now
        return [
            Metric(of.name, of.description, of.unit, HistogramData(points, self._temporality))
            for of, points in read
        ]


def _points(
    of: Instrument, by_values: dict[tuple[Value, ...], _Series], now: int
) -> Sequence[HistogramDataPoint]:
    return [
        HistogramDataPoint(
            attributes=attributes(of, values),
            start_time_unix_nano=series.began,
            time_unix_nano=now,
            count=sum(series.buckets),
            sum=series.total,
            bucket_counts=tuple(series.buckets),
            explicit_bounds=of.bounds,
            min=series.least,
            max=series.most,
        )
        for values, series in by_values.items()
    ]


def _joined(of_resource: ResourceMetrics, own: Sequence[Metric]) -> ResourceMetrics:
    """With `own` in the scope of our meter, which has always something to tell."""
    scopes = [
        replace(scope, metrics=[*scope.metrics, *own]) if scope.scope.name == METER else scope
        for scope in of_resource.scope_metrics
    ]
    return replace(of_resource, scope_metrics=scopes)


def attributes(of: Instrument, values: tuple[Value, ...]) -> dict[str, str | bool | int]:
    """The attributes of `of` that have a value."""
    return {n: value for n, value in zip(of.attributes, values, strict=True) if value is not None}
