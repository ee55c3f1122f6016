"""docs/tracing.md names every span, attribute and event that is exported, and none that is not."""

import hashlib
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan

import guardproxy_tracing as tracing
from guardproxy import Action, Guard, Policy, Rule
from guardproxy.allow import AllowList
from guardproxy.prices import Price
from guardproxy.settings import ClientKey, UpstreamSettings
from guardproxy.types import OnError
from guardproxy_tracing import variables
from guardproxy_tracing.names import LATEST, SETTLED
from tests.harness import Chunks, message, proxy, sse, streaming, text_events, whole
from tests.samples import Raises, Tags

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tracing.md").read_text("utf-8")
ATTRIBUTES = PAGE.split("\n## Attributes\n")[1].split("\n## ")[0]
NAME = re.compile(r"`([a-z_]+(?:\.[a-zA-Z_]+)+)`")
MADE = {"pii": Guard("pii", (Tags(),)), "secrets": Guard("secrets", (Raises(),))}
KEY = ClientKey(name="team-a", sha256=hashlib.sha256(b"test").hexdigest())
TAG = "TAG-" + "1234"


def documented() -> set[str]:
    """The attributes of the first table, and of the results below it."""
    table = [line.split("|")[2] for line in ATTRIBUTES.split("\n\n")[0].splitlines() if line.startswith("|")]
    results = ATTRIBUTES.split("is one event")[1].split("\n\n")[0]
    found = {name for text in (*table, results) for name in NAME.findall(text)}
    return found - {"gen_ai.guardrail.result"}


def _words(names: Any) -> set[str]:
    found = {names.guard, names.target, names.action, names.category, names.score, names.count}
    return found | set(names.of_action)


async def everything() -> list[ReadableSpan]:
    """The spans of exchanges that show every fact there is."""
    guarded = {"pii": Rule(Action.REDACT), "secrets": Rule(on_error=OnError.FLAG)}
    floor = Policy(guarded, guarded)
    usage: dict[str, Any] = {
        "input_tokens": 1,
        "output_tokens": 2,
        "input_tokens_details": {"cached_tokens": 1},
    }
    usage["input_tokens_details"]["cache_write_tokens"] = 1
    usage["output_tokens_details"] = {"reasoning_tokens": 1}
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    body = {
        "model": "m-1",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": TAG}, image]}],
    }
    headers = {"authorization": "Bearer test", "x-opper-name": "checkout", "x-opper-parent-span-id": "none"}
    allow = {"pii": AllowList(["TAG-" + "9999"])}
    given: dict[str, Any] = {"floor": floor, "capture_content": "redacted", "keys": (KEY,), "allow": allow}
    with tracing.record() as spans:
        async with proxy(whole(message(TAG), usage=usage), plugins=[tracing], made=MADE, **given) as client:
            await client.post(body | {"instructions": "boom"}, headers)
            await client.post(body | {"instructions": "TAG-" + "9999"}, headers)
            await client.post(b"", headers, path="/v1/responses/resp_1", method="GET")
        async with proxy(
            streaming(sse(text_events(f"a {TAG}"))), plugins=[tracing], made=MADE, **given
        ) as client:
            await client.post(body | {"stream": True}, headers)
        cut = sse(text_events("fine")[:-1])
        async with proxy(streaming(cut), plugins=[tracing], made=MADE, **given) as client:
            await client.post(body | {"stream": True}, headers)
        broken = streaming(cut, error=httpx.ReadError("reset"))
        async with proxy(broken, plugins=[tracing], made=MADE, **given) as client:
            await client.post(body | {"stream": True}, headers)
        async with proxy(lambda _: httpx.Response(500, stream=Chunks([b"no"])), plugins=[tracing]) as client:
            await client.post(body)
        only = UpstreamSettings(
            name="only",
            url="https://only.test/v1",
            connect_timeout=1,
            upstream_timeout=1,
            stream_idle_timeout=1,
        )
        async with proxy(whole(), plugins=[tracing], upstreams=(only,)) as client:
            await client.post(body)
        turns = iter((503, 200))
        answered = whole(message("fine"), usage=usage)

        def in_turn(request: httpx.Request) -> httpx.Response:
            status = next(turns)
            return answered(request) if status == 200 else httpx.Response(status)

        priced = {"m-2": Price(Decimal(1), Decimal(2))}
        async with proxy(in_turn, plugins=[tracing], prices=priced) as client:
            asked = {"models": ["m-1", "m-2"], "input": "hi", "session_id": "s", "trace": {"tier": 1}}
            await client.post(asked, path="/api/v1/responses")
    return spans


@pytest.fixture
async def spans(monkeypatch: pytest.MonkeyPatch) -> list[ReadableSpan]:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    return await everything()


def _exported(spans: list[ReadableSpan]) -> set[str]:
    found = {name for span in spans for name in span.attributes or {}}
    found |= {name for span in spans for event in span.events for name in event.attributes or {}}
    found = {re.sub(r"(guardproxy\.receipt\.skipped)\..*", r"\1.REASON", name) for name in found}
    return {re.sub(r"(guardproxy\.trace)\..*", r"\1.MEMBER", name) for name in found}


async def test_every_attribute_is_documented_and_every_documented_one_exported(
    spans: list[ReadableSpan],
) -> None:
    assert _exported(spans) == documented()


async def test_every_span_and_event_is_documented(spans: list[ReadableSpan]) -> None:
    tree = PAGE.split("\n## The tree\n")[1].split("\n## ")[0]
    for name in {span.name for span in spans}:
        shown = (
            name.replace("m-1", "gpt-4.1")
            .replace("m-2", "gpt-4.1")
            .replace("/api/v1/", "/v1/")
            .replace("apply_guardrail secrets", "apply_guardrail pii")
        )
        assert re.search(rf"(?:^|[ `]){re.escape(shown)}(?:$|[ `,])", tree, re.MULTILINE), name
    assert {event.name for span in spans for event in span.events} == {"gen_ai.guardrail.result"}


async def test_the_names_under_review_are_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
    for name in _words(LATEST) | _words(SETTLED):
        assert f"`{name}`" in ATTRIBUTES, name
    for value in LATEST.of_action.values():
        assert f"`{value}`" in ATTRIBUTES
    new = _exported(await everything()) - documented()
    assert new == _words(LATEST) - _words(SETTLED)


@pytest.mark.parametrize("names", [SETTLED, LATEST])
def test_the_targets_are_documented(names: Any) -> None:
    assert json.dumps(sorted(names.targets)) == '["input", "output"]'
    for target in names.targets.values():
        assert f"`{target}`" in ATTRIBUTES


def test_every_variable_that_is_checked_is_documented() -> None:
    told = {signal: (ROOT / f"docs/{signal}.md").read_text("utf-8") for signal in ("tracing", "metrics")}
    of_otlp = [*variables._OTLP, *(name for rules in variables._OF_PROTOCOL.values() for name in rules)]
    for name in (*variables._SWITCH, *variables._RESOURCE):
        assert f"\n| `{name}` | `" in told["tracing"].split("| what is right |")[1]
    for name in (*variables._LIMITS, *variables._OF_SIGNAL["TRACES"], "OTEL_TRACES_SAMPLER_ARG"):
        assert f"`{name}`" in told["tracing"]
    for name in of_otlp:
        assert f"`OTEL_EXPORTER_OTLP_{name}`" in told["tracing"] or f"`…_{name}`" in told["tracing"]
    for name in variables._OF_SIGNAL["METRICS"]:
        assert f"`{name}`" in told["metrics"]
