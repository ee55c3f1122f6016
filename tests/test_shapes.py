"""The table of places, where the schemas say too little, and where the same key is text or is not."""

import base64
import json
from typing import Any

import pytest

from guardproxy.document import parse, walk
from guardproxy.shapes import REQUEST
from guardproxy.types import Action, Stage
from tests.harness import response
from tests.protocol.proof import in_message, inspected, leaks
from tests.test_streaming import Run


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


S = "see TAG-7351 now"
LATIN = base64.b64encode("see TAG-7351 café".encode("latin-1")).decode()
ESCAPED = '{"a": "\\u0054AG-7351", "b": {"TAG-7351": [1]}}'
# Base64 and data: URLs as only a lenient reader takes them; all but the first are URLs.
UNUSUAL = [
    f"{packed(S)[:5]}!{packed(S)[5:]}",
    f"data:text/plain;base64,%63{packed(S)[1:]}",
    f"data:text/plain;base64,{packed(S)[:5]} *{packed(S)[5:]}",
    f" data:text/plain;base64,{packed(S)}",
    f"da\nta:text/plain;ba\tse64,{packed(S)}",
    f"data:text/plain;name=a.txt;base64,{packed(S)}",
    f"data:text/plain;base64;name=TAG-7351,{packed(S)}",
    f"data:image/png;name=TAG-7351;base64,{packed(S)}",
    f"data:base64,{packed(S)}",
]
# Facts of the reference that the listings do not have, and forms in which a text hides.
NESTED: list[Any] = [
    {"input": [{"type": "computer_call", "action": {"type": "type", "text": S}}]},
    {"input": [{"type": "computer_call", "actions": [{"type": "keypress", "keys": [S]}]}]},
    {"input": [{"type": "computer_call", "pending_safety_checks": [{"id": "a", "code": "b", "message": S}]}]},
    {"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": S}}]},
    {"input": [{"type": "local_shell_call", "action": {"type": "exec", "command": ["ls", S]}}]},
    {"input": [{"type": "local_shell_call", "action": {"env": {"TAG-7351": "x"}, "user": "x"}}]},
    {"input": [{"type": "local_shell_call", "action": {"env": {"KEY": S}}}]},
    {"input": [{"type": "local_shell_call", "action": {"user": S}}]},
    {"input": [{"type": "shell_call", "action": {"commands": [S]}}]},
    {"input": [{"type": "shell_call", "environment": {"type": "local", "skills": [{"description": S}]}}]},
    {"input": [{"type": "shell_call_output", "output": [{"stdout": S, "outcome": {"type": "exit"}}]}]},
    {"input": [{"type": "shell_call_output", "output": [{"stderr": S}]}]},
    {"input": [{"type": "apply_patch_call", "operation": {"type": "update_file", "path": "a", "diff": S}}]},
    {"input": [{"type": "apply_patch_call", "operation": {"type": "delete_file", "path": S}}]},
    {"input": [{"type": "code_interpreter_call", "outputs": [{"type": "logs", "logs": S}]}]},
    {"input": [{"type": "code_interpreter_call", "outputs": [{"type": "image", "url": S}]}]},
    {"input": [{"type": "file_search_call", "results": [{"file_id": "f", "filename": S}]}]},
    {"input": [{"type": "file_search_call", "results": [{"attributes": {"TAG-7351": 1}, "score": 0.5}]}]},
    {"input": [{"type": "file_search_call", "results": [{"attributes": {"type": S}}]}]},
    {"input": [{"type": "web_search_call", "action": {"type": "search", "query": S}}]},
    {"input": [{"type": "web_search_call", "action": {"sources": [{"type": "url", "url": S}]}}]},
    {"input": [{"type": "web_search_call", "action": {"type": "find", "pattern": S, "url": "u"}}]},
    {"input": [{"type": "mcp_call", "error": {"type": "x", "content": [{"text": S}]}}]},
    {"input": [{"type": "mcp_list_tools", "tools": [{"name": "n", "annotations": {"title": S}}]}]},
    {"input": [{"type": "mcp_list_tools", "tools": [{"input_schema": {"properties": {"TAG-7351": {}}}}]}]},
    {"input": [{"type": "function_call", "arguments": ESCAPED}]},
    {"input": [{"type": "function_call", "arguments": ESCAPED[:-1]}]},
    {"input": [{"type": "function_call_output", "output": ESCAPED}]},
    {"input": [{"type": "custom_tool_call_output", "output": f"[{ESCAPED}]"}]},
    {"input": [{"type": "mcp_call", "output": f" {ESCAPED}"}]},
    {"input": [{"type": "mcp_call", "output": ESCAPED[:-1].replace("\\u0054", "T")}]},
    {"input": [{"type": "function_call", "caller": {"type": "program", "caller_id": S}}]},
    {"input": [{"type": "vendor_call", "name": S, "role": {"deep": [[S]]}}]},
    {"input": [{"type": "vendor_call", "size": "TAG-7351", "name": "TAG-7351", "encrypted_content": S}]},
    {"input": [in_message({"type": "input_file", "file_data": packed(S)})]},
    {"input": [in_message({"type": "input_file", "file_data": f"data:text/plain;base64,{packed(S)}"})]},
    {"input": [in_message({"type": "input_file", "file_data": f"DATA:text/plain; base64 ,{packed(S)}"})]},
    {"input": [in_message({"type": "input_file", "file_data": "data:,see%20TAG-7351"})]},
    {
        "input": [
            in_message({"type": "input_file", "file_data": "data:application/pdf;base64,see TAG-7351 now"})
        ]
    },
    {"input": [in_message({"type": "input_file", "file_data": "data:,see TAG-7351 \ud800 caf%E9"})]},
    {"input": [in_message({"type": "input_file", "file_data": f"data:text/csv;base64,{LATIN}"})]},
    *({"input": [in_message({"type": "input_file", "file_data": value})]} for value in UNUSUAL),
    *(
        {"input": [in_message({"type": "image_url", "image_url": {"url": url, "detail": "low"}})]}
        for url in UNUSUAL[1:]
    ),
    {"input": [in_message({"type": "input_file", "file_data": S})]},
    {"input": [in_message({"type": "input_file", "file_data": "TAG-7351"})]},
    {"input": [in_message({"type": "input_image", "image_url": f"data:image/png;base64,{packed(S)}"})]},
    {"input": [in_message({"type": "input_image", "image_url": f"data:image/svg+xml;base64,{packed(S)}"})]},
    {"input": [in_message({"type": "input_image", "image_url": "https://x.example/?q=TAG-7351"})]},
    {
        "input": [
            in_message({"type": "image_url", "image_url": {"url": f"data:text/plain;base64,{packed(S)}"}})
        ]
    },
    {"input": [in_message({"type": "file", "file": {"file_data": packed(S), "filename": "x"}})]},
    {"input": [in_message({"type": "input_audio", "input_audio": {"data": S, "format": "wav"}})]},
    {"messages": [{"role": "user", "content": S}]},
    {"messages": [{"role": "user", "name": "TAG-7351", "content": [{"type": "text", "text": "x"}]}]},
    {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ESCAPED}}]}]},
    {"prompt": {"id": "p", "variables": {"type": S, "detail": "TAG-7351"}}},
    {"prompt": {"id": "p", "variables": {"TAG-7351": "x"}}},
    {"prompt": {"id": "p", "variables": {"file": {"type": "input_file", "filename": S, "file_id": "f"}}}},
    {"tools": [{"type": "function", "name": "f", "parameters": {"properties": {"TAG-7351": {}}}}]},
    {"tools": [{"type": "function", "parameters": {"enum": [S], "default": S, "pattern": S, "title": S}}]},
    {"tools": [{"type": "mcp", "headers": {"TAG-7351": "x"}, "authorization": "TAG-7351"}]},
    {"tools": [{"type": "mcp", "require_approval": {"always": {"tool_names": [S]}}}]},
    {"tools": [{"type": "vendor_tool", "action": "TAG-7351", "background": S, "model": S}]},
    {"tools": [{"type": "shell", "environment": {"network_policy": {"domain_secrets": [{"value": S}]}}}]},
    {"tools": [{"type": "web_search", "user_location": {"type": "approximate", "city": S}}]},
    {"tools": [{"type": "image_generation", "input_image_mask": {"image_url": f"data:,{S}"}}]},
    {"metadata": {"TAG-7351": "x", "type": S, "id": "TAG-7351"}},
    {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"$defs": {"TAG-7351": {}}}}}},
    {"stop": [S], "session_id": "TAG-7351", "trace": {"trace_name": S}},
]


@pytest.mark.parametrize("document", NESTED, ids=[str(number) for number in range(len(NESTED))])
async def test_what_the_schemas_do_not_say(document: Any) -> None:
    sides: list[tuple[Stage, Any]] = [(Stage.INPUT, document)]
    if "input" in document:
        sides.append((Stage.OUTPUT, response(*document["input"])))
    for side, doc in sides:
        body, run = await inspected(side, Action.FLAG, doc)
        assert leaks(body)
        assert run.verdict().findings
        body, run = await inspected(side, Action.REDACT, doc)
        assert not leaks(body)
        assert b"TAG]" in body or packed("see [TAG]").encode() in body or "encrypted_content" in str(doc)
        body, run = await inspected(side, Action.BLOCK, doc)
        assert run.blocked


# A guard's matches that are not validated count in texts only: here a word that no grammar keeps out.
FREE_WORDS: list[tuple[Any, bool]] = [
    ({"input": [{"type": "vendor_call", "name": "xyx"}]}, True),
    ({"input": [{"type": "function_call", "name": "xyx"}]}, False),
    ({"input": [{"type": "function_call_output", "created_by": "xyx"}]}, True),
    ({"input": [in_message({"type": "vendor_part", "detail": "xyx"})]}, True),
    ({"input": [in_message({"type": "vendor_part", "file_id": "xyx"})]}, True),
    ({"input": [in_message({"type": "input_image", "detail": "xyx"})]}, False),
    ({"tools": [{"type": "vendor_tool", "size": "xyx"}]}, True),
    ({"tools": [{"type": "image_generation", "size": "xyx"}]}, False),
    ({"messages": [{"role": "user", "name": "xyx"}]}, True),
    ({"prompt": {"variables": {"file_id": "xyx"}}}, True),
    ({"prompt": {"variables": {"type": "xyx"}}}, True),
    ({"prompt": {"id": "xyx"}}, False),
    ({"conversation": "xyx"}, False),
    ({"user": "xyx", "safety_identifier": "xyx", "prompt_cache_key": "xyx"}, True),
    ({"metadata": {"id": "xyx"}}, True),
]


@pytest.mark.parametrize(("document", "found"), FREE_WORDS)
async def test_a_word_is_text_where_anything_may_stand(document: Any, found: bool) -> None:
    run = Run("pairs").stage
    parts = walk(parse(json.dumps(document)), REQUEST).parts
    hits = await run.hits(parts, run.guards)
    assert any(hits) is found
