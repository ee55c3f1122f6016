"""The engine alone: what llama.cpp says and how its dialect differs, which the fake upstream must match."""

import re
from typing import Any

import httpx
import pytest

from guardproxy.testing import FakeUpstream, Script
from guardproxy.testing.events import (
    final_response,
    joined_text,
    message_item,
    output_text,
    parse_sse,
    reasoning_item,
)
from tests.engine.conftest import Connect
from tests.engine.forcing import say

pytestmark = pytest.mark.engine

TEXT = "Card 4111 1111 1111 1111, mail ada@example.org."
THOUGHT = "<think>\nhm\n</think>\n\nhi"


def post(url: str, arguments: dict[str, Any], **fields: Any) -> httpx.Response:
    body = {name: value for name, value in arguments.items() if name != "extra_body"}
    body |= arguments.get("extra_body", {}) | fields
    answer = httpx.post(f"{url}/responses", json=body, timeout=60, trust_env=False)
    answer.raise_for_status()
    return answer


def skeleton(events: list[dict[str, Any]]) -> list[Any]:
    """The events without their values: types, fields, and the nesting of both; equal neighbours once."""

    def shape(value: Any, name: str = "") -> Any:
        if name == "usage" or name == "timings":
            return name
        if isinstance(value, dict):
            return {key: shape(value[key], key) for key in sorted(value) if key not in ("timings", "usage")}
        if isinstance(value, list):
            return [shape(each) for each in value]
        return value if name in ("type", "status", "object", "role") else type(value).__name__

    shapes = [shape(event) for event in events]
    return [now for before, now in zip([None, *shapes], shapes, strict=False) if now != before]


def test_it_says_what_the_grammar_says(engine_url: str, connect: Connect) -> None:
    assert connect(engine_url).responses.create(**say(TEXT)).output_text == TEXT


def test_it_streams_a_token_at_a_time(engine_url: str, connect: Connect) -> None:
    with connect(engine_url).responses.create(**say(TEXT), stream=True) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
    assert "".join(deltas) == TEXT
    assert max(map(len, deltas)) == 1


def test_unicode_comes_out_whole(engine_url: str) -> None:
    events = parse_sse(post(engine_url, say("Zoë — 日本 \U0001f600"), stream=True).content)
    assert joined_text(events) == "Zoë — 日本 \U0001f600"


def test_the_sdk_stream_helper_cannot_read_the_engine_itself(engine_url: str, connect: Connect) -> None:
    helper = connect(engine_url).responses.stream(**say(TEXT))
    with pytest.raises(Exception, match=r"."), helper as stream:
        list(stream)


def test_the_fake_upstream_streams_like_the_engine(engine_url: str) -> None:
    real = post(engine_url, say("hello"), stream=True)
    with FakeUpstream(Script(text="hello", dialect="llamacpp", chunk=1)) as upstream:
        fake = post(upstream.url, say("hello"), stream=True)
    assert skeleton(parse_sse(fake.content)) == skeleton(parse_sse(real.content))
    assert b"[DONE]" not in real.content
    assert b"[DONE]" not in fake.content
    lines = re.compile(rb"^(\w+):", re.MULTILINE)
    assert set(lines.findall(real.content)) == set(lines.findall(fake.content)) == {b"event", b"data"}


def test_the_fake_upstream_answers_like_the_engine(engine_url: str) -> None:
    real = post(engine_url, say("hello")).json()
    with FakeUpstream(Script(text="hello", dialect="llamacpp")) as upstream:
        fake = post(upstream.url, say("hello")).json()
    assert skeleton([fake]) == skeleton([real])
    assert output_text(fake) == output_text(real) == "hello"


def test_the_fake_upstream_reasons_like_the_engine(engine_url: str) -> None:
    real = parse_sse(post(engine_url, say(THOUGHT), stream=True).content)
    thought = reasoning_item(content=["hm\n"], encrypted_content="")
    script = Script(before=[thought], message=False, after=[message_item("hi")], dialect="llamacpp", chunk=1)
    with FakeUpstream(script) as upstream:
        fake = parse_sse(post(upstream.url, say(THOUGHT), stream=True).content)
    assert [event["type"] for event in fake] == [event["type"] for event in real]
    assert joined_text(real, "reasoning_text") == joined_text(fake, "reasoning_text") == "hm\n"
    final = final_response(real)
    assert final is not None
    assert [item["type"] for item in final["output"]] == ["reasoning", "message"]
