"""Behind every front door guards, actions, outcomes and traces are the same; only its dialect differs."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan

import guardproxy_tracing as tracing
from guardproxy.completion import text_of
from guardproxy.profiles import DOORS, MAIN, PROFILES
from guardproxy.settings import ClientKey, LimitSettings, StoreSettings
from guardproxy.types import Policy
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
SET = {f"/set/{name}": name for name in PROFILES}  # one of each profile, whatever its own path is
OTHERS = [*(door for door in DOORS if door != MAIN), *SET]


class Seen(NamedTuple):
    """What must not depend on the door."""

    status: int
    verdict: str | None
    receipt: str | None
    text: str
    report: list[dict[str, Any]]
    error: Any
    sent: list[str]
    outcome: str
    spans: list[tuple[str, dict[str, Any]]]


def upstream(request: httpx.Request) -> httpx.Response:
    if json.loads(request.content)["stream"]:
        events = sse(text_events("say TAG-5678, boom"))
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events)
    return whole(message("say TAG-5678, boom"))(request)


def said(request: httpx.Request) -> str:
    """What a request says, whatever form its front door gave it."""
    given = json.loads(request.content)["input"]
    return given if isinstance(given, str) else "".join(part["text"] for part in given[0]["content"])


async def seen(client: Client, spans: list[ReadableSpan], door: str, headers: Any, stream: bool) -> Seen:
    spans.clear()
    client.requests.clear()
    got = await client.post({**ASK, "stream": stream}, headers, path=door)
    streamed = got.headers["content-type"].startswith("text/event-stream")
    body = {} if streamed else got.json
    output = body.get("output", [])
    error = body.get("error") or (body if "message" in body else None)  # nested, or flat
    items = [item for item in output if item["type"] == "opper:guard"] if isinstance(output, list) else []
    of = client.recorder.exchanges[-1]
    return Seen(
        got.status,
        got.headers.get("x-guardproxy-verdict"),
        got.headers.get("x-guardproxy-receipt"),
        got.text if streamed else text_of(output),
        [
            {name: entry[name] for name in TOLD}
            for entry in (items or (error or body).get("guards", []))
            if entry["total"]
        ],
        # Not its place: where items of ours come first, it is another.
        [error[name] for name in ("message", "type", "code")] if error else of.error_code,
        [said(request) for request in client.requests],
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
async def test_every_door_does_the_same(action: str, stream: bool, tmp_path: Path) -> None:
    store = StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/kept.db")
    limits = LimitSettings(per_address="100000/minute")  # before those that a profile has
    with tracing.record() as spans:
        async with proxy(upstream, plugins=[tracing], front_doors=SET, store=store, limits=limits) as client:
            for name, case in CASES.items():
                headers = {**case, "x-opper-guard-action": action} if case else {}
                expected = await seen(client, spans, MAIN, headers, stream)
                assert expected.spans
                for door in OTHERS:
                    assert await seen(client, spans, door, headers, stream) == expected, (name, door)


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, Any]:
    store = StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/kept.db")
    return {"front_doors": SET, "store": store, "limits": LimitSettings(per_address="100000/minute")}


@pytest.mark.parametrize("name", ["MODEL", "Background", "ſtream"])
async def test_no_capitals_lead_past_what_a_door_goes_by(name: str, kept: dict[str, Any]) -> None:
    # JSON readers that pass over the case of names take the last of two.
    key = ClientKey("app", hashlib.sha256(b"gpk").hexdigest(), Policy(), ("m-1",))
    async with proxy(upstream, keys=(key,), **kept) as client:
        for door in (MAIN, *OTHERS):
            got = await client.post({**ASK, name: "m-2"}, {"authorization": "Bearer gpk"}, path=door)
            error = got.json.get("error", got.json)
            assert (got.status, error["param"]) == (400, name.casefold()), door
        assert not client.requests


async def test_a_place_is_told_as_it_came_behind_items_of_ours(kept: dict[str, Any]) -> None:
    block = {"x-opper-guard-input": "tags", "x-opper-guard-action": "block"}
    user = {"role": "user", "content": [{"type": "input_text", "text": "TAG-1234"}]}
    own = {"type": "opper:guard", "id": "og_1"}
    async with proxy(upstream, **kept) as client:
        for door in (MAIN, *OTHERS):
            got = await client.post({"model": "m-1", "input": [own, own, user, own, user]}, block, path=door)
            error = got.json.get("error", got.json)
            (entry,) = error["guards"]
            paths = [finding["path"] for finding in entry["findings"]]
            assert paths == ["/input/2/content/0/text", "/input/4/content/0/text"], door
