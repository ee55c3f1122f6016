"""A canary in any string of a request, a response or a stream never leaves under redact and block."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from guardproxy.document import parse, walk
from guardproxy.errors import Violation
from guardproxy.shapes import INPUT_ITEMS, RESPONSE
from guardproxy.testing.events import (
    function_call_item,
    message_item,
    reasoning_item,
    response,
    stream_events,
)
from guardproxy.types import Action
from tests.harness import proxy, whole
from tests.test_streaming import Run

CANARY = "TAG-1234"
# What no guard can read, and why: docs/coverage.md.
OPAQUE = ("obfuscation", "encrypted_content")
ITEMS = [
    reasoning_item("thinking hard about it"),
    message_item("hello there, how are you"),
    function_call_item("send", '{"to":"someone","n":1}'),
]
Place = tuple[str | int, ...]


def places(value: Any, path: Place = ()) -> Iterator[Place]:
    """The paths of all strings."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from places(member, (*path, key))
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from places(element, (*path, index))
    elif isinstance(value, str) and path[-1] not in OPAQUE:
        yield path


def planted(document: Any, path: Place) -> Any:
    """`document` with the canary in the string at `path`."""
    changed = copy.deepcopy(document)
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    old = holder[path[-1]]
    if path[-1] == "arguments" and old.startswith("{") and old.endswith("}"):
        holder[path[-1]] = json.dumps({**json.loads(old), "more": f"a {CANARY} b"})
    else:
        holder[path[-1]] = f"{old} {CANARY} b"
    return changed


@pytest.mark.parametrize("action", [Action.REDACT, Action.BLOCK])
async def test_streams(action: Action) -> None:
    events = stream_events(ITEMS, chunk=6)
    for number, event in enumerate(events):
        for path in places(event):
            run = Run("tags", action=action)
            changed = [*events[:number], planted(event, path), *events[number + 1 :]]
            try:
                await run.all(changed)
            except Violation as error:
                run.out += run.stream.fail(error)
            out = b"".join(run.out)
            assert b"1234" not in out, (path, event["type"])
            assert out.endswith(b"data: [DONE]\n\n")
            assert run.stage.verdict().findings, (path, event["type"])


async def test_whole_responses() -> None:
    document = response(items=ITEMS)
    for path in places(document):
        changed = planted(document, path)
        run = Run("tags").stage
        text = json.dumps(changed)
        parts = walk(parse(text), RESPONSE).parts
        edits = run.apply(parts, await run.hits(parts, run.guards))
        assert "1234" not in edits.apply(text), path


REQUEST: dict[str, Any] = {
    "model": "gpt",
    "instructions": "be nice",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"role": "assistant", "content": "plain"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":{"b":["c"]}}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "it rains"},
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": [{"type": "input_text", "text": "x"}],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "custom_tool_call", "name": "t", "input": "code", "call_id": "call_3"},
        {
            "type": "mcp_call",
            "name": "m",
            "arguments": "{}",
            "server_label": "s",
            "output": "o",
            "error": "e",
        },
        {"type": "vendor_thing", "deep": {"er": ["a"]}},
    ],
    "tools": [
        {
            "type": "function",
            "name": "f",
            "description": "d",
            "parameters": {"properties": {"q": {"enum": ["a"]}}},
        },
        {"type": "mcp", "server_label": "l", "server_url": "https://m.example", "headers": {"X-Key": "abc"}},
        {
            "type": "custom",
            "name": "c",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start"},
        },
    ],
    "metadata": {"k": "v"},
    "user": "u",
    "prompt": {"id": "pmpt_1", "version": "2", "variables": {"a": "b"}},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {"title": "t"}}},
    "tool_choice": {"type": "function", "name": "f"},
    "messages": [{"role": "user", "content": "hi"}],
    "stop": ["x"],
}


async def test_input_items() -> None:
    document = {"object": "list", "data": REQUEST["input"], "first_id": "a", "last_id": "b"}
    for path in places(document):
        run = Run("tags").stage
        text = json.dumps(planted(document, path))
        parts = walk(parse(text), INPUT_ITEMS).parts
        edits = run.apply(parts, await run.hits(parts, run.guards))
        assert "1234" not in edits.apply(text), path


@pytest.mark.parametrize("action", ["redact", "block"])
async def test_requests(action: str) -> None:
    async with proxy(whole()) as client:
        for path in places(REQUEST):
            client.requests.clear()
            got = await client.post(planted(REQUEST, path), {"x-opper-guard-input": f"tags={action}"})
            assert CANARY not in got.body.decode(), path
            assert all(b"1234" not in request.content for request in client.requests), path
            assert got.status == (400 if action == "block" else 200), path
