"""upstream.py of the harness, over real HTTP: every script does what it says, to the byte."""

import gzip
import json
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from guardproxy.testing import DROP, FakeUpstream, Gate, Reply, Script, Signal
from guardproxy.testing.events import (
    Event,
    final_response,
    function_call_item,
    joined_text,
    message_item,
    output_text,
    parse_sse,
    reasoning_item,
)

SAID = "It is 4111 and no more."


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as running:
        yield running


@pytest.fixture
def client(upstream: FakeUpstream) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=upstream.url, trust_env=False) as made:
        yield made


def create(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post("/responses", json={"model": "m", "input": SAID, **fields})


def streamed(client: httpx.Client, **fields: Any) -> list[Event]:
    answer = create(client, stream=True, **fields)
    assert answer.headers["content-type"] == "text/event-stream"
    return parse_sse(answer.content)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("plain", "plain"),
        ([{"role": "user", "content": "one"}, {"role": "user", "content": "two"}], "two"),
        (
            [
                {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image"}]},
                {"role": "assistant", "content": "no"},
                {"type": "function_call_output", "call_id": "c", "output": "no"},
            ],
            "a",
        ),
        ([], ""),
        (None, ""),
    ],
)
def test_echo_is_the_last_user_text(client: httpx.Client, given: Any, said: str) -> None:
    assert output_text(create(client, input=given).json()) == said
    assert joined_text(streamed(client, input=given)) == said


def test_echo_repeats_what_was_asked(client: httpx.Client) -> None:
    answer = create(client, instructions="Be brief.", metadata={"team": "a"}).json()
    assert (answer["model"], answer["instructions"], answer["metadata"]) == ("m", "Be brief.", {"team": "a"})
    assert answer["id"].startswith("resp_")
    assert create(client).json()["id"] != answer["id"]


def test_requests_are_recorded_as_they_came(upstream: FakeUpstream, client: httpx.Client) -> None:
    body = b'{"input" :  "x"}'
    client.post("/responses?a=1&b=%20", content=body, headers=[("X-Mixed-Case", "1"), ("x-mixed-case", "2")])
    seen = upstream.last
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/v1/responses", "a=1&b=%20", body)
    assert [pair for pair in seen.headers if pair[0].lower() == "x-mixed-case"] == [
        ("X-Mixed-Case", "1"),
        ("x-mixed-case", "2"),
    ]
    assert seen.header("X-MIXED-CASE") == "1, 2"
    assert seen.header("absent") is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_and_chunked_bodies_are_read(
    upstream: FakeUpstream, client: httpx.Client, encoding: str
) -> None:
    plain = json.dumps({"input": "packed"}).encode()
    packed = gzip.compress(plain) if encoding == "gzip" else zlib.compress(plain)
    pieces = (packed[at : at + 7] for at in range(0, len(packed), 7))
    answer = client.post("/responses", content=pieces, headers={"content-encoding": encoding})
    assert output_text(answer.json()) == "packed"
    assert upstream.last.body == packed


def test_invalid_json_is_a_400(client: httpx.Client) -> None:
    answer = client.post("/responses", content=b"{")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunk_is_the_characters_of_a_delta(upstream: FakeUpstream, client: httpx.Client, chunk: int) -> None:
    upstream.script = Script(chunk=chunk)
    deltas = [event["delta"] for event in streamed(client) if "delta" in event]
    assert "".join(deltas) == SAID
    assert max(map(len, deltas)) == min(chunk, len(SAID))


def test_items_around_the_message(upstream: FakeUpstream, client: httpx.Client) -> None:
    call = function_call_item("send", '{"to": "ada"}')
    upstream.script = Script(text="", before=[reasoning_item(["hm"])], after=[call], chunk=2)
    events = streamed(client)
    assert joined_text(events, "reasoning_summary_text") == "hm"
    assert joined_text(events, "function_call_arguments") == call["arguments"]
    whole = create(client).json()
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message", "function_call"]
    upstream.script = Script(message=False, after=[message_item(refusal="no")])
    assert joined_text(streamed(client), "refusal") == "no"


@pytest.mark.parametrize(
    ("ending", "last", "done"),
    [
        ("complete", "response.completed", True),
        ("failed", "response.failed", True),
        ("incomplete", "response.incomplete", True),
        ("no_done", "response.completed", False),
        ("no_terminal", "response.output_item.done", True),
        ("flat_error", "error", True),
        ("nested_error", "error", True),
    ],
)
def test_endings(upstream: FakeUpstream, client: httpx.Client, ending: Any, last: str, done: bool) -> None:
    upstream.script = Script(ending=ending)
    answer = create(client, stream=True)
    events = parse_sse(answer.content)
    assert events[-1]["type"] == last
    assert answer.content.endswith(b"data: [DONE]\n\n") is done
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert ("error" in events[-1]) is (ending == "nested_error")


def test_invalid_json_in_an_event(upstream: FakeUpstream, client: httpx.Client) -> None:
    upstream.script = Script(ending="invalid_json")
    with pytest.raises(json.JSONDecodeError):
        streamed(client)


@pytest.mark.parametrize("stream", [True, False])
def test_dropped_breaks_the_body_off(upstream: FakeUpstream, client: httpx.Client, stream: bool) -> None:
    upstream.script = Script(ending="dropped")
    got: list[bytes] = []
    with (
        client.stream("POST", "/responses", json={"input": SAID, "stream": stream}) as answer,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        got.extend(answer.iter_raw())
    assert got
    assert not upstream.last.answered.is_set()
    assert not upstream.last.left.is_set()


def test_llamacpp_and_transformers_frames(upstream: FakeUpstream, client: httpx.Client) -> None:
    upstream.script = Script(dialect="llamacpp")
    assert create(client).json().keys() == {
        *("id", "object", "created_at", "completed_at", "status", "model", "output", "usage")
    }
    raw = create(client, stream=True).content
    assert b"[DONE]" not in raw
    assert b"sequence_number" not in raw
    assert joined_text(parse_sse(raw)) == SAID
    upstream.script = Script(dialect="transformers")
    raw = create(client, stream=True).content
    assert raw.startswith(b"data: ")
    assert b"event:" not in raw
    assert final_response(parse_sse(raw)) is not None


def test_each_event_is_a_write_and_a_gate_holds_the_next(
    upstream: FakeUpstream, client: httpx.Client
) -> None:
    gate = Gate()
    upstream.script = Script(text="abcdef", chunk=1, gates={5: gate})
    with client.stream("POST", "/responses", json={"stream": True}) as answer:
        pieces = answer.iter_raw()
        first = b"".join(next(pieces) for _ in range(5))
        assert len(parse_sse(first)) == 5
        gate.reached.wait()
        assert upstream.last.written == 5
        assert not upstream.last.answered.is_set()
        gate.open()
        rest = b"".join(pieces)
    assert joined_text(parse_sse(first + rest)) == "abcdef"
    upstream.last.answered.wait()


def test_writes_of_a_number_of_bytes(upstream: FakeUpstream, client: httpx.Client) -> None:
    upstream.script = Script(write=3)
    with client.stream("POST", "/responses", json={"input": SAID, "stream": True}) as answer:
        pieces = list(answer.iter_raw())
    assert joined_text(parse_sse(b"".join(pieces))) == SAID
    assert upstream.last.written >= len(b"".join(pieces)) // 3


def test_a_client_that_leaves_is_noticed(upstream: FakeUpstream, client: httpx.Client) -> None:
    upstream.script = Script(gates={3: Gate()})
    with client.stream("POST", "/responses", json={"input": SAID, "stream": True}) as answer:
        next(answer.iter_raw())
    upstream.last.left.wait()
    assert not upstream.last.answered.is_set()


def test_hang_and_hold(upstream: FakeUpstream, client: httpx.Client) -> None:
    upstream.script = Script(hang=True)
    with pytest.raises(httpx.ReadTimeout):
        client.post("/responses", json={}, timeout=0.05)
    gate = Gate()
    upstream.script = Script(hold=gate)

    def open_when_reached() -> None:
        gate.reached.wait()
        gate.open()

    opener = threading.Thread(target=open_when_reached)
    opener.start()
    assert output_text(create(client).json()) == SAID
    opener.join()


def test_errors_with_headers(upstream: FakeUpstream, client: httpx.Client) -> None:
    upstream.script = Script(status=429, headers=[("Retry-After", "7")])
    answer = create(client, stream=True)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error"]["code"] == "scripted"
    upstream.script = Script(status=500, error={"error": {"message": "mine"}})
    assert create(client).json() == {"error": {"message": "mine"}}


def test_then_answers_the_next_request_first(upstream: FakeUpstream, client: httpx.Client) -> None:
    upstream.then(Script(status=503), Script(text="second"))
    assert create(client).status_code == 503
    assert output_text(create(client).json()) == "second"
    assert output_text(create(client).json()) == SAID


@pytest.mark.parametrize("stream", [True, False])
def test_gzip(upstream: FakeUpstream, client: httpx.Client, stream: bool) -> None:
    upstream.script = Script(gzip=True)
    answer = create(client, stream=stream)
    assert answer.headers["content-encoding"] == "gzip"
    assert SAID in (joined_text(parse_sse(answer.content)) if stream else answer.text)


def test_cookies_and_redirects(upstream: FakeUpstream, client: httpx.Client) -> None:
    upstream.script = Script(headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    assert create(client).headers.get_list("set-cookie") == ["a=1", "b=2"]
    upstream.script = Script(status=307, headers=[("Location", "/elsewhere")])
    answer = create(client)
    assert (answer.status_code, answer.headers["location"]) == (307, "/elsewhere")


def test_reply_decides_alone(upstream: FakeUpstream, client: httpx.Client) -> None:
    upstream.script = Script(reply=lambda asked: b"raw " + asked["input"].encode(), status=201)
    answer = create(client)
    assert (answer.status_code, answer.content) == (201, b"raw " + SAID.encode())
    upstream.script = Script(reply=lambda asked: {"said": asked["input"]})
    assert create(client).json() == {"said": SAID}
    upstream.script = Script(reply=lambda asked: Reply([b"a", DROP], content_type="text/plain"))
    with pytest.raises(httpx.RemoteProtocolError):
        create(client)


def test_models_and_other_paths(upstream: FakeUpstream, client: httpx.Client) -> None:
    assert [model["id"] for model in client.get("/models").json()["data"]] == ["test-model"]
    assert client.get("/models/other").json()["id"] == "other"
    assert client.post("/responses/input_tokens", json={"input": "x"}).json()["input_tokens"] > 0
    assert client.post("/responses/compact", json={"input": "x"}).json()["object"] == "response.compaction"
    answer = client.get("/elsewhere")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert client.head("/models").status_code == 404


def test_stored_responses(client: httpx.Client) -> None:
    made = create(client).json()
    assert client.get(f"/responses/{made['id']}").json() == made
    assert client.delete(f"/responses/{made['id']}").json()["deleted"] is True
    assert client.get(f"/responses/{made['id']}").status_code == 404
    unstored = create(client, store=False).json()
    assert client.get(f"/responses/{unstored['id']}").status_code == 404


def test_connections_are_kept(upstream: FakeUpstream, client: httpx.Client) -> None:
    for _ in range(3):
        create(client)
        streamed(client)
    assert len(upstream._connections) == 1


async def test_async_use() -> None:
    async with (
        FakeUpstream(Script(hang=True)) as upstream,
        httpx.AsyncClient(base_url=upstream.url, trust_env=False) as client,
    ):
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/responses", json={}, timeout=0.05)
        await upstream.last.left.happened()
        upstream.script = Script()
        assert output_text((await client.post("/responses", json={"input": "x"})).json()) == "x"


async def test_a_signal_wakes_threads_and_loops() -> None:
    signal = Signal()
    with pytest.raises(TimeoutError):
        signal.wait(0.0)
    with pytest.raises(TimeoutError):
        await signal.happened(0.0)
    threading.Timer(0, signal.set).start()
    await signal.happened()
    signal.set()
    signal.wait()
    assert signal.is_set()
