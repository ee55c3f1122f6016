"""Exchanges with every outcome through a proxy with metrics, and what its page says of them."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

import guardproxy_metrics as metrics
from guardproxy import Action, Detector, Exchange, Guard, LocalReply, Policy, Rule, hookimpl
from tests.harness import Chunks, Client, message, proxy, response, sse, text_events
from tests.samples import Raises, Tags

ROOT = Path(__file__).parents[2]
TAG = "TAG-" + "1234"
USAGE = {"input_tokens": 7, "output_tokens": 11, "total_tokens": 18}
REDACT = {"x-opper-guard-action": "redact"}
Samples = dict[str, list[tuple[dict[str, str], float]]]


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
    if word == "limited":
        return httpx.Response(429, json={"error": {"message": "slow down"}})
    if word == "fails":
        return httpx.Response(200, json=response() | {"status": "failed"})
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
        {"operation": 1, "tokens": 2, "first": 1},
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
    "upstream has a limit": (
        {"model": "limited"},
        {},
        labels("error", "4xx", error_type="429"),
        {"operation": 1},
    ),
    "response failed": (
        {"model": "fails"},
        {},
        labels("error", error_type="response_failed"),
        {"operation": 1},
    ),
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
