"""The plugin in a whole proxy: what each outcome counts, what others may choose, and who may read it."""

import asyncio
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, MetricsData
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

import guardproxy_metrics as metrics
import guardproxy_tracing as tracing
from guardproxy import (
    Action,
    ConfigError,
    Detector,
    Exchange,
    Finding,
    Guard,
    LocalReply,
    Outcome,
    Policy,
    Rule,
    Settings,
    Stage,
    Step,
    StepKind,
    Verdict,
    hookimpl,
    hookspecs,
)
from guardproxy.app import create_app
from guardproxy.plugins import PROJECT
from guardproxy.testing import FakeUpstream
from guardproxy.testing.otlp import OtlpCollector
from guardproxy_metrics import table
from guardproxy_metrics.hooks import _process
from guardproxy_metrics.instruments import STATE, Instruments
from guardproxy_metrics.labels import MOST_MODELS, OTHER
from guardproxy_metrics.store import METER, Store
from tests.harness import Chunks, Client, message, proxy, response, sse, text_events
from tests.samples import Raises, Tags

ROOT = Path(__file__).parents[2]
TAG = "TAG-" + "1234"
USAGE = {"input_tokens": 7, "output_tokens": 11, "total_tokens": 18}
REDACT = {"x-opper-guard-action": "redact"}
OTEL = ("ENDPOINT", "METRICS_ENDPOINT", "TRACES_ENDPOINT", "PROTOCOL", "METRICS_PROTOCOL")
Samples = dict[str, list[tuple[dict[str, str], float]]]


@pytest.fixture(autouse=True)
def _off_and_clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in OTEL:
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    for name in ("SDK_DISABLED", "METRICS_EXPORTER", "METRIC_EXPORT_INTERVAL", "SERVICE_NAME"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    yield
    metrics.guardproxy_shutdown()
    assert _process.provider is None


class QuickTags(Tags):
    """On the loop whatever its length, so that no worker has to start."""

    inline_below = 1 << 30


class QuickRaises(Raises):
    inline_below = 1 << 30


class Hangs(Detector):
    name = "hangs"
    reach = 8

    async def scan(self, texts: Any) -> Any:
        await asyncio.Event().wait()


def quick() -> dict[str, Guard]:
    made = (
        Guard("tags", (QuickTags(),)),
        Guard("raises", (QuickRaises(),)),
        Guard("hangs", (Hangs(),)),
    )
    return {guard.name: guard for guard in made}


class Local:
    """Answers for one model in the upstream's place."""

    @hookimpl
    def guardproxy_before_forward(self, exchange: Exchange) -> LocalReply | None:
        return LocalReply(200, response(message("local"))) if exchange.model == "local" else None


def upstream(request: httpx.Request) -> httpx.Response:
    """Answers as the model's name asks for."""
    asked = json.loads(request.content or b"{}")
    word = asked.get("model", "")
    if word == "refused":
        raise httpx.ConnectError("refused")
    if word == "busy":
        return httpx.Response(503, json={"error": {"message": "busy"}})
    text = f"fine words {TAG}, and more of them" if "tag" in word else "fine words, and more of them"
    if not asked.get("stream"):
        return httpx.Response(200, json=response(message(text), usage=USAGE))
    events = text_events(text)
    events[-1]["response"]["usage"] = USAGE
    body = sse(events)
    pieces = [body] if word != "breaks" else [body[:2000]]
    stream: httpx.AsyncByteStream = Chunks(pieces, httpx.ReadError("x") if word == "breaks" else None)
    if word == "hangs":
        stream = Hanging()
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)


class Hanging(httpx.AsyncByteStream):
    """Says no more after a comment; `reached` is set when the client has got that."""

    reached = asyncio.Event()

    async def __aiter__(self) -> Any:
        yield b": on its way\n\n"
        self.reached.set()
        await asyncio.Event().wait()


def metered(**given: Any) -> Any:
    own = {"metrics": metrics.MetricsSettings(**given.pop("own", {}))}
    plugins = (metrics, Local(), *given.pop("plugins", ()))
    return proxy(upstream, made=quick(), plugins=plugins, own=own, **given)


async def scrape(client: Client, headers: Mapping[str, str] | None = None) -> Samples:
    got = await client.post(b"", headers or {}, path="/metrics", method="GET")
    assert got.status == 200
    return parsed(got.body.decode())


def parsed(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if value}
            found.setdefault(sample.name, []).append((labels, sample.value))
    return found


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the series of that name that have these labels."""
    return sum(v for found, v in samples.get(name, ()) if labels.items() <= found.items())


# Each exchange by its name: the request, its labels in `exchanges`, and how much of the others it counts.

STREAM = {"stream": True}
SHADOW = Policy(output={"tags": Rule(Action.REDACT, shadow=True)})
OUT, IN = "x-opper-guard-output", "x-opper-guard-input"


def labels(outcome: str, status: str = "2xx", stream: bool = False, **more: str) -> dict[str, str]:
    return {
        "guardproxy_outcome": outcome,
        "guardproxy_status_class": status,
        "guardproxy_stream": str(stream).lower(),
        **more,
    }


EXCHANGES: dict[str, tuple[dict[str, Any], dict[str, str], dict[str, str], dict[str, int]]] = {
    # name: body, headers, labels, counts
    "allowed": ({"model": "tag"}, {}, labels("allowed"), {"operation": 1, "tokens": 2}),
    "allowed stream": (
        {"model": "tag", **STREAM},
        {},
        labels("allowed", stream=True),
        {"operation": 1, "first": 1},
    ),
    "clean stream": (
        {"model": "fine", **STREAM},
        {OUT: "tags", **REDACT},
        labels("allowed", stream=True),
        {"operation": 1, "tokens": 2, "first": 1, "hold": 1, "guards": 1},
    ),
    "flagged": (
        {"model": "tag"},
        {IN: "tags", OUT: "tags"},
        labels("flagged"),
        {"operation": 1, "tokens": 2, "guards": 2, "findings": 1},
    ),
    "redacted": (
        {"model": "tag", "input": TAG},
        {IN: "tags", OUT: "tags", **REDACT},
        labels("redacted"),
        {"operation": 1, "tokens": 2, "guards": 2, "findings": 2},
    ),
    "redacted stream": (
        {"model": "tag", **STREAM},
        {OUT: "tags", **REDACT},
        labels("redacted", stream=True),
        {"operation": 1, "tokens": 2, "first": 1, "hold": 1, "guards": 1, "findings": 1},
    ),
    "blocked at the input": (
        {"model": "tag", "input": TAG},
        {IN: "tags=block"},
        labels("blocked", "4xx"),
        {"guards": 1, "findings": 1},
    ),
    "blocked in mid-stream": (
        {"model": "tag", **STREAM},
        {OUT: "tags=block"},
        labels("blocked", stream=True),
        {"operation": 1, "first": 1, "hold": 1, "guards": 1, "findings": 1},
    ),
    "guard failed": (
        {"model": "fine", "input": "boom"},
        {IN: "raises,tags"},
        labels("failed", "5xx", error_type="guardrail_failed"),
        {"guards": 2, "errors": 1},
    ),
    "guard too slow": (
        {"model": "fine"},
        {IN: "hangs"},
        labels("failed", "5xx", error_type="guardrail_failed"),
        {"guards": 1, "errors": 1},
    ),
    "upstream refuses": (
        {"model": "refused"},
        {},
        labels("error", "5xx", error_type="upstream_error"),
        {"operation": 1},
    ),
    "upstream is busy": ({"model": "busy"}, {}, labels("error", "5xx", error_type="503"), {"operation": 1}),
    "upstream breaks off": (
        {"model": "breaks", **STREAM},
        {OUT: "tags"},
        labels("error", stream=True, error_type="upstream_error"),
        {"operation": 1, "first": 1, "hold": 1, "guards": 1},
    ),
    "client left": (
        {"model": "hangs", **STREAM},
        {OUT: "tags"},
        labels("cancelled", stream=True, error_type="client_disconnected"),
        {"operation": 1, "first": 1, "guards": 1},
    ),
    "shadow": (
        {"model": "tag", **STREAM},
        {},
        labels("allowed", stream=True),
        {"operation": 1, "tokens": 2, "first": 1, "guards": 1, "findings": 1},
    ),
    "local reply": (
        {"model": "local"},
        {OUT: "tags", **REDACT},
        labels("allowed"),
        {"guards": 1},
    ),
    "wrong request": (
        {"model": "fine"},
        {IN: "absent"},
        labels("error", "4xx", error_type="unknown_guard"),
        {},
    ),
}
COUNTED = {
    "operation": "gen_ai_client_operation_duration_seconds_count",
    "tokens": "gen_ai_client_token_usage_count",
    "first": "guardproxy_time_to_first_event_seconds_count",
    "hold": "guardproxy_stream_hold_seconds_count",
    "guards": "guardproxy_guard_duration_seconds_count",
    "findings": "guardproxy_findings_total",
    "errors": "guardproxy_guard_errors_total",
}


async def exchange(client: Client, name: str) -> None:
    body, headers, *_ = EXCHANGES[name]
    Hanging.reached = asyncio.Event()
    left = asyncio.Event() if name == "client left" else None
    asking = asyncio.create_task(client.post({"input": "hi", **body}, headers, disconnect=left))
    if left is not None:
        await Hanging.reached.wait()
        left.set()
    await asking


@pytest.mark.parametrize("name", EXCHANGES)
async def test_what_an_exchange_counts(name: str) -> None:
    *_, expected, counts = EXCHANGES[name]
    floor = SHADOW if name == "shadow" else Policy()
    async with metered(floor=floor, guard_timeout=0.05) as client:
        await exchange(client, name)
        found = await scrape(client)
    (series,) = found["guardproxy_exchanges_total"]
    assert series == (expected | {"http_request_method": "POST", "http_route": "/v1/responses"}, 1.0)
    assert {short: total(found, full) for short, full in COUNTED.items()} == {
        short: counts.get(short, 0) for short in COUNTED
    }
    for always in ("http_server_request_duration_seconds_count", "guardproxy_overhead_seconds_count"):
        assert total(found, always) == 1
    assert total(found, "guardproxy_exchanges_active") == 0
    (request,) = {
        frozenset(labels.items()) for labels, _ in found["http_server_request_duration_seconds_count"]
    }
    assert dict(request).get("error_type") == expected.get("error_type")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([name for name in EXCHANGES if name != "guard too slow"]), max_size=8))
def test_every_exchange_has_one_outcome(names: list[str]) -> None:
    async def run() -> Samples:
        async with metered() as client:
            for name in names:
                await exchange(client, name)
            return await scrape(client)

    found = asyncio.run(run())
    assert total(found, "guardproxy_exchanges_total") == len(names)
    assert total(found, "guardproxy_overhead_seconds_count") == len(names)
    for outcome in {EXCHANGES[name][2]["guardproxy_outcome"] for name in names}:
        wanted = sum(
            EXCHANGES[name][2]["guardproxy_outcome"] == outcome and name != "shadow" for name in names
        )
        wanted += outcome == "allowed" and sum(name == "shadow" for name in names)
        assert total(found, "guardproxy_exchanges_total", guardproxy_outcome=outcome) == wanted


async def test_an_exchange_that_is_under_way_is_active() -> None:
    async with metered() as client:
        Hanging.reached = asyncio.Event()
        asking = asyncio.create_task(client.post({"model": "hangs", **STREAM}, {}))
        await Hanging.reached.wait()
        assert total(await scrape(client), "guardproxy_exchanges_active") == 1
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert total(await scrape(client), "guardproxy_exchanges_active") == 0


async def test_findings_and_failures_have_their_labels() -> None:
    async with metered(floor=SHADOW, guard_timeout=0.05) as client:
        await exchange(client, "shadow")
        await exchange(client, "blocked at the input")
        await exchange(client, "guard failed")
        await exchange(client, "guard too slow")
        found = await scrape(client)
    common = {"guardproxy_guard": "tags", "guardproxy_category": "TAG"}
    by_stage = {labels["guardproxy_stage"]: labels for labels, _ in found["guardproxy_findings_total"]}
    assert by_stage == {
        "input": {
            **common,
            "guardproxy_stage": "input",
            "guardproxy_action": "block",
            "guardproxy_shadow": "false",
        },
        "output": {
            **common,
            "guardproxy_stage": "output",
            "guardproxy_action": "redact",
            "guardproxy_shadow": "true",
        },
    }
    texts = "guardproxy_guard_texts_total"
    assert total(found, texts, guardproxy_guard="tags", guardproxy_result="scanned") > 0
    failures = [
        (labels["guardproxy_guard"], labels["guardproxy_failure"])
        for labels, _ in found["guardproxy_guard_errors_total"]
    ]
    assert failures == [("raises", "raised"), ("hangs", "timeout")]


async def test_texts_that_are_known_are_told_from_those_that_are_scanned() -> None:
    async with metered() as client:
        counts = []
        for _ in range(2):
            await client.post({"model": "fine", "input": "the same again"}, {IN: "tags"})
            found = await scrape(client)
            name = "guardproxy_guard_texts_total"
            counts.append([total(found, name, guardproxy_result=word) for word in ("scanned", "cached")])
    (scanned, cached), then = counts
    assert scanned > cached == 0
    assert then == [scanned, scanned]


async def test_the_upstreams_errors_and_tokens() -> None:
    async with metered() as client:
        for name in ("redacted", "upstream refuses", "upstream is busy", "upstream breaks off"):
            await exchange(client, name)
        found = await scrape(client)
    name = "gen_ai_client_operation_duration_seconds_count"
    common = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai"}
    assert sorted((sorted(labels.items()), value) for labels, value in found[name]) == sorted(
        (sorted((common | labels).items()), 1.0)
        for labels in (
            {"gen_ai_request_model": "tag"},
            {"gen_ai_request_model": OTHER, "error_type": "upstream_error"},
            {"gen_ai_request_model": OTHER, "error_type": "503"},
            {"gen_ai_request_model": "breaks", "error_type": "upstream_error"},
        )
    )
    sums = {labels["gen_ai_token_type"]: v for labels, v in found["gen_ai_client_token_usage_sum"]}
    assert sums == {"input": 7, "output": 11}


async def test_routes_are_templates_and_checks_count_too() -> None:
    async with metered() as client:
        await client.post(b"", path="/v1/responses/resp_1", method="GET")
        await client.post({"stage": "input", "text": "hi", "guards": ["tags"]}, path="/v1/guard/check")
        await client.post(b"", path="/v1/models", method="GET")  # no exchange
        found = await scrape(client)
    seen = {
        (labels["http_request_method"], labels["http_route"])
        for labels, _ in found["guardproxy_exchanges_total"]
    }
    assert seen == {("GET", "/v1/responses/{id}"), ("POST", "/v1/guard/check")}
    assert total(found, COUNTED["operation"]) == 0  # neither is a chat


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
    of = Exchange("POST", "/v1/responses", {}, model=model, status=status, seconds=1.0, **facts)
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


async def test_no_text_and_no_name_of_a_client_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        async with metered(floor=SHADOW) as client:
            for place in ({"model": TAG}, {"metadata": {"k": TAG}}, {"input": f"boom {TAG}"}):
                headers = {
                    IN: "tags,raises",
                    OUT: "tags",
                    "x-opper-name": TAG,
                    "authorization": f"Bearer {TAG}",
                }
                await client.post({"model": "tag", "input": "hi", **place}, headers)
            page = await client.post(b"", path="/metrics", method="GET")
        collector.wait_for_metrics()
    assert TAG not in page.body.decode()
    assert TAG.encode() not in collector.raw
    assert b"Bearer" not in collector.raw
    assert {point.exemplars for point in collector.points} == {0}


# The page.


@pytest.mark.parametrize(
    ("accept", "encoding", "kind"),
    [
        ("", "", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0",
            "",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("text/plain;version=1.0.0", "gzip", "text/plain; version=1.0.0; charset=utf-8"),
    ],
)
async def test_the_page_comes_as_it_is_asked_for(accept: str, encoding: str, kind: str) -> None:
    async with metered() as client:
        await exchange(client, "allowed")
        headers = {"accept": accept, "accept-encoding": encoding}
        got = await client.post(b"", headers, path="/metrics", method="GET")
    assert got.status == 200
    assert got.headers["content-type"].startswith(kind)
    assert got.headers["content-type"].count("charset") == 1
    body = gzip.decompress(got.body) if encoding else got.body
    assert got.headers.get("content-encoding", "") == encoding
    assert b"guardproxy_exchanges_total{" in body
    assert body.endswith(b"# EOF\n") is accept.startswith("application")


async def test_scrapes_at_the_same_time_do_not_mix() -> None:
    async with metered() as client:
        await exchange(client, "allowed")
        pages = await asyncio.gather(*(client.post(b"", path="/metrics", method="GET") for _ in range(12)))
    for page in pages:
        assert page.body.decode().count("# TYPE guardproxy_exchanges_total counter") == 1


async def test_without_it_there_is_no_page_and_nothing_is_measured() -> None:
    async with metered(own={"prometheus": False}) as client:
        await exchange(client, "allowed")
        got = await client.post(b"", path="/metrics", method="GET")
        assert _process.instruments is None
    assert (got.status, got.json["error"]["code"]) == (404, "not_found")


async def test_switched_off_as_a_whole_the_page_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    async with metered() as client:
        await exchange(client, "allowed")
        assert await scrape(client) == {}
        assert _process.instruments is None


async def test_several_processes_have_no_page() -> None:
    with capture_logs() as log:
        async with metered(workers=3) as client:
            got = await client.post(b"", path="/metrics", method="GET")
    assert (got.status, got.json["error"]["code"]) == (501, "not_implemented")
    assert got.json["error"]["message"].startswith("With workers above 1 GET /metrics would tell of the one")
    assert set(got.json["error"]) == {"message", "type", "code", "param"}
    said = [line["reason"] for line in log if line["event"] == "metrics_page_refused"]
    assert said == [got.json["error"]["message"]]


# Export.


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_metrics_are_exported_at_the_latest_at_the_end(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    with OtlpCollector() as collector:
        endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        async with metered(own={"prometheus": False}, floor=SHADOW, guard_timeout=0.05) as client:
            for name in EXCHANGES:
                await exchange(client, name)
        collector.wait_for_metrics()
    exported = {point.name: point for point in collector.points}
    assert set(exported) == {one.name for one in table.INSTRUMENTS}
    for one in table.INSTRUMENTS:
        point = exported[one.name]
        assert (point.unit, point.description) == (one.unit, one.description)
        assert point.bounds == one.bounds
        assert point.kind == ("histogram" if one.bounds else "sum")
        assert point.monotonic is (one.kind is table.Kind.COUNTER)
        assert {name for p in collector.metric(one.name) for name in p.attributes} == set(one.attributes)
        assert point.resource["service.name"] == "guardproxy"
        assert point.resource["service.instance.id"]
    assert sum(point.value or 0 for point in collector.metric("guardproxy.exchanges")) == len(EXCHANGES)


async def test_metrics_are_exported_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
        async with metered() as client:
            await exchange(client, "allowed")
            await asyncio.to_thread(collector.wait_for_metrics)


@pytest.mark.parametrize("how", ["hangs", "refuses", "is not there"])
async def test_a_backend_changes_nothing_for_clients(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    with OtlpCollector(status=500 if how == "refuses" else 200, hang=how == "hangs") as collector:
        endpoint = "http://127.0.0.1:9" if how == "is not there" else collector.http_endpoint
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
        began = time.monotonic()
        with capture_logs() as log:
            async with metered(own={"shutdown_timeout": 0.3}) as client:
                got = await client.post({"model": "tag", "input": "hi"})
                if how != "is not there":
                    await asyncio.to_thread(collector.wait_for_metrics)
                assert got.status == 200
                assert total(await scrape(client), "guardproxy_exchanges_total") == 1
        assert time.monotonic() - began < 30  # nothing waits for the exporter's own time-outs and retries
    if how == "hangs":
        assert {"event": "metrics_given_up", "log_level": "warning", "seconds": 0.3} in log


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"METRICS_EXPORTER": "file"}, "OTEL_METRICS_EXPORTER = 'file' must be one of otlp, console, none."),
        (
            {"METRICS_EXPORTER": "otlp", "EXPORTER_OTLP_METRICS_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL = 'http/json' must be one of http/protobuf, grpc.",
        ),
        (
            {"EXPORTER_OTLP_METRICS_ENDPOINT": "localhost:4318"},
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT must be an http:// or https:// URL.",
        ),
        (
            {"METRICS_EXPORTER": "console", "METRIC_EXPORT_INTERVAL": "1m"},
            "OTEL_METRIC_EXPORT_INTERVAL = '1m' must be milliseconds, more than 0.",
        ),
        (
            {"METRICS_EXPORTER": "console", "METRIC_EXPORT_INTERVAL": "0"},
            "OTEL_METRIC_EXPORT_INTERVAL = '0' must be milliseconds, more than 0.",
        ),
    ],
)
def test_what_there_is_not_stops_the_startup(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    with pytest.raises(ConfigError, match=re.escape(message)):
        metrics.guardproxy_startup(Settings())


def test_metrics_may_stay_at_home_where_spans_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    metrics.guardproxy_startup(Settings(plugins={"metrics": metrics.MetricsSettings(prometheus=False)}))
    assert _process.instruments is None


async def test_dropped_spans_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    with OtlpCollector(hang=True) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.http_endpoint + "/v1/traces")
        async with metered(plugins=[tracing]) as client:
            dropped = {"guardproxy_result": "dropped"}
            before = total(await scrape(client), "guardproxy_trace_spans_total", **dropped)
            for _ in range(8):
                await exchange(client, "allowed")
            found = await scrape(client)
            assert total(found, "guardproxy_trace_spans_total", **dropped) - before >= 8 * 3 - 2 - 2
            collector.release()


# Several processes.


def served(settings: Settings) -> Any:
    """What each worker of the test below serves."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(metrics, "metrics")
    return create_app(settings, plugins=manager)


PROGRAM = """
import sys
from guardproxy import logs, serve
from guardproxy.settings import Settings
from tests.plugins.test_metrics import served

if __name__ == "__main__":
    settings = Settings(port=0, workers=2, log_format="json", upstream=sys.argv[1])
    logs.configure(settings, sys.stdout)
    sys.exit(serve.run(settings, served))
"""


def lines(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    return (json.loads(line) for line in process.stdout)


def test_two_workers_are_two_instances_whose_sums_are_right() -> None:
    with FakeUpstream() as fake, OtlpCollector() as collector:
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, fake.url],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with process:
            try:
                log: list[dict[str, Any]] = []
                for line in lines(process):
                    log.append(line)
                    if line["event"] == "listening":
                        break
                url = log[-1]["address"]
                for _ in range(20):  # each on a connection of its own
                    body, headers = {"model": "m", "input": "hi"}, {"authorization": "Bearer any"}
                    assert httpx.post(f"{url}/v1/responses", json=body, headers=headers).status_code == 200
                refused = httpx.get(f"{url}/metrics")
                process.send_signal(signal.SIGTERM)
                log += lines(process)
                assert process.wait(60) == 0
            finally:
                process.kill()
    assert refused.status_code == 501
    message = refused.json()["error"]["message"]
    assert [line["reason"] for line in log if line["event"] == "metrics_page_refused"] == [message]
    instances = {point.resource["service.instance.id"] for point in collector.points}
    assert len(instances) == 2
    assert sum(point.value or 0 for point in collector.metric("guardproxy.exchanges")) == 20


# The page of the docs.


def prometheus_name(one: table.Instrument) -> str:
    unit = "_seconds" if one.unit == "s" else ""
    return one.name.replace(".", "_") + unit + ("_total" if one.kind is table.Kind.COUNTER else "")


def test_every_instrument_is_documented() -> None:
    text = (ROOT / "docs/tracing.md").read_text("utf-8").split("\n## Metrics\n", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    told = {row[0].strip("`"): row[1:] for row in rows if len(row) == 5}
    assert list(told) == [one.name for one in table.INSTRUMENTS]
    for one in table.INSTRUMENTS:
        name, unit, attributes, meaning = told[one.name]
        assert name == f"`{prometheus_name(one)}`"
        assert unit == one.unit
        assert re.findall(r"`([^`]+)`", attributes) == list(one.attributes)
        assert meaning


async def test_prometheus_calls_them_what_the_docs_say() -> None:
    async with metered(floor=SHADOW, guard_timeout=0.05) as client:
        for name in EXCHANGES:
            await exchange(client, name)
        page = (await client.post(b"", path="/metrics", method="GET")).body.decode()
    assert set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)) == {
        "target_info",
        *(prometheus_name(one) for one in table.INSTRUMENTS),
    }


def test_the_queries_of_the_docs_name_what_there_is() -> None:
    text = (ROOT / "docs/tracing.md").read_text("utf-8").split("\n## Metrics\n", 1)[1].split("\n## ", 1)[0]
    queries = re.findall(r"^```promql\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(queries) >= 3
    names = {prometheus_name(one) for one in table.INSTRUMENTS}
    attributes = {name.replace(".", "_") for one in table.INSTRUMENTS for name in one.attributes}
    for query in queries:
        for used in re.findall(r"\b(?:guardproxy|http|gen_ai)_\w+", query):
            assert re.sub(r"_(bucket|sum|count)$", "", used) in names | attributes, used
