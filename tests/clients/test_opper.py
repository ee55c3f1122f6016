"""Opper's own SDK, in a process of its own, against a guardproxy with a real exporter: spans and agents."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from guardproxy.testing import FakeUpstream, Script
from guardproxy.testing.events import function_call_item
from guardproxy.testing.otlp import ExportedSpan, OtlpCollector
from guardproxy_tracing.ids import parent_of
from tests import venvs
from tests.engine.conftest import _proxy_address, running

pytestmark = pytest.mark.clients
SCRIPT = Path(__file__).parent / "opper_script.py"
SECRET = "gh" + "p_" + "Zk3vT9wQ2xLr8NbY5cHd7" + "JfM1sAe4UgP0oXi"
CANARY = f"CANARY {SECRET} of Ada"
GUARDS = """
[policy.input]
secrets = "redact"
[policy.output]
secrets = "redact"
"""
BLOCK = """
[policy.input]
secrets = "block"
"""


@contextmanager
def proxy(
    tmp_path: Path,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
    config: str = "",
    workers: int = 1,
) -> Iterator[tuple[str, OtlpCollector]]:
    """A guardproxy in a process of its own; the collector has all its spans when the block is left."""
    file = tmp_path / "guardproxy.toml"
    file.write_text(f'log_format = "json"\nguards.pii.preset = "structured"\nworkers = {workers}\n{config}')
    command = [sys.executable, "-m", "guardproxy", "serve", "--port", "0", "--config", str(file)]
    with OtlpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint)
        with running([*command, "--upstream", upstream.url], _proxy_address) as url:
            yield url, collector


def sdk(url: str, wanted: str) -> Any:
    """What the SDK saw."""
    command = [str(venvs.interpreter("opper")), str(SCRIPT), url, CANARY, wanted]
    environment = {"NO_PROXY": "127.0.0.1", "PYTHONUTF8": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_whole_and_clean(collector: OtlpCollector) -> None:
    """No span's parent is missing, no span came twice, and no text of the client's is in any byte."""
    known = {(span.trace_id, span.span_id) for span in collector.spans}
    assert len(known) == len(collector.spans)
    orphans = [s.name for s in collector.spans if s.parent_id and (s.trace_id, s.parent_id) not in known]
    assert not orphans
    for text in (b"CANARY", SECRET.encode(), b"sunny", b"Be brief", b"weather?", b"call_1"):
        assert text not in collector.raw


def below(collector: OtlpCollector, parent: ExportedSpan | None) -> list[str]:
    """The names of a span's children, or of the roots, in the order in which they began."""
    wanted = parent.span_id if parent else ""
    return [s.name for s in sorted(collector.spans, key=lambda s: s.start) if s.parent_id == wanted]


def of_uuid(collector: OtlpCollector, uuid: str) -> ExportedSpan:
    trace_id, span_id = parent_of(uuid) or (0, 0)
    (span,) = (s for s in collector.spans if s.span_id == f"{span_id:016x}")
    assert span.trace_id == f"{trace_id:032x}"
    return span


@pytest.mark.parametrize("workers", [1, 2])
def test_the_span_api(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        FakeUpstream() as upstream,
        proxy(tmp_path, upstream, monkeypatch, workers=workers) as (url, collector),
    ):
        told = sdk(url, "spans")
    assert not upstream.requests
    root = of_uuid(collector, told["root"])
    assert (root.name, root.kind, root.status, root.parent_id) == ("job", "INTERNAL", "UNSET", "")
    assert root.attributes == {
        "openinference.span.kind": "AGENT",
        "guardproxy.span.type": "agent",
        "guardproxy.span.input_chars": len(CANARY),
        "guardproxy.span.output_chars": len(CANARY),
        "guardproxy.span.meta.n": 1,
    }
    assert 60e9 <= root.end - root.start < 120e9
    assert below(collector, root) == ["retriever"]
    child = collector.named("retriever")
    assert child.end == child.start  # opened now, and said to have ended before
    assert child.attributes["guardproxy.span.metadata.hits"] == 3
    assert below(collector, child) == ["whole"]
    assert (collector.named("whole").status, collector.named("whole").status_message) == ("ERROR", "")
    assert sorted(below(collector, None)) == ["decorated", "gone", "gone-too", "job"]
    assert collector.named("decorated").attributes["error.type"] == "_OTHER"
    assert collector.named("gone").attributes["guardproxy.span.unfinished"] == "deleted"
    assert len(collector.spans) == 6
    assert_whole_and_clean(collector)
    # What the SDK was told.
    assert told["got"] == [told["got"][0], told["trace"], told["root"], "completed"]
    assert told["traced"] == [told["trace"], 3, ["job", "retriever", "whole"], "error"]
    assert told["trace"] in told["listed"]
    assert told["missing"][:2] == ["NotFoundError", 404]
    assert "no span of this id" in told["missing"][2]
    status, message = told["functions"]
    assert status == 404
    assert "the same below /v3/compat/openresponses" in message
    assert "POST /v3/spans" in message


def turns() -> list[Script]:
    """A model that calls three tools at once, one of which asks it itself, and then answers."""
    calls = [
        function_call_item("weather", {"city": "Paris"}, id="fc_1", call_id="call_1"),
        function_call_item("broken", {"city": "Rome"}, id="fc_2", call_id="call_2"),
    ]
    ask = [function_call_item("ask_child", {"input": "help"}, id="fc_3", call_id="call_3")]
    return [
        Script(message=False, before=calls),
        Script(message=False, before=ask),
        Script(text="child says yes"),
        Script(text=f"It is sunny. {SECRET}"),
        Script(text=f"Still sunny. {SECRET}"),
    ]


@pytest.mark.parametrize(("config", "guarded"), [("", False), (GUARDS, True)], ids=["off", "on"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_agent(
    config: str, guarded: bool, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        FakeUpstream() as upstream,
        proxy(tmp_path, upstream, monkeypatch, config, workers) as (url, collector),
    ):
        upstream.then(*turns())
        told = sdk(url, "agents")
    assert len(upstream.requests) == 5
    sent = b"".join(request.body for request in upstream.requests)
    assert (SECRET.encode() in sent) != guarded
    assert b"CANARY" in sent
    assert not any(name.lower().startswith("x-opper") for r in upstream.requests for name, _ in r.headers)
    assert told["output"].startswith("It is sunny. ")
    assert (SECRET in told["output"]) != guarded
    assert told["iterations"] == 3
    assert [call[0] for call in told["calls"]] == ["weather", "broken", "ask_child"]
    assert "child says yes" in told["calls"][2][1]["output"]
    assert "ResultEvent" in told["events"]

    pipeline = of_uuid(collector, told["pipeline"])
    assert below(collector, pipeline) == ["main-agent"]
    (main,) = (s for s in collector.spans if s.name == "main-agent")
    door = "POST /v3/compat/openresponses"
    assert below(collector, main) == [door, "weather", "broken", door, "ask_child", door]
    assert collector.named("broken").status == "ERROR"
    assert collector.named("weather").status == "UNSET"
    helper = collector.named("ask_child")
    assert helper.attributes["openinference.span.kind"] == "AGENT"
    assert helper.attributes["guardproxy.span.tags.subagent"] is True
    assert below(collector, helper) == [door]
    assert below(collector, None) == ["pipeline", "span"]  # `streaming agent` is no name
    # What names an exchange and what it is below come with its headers.
    servers = [s for s in collector.spans if s.kind == "SERVER"]
    assert [s.attributes.get("guardproxy.name") for s in sorted(servers, key=lambda s: s.start)] == [
        "main-agent",
        "main-agent",
        "child-agent",
        "main-agent",
        None,
    ]
    guards = [s for s in collector.spans if s.name == "apply_guardrail secrets"]
    assert bool(guards) == guarded
    assert {s.attributes["guardproxy.outcome"] for s in servers} == ({"redacted"} if guarded else {"allowed"})
    assert_whole_and_clean(collector)


def test_an_agent_that_a_guard_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeUpstream() as upstream, proxy(tmp_path, upstream, monkeypatch, BLOCK) as (url, collector):
        told = sdk(url, "blocked")
    assert told in ("AgentError", "BadRequestError")
    assert not upstream.requests
    agent = collector.named("blocked-agent")
    assert agent.status == "ERROR"
    assert below(collector, agent) == ["POST /v3/compat/openresponses"]
    assert_whole_and_clean(collector)


def test_an_sdk_works_without_a_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with FakeUpstream() as upstream, proxy(tmp_path, upstream, monkeypatch) as (url, collector):
        upstream.then(*turns())
        told = sdk(url, "agents")
    assert told["iterations"] == 3
    assert len(upstream.requests) == 5
    assert not collector.exports
