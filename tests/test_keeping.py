"""What is kept when something goes wrong, and what a kept thing comes back as."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardproxy.errors import StoreUnavailable
from guardproxy.settings import StoreSettings
from guardproxy.store import Store
from tests.harness import message, proxy, response, sse, text_events, whole

ASK = {"model": "m", "input": "hi"}
TURN = {**ASK, "conversation": "conv_1"}
OUT = {"x-opper-guard-output": "tags=flag"}


@pytest.fixture
def kept(tmp_path: Path) -> StoreSettings:
    return StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/kept.db")


def streamed(request: httpx.Request) -> httpx.Response:
    events = sse(text_events("hello"))
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events)


async def unavailable(*_: Any, **__: Any) -> None:
    raise StoreUnavailable("The store is not available.")


@pytest.mark.parametrize("headers", [{}, OUT], ids=["without guards", "with guards"])
@pytest.mark.parametrize("profile", ["gateway", "julep"])
async def test_an_answer_that_cannot_be_kept_is_no_answer(
    profile: str, headers: Any, kept: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "append", unavailable)
    monkeypatch.setattr(Store, "save", unavailable)
    asked = TURN if profile == "gateway" else {**ASK, "store": True}
    async with proxy(whole(message("hello")), profile=profile, store=kept) as client:
        got = await client.post(asked, headers)
        error = got.json if profile == "julep" else got.json["error"]
        assert (got.status, error["code"]) == (503, "store_unavailable")
        assert got.headers["x-should-retry"] == "false"  # the answer was paid for
        assert b"hello" not in got.body
        assert client.recorder.exchanges[-1].error_code == "store_unavailable"


@pytest.mark.parametrize("headers", [{}, OUT], ids=["without guards", "with guards"])
@pytest.mark.parametrize("profile", ["gateway", "julep"])
async def test_a_stream_that_cannot_be_kept_does_not_end_well(
    profile: str, headers: Any, kept: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "append", unavailable)
    monkeypatch.setattr(Store, "save", unavailable)
    asked = {**(TURN if profile == "gateway" else {**ASK, "store": True}), "stream": True}

    async def pieces() -> Any:
        for event in text_events("hello"):
            yield sse([event], done=False)
        yield b"data: [DONE]\n\n"

    def slowly(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=pieces())

    async with proxy(slowly, profile=profile, store=kept) as client:
        got = await client.post(asked, headers)
        kinds = [event["type"] for event in got.events if event != "[DONE]"]
        assert got.text == "hello"
        assert "response.completed" not in kinds
        assert kinds[-2:] == ["error", "response.failed"]
        assert got.events[-2]["response"]["error"]["code"] == "store_unavailable"
        numbers = [event["sequence_number"] for event in got.events if event != "[DONE]"]
        assert numbers == sorted(set(numbers))
        assert client.recorder.exchanges[-1].error_code == "store_unavailable"


async def test_a_history_that_cannot_be_read_stops_the_request(
    kept: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "history", unavailable)
    async with proxy(whole(message("hello")), profile="gateway", store=kept) as client:
        got = await client.post(TURN)
        assert (got.status, client.requests) == (503, [])
        assert (await client.post(ASK)).status == 200  # who needs no store needs none


@pytest.mark.parametrize("status", ["failed", "cancelled", "in_progress", "queued", None])
async def test_a_response_that_did_not_end_well_is_no_turn(status: str | None, kept: StoreSettings) -> None:
    appended: list[Any] = []

    async def append(_: Store, tenant: str, conversation: str, items: Sequence[str]) -> None:
        appended.append(items)

    made = response(message("hello"), status=status)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "append", append)
        async with proxy(lambda _: httpx.Response(200, json=made), profile="gateway", store=kept) as client:
            await client.post(TURN)
        assert appended == []
        async with proxy(whole(message("hello")), profile="gateway", store=kept) as client:
            await client.post(TURN)
        assert len(appended) == 1


async def test_what_cannot_be_said_again_is_left_out_of_a_turn(kept: StoreSettings) -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": []}
    sealed = {**reasoning, "id": "rs_2", "encrypted_content": "c2VhbGVk"}
    headers = {"x-opper-guard-output": "tags", "x-opper-guard-report": "items"}
    async with proxy(whole(reasoning, sealed, message("hello")), profile="gateway", store=kept) as client:
        got = await client.post(TURN, headers)
        assert got.json["output"][0]["type"] == "opper:guard"
        await client.post(TURN)
        sent = json.loads(client.requests[1].content)["input"]
        assert [item["type"] for item in sent] == ["message", "reasoning", "message", "message"]
        assert sent[1] == sealed


async def test_without_guards_the_events_of_a_kept_stream_are_those_that_came(kept: StoreSettings) -> None:
    async with proxy(streamed, profile="gateway", store=kept) as client:
        got = await client.post({**TURN, "stream": True})
        kinds = [event["type"] for event in got.events if event != "[DONE]"]
        assert kinds == [event["type"] for event in text_events("hello")]
