"""Opper's `POST /v3/compat/openresponses`: headers and fields. Its answers: tests/test_members.py."""

import json
from typing import Any

import pytest

import guardproxy_tracing as tracing
from guardproxy_tracing.ids import parent_of
from tests.harness import message, proxy, whole

DOORS = ("/v3/compat/openresponses", "/v3/compat/responses")
ASK = {"model": "m", "input": "hi"}
TAG = "TAG-1234"
REDACT = {"x-opper-guard-input": "tags", "x-opper-guard-output": "tags", "x-opper-guard-action": "redact"}
ANSWER = whole(message("hello"))
# The request's fields as the document lists them, with a value that it allows.
FIELDS: dict[str, Any] = {
    "frequency_penalty": 0.5,
    "include": ["reasoning.encrypted_content"],
    "input": [{"type": "message", "role": "user", "content": "hi"}],
    "instructions": "Be brief.",
    "max_output_tokens": 9,
    "max_tool_calls": 2,
    "metadata": {"a": "b"},
    "model": "vendor/model",
    "parallel_tool_calls": False,
    "presence_penalty": -0.5,
    "previous_response_id": "resp_0",
    "reasoning": {"effort": "high", "summary": "auto"},
    "service_tier": "auto",
    "store": True,
    "stream": False,
    "temperature": 0.25,
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
    "tool_choice": {"type": "function", "name": "f"},
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {}, "strict": True}],
    "top_p": 0.5,
    "truncation": "auto",
}


@pytest.mark.parametrize("headers", [{}, REDACT], ids=["without guards", "with guards"])
@pytest.mark.parametrize("door", DOORS)
async def test_every_field_of_opper_goes_on_as_it_came(door: str, headers: dict[str, str]) -> None:
    async with proxy(ANSWER) as client:
        for name, value in FIELDS.items():
            client.requests.clear()
            asked = {**ASK, name: value}
            got = await client.post(asked, headers, path=door)
            assert got.status == 200, (name, got.body)
            assert [json.loads(request.content) for request in client.requests] == [asked], name


@pytest.mark.parametrize("door", DOORS)
async def test_the_name_and_the_parent_are_on_the_span(door: str) -> None:
    parent = "0af76519-16cd-43dd-8448-eb211c80319c"
    with tracing.record() as spans:
        async with proxy(ANSWER, plugins=[tracing]) as client:
            headers = {"x-opper-name": "checkout", "x-opper-parent-span-id": parent}
            await client.post(ASK, headers, path=door)
            assert not any(name.startswith("x-opper-name") for name in client.requests[0].headers)
    (span,) = [s for s in spans if s.name == f"POST {door}"]
    assert dict(span.attributes or {})["guardproxy.name"] == "checkout"
    assert span.parent is not None
    assert (span.context.trace_id, span.parent.span_id) == parent_of(parent)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("action", [None, "flag", "redact", "block"])
async def test_the_headers_choose_guards_and_action(door: str, action: str | None) -> None:
    async with proxy(whole(message(f"of {TAG}"))) as client:
        headers = {"x-opper-guard-input": "tags,mood", "x-opper-guard-output": "tags"}
        if action is not None:
            headers["x-opper-guard-action"] = action
        got = await client.post({**ASK, "input": f"of {TAG}"}, headers, path=door)
        if action == "block":
            assert (got.status, got.json["error"]["code"]) == (400, "guardrail_violation")
            assert not client.requests
            return
        items = [item for item in got.json["output"] if item["type"] == "opper:guard"]
        assert [(i["guard_type"], i["stage"], i["action"], i["flagged"]) for i in items] == [
            ("tags", "input", action or "flag", True),
            ("mood", "input", action or "flag", False),
            ("tags", "output", action or "flag", True),
        ]
        said = json.loads(client.requests[0].content)["input"]
        assert said == (f"of {TAG}" if action != "redact" else "of [TAG]")
        assert (TAG in got.body.decode()) is (action != "redact")


async def test_another_action_is_refused() -> None:
    async with proxy(ANSWER) as client:
        got = await client.post(ASK, {**REDACT, "x-opper-guard-action": "warn"}, path=DOORS[0])
        assert (got.status, got.json["error"]["code"]) == (400, "unknown_action")
