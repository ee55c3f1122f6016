"""What a real backend shows of exchanges: the whole tree, each guard's decision, nothing that was found."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from guardproxy.testing import Gate, Script
from tests.backends.conftest import Chain, Phoenix, Span
from tests.backends.processes import until

pytestmark = pytest.mark.backend

SECRET = "AK" + "IA" + "Z7QK4M2T" + "P3XW6VNB"  # no real key; in one piece it is nowhere
MAIL = "grace.hopper" + "@" + "navy.example"
KEY = "client" + "-key-" + "91f2"
BOTH = {"X-Opper-Guard-Input": "pii,secrets", "X-Opper-Guard-Output": "pii,secrets"}
NAME = "billing/summary"

ALL = """\
POST /v1/responses CHAIN
  chat gpt-4.1 LLM
    POST CHAIN
  guardproxy.guard input GUARDRAIL
    apply_guardrail pii GUARDRAIL
    apply_guardrail secrets GUARDRAIL
  guardproxy.guard output GUARDRAIL
    apply_guardrail pii GUARDRAIL
    apply_guardrail secrets GUARDRAIL"""
BEFORE_THE_CALL = """\
POST /v1/responses CHAIN
  guardproxy.guard input GUARDRAIL
    apply_guardrail pii GUARDRAIL
    apply_guardrail secrets GUARDRAIL"""
CHAINED = """\
POST /v1/responses CHAIN
  POST /v1/responses CHAIN
    POST /v1/responses CHAIN
      chat gpt-4.1 LLM
        POST CHAIN
    chat gpt-4.1 LLM
      POST CHAIN
  chat gpt-4.1 LLM
    POST CHAIN"""


@dataclass(frozen=True, slots=True)
class Told:
    """What Phoenix answers about one project, when all exchanges are over."""

    spans: list[Span]
    traces: Mapping[str, str]  # the trace id of each exchange, by what was tried

    def of(self, tried: str) -> list[Span]:
        return [span for span in self.spans if span["context"]["trace_id"] == self.traces[tried]]

    def one(self, tried: str, name: str, parent: str = "") -> Span:
        """The span of that name, below the one that is called `parent`."""
        names = {span["context"]["span_id"]: span["name"] for span in self.of(tried)}
        (found,) = (
            span
            for span in self.of(tried)
            if span["name"] == name and (not parent or names.get(span["parent_id"]) == parent)
        )
        return found


def tree(spans: list[Span]) -> str:
    """Names and kinds, each below its parent; siblings by name. Fails on a span whose parent is not there."""
    below: dict[str | None, list[Span]] = {}
    for span in spans:
        below.setdefault(span["parent_id"], []).append(span)
    orphans = set(below) - {span["context"]["span_id"] for span in spans} - {None}
    assert not orphans, [span["name"] for parent in orphans for span in below[parent]]

    def lines(parent: str | None, depth: int) -> Iterator[str]:
        for span in sorted(below.get(parent, []), key=lambda span: (span["name"], span["start_time"])):
            yield "  " * depth + f"{span['name']} {span['span_kind']}"
            yield from lines(span["context"]["span_id"], depth + 1)

    return "\n".join(lines(None, 0))


def events(span: Span) -> list[dict[str, Any]]:
    assert {event["name"] for event in span["events"]} <= {"gen_ai.guardrail.result"}
    return [event["attributes"] for event in span["events"]]


def result(category: str, count: int, action: str) -> dict[str, Any]:
    return {
        "gen_ai.guardrail.category": category,
        "gen_ai.guardrail.count": count,
        "gen_ai.guardrail.score": 1.0,
        "gen_ai.guardrail.action": action,
    }


class Caller:
    """An application: sends requests, and notes each one's trace by the name of what is tried."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.traces: dict[str, str] = {}
        headers = {"Authorization": f"Bearer {KEY}", "X-Opper-Name": NAME}
        self.client = httpx.Client(base_url=chain.url, headers=headers, trust_env=False, timeout=30)

    def send(
        self, tried: str, headers: Mapping[str, str], said: str, script: Script | None, **more: Any
    ) -> httpx.Response:
        """Send a request; without a script the provider must not get it."""
        if script is not None:
            self.chain.upstream.then(script)
        before = len(self.chain.upstream.requests)
        body = {"model": "gpt-4.1", "input": said, **more}
        got = self.client.post("/v1/responses", json=body, headers=headers)
        assert len(self.chain.upstream.requests) - before == (script is not None)
        self.note(tried, got)
        return got

    def leave(self, tried: str, headers: Mapping[str, str]) -> None:
        """Read the beginning of a stream, and go."""
        gate = Gate()
        self.chain.upstream.then(Script(text="word " * 100, gates={40: gate}))
        body = {"model": "gpt-4.1", "input": "Tell me.", "stream": True}
        with self.client.stream("POST", "/v1/responses", json=body, headers=headers) as got:
            self.note(tried, got)
            gate.reached.wait()
            next(got.iter_bytes())
        self.chain.upstream.last.left.wait()

    def close(self) -> None:
        self.client.close()

    def note(self, tried: str, got: httpx.Response) -> None:
        self.traces[tried] = got.headers["traceresponse"].split("-")[1]


@pytest.fixture(scope="session")
def told(chain: Chain, phoenix: Phoenix) -> Told:
    """All exchanges of one proxy, and what Phoenix has of them when proxy and collector have ended."""
    with closing(Caller(chain)) as caller:
        call(caller)
    chain.end()
    count = sum(len(text.splitlines()) for text in (*[ALL] * 5, BEFORE_THE_CALL, CHAINED))
    until("the spans", lambda: len(phoenix.spans(chain.project)) >= count or None, 20)
    return Told(phoenix.spans(chain.project), caller.traces)


def call(caller: Caller) -> None:
    """Every kind of exchange, once."""
    redact, block = BOTH | {"X-Opper-Guard-Action": "redact"}, BOTH | {"X-Opper-Guard-Action": "block"}
    asked, leaking = f"Mail {MAIL} and {MAIL} with {SECRET}.", Script(text=f"The key is {SECRET}, as told.")
    whole = caller.send("whole", redact, asked, leaking)
    assert SECRET not in whole.text
    streamed = caller.send("streamed", redact, asked, leaking, stream=True)
    assert SECRET not in streamed.text
    assert "[DONE]" in streamed.text
    assert caller.send("blocked at input", block, asked, None).status_code == 400
    late = Script(text="fine words " * 60 + SECRET + " end")
    blocked = caller.send("blocked in mid-stream", block, "Tell me.", late, stream=True)
    assert blocked.status_code == 200
    assert "response.failed" in blocked.text
    caller.leave("left", redact)
    assert caller.send("refused", redact, asked, Script(status=500)).status_code == 500
    parent: dict[str, str] = {}
    for _ in range(3):
        got = caller.send("chained", parent, "Go on.", Script())
        parent = {"X-Opper-Parent-Span-Id": got.headers["X-Opper-Span-Id"]}


def test_nothing_is_missing_twice_or_extra(told: Told) -> None:
    assert len({span["context"]["span_id"] for span in told.spans}) == len(told.spans)
    assert sum(len(told.of(tried)) for tried in told.traces) == len(told.spans)
    assert len(set(told.traces.values())) == len(told.traces) == 7


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        ("whole", ALL),
        ("streamed", ALL),
        ("blocked at input", BEFORE_THE_CALL),
        ("blocked in mid-stream", ALL),
        ("left", ALL),
        ("refused", ALL),
        ("chained", CHAINED),
    ],
)
def test_the_tree(told: Told, tried: str, expected: str) -> None:
    assert tree(told.of(tried)) == expected


@pytest.mark.parametrize(
    ("tried", "verdicts", "status", "error"),
    [
        ("whole", ("redacted", "redacted", "redacted"), ("UNSET", 200), None),
        ("streamed", ("redacted", "redacted", "redacted"), ("UNSET", 200), None),
        ("blocked at input", ("blocked", "blocked", "not_run"), ("UNSET", 400), "guardrail_blocked"),
        ("blocked in mid-stream", ("blocked", "clean", "blocked"), ("UNSET", 200), "guardrail_blocked"),
    ],
)
def test_what_was_decided(
    told: Told, tried: str, verdicts: tuple[str, ...], status: tuple[str, int], error: str | None
) -> None:
    root = told.one(tried, "POST /v1/responses")
    said = root["attributes"]
    keys = ("guardproxy.outcome", "guardproxy.verdict.input", "guardproxy.verdict.output")
    assert tuple(said[key] for key in keys) == verdicts
    assert (root["status_code"], said["http.response.status_code"]) == status
    assert said.get("error.type") == error
    assert said["guardproxy.name"] == NAME
    assert said["guardproxy.stream"] == ("stream" in tried)
    assert {span["status_code"] for span in told.of(tried)} == {"UNSET"}


@pytest.mark.parametrize(
    ("tried", "stage", "guard", "results"),
    [
        ("whole", "input", "pii", [result("EMAIL_ADDRESS", 2, "redact")]),
        ("whole", "input", "secrets", [result("AWS_ACCESS_KEY", 1, "redact")]),
        ("whole", "output", "pii", []),
        ("whole", "output", "secrets", [result("AWS_ACCESS_KEY", 1, "redact")]),
        ("streamed", "output", "secrets", [result("AWS_ACCESS_KEY", 1, "redact")]),
        ("blocked at input", "input", "pii", [result("EMAIL_ADDRESS", 2, "block")]),
        ("blocked at input", "input", "secrets", [result("AWS_ACCESS_KEY", 1, "block")]),
        ("blocked in mid-stream", "input", "secrets", []),
        ("blocked in mid-stream", "output", "secrets", [result("AWS_ACCESS_KEY", 1, "block")]),
        ("left", "output", "secrets", []),
    ],
)
def test_what_a_guard_found(
    told: Told, tried: str, stage: str, guard: str, results: list[dict[str, Any]]
) -> None:
    span = told.one(tried, f"apply_guardrail {guard}", parent=f"guardproxy.guard {stage}")
    assert events(span) == results
    said = span["attributes"]
    assert said["gen_ai.guardrail.name"] == guard
    assert said["gen_ai.guardrail.target.type"] == f"llm_{stage}"
    assert said["gen_ai.guardrail.action"] == ("block" if "blocked" in tried else "redact")
    assert said["guardproxy.guard.findings"] == sum(one["gen_ai.guardrail.count"] for one in results)
    assert said.get("error.type") == ("guardrail_blocked" if "blocked" in tried and results else None)


@pytest.mark.parametrize("tried", ["whole", "streamed"])
def test_phoenix_knows_the_model_and_counts_its_tokens(told: Told, tried: str) -> None:
    said = told.one(tried, "chat gpt-4.1")["attributes"]
    assert (said["llm.model_name"], said["llm.provider"]) == ("gpt-4.1", "openai")
    assert said["llm.token_count.prompt"] == said["gen_ai.usage.input_tokens"] > 0
    assert said["llm.token_count.completion"] == said["gen_ai.usage.output_tokens"] > 0


def test_a_client_that_left_is_no_error(told: Told) -> None:
    assert told.one("left", "POST /v1/responses")["attributes"]["error.type"] == "client_disconnected"
    assert {span["status_code"] for span in told.of("left")} == {"UNSET"}


def test_an_upstream_that_failed_is_one(told: Told) -> None:
    for name, parent in (("POST /v1/responses", ""), ("POST", "chat gpt-4.1")):
        span = told.one("refused", name, parent)
        assert span["status_code"] == "ERROR"
        assert span["attributes"]["error.type"] == "500"
        assert span["attributes"]["http.response.status_code"] == 500


def test_a_span_lasts_as_long_as_what_is_below(told: Told) -> None:
    by_id = {span["context"]["span_id"]: span for span in told.spans}
    for span in told.spans:
        parent = by_id.get(span["parent_id"])
        if parent is not None and span["name"] != "POST /v1/responses":  # that is a later exchange
            assert parent["start_time"] <= span["start_time"] <= span["end_time"] <= parent["end_time"]


def test_nothing_that_was_found_or_said_is_there(told: Told) -> None:
    text = json.dumps(told.spans)
    assert NAME in text
    for canary in (SECRET, MAIL, KEY, "Bearer", "Tell me", "Go on", "fine words"):
        assert canary not in text
