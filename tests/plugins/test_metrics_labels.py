"""What others choose makes no series without end; and histograms are what the SDK would make of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, MetricsData

from guardproxy import Exchange, Finding, Outcome, Rule, Stage, Step, StepKind, Verdict
from guardproxy_metrics import table
from guardproxy_metrics.instruments import STATE, Instruments
from guardproxy_metrics.labels import MOST_MODELS, OTHER
from guardproxy_metrics.store import METER, Store
from tests.plugins.metering import TAG, USAGE

pytestmark = pytest.mark.usefixtures("metrics_off")


# What others choose.


class Read:
    """Instruments, and what a reader of theirs gets."""

    def __init__(self, *, delta: bool = False) -> None:
        self.store = Store(delta=delta)
        self.reader = InMemoryMetricReader()
        meter = MeterProvider([self.reader], shutdown_on_exit=False).get_meter(METER)
        self.instruments = Instruments(meter, [self.store])

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return points(self.store.join(data), name)


def points(data: MetricsData, name: str) -> list[Any]:
    return [
        point
        for of_resource in data.resource_metrics
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def series(read: Read, name: str, attribute: str) -> set[Any]:
    return {(point.attributes or {})[attribute] for point in read.points(name)}


def ended(instruments: Instruments, model: str, status: int, **facts: Any) -> None:
    of = Exchange("POST", "/llm", {}, creates=True, model=model, status=status, seconds=1.0, **facts)
    of.state[STATE] = Step(StepKind.ATTEMPT, "POST", status=status)
    of.stream, of.first_event_seconds = True, 0.5
    instruments.begin()
    instruments.end(of)


def test_a_client_that_names_ten_thousand_models_makes_no_series() -> None:
    read = Read()
    instruments = read.instruments
    for number in range(10_000):
        ended(instruments, f"hostile-{number}", 404)
    ended(instruments, "gpt-4.1", 200)
    for name in (table.OPERATION_DURATION.name, table.FIRST_EVENT.name):
        assert series(read, name, table.MODEL) == {"gpt-4.1", OTHER}


def test_an_upstream_that_answers_for_all_of_them_makes_fifty() -> None:
    read = Read()
    instruments = read.instruments
    for number in range(10_000):
        ended(instruments, f"hostile-{number}", 200, usage=dict(USAGE))
    wanted = {*(f"hostile-{number}" for number in range(MOST_MODELS)), OTHER}
    for name in (table.OPERATION_DURATION.name, table.TOKEN_USAGE.name):
        assert series(read, name, table.MODEL) == wanted
    assert len(instruments._labels._models._known) == MOST_MODELS
    ended(instruments, "hostile-3", 500)  # known by now
    assert series(read, table.OPERATION_DURATION.name, table.MODEL) == wanted


@pytest.mark.parametrize("how", ["found", "failed", "no name"])
def test_a_model_that_no_guard_has_cleared_is_no_label(how: str) -> None:
    read = Read()
    instruments = read.instruments
    hit = Finding("tags", Stage.INPUT, "/model", 0, 8, "TAG")
    verdicts = {
        "found": {Stage.INPUT: Verdict(Stage.INPUT, Outcome.FLAGGED, (hit,))},
        "failed": {Stage.INPUT: Verdict(Stage.INPUT, Outcome.FLAGGED, failed=("tags",))},
    }.get(how, {})
    ended(instruments, "two words" if how == "no name" else TAG, 200, verdicts=verdicts)
    assert series(read, table.OPERATION_DURATION.name, table.MODEL) == {OTHER}


def test_categories_are_spelled_like_ones_and_have_an_end() -> None:
    read = Read()
    instruments = read.instruments
    for found in ({"TAG": 1}, {"see TAG": 1}, {"tag": 2}, *({f"C{number}": 1} for number in range(1000))):
        instruments.guard(Step(StepKind.GUARD, "tags", stage=Stage.INPUT, rule=Rule(), findings=found))
    seen = series(read, table.FINDINGS.name, table.CATEGORY)
    assert len(seen) == 201
    assert {"TAG", "C0", OTHER} <= seen
    assert not {"see TAG", "tag", "C999"} & seen


# What is kept for readers.


EIGHTHS = st.lists(st.integers(0, 160).map(lambda number: number / 8))  # their sums are exact


@given(EIGHTHS, EIGHTHS)
def test_a_histogram_is_what_the_sdk_would_make_of_it(first: list[float], then: list[float]) -> None:
    for delta in (False, True):
        read, reader = Read(delta=delta), InMemoryMetricReader(delta_of_histograms() if delta else None)
        of = table.REQUEST_DURATION
        theirs = (
            MeterProvider([reader], shutdown_on_exit=False)
            .get_meter(METER)
            .create_histogram(of.name, explicit_bucket_boundaries_advisory=of.bounds)
        )
        for numbers in (first, then):
            for number in numbers:
                read.store.record(of, number, ("GET", "http", "/", 200, None))
                theirs.record(number, {"http.route": "/"})
            data = reader.get_metrics_data()
            wanted = points(data, of.name) if data is not None else []
            assert [facts_of(point) for point in read.points(of.name)] == [facts_of(p) for p in wanted]


def delta_of_histograms() -> dict[type, AggregationTemporality]:
    return {Histogram: AggregationTemporality.DELTA}


def facts_of(point: Any) -> tuple[Any, ...]:
    return point.count, point.sum, point.min, point.max, point.bucket_counts, point.explicit_bounds


def test_what_a_reader_of_deltas_has_read_is_gone() -> None:
    read = Read(delta=True)
    ended(read.instruments, "gpt-4.1", 200)
    (first,) = read.points(table.OVERHEAD.name)
    assert read.points(table.OVERHEAD.name) == []
    ended(read.instruments, "gpt-4.1", 200)
    (then,) = read.points(table.OVERHEAD.name)
    assert (first.count, then.count) == (1, 1)
    assert first.time_unix_nano < then.start_time_unix_nano <= then.time_unix_nano
