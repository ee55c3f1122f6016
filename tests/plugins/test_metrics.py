"""The plugin in a whole proxy: what each outcome counts, that no text gets out, and what the docs say."""

import asyncio
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy import Policy
from guardproxy.testing.otlp import OtlpCollector
from guardproxy_metrics import table
from guardproxy_metrics.labels import OTHER
from tests.plugins.metering import (
    COUNTED,
    EXCHANGES,
    IN,
    OUT,
    ROOT,
    SHADOW,
    STREAM,
    TAG,
    Hanging,
    Samples,
    exchange,
    metered,
    scrape,
    total,
)

pytestmark = pytest.mark.usefixtures("metrics_off")


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


# The page of the docs.


def prometheus_name(one: table.Instrument) -> str:
    unit = "_seconds" if one.unit == "s" else ""
    return one.name.replace(".", "_") + unit + ("_total" if one.kind is table.Kind.COUNTER else "")


def test_every_instrument_is_documented() -> None:
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
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


def test_the_queries_of_the_docs_and_the_alerts_name_what_there_is() -> None:
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
    queries = re.findall(r"^```promql\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (group,) = msgspec.yaml.decode((ROOT / "deploy/alerts.yaml").read_bytes())["groups"]
    queries += [rule["expr"] + str(rule["annotations"]) for rule in group["rules"]]
    assert len(queries) > 5
    names = {prometheus_name(one) for one in table.INSTRUMENTS}
    attributes = {name.replace(".", "_") for one in table.INSTRUMENTS for name in one.attributes}
    for query in queries:
        for used in re.findall(r"\b(?:guardproxy|http|gen_ai)_\w+", query):
            assert re.sub(r"_(bucket|sum|count)$", "", used) in names | attributes, used
