"""The plugin `spans`: what its routes answer, what is exported of a span, and when."""

import asyncio
import hashlib
import os
import threading
import tomllib
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pluggy
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan

import guardproxy_spans as spans
import guardproxy_tracing as tracing
from guardproxy import ConfigError, Settings, hookspecs
from guardproxy.app import create_app
from guardproxy.config import load_settings
from guardproxy.plugins import PROJECT, places
from guardproxy.settings import ClientKey
from guardproxy.testing.otlp import OtlpCollector
from guardproxy_spans.bodies import Opening
from guardproxy_spans.export import new_id
from guardproxy_spans.hooks import _process
from guardproxy_spans.keeper import DELETED, SHUTDOWN, TABLE_FULL, TIME_LIMIT, Keeper
from guardproxy_spans.records import KINDS, Record, kind_of, name_of, trace_uuid, values_of
from guardproxy_spans.table import Family, Table
from guardproxy_tracing.ids import parent_of, uuid_of
from tests.harness import Answered, Client, Recorder, message, whole

FOREIGN = "0190f5f0-1111-7222-8333-444455556666"
CANARY = "CANARY of " + "4111 1111 1111 " + "1111"
END = "2096-01-31T12:00:00+00:00"


@pytest.fixture(autouse=True)
def _off_and_clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_TRACES_ENDPOINT", "EXPORTER_OTLP_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    for name in ("SDK_DISABLED", "TRACES_EXPORTER", "TRACES_SAMPLER"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    yield
    assert _process.keeper is None


@asynccontextmanager
async def app(own: dict[str, Any] | None = None, **given: Any) -> AsyncIterator[Client]:
    """A proxy with the two plugins, under their own names, and no guards."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(tracing, "tracing")
    manager.register(spans, "spans")
    settings = Settings(**{"upstream": "http://upstream.test/v1", "plugins": own or {}, **given})
    made = create_app(settings, plugins=manager, transport=httpx.MockTransport(whole(message("ok"))))
    async with made.lifespan():
        yield Client(made, [], Recorder())


async def opened(client: Client, name: str = "step", headers: Any = (), **body: Any) -> dict[str, Any]:
    got = await client.post({"name": name, **body}, headers, path="/v3/spans")
    assert got.status == 201, got.body
    data: dict[str, Any] = got.json["data"]
    return data


async def changed(client: Client, uuid: str, headers: Any = (), **body: Any) -> Answered:
    return await client.post(body, headers, path=f"/v3/spans/{uuid}", method="PATCH")


async def asked(
    client: Client, path: str, headers: Any = (), query: str = "", method: str = "GET"
) -> Answered:
    return await client.post(b"", headers, path=path, method=method, query=query)


def ids(span: ReadableSpan) -> tuple[int, int, int | None]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id, span.parent.span_id if span.parent else None


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_span_that_is_opened_and_closed() -> None:
    with tracing.record() as found:
        async with app() as client:
            start = "2026-01-31T12:00:00.000001+01:00"
            data = await opened(
                client, "search", type="tool", input="four", start_time=start, meta={"n": 3, "t": "text"}
            )
            assert not found
            got = await changed(
                client, data["id"], output="12345", end_time="2026-01-31T11:00:02", metadata={"cost": 0.25}
            )
            assert (got.status, got.body) == (204, b"")
    (span,) = found
    assert span.name == "search"
    assert span.kind.name == "INTERNAL"
    assert span.status.status_code.name == "UNSET"
    trace_id, span_id, parent = ids(span)
    assert data == {
        "id": uuid_of(trace_id, span_id),
        "trace_id": trace_uuid(trace_id),
        "name": "search",
        "parent_id": None,
        "type": "tool",
    }
    assert parent is None
    assert {uuid.UUID(data[name]).version for name in ("id", "trace_id")} == {8}
    assert (span.start_time, span.end_time) == (1_769_857_200_000_001_000, 1_769_857_202_000_000_000)
    assert attributes(span) == {
        "openinference.span.kind": "TOOL",
        "guardproxy.span.type": "tool",
        "guardproxy.span.input_chars": 4,
        "guardproxy.span.output_chars": 5,
        "guardproxy.span.meta.n": 3,
        "guardproxy.span.metadata.cost": 0.25,
    }


async def test_a_span_that_has_ended_already_is_exported_at_once_and_once() -> None:
    with tracing.record() as found:
        async with app() as client:
            data = await opened(client, end_time=END, error="")
            assert len(found) == 1
            assert (await changed(client, data["id"], end_time=END, output="late")).status == 204
    (span,) = found
    assert span.status.status_code.name == "ERROR"
    assert span.status.description is None
    assert attributes(span) == {"openinference.span.kind": "CHAIN", "error.type": "_OTHER"}


@pytest.mark.parametrize("text", ["\ud800", "\0", "naïve 😀", "x" * 10_000])
async def test_whatever_a_text_holds_it_is_echoed_and_measured(text: str) -> None:
    with tracing.record() as found:
        async with app() as client:
            data = await opened(client, text, type=text, input=text, output=text, error=text, end_time=END)
    assert (data["name"], data["type"]) == (text, text)
    assert found[0].name == "span"
    assert attributes(found[0]) == {
        "openinference.span.kind": "CHAIN",
        "error.type": "_OTHER",
        "guardproxy.span.input_chars": len(text),
        "guardproxy.span.output_chars": len(text),
    }


async def test_updates_add_up_and_those_after_the_end_change_nothing() -> None:
    with tracing.record() as found:
        async with app() as client:
            uuid = (await opened(client, tags={"a": 1, "b": True}))["id"]
            for body in ({"tags": {"a": 2}}, {"error": "no"}, {}, {"end_time": END}, {"end_time": END}):
                assert (await changed(client, uuid, **body)).status == 204
            assert (await changed(client, uuid.upper(), tags={"a": 9})).status == 204
    (span,) = found
    assert span.status.status_code.name == "ERROR"
    told = attributes(span)
    assert (told["guardproxy.span.tags.a"], told["guardproxy.span.tags.b"]) == (2, True)


async def test_an_end_before_its_start_is_the_start() -> None:
    with tracing.record() as found:
        async with app() as client:
            await changed(client, (await opened(client))["id"], end_time="1970-01-01")
    assert found[0].start_time == found[0].end_time


@pytest.mark.parametrize(
    ("name", "type_", "shown"),
    [
        ("agent/v2:step-1", None, "agent/v2:step-1"),
        ("gpt-4.1-2025-04-14", "llm", "gpt-4.1-2025-04-14"),
        ("two words", None, "span"),
        ("two words", "TOOL", "tool"),
        ("two words", "SubAgent", "agent"),
        ("two words", "other", "span"),
        ("", "retrieval", "retriever"),
        ("naïve", None, "span"),
        ("a" * 129, None, "span"),
        ("line\n", None, "span"),
    ],
)
def test_a_name_is_shown_where_it_looks_like_one(name: str, type_: str | None, shown: str) -> None:
    assert name_of(name, kind_of(type_)) == shown


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("agent", "AGENT"),
        ("SubAgent", "AGENT"),
        ("sub_agent", "AGENT"),
        ("tool", "TOOL"),
        ("generation", "LLM"),
        ("retriever", "RETRIEVER"),
        ("embedding", "EMBEDDING"),
        ("guardrail", "GUARDRAIL"),
        ("workflow", "CHAIN"),
        ("", "CHAIN"),
        (None, "CHAIN"),
    ],
)
def test_a_type_has_its_kind(type_: str | None, kind: str) -> None:
    assert kind_of(type_) == kind


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("count", 3, 3),
        ("gen_ai.usage.input_tokens", 999_999, 999_999),
        ("share", 0.123456789, 0.123457),
        ("flag", False, False),
        ("minus", -5, -5),
        ("card", 4111111111111111, None),
        ("phone", 4155551234.0, None),
        ("seven", 1_000_000, None),
        ("inf", float("inf"), None),
        ("text", "3", None),
        ("nothing", None, None),
        ("list", [1], None),
        ("nested", {"a": 1}, None),
        ("two words", 1, None),
        ("ada@example.org", 1, None),
        ("4111111111111111", 1, None),
        ("", 1, None),
    ],
)
def test_a_value_is_kept_where_it_is_a_small_number_of_a_name(key: str, value: Any, kept: Any) -> None:
    assert values_of({"meta": {key: value}}) == ({} if kept is None else {f"meta.{key}": kept})


def test_the_values_of_a_span_are_bounded() -> None:
    assert len(values_of({"meta": {f"k{n}": n for n in range(100)}})) == 32


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=40))
def test_no_text_is_a_value(values: dict[str, Any]) -> None:
    for kept in values_of({"meta": values}).values():
        assert isinstance(kept, bool) or (isinstance(kept, int | float) and abs(kept) < 1_000_000)


def files(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.rglob("*") if file.is_file()]


SECRETS: dict[str, Any] = {
    "name": CANARY,
    "type": CANARY,
    "input": CANARY,
    "output": CANARY,
    "error": CANARY,
    "meta": {CANARY: 1, "a": CANARY, "b": {"c": CANARY}, "card": 4111111111111111},
    "metadata": {"a": [CANARY]},
    "tags": {CANARY: CANARY},
    CANARY: CANARY,
}


@pytest.mark.parametrize("workers", [1, 2])
async def test_no_text_of_a_client_is_exported_or_kept(
    workers: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with OtlpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        async with app(workers=workers) as client:
            data = await opened(client, **SECRETS)
            open_ = await opened(client, **SECRETS)
            changes = {k: v for k, v in SECRETS.items() if k not in ("name", "type", "input")}
            assert (await changed(client, data["id"], end_time=END, **changes)).status == 204
            for path in (f"/v3/spans/{data['id']}", f"/v3/traces/{data['trace_id']}", "/v3/traces"):
                got = await asked(client, path)
                assert got.status == 200
                assert b"CANARY" not in got.body
            kept = b"".join(files(tmp_path))
            assert open_["id"].encode() in kept or workers == 1
            assert b"CANARY" not in kept
            assert b"41111111" not in kept
    assert not files(tmp_path)
    assert len(collector.spans) == 2
    assert {span.name for span in collector.spans} == {"span"}
    assert b"CANARY" not in collector.raw
    assert b"41111111" not in collector.raw  # a port may be 4111x
    for span in collector.spans:
        assert 4111111111111111 not in span.attributes.values()
    assert collector.spans[0].attributes["guardproxy.span.input_chars"] == len(CANARY)


WRONG: list[tuple[Any, str | None, str]] = [
    (b"", None, "The body is not JSON; send a JSON object in UTF-8, unencoded."),
    (b"{", None, "The body is not JSON; send a JSON object in UTF-8, unencoded."),
    (b"\xff", None, "The body is not JSON; send a JSON object in UTF-8, unencoded."),
    (b"[" * 100_000, None, "The body is not JSON; send a JSON object in UTF-8, unencoded."),
    (b"9" * 5000, None, "The body is not JSON; send a JSON object in UTF-8, unencoded."),
    (b"[]", None, "The body does not fit: Expected `object`, got `array`."),
    ({}, None, "The body does not fit: Object missing required field `name`."),
    ({"name": 5}, "name", "The body's name does not fit: Expected `str`, got `int`."),
    ({"name": None}, "name", "The body's name does not fit: Expected `str`, got `null`."),
    (
        {"input": {"a": CANARY}},
        "input",
        "The body's input does not fit: Expected `str | null`, got `object`.",
    ),
    (
        {"name": "a", "tags": "\ud800"},
        None,
        "The body does not fit: Expected `object | null`, got `str`. Send objects as 'meta', 'metadata'",
    ),
    ({"tags": [CANARY]}, "tags", "The body's tags does not fit: Expected `object | null`, got `array`."),
    ({"parent_id": CANARY}, "parent_id", "The body's parent_id is no UUID that can stand for a span"),
    ({"parent_id": FOREIGN[:19] + "0000" * 4}, "parent_id", "The body's parent_id is no UUID"),
    ({"parent_id": f"{FOREIGN[:18]}-0000-000000000000"}, "parent_id", "whose second half is not zero."),
    ({"trace_id": ""}, "trace_id", "The body's trace_id is no UUID"),
    (
        {"start_time": CANARY},
        "start_time",
        "send ISO 8601 from 1970 to 2261, such as 2026-01-31T12:00:00+00:00.",
    ),
    ({"end_time": "1969-12-31T23:59:59Z"}, "end_time", "The body's end_time is no usable time"),
    ({"end_time": "9999-12-31T23:59:59-12:00"}, "end_time", "The body's end_time is no usable time"),
    ({"end_time": 1_769_857_200}, "end_time", "Expected `str | null`, got `int`."),
]


@pytest.mark.parametrize("tracing_on", [True, False])
async def test_what_is_wrong_is_told(tracing_on: bool) -> None:
    async with app() as client:
        with tracing.record() if tracing_on else nullcontext():
            for body, param, told in WRONG:
                sent = {"name": "n", **body} if isinstance(body, dict) and body else body
                got = await client.post(sent, path="/v3/spans")
                error = got.json["error"]
                assert (got.status, error["code"], error["param"]) == (400, "invalid_request", param), body
                assert told in error["message"]
                assert "CANARY" not in error["message"]
            large = await client.post({"name": "n", "input": "x" * 1024 * 1024}, path="/v3/spans")
            assert (large.status, large.json["error"]["code"]) == (413, "body_too_large")
            assert "1048576 bytes" in large.json["error"]["message"]


async def test_one_client_does_not_see_or_touch_anothers_spans() -> None:
    other = {"authorization": "Bearer other"}
    with tracing.record() as found:
        async with app() as client:
            data = await opened(client)
            span, trace = f"/v3/spans/{data['id']}", f"/v3/traces/{data['trace_id']}"
            for got in (
                await changed(client, data["id"], other, end_time=END),
                await asked(client, span, other),
                await asked(client, span, other, method="DELETE"),
                await asked(client, trace, other),
                await asked(client, trace, other, method="DELETE"),
                await changed(client, FOREIGN, end_time=END),
                await asked(client, "/v3/spans/nothing"),
            ):
                assert (got.status, got.json["error"]["code"]) == (404, "not_found")
                assert got.json["error"]["param"] == "id"
            assert (await asked(client, "/v3/traces", other)).json["data"] == []
            assert (await changed(client, data["id"], end_time=END)).status == 204
    assert len(found) == 1


async def test_who_has_no_credential_is_refused_on_every_route() -> None:
    keys = (ClientKey(name="team-a", sha256="a" * 64),)
    routes = [
        ("POST", "/v3/spans"),
        *((method, f"/v3/spans/{FOREIGN}") for method in ("GET", "PATCH", "DELETE")),
        ("GET", "/v3/traces"),
        *((method, f"/v3/traces/{FOREIGN}") for method in ("GET", "DELETE")),
    ]
    for allowed, header in ((keys[:0], {"authorization": ""}), (keys, {"authorization": "Bearer no"})):
        async with app(keys=allowed) as client:
            for method, path in routes:
                got = await client.post({"name": "n"}, header, path=path, method=method)
                assert (got.status, got.json["error"]["code"]) == (401, "invalid_api_key"), (method, path)


async def test_the_name_of_the_clients_key_is_told() -> None:
    digest = hashlib.sha256(b"client").hexdigest()
    with tracing.record() as found:
        async with app(keys=(ClientKey(name="team-a", sha256=digest),)) as client:
            await opened(client, end_time=END)
    assert attributes(found[0])["guardproxy.client"] == "team-a"


@pytest.mark.parametrize(
    "path", ["/v3/spans/", "//v3/spans", "/v3/%73pans", "/v3/spans/a/b", "/v3/call", "/v3/functions", "/v3"]
)
async def test_only_exact_paths_are_served(path: str) -> None:
    async with app() as client:
        got = await client.post({"name": "n"}, path=path)
    assert (got.status, got.json["error"]["code"]) == (404, "not_found")
    assert "POST /v3/spans, PATCH /v3/spans/{id}" in got.json["error"]["message"]


async def test_what_is_known_of_spans_and_traces() -> None:
    with tracing.record():
        async with app() as client:
            root = await opened(client, "job", start_time="2026-01-31T12:00:00Z")
            child = await opened(client, "part", parent_id=root["id"], trace_id=root["trace_id"], type="tool")
            later = await opened(client, "later")
            await changed(client, child["id"], end_time="2096-01-31T12:00:00Z", error="no")
            got = (await asked(client, f"/v3/spans/{child['id']}")).json["data"]
            assert {
                k: got[k] for k in ("id", "trace_id", "name", "parent_id", "type", "end_time", "status")
            } == {
                **child,
                "end_time": "2096-01-31T12:00:00+00:00",
                "status": "error",
            }
            listed = (await asked(client, "/v3/traces")).json
            assert listed["meta"] == {"total": 2, "limit": 100, "offset": 0}
            assert [(t["id"], t["name"], t["span_count"]) for t in listed["data"]] == [
                (later["trace_id"], "later", 1),
                (root["trace_id"], "job", 2),
            ]
            assert [t["status"] for t in listed["data"]] == ["in_progress", "error"]
            assert listed["data"][1]["duration_ms"] is None
            page = (await asked(client, "/v3/traces", query="limit=1&offset=1")).json["data"]
            assert [t["id"] for t in page] == [root["trace_id"]]
            assert [
                t["name"] for t in (await asked(client, "/v3/traces", query="name=job")).json["data"]
            ] == ["job"]
            for query in ("limit=0", "limit=x", "offset=-1", "limit=" + "9" * 5000):
                wrong = await asked(client, "/v3/traces", query=query)
                assert (wrong.status, wrong.json["error"]["param"]) == (400, query.split("=")[0])
            await changed(client, root["id"], end_time="2026-01-31T12:00:01Z")
            trace = (await asked(client, f"/v3/traces/{root['trace_id']}")).json
            assert [s["id"] for s in trace["spans"]] == [root["id"], child["id"]]
            assert trace["duration_ms"] == 25_567 * 86_400_000  # 70 years and their leap days
            assert trace["start_time"] == "2026-01-31T12:00:00+00:00"


async def test_a_span_that_is_deleted_ends_so_that_what_is_below_it_has_its_parent() -> None:
    with tracing.record() as found:
        async with app() as client:
            one, two = await opened(client, "one"), await opened(client, "two")
            assert (await asked(client, f"/v3/spans/{one['id']}", method="DELETE")).status == 204
            assert (await asked(client, f"/v3/traces/{two['trace_id']}", method="DELETE")).status == 204
            assert (await asked(client, f"/v3/spans/{one['id']}")).status == 404
            assert (await changed(client, two["id"], end_time=END)).status == 404
    assert [(s.name, attributes(s)["guardproxy.span.unfinished"]) for s in found] == [
        ("one", "deleted"),
        ("two", "deleted"),
    ]


async def test_without_tracing_all_answer_and_nothing_is_kept() -> None:
    async with app() as client:
        data = await opened(client, "two words", parent_id=FOREIGN, input=CANARY)
        assert data["name"] == "two words"
        assert parent_of(data["id"])[0] == parent_of(FOREIGN)[0] == parent_of(data["trace_id"])[0]  # type: ignore[index]
        for _ in range(2):
            assert (await changed(client, data["id"], end_time=END)).status == 204
        assert (await changed(client, FOREIGN, end_time=END)).status == 404
        got = (await asked(client, f"/v3/spans/{data['id']}")).json["data"]
        assert got == {"id": data["id"], "trace_id": data["trace_id"], "name": "span"}
        trace = (await asked(client, f"/v3/traces/{data['trace_id']}")).json
        assert trace == {"id": data["trace_id"], "span_count": 0, "spans": []}
        assert (await asked(client, "/v3/traces")).json["data"] == []
        for path in (f"/v3/spans/{data['id']}", f"/v3/traces/{data['trace_id']}"):
            assert (await asked(client, path, method="DELETE")).status == 204
        assert _process.keeper is not None
        assert _process.keeper._table.find(data["id"], "") is None
        assert _process.keeper._table._db.execute("SELECT count(*) FROM spans").fetchone() == (0,)
        assert "guardproxy-spans" not in {thread.name for thread in threading.enumerate()}


async def test_strangers_put_spans_only_into_traces_that_they_began() -> None:
    other = {"authorization": "Bearer other"}
    for trust, joins in ((True, True), (False, False)):
        own = {"tracing": tracing.TracingSettings(trust_inbound=trust)}
        with tracing.record() as found:
            async with app(own) as client:
                root = await opened(client, "root")
                await opened(client, "mine", parent_id=root["id"], end_time=END)
                theirs = await opened(client, "theirs", other, parent_id=root["id"], end_time=END)
                await opened(client, "foreign", trace_id=FOREIGN, end_time=END)
        by_name = {span.name: ids(span) for span in found}
        trace_id, span_id, _ = by_name["root"]
        assert (by_name["mine"][0], by_name["mine"][2]) == (trace_id, span_id)
        assert (by_name["theirs"][0] == trace_id, by_name["theirs"][2] == span_id) == (joins, joins)
        assert (theirs["trace_id"] == root["trace_id"], theirs["parent_id"] == root["id"]) == (joins, joins)
        assert (by_name["foreign"][0] == parent_of(FOREIGN)[0]) == joins  # type: ignore[index]


async def test_a_parent_of_the_clients_own_has_the_trace_that_exchanges_have() -> None:
    with tracing.record() as found:
        async with app() as client:
            await client.post({"model": "m", "input": "hi"}, {"x-opper-parent-span-id": FOREIGN})
            data = await opened(
                client, "mine", parent_id=FOREIGN.upper(), trace_id=str(uuid.uuid4()), end_time=END
            )
            alone = await opened(client, "alone", trace_id=data["trace_id"], end_time=END)
    by_name = {span.name: ids(span) for span in found}
    assert by_name["mine"][0] == by_name["POST /v1/responses"][0]
    assert by_name["mine"][2] == by_name["POST /v1/responses"][2] == int(FOREIGN[19:].replace("-", ""), 16)
    assert (data["parent_id"], alone["trace_id"]) == (FOREIGN, data["trace_id"])
    assert by_name["alone"][0] == by_name["mine"][0]
    assert by_name["alone"][2] is None


def tree(found: list[ReadableSpan]) -> dict[int, tuple[int, int | None]]:
    return {span_id: (trace_id, parent) for trace_id, span_id, parent in map(ids, found)}


STEPS = st.lists(
    st.tuples(st.sampled_from(["span", "exchange", "root"]), st.integers(0, 50), st.integers(0, 50)),
    min_size=1,
    max_size=12,
)


@given(STEPS, st.sampled_from(["parentbased_always_on", "parentbased_traceidratio"]))
@settings(max_examples=40, deadline=None)
def test_whatever_is_opened_below_what_has_its_parent_there(
    steps: list[tuple[str, int, int]], sampler: str
) -> None:
    """Spans and exchanges below each other at any depth, ended in any order: one trace, no orphan."""

    async def run() -> tuple[list[str | None], list[str]]:
        parents: list[str | None] = []
        made: list[str] = []
        still = []
        async with app() as client:
            for kind, below, end in steps:
                parent = made[below % len(made)] if made and kind != "root" else None
                if kind == "exchange":
                    headers = {"x-opper-parent-span-id": parent} if parent else {}
                    got = await client.post({"model": "m", "input": "hi"}, headers)
                    made.append(got.headers["x-opper-span-id"])
                else:
                    made.append((await opened(client, **({"parent_id": parent} if parent else {})))["id"])
                    still.append(made[-1])
                parents.append(parent)
                if end % 3 == 0 and still:
                    await changed(client, still.pop(end % len(still)), end_time=END)
        return parents, made

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_TRACES_SAMPLER", sampler)
        patch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
        with tracing.record() as found:
            parents, made = asyncio.run(run())
    exported = tree(found)
    if sampler == "parentbased_always_on":
        assert {parent_of(one)[1] for one in made} <= exported.keys()  # type: ignore[index]
    for one, parent in zip(made, parents, strict=True):
        trace_id, span_id = parent_of(one)  # type: ignore[misc]
        if span_id in exported:
            above = None if parent is None else parent_of(parent)
            assert exported[span_id] == (trace_id, above and above[1])
            assert above is None or above[0] == trace_id
    assert all(parent is None or parent in exported for _, parent in exported.values())


def record(owner: str, opened: float, name: str = "n", end: int | None = None) -> Record:
    return Record(id=new_id(None), owner=owner, opened=opened, start=int(opened * 1e9), name=name, end=end)


def test_a_full_table_forgets_what_has_ended_and_then_ends_the_oldest_of_who_has_most() -> None:
    table = Table(4, 3600.0)
    first = record("quiet", 1.0)
    ended = record("loud", 2.0, end=3_000_000_000)
    loud = [record("loud", 3.0 + n) for n in range(4)]
    assert [table.add(r, r.opened) for r in (first, ended, loud[0], loud[1])] == [None] * 4
    assert table.add(loud[2], 5.0) is None
    assert table.find(ended.id, "loud") is None
    assert table.add(loud[3], 6.0) == loud[0]
    assert table.find(first.id, "quiet") == first
    assert {r.id for r in table.close()} == {r.id for r in (first, *loud[1:])}


async def test_a_full_table_ends_the_oldest_span_rather_than_refuse_a_new_one() -> None:
    own = {"spans": spans.SpansSettings(max_spans=2)}
    with tracing.record() as found:
        async with app(own) as client:
            made = [await opened(client, f"n{n}") for n in range(3)]
            assert [span.name for span in found] == ["n0"]
            assert attributes(found[0])["guardproxy.span.unfinished"] == "table_full"
            assert (await changed(client, made[0]["id"], end_time=END)).status == 404
            assert (await changed(client, made[2]["id"], end_time=END)).status == 204
    told = {span.name: attributes(span).get("guardproxy.span.unfinished") for span in found}
    assert told == {"n0": "table_full", "n2": None, "n1": "shutdown"}


def test_a_span_over_its_time_is_ended_and_a_late_update_of_it_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("guardproxy_spans.keeper.time.time", lambda: now[0])
    monkeypatch.setattr("guardproxy_spans.keeper.time.time_ns", lambda: int(now[0] * 1e9))
    keeper = Keeper(Table(10, 60.0), 60.0)
    with tracing.record() as found:
        old, young = record("a", 1000.0, "old"), record("a", 1030.0, "young")
        keeper.open(old)
        keeper.open(young)
        now[0] = 1060.0
        keeper.sweep()
        assert [(s.name, attributes(s)["guardproxy.span.unfinished"]) for s in found] == [
            ("old", "time_limit")
        ]
        assert found[0].end_time == 1_060_000_000_000
        assert keeper.change(
            old.id,
            "a",
            lambda r: r.ended(1),
        )
        now[0] = 1120.0
        keeper.sweep()
        assert not keeper.change(old.id, "a", lambda r: r.ended(1))
        keeper.close()
    assert [s.name for s in found] == ["old", "young"]


async def test_a_span_over_its_time_is_ended_although_nobody_asks() -> None:
    own = {"spans": spans.SpansSettings(time_limit=0.05)}
    with tracing.record() as found:
        async with app(own) as client:
            await opened(client)
            async with asyncio.timeout(10):
                while not found:  # noqa: ASYNC110 - a list in another thread
                    await asyncio.sleep(0.01)
    assert attributes(found[0])["guardproxy.span.unfinished"] == "time_limit"


def test_what_is_ended_early_is_counted_in_the_log() -> None:
    keeper = Keeper(Table(1, 60.0), 60.0)
    with tracing.record():
        for n in range(4):
            keeper.open(record("a", 1e12 + n))
        with structlog.testing.capture_logs() as logs:
            keeper.sweep()
            keeper.sweep()
            keeper.close()
    (full, shutdown) = logs
    assert (full["event"], full["table_full"]) == ("spans_ended_early", 3)
    assert (shutdown["event"], shutdown["shutdown"]) == ("spans_ended_early", 1)


def test_any_process_of_a_server_ends_a_span_and_only_the_last_ends_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one, two = (Keeper(Table(100, 60.0, Family()), 60.0) for _ in range(2))
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    with tracing.record() as found:
        there, here, left = (record("a", 1e12 + n, f"n{n}") for n in range(3))
        one.open(there)
        two.open(here)
        one.open(left)
        assert two.change(there.id, "a", lambda r: r.ended(r.start))
        assert one.change(there.id, "a", lambda r: r.ended(r.start))
        one.close()
        assert [s.name for s in found] == ["n0"]
        assert two.change(here.id, "a", lambda r: r.ended(r.start))
        two.close()
    assert [(s.name, attributes(s).get("guardproxy.span.unfinished")) for s in found] == [
        ("n0", None),
        ("n1", None),
        ("n2", "shutdown"),
    ]
    assert not list(tmp_path.iterdir())


def test_all_processes_of_a_server_may_start_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(20):
        begin = threading.Barrier(8)

        def start(begin: threading.Barrier = begin) -> Table:
            begin.wait()
            return Table(10, 60.0, Family())

        with ThreadPoolExecutor(8) as threads:
            started = [threads.submit(start) for _ in range(8)]
        for table in started:
            table.result().close()


def test_the_spans_of_a_process_that_died_are_ended_by_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    family = Family()
    dying, living = Table(100, 60.0, family), Keeper(Table(100, 60.0, Family()), 60.0)
    with tracing.record() as found:
        one, two = (record("a", 1e12 + n, f"n{n}") for n in range(2))
        dying.add(one, 1e12)
        dying.add(two, 1e12)
        os.close(family._lock)  # as the system does
        dying._db.close()
        assert living.change(one.id, "a", lambda r: r.ended(r.start))
        living.close()
    assert [s.name for s in found] == ["n0", "n1"]
    assert not list(tmp_path.iterdir())


def test_two_processes_that_end_one_span_export_it_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    keepers = [Keeper(Table(1000, 60.0, Family()), 60.0) for _ in range(3)]
    with tracing.record() as found:
        made = [record("a", 1e12 + n) for n in range(100)]
        for n, one in enumerate(made):
            keepers[n % 3].open(one)

        def end(keeper: Keeper) -> None:
            for one in made:
                assert keeper.change(one.id, "a", lambda r: r.ended(r.start))

        threads = [threading.Thread(target=end, args=(keeper,)) for keeper in keepers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for keeper in keepers:
            keeper.close()
    assert len(found) == len({ids(span)[1] for span in found}) == 100


def test_a_folder_that_is_not_ours_alone_stops_the_startup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    Family()
    (folder,) = tmp_path.iterdir()
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match="not ours alone"):
        spans.guardproxy_startup(Settings(workers=2))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="TMPDIR"):
        spans.guardproxy_startup(Settings(workers=2))
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    spans.guardproxy_startup(Settings(workers=2))
    spans.guardproxy_shutdown()


@pytest.mark.parametrize("text", ["time_limit = 0", "max_spans = 0", "max_spans = 1.5", "limit = 1"])
def test_settings_that_cannot_work_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "guardproxy.toml"
    file.write_text(f"[plugins.spans]\n{text}\n")
    with pytest.raises(ConfigError, match=r"plugins\.spans"):
        load_settings(file, {}, {}, {"spans": spans.guardproxy_register_settings()})


def test_the_examples_of_the_docs_can_be_run_as_they_are() -> None:
    told = (Path(__file__).parents[2] / "docs/spans.md").read_text("utf-8")
    shell, python = (told.split(f"```{language}\n")[1].split("```")[0] for language in ("sh", "python"))
    assert shell.startswith("ID=$(curl ")
    assert "$(date -u +%FT%TZ)" in shell  # a date of the past would end the span at its start
    assert shell.isascii()  # what stands for a key has to pass as a header
    assert python.isascii()


def test_the_docs_tell_of_every_route_field_word_and_setting() -> None:
    told = (Path(__file__).parents[2] / "docs/spans.md").read_text("utf-8")
    routes = places(spans.guardproxy_register_routes(Settings()))
    assert len(routes) == 7
    assert {f"| `{route}` |" for route in routes} <= {
        f"{row[: row.find(' |', 2)]} |" for row in told.splitlines()
    }
    for name in (*Opening.__struct_fields__, *KINDS, TIME_LIMIT, TABLE_FULL, SHUTDOWN, DELETED):
        assert f"`{name}`" in told, name
    toml = tomllib.loads(told.split("```toml\n")[1].split("```")[0])["plugins"]["spans"]
    assert spans.SpansSettings() == spans.SpansSettings(**toml)
    assert set(toml) == set(spans.SpansSettings.__struct_fields__)
    for name in ("input_chars", "output_chars", "type", "unfinished", "meta.KEY", "metadata.KEY", "tags.KEY"):
        assert f"`guardproxy.span.{name}`" in told
