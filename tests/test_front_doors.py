"""Behind every front door guards, actions, outcomes and traces are the same; only its dialect differs."""

from typing import Any, NamedTuple

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan

import guardproxy_tracing as tracing
from guardproxy.profiles import DOORS, MAIN
from tests.harness import Client, message, proxy, sse, text_events, whole

ASK = {"model": "m-1", "input": "ask TAG-1234"}
CASES: dict[str, dict[str, str]] = {
    "no guard": {},
    "the input": {"x-opper-guard-input": "tags"},
    "the output": {"x-opper-guard-output": "tags"},
    "both": {"x-opper-guard-input": "tags", "x-opper-guard-output": "tags,mood"},
    "a guard that fails": {"x-opper-guard-output": "raises"},
    "no such guard": {"x-opper-guard-input": "nobody"},
}
TOLD = ("guard_type", "stage", "action", "flagged", "total")
OTHERS = [door for door in DOORS if door != MAIN]


class Seen(NamedTuple):
    """What must not depend on the door."""

    status: int
    verdict: str | None
    receipt: str | None
    text: str
    report: list[dict[str, Any]]
    error: Any
    sent: list[bytes]
    outcome: str
    spans: list[tuple[str, dict[str, Any]]]


def upstream(request: httpx.Request) -> httpx.Response:
    if b'"stream": true' in request.content:
        events = sse(text_events("say TAG-5678, boom"))
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events)
    return whole(message("say TAG-5678, boom"))(request)


async def seen(client: Client, spans: list[ReadableSpan], door: str, headers: Any, stream: bool) -> Seen:
    spans.clear()
    client.requests.clear()
    got = await client.post({**ASK, "stream": stream}, headers, path=door)
    streamed = got.headers["content-type"].startswith("text/event-stream")
    body = {} if streamed else got.json
    output, error = body.get("output", []), body.get("error")
    items = [item for item in output if item["type"] == "opper:guard"]
    of = client.recorder.exchanges[-1]
    return Seen(
        got.status,
        got.headers.get("x-guardproxy-verdict"),
        got.headers.get("x-guardproxy-receipt"),
        got.text if streamed else "".join(i["content"][0]["text"] for i in output if i["type"] == "message"),
        [
            {name: entry[name] for name in TOLD}
            for entry in (items or body.get("guards", []))
            if entry["total"]
        ],
        # Not its place: where items of ours come first, it is another.
        [error[name] for name in ("message", "type", "code")] if error else of.error_code,
        [request.content for request in client.requests],
        of.outcome,
        [(span.name.replace(door, MAIN), facts(span)) for span in spans],
    )


def facts(span: ReadableSpan) -> dict[str, Any]:
    """What a span says, less times, ids, and how much a cache knew."""
    return {
        name: value
        for name, value in (span.attributes or {}).items()
        if not name.endswith(("seconds", "exchange.id", "first_chunk", "cached", "scanned"))
        and name not in ("http.route", "url.path", "guardproxy.events", "guardproxy.events_delivered")
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("action", ["flag", "redact", "block"])
async def test_every_door_does_the_same(action: str, stream: bool) -> None:
    with tracing.record() as spans:
        async with proxy(upstream, plugins=[tracing]) as client:
            for name, case in CASES.items():
                headers = {**case, "x-opper-guard-action": action} if case else {}
                expected = await seen(client, spans, MAIN, headers, stream)
                assert expected.spans
                for door in OTHERS:
                    assert await seen(client, spans, door, headers, stream) == expected, (name, door)
