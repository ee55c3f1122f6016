"""`POST /v1/guard/check`: the guards of the proxy over a text that goes nowhere."""

import hashlib
import json
from typing import Any

import pytest

from guardproxy.allow import AllowList
from guardproxy.routes import CHECK
from guardproxy.settings import ClientKey
from guardproxy.types import Action, Guard, OnError, Policy, Rule, Stage
from tests.harness import Answered, Client, proxy, whole
from tests.samples import guards

TAG = "TAG-1234"


async def ask(client: Client, body: Any, headers: Any = ()) -> Answered:
    got = await client.post(body, headers, path=CHECK)
    assert client.requests == []  # whatever happens
    return got


@pytest.mark.parametrize(
    ("action", "outcome", "text"),
    [
        ({}, "flagged", "see TAG-1234"),
        ({"action": "Flag"}, "flagged", "see TAG-1234"),
        ({"action": "redact"}, "redacted", "see [TAG]"),
        ({"action": "block"}, "blocked", None),
    ],
)
@pytest.mark.parametrize("stage", ["input", "output"])
async def test_a_text(action: dict[str, str], outcome: str, text: str | None, stage: str) -> None:
    async with proxy(whole()) as client:
        got = await ask(client, {"input": f"see {TAG}", "guards": "tags", "stage": stage, **action})
    assert got.status == 200
    assert got.json["object"] == "guard.check"
    assert got.json["verdict"] == {"stage": stage, "outcome": outcome}
    assert got.json["receipt"] == {"parts": 1, "skipped": {}, "allowed": 0}
    assert got.json.get("input") == text
    (entry,) = got.json["guards"]
    assert (entry["guard_type"], entry["stage"], entry["flagged"], entry["total"]) == ("tags", stage, True, 1)
    (finding,) = entry["findings"]
    # At the output offsets are those of what is delivered: the placeholder's.
    end = 9 if stage == "output" and outcome != "flagged" else 12
    assert finding == {"category": "TAG", "path": "/input", "start": 4, "end": end, "score": 1.0}
    other = "output" if stage == "input" else "input"
    words = {stage: outcome, other: "off"}
    assert got.headers["x-guardproxy-verdict"] == f"input={words['input']}, output={words['output']}"
    assert got.headers["x-guardproxy-receipt"] == "parts=1"
    assert got.headers["x-request-id"].startswith("req_")
    assert TAG not in json.dumps(got.json) or outcome == "flagged"


async def test_a_clean_text_comes_back_as_it_was_written() -> None:
    async with proxy(whole()) as client:
        body = b'{ "guards": ["tags", "names=block"], "input" : [ {"content": "A\\u0042 c", "x": 1e400} ] }'
        got = await ask(client, body)
    assert got.json["verdict"]["outcome"] == "clean"
    assert [entry["flagged"] for entry in got.json["guards"]] == [False, False]
    assert b'"input":[ {"content": "A\\u0042 c", "x": 1e400} ]' in got.body


async def test_items_are_walked_as_in_a_request() -> None:
    items = [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "TAG-12"}, {"type": "input_text", "text": "34"}],
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps({"to": TAG})},
        {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]},
    ]
    async with proxy(whole()) as client:
        got = await ask(client, {"input": items, "guards": "tags", "action": "redact"})
        request = await client.post(
            {"input": items}, {"x-opper-guard-input": "tags=redact", "x-opper-guard-report": "fields"}
        )
        assert got.json["input"] == json.loads(client.requests.pop().content)["input"]
    assert got.json["guards"] == request.json["guards"]
    assert got.headers["x-guardproxy-receipt"] == request.headers["x-guardproxy-receipt"]
    assert got.json["receipt"]["skipped"] == {"file_id": 1}
    assert "/input/1/arguments#/to" in [finding["path"] for finding in got.json["guards"][0]["findings"]]


async def test_what_is_sealed_beside_a_redaction_is_treated_as_at_its_stage() -> None:
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": TAG}],
        "encrypted_content": "abc=",
    }
    body = {"input": [item], "guards": "tags", "action": "redact"}
    async with proxy(whole()) as client:
        at_input = await ask(client, body)
        at_output = await ask(client, {**body, "stage": "output"})
    assert (at_input.status, at_input.json["error"]["code"]) == (400, "guardrail_violation")
    assert at_input.json["error"]["param"] == "/input/0"
    assert at_output.json["receipt"]["skipped"] == {"encrypted": 1, "encrypted_dropped": 1}
    assert at_output.json["input"][0]["encrypted_content"] is None


@pytest.mark.parametrize(
    ("body", "code", "param", "message"),
    [
        (b"", "invalid_request", None, "no body"),
        (b"{", "uninspectable", None, "not valid JSON"),
        (b"[]", "uninspectable", None, "no JSON object"),
        (b'{"input": "a", "input": "b"}', "uninspectable", None, "a key occurs twice"),
        ({"guards": "tags"}, "invalid_request", "input", "'input' must be a string, or a list"),
        (b'{"input": 12345678, "guards": "tags"}', "invalid_request", "input", "'input' must be"),
        ({"input": {"a": "b"}, "guards": "tags"}, "invalid_request", "input", "'input' must be"),
        ({"input": "a", "guard": "tags"}, "invalid_request", None, "has 'guard', which is not known here"),
        ({"input": "a", "TAG-1234": "tags"}, "invalid_request", None, "has a field, which is not known here"),
        ({"input": "a", "guards": {"tags": 1}}, "invalid_request", "guards", "'guards' must be"),
        ({"input": "a", "guards": ["tags", 7]}, "invalid_request", "guards", "'guards' must be"),
        ({"input": "a", "guards": "tags", "action": 1}, "invalid_request", "action", "'action' must be"),
        (
            {"input": "a", "guards": "tags", "stage": "both"},
            "invalid_request",
            "stage",
            "'input' or 'output'",
        ),
        (
            {"input": "a", "guards": "tugs"},
            "unknown_guard",
            "guards",
            "'guards': unknown guard 'tugs'. Guards for",
        ),
        (
            {"input": "a", "guards": "tags=x"},
            "unknown_action",
            "guards",
            "'guards': unknown action for 'tags'",
        ),
        (
            {"input": "a", "guards": "tags", "action": "x"},
            "unknown_action",
            "action",
            "'action': unknown action.",
        ),
        (
            {"input": "a"},
            "unknown_guard",
            "guards",
            "No guard is on; name some in 'guards'. Guards for input: ",
        ),
        ({"input": "a", "guards": [" ", ""]}, "unknown_guard", "guards", "No guard is on"),
    ],
)
async def test_a_check_that_is_none(body: Any, code: str, param: str | None, message: str) -> None:
    async with proxy(whole()) as client:
        got = await ask(client, body)
    error = got.json["error"]
    assert (got.status, error["code"], error["param"]) == (400, code, param)
    assert message in error["message"]
    assert TAG not in error["message"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-opper-guard-input": "tugs"}, "unknown_guard"),
        ({"x-opper-guards": "tags"}, "unknown_header"),
        ({"x-opper-guard-report": "loud"}, "unknown_report"),
    ],
)
async def test_wrong_headers_are_refused_as_elsewhere(headers: dict[str, str], code: str) -> None:
    async with proxy(whole()) as client:
        got = await ask(client, {"input": "a", "guards": "tags"}, headers)
    assert (got.status, got.json["error"]["code"]) == (400, code)


async def test_headers_floor_and_key_join_and_cannot_be_weakened() -> None:
    token = "team-key"
    key = ClientKey(
        "team", hashlib.sha256(token.encode()).hexdigest(), policy=Policy({"names": Rule(Action.BLOCK)})
    )
    floor = Policy({"tags": Rule(Action.REDACT)}, {"pairs": Rule(Action.BLOCK)})
    async with proxy(whole(), floor=floor, keys=(key,), upstream_api_key="up") as client:
        bearer = {"authorization": f"Bearer {token}"}
        weak = await ask(client, {"input": f"{TAG} xxx", "guards": "tags", "action": "flag"}, bearer)
        bare = await ask(client, {"input": "Zorp"}, bearer)
        more = await ask(client, {"input": "{{a}}"}, {**bearer, "x-opper-guard-input": "braces=redact"})
        output = await ask(client, {"input": "xxx Zorp", "stage": "output"}, bearer)
        wrong = await ask(client, {"input": "a"}, {"authorization": "Bearer other"})
    assert (weak.json["verdict"]["outcome"], weak.json["input"]) == ("redacted", "[TAG] xxx")
    assert [(e["guard_type"], e["action"]) for e in weak.json["guards"]] == [
        ("tags", "redact"),
        ("names", "block"),
    ]
    assert bare.json["verdict"]["outcome"] == "blocked"
    assert more.json["input"] == "[BRACES]"
    assert [(e["guard_type"], e["stage"]) for e in output.json["guards"]] == [("pairs", "output")]
    assert (wrong.status, wrong.json["error"]["code"]) == (401, "invalid_api_key")


async def test_a_credential_is_needed_as_elsewhere() -> None:
    async with proxy(whole()) as client:
        got = await ask(client, {"input": "a", "guards": "tags"}, {"authorization": ""})
    assert (got.status, got.json["error"]["code"]) == (401, "invalid_api_key")


async def test_a_guard_that_fails_is_an_error_and_no_clean_text() -> None:
    async with proxy(whole()) as client:
        got = await ask(client, {"input": "boom TAG-1234", "guards": "tags,raises"})
        assert client.recorder.exchanges[0].outcome == "failed"
    assert (got.status, got.json["error"]["code"]) == (500, "guardrail_failed")
    assert got.headers["x-guardproxy-verdict"] == "input=failed, output=off"
    assert got.headers["x-should-retry"] == "false"
    assert TAG not in got.body.decode()


async def test_a_failure_that_is_tolerated_is_flagged() -> None:
    floor = Policy({"raises": Rule(Action.BLOCK, on_error=OnError.FLAG)})
    async with proxy(whole(), floor=floor) as client:
        got = await ask(client, {"input": "boom"})
    assert got.json["verdict"]["outcome"] == "flagged"


async def test_guards_in_shadow_look_and_are_not_told_of() -> None:
    floor = Policy({"names": Rule(Action.BLOCK, shadow=True)})
    async with proxy(whole(), floor=floor) as client:
        got = await ask(client, {"input": "Zorp", "guards": "tags"})
        alone = await ask(client, {"input": "Zorp"})
        (verdict, *_) = client.recorder.verdicts
    assert got.json["verdict"]["outcome"] == "clean"
    assert [entry["guard_type"] for entry in got.json["guards"]] == ["tags"]
    assert [finding.category for finding in verdict.shadowed] == ["NAME"]
    assert alone.json["error"]["code"] == "unknown_guard"


async def test_the_steps_in_order() -> None:
    async with proxy(whole()) as client:
        await ask(client, {"input": TAG, "guards": "tags", "action": "block"}, {"x-opper-name": "mine"})
        (exchange,) = client.recorder.exchanges
        steps = client.recorder.steps
    assert steps == [
        f"+exchange POST {CHECK}",
        "resolve_policy",
        "+stage input",
        "+guard tags",
        "-guard tags",
        "-stage input",
        "verdict input",
        "after_forward",
        f"-exchange POST {CHECK}",
    ]
    assert (exchange.outcome, exchange.status, exchange.error_code) == ("blocked", 200, None)
    assert exchange.verdicts[Stage.INPUT].outcome == "blocked"
    assert exchange.name == "mine"


@pytest.mark.parametrize(
    "path", [f"{CHECK}/", "/v1/guard", "/v1/guard/Check", "/v1/guard/check/x", "/v1//guard/check"]
)
async def test_other_spellings_are_not_served(path: str) -> None:
    async with proxy(whole()) as client:
        got = await client.post({"input": "a", "guards": "tags"}, path=path)
        other = await client.post(b"", path=CHECK, method="GET")
    assert (got.status, got.json["error"]["code"]) == (404, "not_found")
    assert f"POST {CHECK}" in got.json["error"]["message"]
    assert (other.status, other.headers["allow"]) == (405, "POST")


async def test_a_large_text_with_a_finding_at_its_end() -> None:
    text = "word " * 40_000
    async with proxy(whole()) as client:
        got = await ask(client, {"input": text + TAG, "guards": "tags", "action": "redact"})
    assert got.json["input"] == text + "[TAG]"


async def test_companions_and_allow_lists_count() -> None:
    both = Guard("both", (), companions={"tags": Action.BLOCK})
    allow = {"tags": AllowList([TAG])}
    async with proxy(whole(), made={**guards(), "both": both}, allow=allow) as client:
        blocked = await ask(client, {"input": "TAG-5678", "guards": "both"})
        let_be = await ask(client, {"input": TAG, "guards": "both"})
    assert blocked.json["verdict"]["outcome"] == "blocked"
    assert (let_be.json["verdict"]["outcome"], let_be.json["input"]) == ("clean", TAG)
    assert let_be.json["receipt"]["allowed"] == 1


async def test_a_charset_in_which_the_text_is_another_is_refused() -> None:
    async with proxy(whole()) as client:
        headers = {"content-type": "application/json; charset=utf-7"}
        got = await ask(client, {"input": "a", "guards": "tags"}, headers)
    assert (got.status, got.json["error"]["code"]) == (415, "unsupported_media_type")
