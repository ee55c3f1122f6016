"""OpenRouter's `POST /api/v1/responses`: every field and rule that its document names."""

import hashlib
import json
from decimal import Decimal
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

import guardproxy_tracing as tracing
from guardproxy.lifecycle import line
from guardproxy.prices import Price
from guardproxy.profiles import MAIN, PROFILES
from guardproxy.settings import ClientKey, UpstreamSettings
from guardproxy.types import Action, Policy, Rule
from tests.harness import message, proxy, response, sse, text_events, whole

DOOR = "/api/v1/responses"
ASK = {"model": "m", "input": "hi"}
TAG = "TAG-1234"
REDACT = {"x-opper-guard-input": "tags", "x-opper-guard-output": "tags", "x-opper-guard-action": "redact"}
ANSWER = whole(message("hello"))
# The request's fields as the document lists them, with a value that it allows.
FIELDS: dict[str, Any] = {
    "input": [{"type": "message", "role": "user", "content": "hi"}],
    "instructions": "Be brief.",
    "metadata": {f"{'k' * 62}{i:02}": "v" * 512 for i in range(16)},
    "tools": [{"type": "function", "name": "f", "parameters": {}}],
    "tool_choice": {"type": "function", "name": "f"},
    "parallel_tool_calls": None,
    "model": "vendor/model:free",
    "text": {"format": {"type": "text"}, "verbosity": "low"},
    "reasoning": {"effort": "high", "enabled": True},
    "max_output_tokens": 9,
    "temperature": 0.25,
    "top_p": 0.5,
    "top_logprobs": 3,
    "max_tool_calls": 4,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "top_k": 40,
    "image_config": {"aspect_ratio": "16:9", "strength": 0.5},
    "modalities": ["text", "image"],
    "prompt_cache_key": "key",
    "previous_response_id": "resp_0",
    "prompt": {"id": "pmpt_1", "variables": {"a": "b"}},
    "include": ["reasoning.encrypted_content"],
    "background": False,
    "safety_identifier": "s",
    "store": False,
    "service_tier": "auto",
    "truncation": "auto",
    "stream": False,
    "provider": {"order": ["a", "b"], "allow_fallbacks": False, "max_price": {"prompt": 1}},
    "plugins": [{"id": "web", "max_results": 3}],
    "user": "u" * 256,
    "session_id": "s" * 256,
    "trace": {"trace_name": "nightly", "tier": 3},
}


@pytest.mark.parametrize("headers", [{}, REDACT], ids=["without guards", "with guards"])
@pytest.mark.parametrize("name", FIELDS)
async def test_every_field_goes_on_as_it_came(name: str, headers: dict[str, str]) -> None:
    asked = {**ASK, name: FIELDS[name]}
    async with proxy(ANSWER) as client:
        got = await client.post(asked, headers, path=DOOR)
        assert got.status == 200, got.body
        assert [json.loads(request.content) for request in client.requests] == [{"store": False, **asked}]


@pytest.mark.parametrize("left_out", [{}, {"store": None}])
async def test_nothing_is_stored_upstream_where_nobody_says_so(left_out: Any) -> None:
    body = b'{"input":"hi" ,"n":1e400}' if not left_out else json.dumps({"input": "hi", **left_out}).encode()
    async with proxy(ANSWER) as client:
        assert (await client.post(body, path=DOOR)).status == 200
        (request,) = client.requests
        assert json.loads(request.content)["store"] is False
        assert left_out or request.content == b'{"store":false,"input":"hi" ,"n":1e400}'


async def test_no_models_at_all_are_none() -> None:
    async with proxy(ANSWER) as client:
        for model in ({}, {"model": "m"}):
            assert (await client.post({**model, "models": [], "input": "hi"}, path=DOOR)).status == 200
            assert json.loads(client.requests[-1].content) == {"store": False, "input": "hi", **model}


REFUSED: dict[str, tuple[Any, str]] = {
    "too many pairs": ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
    "a long key": ({"metadata": {"k" * 65: ""}}, "metadata"),
    "a bracket in a key": ({"metadata": {"a[0]": ""}}, "metadata"),
    "a long value": ({"metadata": {"a": "v" * 513}}, "metadata"),
    "a value that is no string": ({"metadata": {"a": 1}}, "metadata"),
    "metadata that are no object": ({"metadata": "a"}, "metadata"),
    "a long user": ({"user": "u" * 257}, "user"),
    "a long session": ({"session_id": "s" * 257}, "session_id"),
    "a session that is no string": ({"session_id": 1}, "session_id"),
    "store": ({"store": True}, "store"),
    "input of another type": ({"input": {"a": 1}}, "input"),
    "models that are no list": ({"models": "a"}, "models"),
    "models that are no strings": ({"models": [1]}, "models"),
    "a provider that is no object": ({"provider": "a"}, "provider"),
    "plugins that are no objects": ({"plugins": ["web"]}, "plugins"),
    "a trace that is no object": ({"trace": "a"}, "trace"),
    "more models than are tried": ({"models": ["m"] * 17}, "models"),
}


@pytest.mark.parametrize("headers", [{}, REDACT], ids=["without guards", "with guards"])
@pytest.mark.parametrize(("wrong", "param"), REFUSED.values(), ids=REFUSED)
async def test_what_breaks_a_rule_is_refused(wrong: Any, param: str, headers: dict[str, str]) -> None:
    async with proxy(ANSWER) as client:
        got = await client.post({**ASK, **wrong}, headers, path=DOOR)
        error = got.json["error"]
        assert (got.status, error["type"], error["param"]) == (400, "invalid_request_error", param)
        assert not client.requests
        other = await client.post({**ASK, **wrong}, headers)  # the rules are this door's alone
        assert other.status == 200


async def test_a_session_header_that_is_too_long() -> None:
    async with proxy(ANSWER) as client:
        got = await client.post(ASK, {"x-session-id": "s" * 257}, path=DOOR)
        assert (got.status, got.json["error"]["param"]) == (400, "x-session-id")
        body = {**ASK, "session_id": "mine"}  # which counts before the header
        assert (await client.post(body, {"x-session-id": "s" * 257}, path=DOOR)).status == 200


def failing(*statuses: int) -> Any:
    """An upstream that answers with these statuses in turn, and says which model it was asked for."""
    turn = iter(statuses)

    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        status = next(turn)
        if status == 0:
            raise httpx.ConnectError("nobody there")
        if status == 1:
            raise httpx.ReadError("broke off")
        if status == 2:
            raise httpx.ConnectTimeout("late")
        if status >= 400:
            return httpx.Response(status, json={"error": {"message": f"no {asked['model']}"}})
        if asked.get("stream"):
            events = sse(text_events(asked["model"]))
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events)
        return httpx.Response(200, json=response(message(asked["model"]), model=asked["model"]))

    return answer


@pytest.mark.parametrize("headers", [{}, REDACT], ids=["without guards", "with guards"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", [0, 2, 429, 500, 503, 529])
async def test_the_next_model_is_tried(failure: int, stream: bool, headers: dict[str, str]) -> None:
    asked = {"models": ["a", "b", "c"], "input": "hi", "stream": stream}
    async with proxy(failing(failure, 200)) as client:
        got = await client.post(asked, headers, path=DOOR)
        assert got.status == 200
        assert (got.text if stream else got.json["output"][0]["content"][0]["text"]) == "b"
        sent = [json.loads(request.content) for request in client.requests]
        given = {"store": False, "input": "hi", "stream": stream}
        assert sent == [{**given, "model": model} for model in ("a", "b")]


@pytest.mark.parametrize("names_itself", [True, False])
async def test_the_cost_is_that_of_the_model_that_was_sent(names_itself: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        model = json.loads(request.content)["model"]
        made = response(message("hi"), model=model, usage={"input_tokens": 1_000_000, "output_tokens": 0})
        if not names_itself:
            del made["model"]
        return httpx.Response(500 if model == "a" else 200, json=made)

    prices = {"a": Price(Decimal(1), Decimal(1)), "b": Price(Decimal(2), Decimal(2))}
    async with proxy(answer, prices=prices) as client:
        await client.post({"models": ["a", "b"], "input": "hi"}, path=DOOR)
        assert client.recorder.exchanges[0].cost_usd == 2


@pytest.mark.parametrize("status", [400, 401, 404, 422, 200])
async def test_another_answer_is_the_answer(status: int) -> None:
    async with proxy(failing(status)) as client:
        got = await client.post({"model": "a", "models": ["b"], "input": "hi"}, path=DOOR)
        assert got.status == status
        assert len(client.requests) == 1


async def test_what_was_sent_may_have_been_paid_for_and_is_not_sent_again() -> None:
    async with proxy(failing(1)) as client:
        got = await client.post({"models": ["a", "b"], "input": "hi"}, path=DOOR)
        assert (got.status, got.json["error"]["code"]) == (502, "upstream_error")
        assert len(client.requests) == 1


async def test_the_operator_is_told_of_what_was_passed_over() -> None:
    models = ["a@1", "b@2", f"c@{TAG}", "a@4"]
    flag = {**REDACT, "x-opper-guard-action": "flag"}
    named = tuple(upstream(name, api_key="k") for name in "abc")
    with capture_logs() as logged:
        async with proxy(failing(500, 0, 429, 200), upstreams=named) as client:
            got = await client.post({"models": models, "input": "hi"}, flag, path=DOOR)
            assert got.status == 200
    lines = [line for line in logged if line["event"] == "attempt_passed_over"]
    places = [(line.get("model"), line["upstream"], line["upstream_origin"]) for line in lines]
    assert places == [
        ("1", "a", "https://a.test"),
        ("2", "b", "https://b.test"),
        (None, "c", "https://c.test"),
    ]
    assert [line.get("upstream_status") for line in lines] == [500, None, 429]
    assert (lines[1]["code"], lines[1]["upstream_failure"]) == ("upstream_error", "unreachable")
    assert {line["log_level"] for line in lines} == {"warning"}
    assert TAG not in str(logged)


async def test_where_an_upstream_is_the_operator_learns_alone() -> None:
    with capture_logs() as logged:
        async with proxy(failing(0), upstreams=(upstream("a"),)) as client:
            got = await client.post({"models": ["a@1"], "input": "hi"}, path=DOOR)
    assert got.json["error"]["message"] == "The upstream 'a' could not be reached: nobody there."
    assert [line.get("upstream_origin") for line in logged if line["event"] == "exchange"] == [
        "https://a.test"
    ]


async def test_the_last_failure_is_told_as_it_came() -> None:
    async with proxy(failing(500, 0, 429)) as client:
        got = await client.post({"model": "a", "models": ["b", "c"], "input": "hi"}, path=DOOR)
        assert (got.status, got.json["error"]["message"]) == (429, "no c")
        assert [json.loads(r.content)["model"] for r in client.requests] == ["a", "b", "c"]
    async with proxy(failing(500, 0)) as client:
        got = await client.post({"models": ["a", "b"], "input": "hi"}, path=DOOR)
        assert (got.status, got.json["error"]["code"]) == (502, "upstream_error")
        exchange = client.recorder.exchanges[-1]
        assert (exchange.upstream_status, exchange.upstream_failure) == (None, "unreachable")


async def test_as_many_models_as_may_be_asked_for_are_tried() -> None:
    async with proxy(failing(*[500] * 15, 200)) as client:
        got = await client.post({"models": [f"m-{n}" for n in range(16)], "input": "hi"}, path=DOOR)
        assert (got.status, got.json["model"], len(client.requests)) == (200, "m-15", 16)


async def test_elsewhere_models_are_one_field_among_others() -> None:
    async with proxy(failing(500)) as client:
        got = await client.post({"model": "a", "models": ["b"], "input": "hi"})
        assert got.status == 500
        assert json.loads(client.requests[0].content)["models"] == ["b"]
    async with proxy(failing(200), upstreams=(upstream("one", default=True),)) as client:
        await client.post({"model": "one@a", "models": ["b"], "input": "hi"})
        assert json.loads(client.requests[0].content) == {"model": "a", "models": ["b"], "input": "hi"}


async def test_a_model_in_turn_is_inspected_and_redacted_as_any_other() -> None:
    async with proxy(failing(500, 200)) as client:
        got = await client.post({"models": [f"x@{TAG}", f"y@{TAG}"], "input": "hi"}, REDACT, path=DOOR)
        assert [json.loads(r.content)["model"] for r in client.requests] == ["x@[TAG]", "y@[TAG]"]
        assert [entry["total"] for entry in got.json["guards"] if entry["stage"] == "input"] == [2]
        assert TAG not in got.body.decode()


def upstream(name: str, **given: Any) -> UpstreamSettings:
    times = {"connect_timeout": 1.0, "upstream_timeout": 2.0, "stream_idle_timeout": 3.0}
    return UpstreamSettings(name=name, url=f"https://{name}.test/v1", **{**times, **given})


async def test_each_model_goes_to_its_own_upstream_under_its_own_name() -> None:
    two = upstream("two", api_key="k-2")
    upstreams = (upstream("one", default=True), two, upstream("empty", api_key=""))
    models = ["one@a", "empty@b", "two@c"]
    with tracing.record() as spans:
        async with proxy(failing(500, 200), upstreams=upstreams, plugins=[tracing]) as client:
            got = await client.post({"models": models, "input": "hi"}, path=DOOR)
            assert got.json["model"] == "c"
            sent = [(r.url.host, json.loads(r.content)["model"]) for r in client.requests]
            assert sent == [("one.test", "a"), ("two.test", "c")]  # one without a key can serve nobody
            assert client.recorder.exchanges[-1].upstream == "two"
    attempts = [dict(s.attributes or {}) for s in spans if s.name == "POST"]
    assert [a["http.response.status_code"] for a in attempts] == [500, 200]
    assert [a["guardproxy.upstream.name"] for a in attempts] == ["one", "two"]
    (call,) = [dict(s.attributes or {}) for s in spans if s.name.startswith("chat")]
    assert "error.type" not in call


@pytest.mark.parametrize("shadow", [False, True])
async def test_the_model_that_answered_is_the_one_of_the_exchange(shadow: bool) -> None:
    floor = Policy(input={"tags": Rule(Action.FLAG, shadow=shadow)})
    priced = {"b": Price(Decimal(1), Decimal(2)), "a": Price(Decimal(5), Decimal(5))}
    usage = {"input_tokens": 1_000_000, "output_tokens": 0}
    for models, told in ((["a", "b"], "b"), (["a", f"x@{TAG}"], None)):
        turn = iter((500, 200))

        def answer(_: httpx.Request, turn: Any = turn) -> httpx.Response:
            status = next(turn)
            thin = {"id": "resp_1", "output": [], "usage": usage}
            return httpx.Response(status, json=thin if status == 200 else {})

        async with proxy(answer, floor=floor, prices=priced) as client:
            await client.post({"models": models, "input": "hi"}, path=DOOR)
            (of,) = client.recorder.exchanges
            assert of.told_model == told
            assert of.cost_usd == (Decimal(1) if told else None)


async def test_the_clients_own_credential_goes_to_one_upstream_alone() -> None:
    upstreams = (upstream("one", default=True), upstream("two"), upstream("three", api_key="k-3"))
    async with proxy(failing(500, 200), upstreams=upstreams) as client:
        await client.post({"models": ["one@a", "two@b", "three@c"], "input": "hi"}, path=DOOR)
        sent = [(r.url.host, r.headers["authorization"]) for r in client.requests]
        assert sent == [("one.test", "Bearer client"), ("three.test", "Bearer k-3")]


async def test_every_model_must_be_one_that_the_key_may_use() -> None:
    token = "team-" + "token"
    key = ClientKey("a", hashlib.sha256(token.encode()).hexdigest(), allowed_models=("a", "b"))
    bearer = {"authorization": f"Bearer {token}"}
    async with proxy(failing(500, 200), keys=(key,)) as client:
        for named, place in (
            ({"models": ["a", "c"]}, "models[1]"),
            ({"model": "a", "models": ["c"]}, "models[0]"),
            ({"model": "c", "models": ["a"]}, "model"),
        ):
            for door in (DOOR, MAIN):
                got = await client.post({"model": "a", **named, "input": "hi"}, bearer, path=door)
                told = got.status, got.json["error"]["code"], got.json["error"]["param"]
                assert told == (403, "model_not_allowed", place)
        got = await client.post({"models": ["a", "c"], "input": "hi"}, bearer, path=DOOR)
        assert (got.status, got.json["error"]["param"], client.requests) == (403, "models[1]", [])
        assert (await client.post({"models": ["a", "b"], "input": "hi"}, bearer, path=DOOR)).status == 200


TRACE = {
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "parent_span_id": "b7ad6b7169203331",
    "trace_name": "nightly",
    "span_name": "plan",
    "generation_name": "draft",
    "tier": 3,
    "ratio": 0.5,
    "paid": True,
    "nested": {"a": 1},
    "none": None,
    "Not A Name": "x",
    "long": "x" * 1001,
}


async def exchange_span(body: Any, headers: Any, **given: Any) -> tuple[Any, dict[str, Any]]:
    with tracing.record() as spans:
        async with proxy(ANSWER, plugins=[tracing], **given) as client:
            assert (await client.post(body, headers, path=DOOR)).status == 200
    (span,) = [s for s in spans if s.name == f"POST {DOOR}"]
    return span, dict(span.attributes or {})


@pytest.mark.parametrize("headers", [{}, REDACT], ids=["without guards", "with guards"])
async def test_trace_and_session_are_on_the_span(headers: dict[str, str]) -> None:
    span, said = await exchange_span({**ASK, "trace": TRACE, "session_id": "s-1"}, headers)
    assert f"{span.context.trace_id:032x}" == TRACE["trace_id"]
    assert f"{span.parent.span_id:016x}" == TRACE["parent_span_id"]
    assert said["session.id"] == "s-1"
    assert {name: value for name, value in said.items() if name.startswith("guardproxy.trace.")} == {
        "guardproxy.trace.trace_name": "nightly",
        "guardproxy.trace.span_name": "plan",
        "guardproxy.trace.generation_name": "draft",
        "guardproxy.trace.tier": 3,
        "guardproxy.trace.ratio": 0.5,
        "guardproxy.trace.paid": True,
    }


@pytest.mark.parametrize("headers", [{}, REDACT], ids=["without guards", "with guards"])
async def test_the_session_of_the_body_counts_before_that_of_the_header(headers: dict[str, str]) -> None:
    given = {**headers, "x-session-id": "of-the-header"}
    assert (await exchange_span(ASK, given))[1]["session.id"] == "of-the-header"
    assert (await exchange_span({**ASK, "session_id": "of-the-body"}, given))[1][
        "session.id"
    ] == "of-the-body"


@pytest.mark.parametrize("policy", ["flag", "redact", "shadow"])
async def test_what_a_guard_found_is_on_no_span(policy: str) -> None:
    action = Action.REDACT if policy == "redact" else Action.FLAG
    floor = Policy(input={"tags": Rule(action, shadow=policy == "shadow")})
    trace = {"trace_name": f"of {TAG}", "tier": 3}
    _, said = await exchange_span({**ASK, "trace": trace, "session_id": TAG}, {}, floor=floor)
    assert TAG not in str(said)
    assert "session.id" not in said
    assert said.get("guardproxy.trace.tier") == 3
    _, said = await exchange_span(ASK, {"x-session-id": f"of {TAG}"}, floor=floor)
    assert "session.id" not in said


@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_guard_found_in_a_key_or_in_a_model_in_turn_is_told_nowhere(
    shadow: bool, stream: bool
) -> None:
    floor = Policy(input={"tags": Rule(Action.FLAG, shadow=shadow)})
    body = {"models": [f"m/{TAG}"], "input": "hi", "trace": {TAG: "x"}, "stream": stream}

    def answer(request: httpx.Request) -> httpx.Response:
        answered = response(message("hello"), model=json.loads(request.content)["model"])
        if not stream:
            return httpx.Response(200, json=answered)
        events = sse([{"type": "response.completed", "response": answered}])
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events)

    with tracing.record() as spans:
        async with proxy(answer, plugins=[tracing], floor=floor) as client:
            assert (await client.post(body, path=DOOR)).status == 200
    (exchange,) = client.recorder.exchanges
    assert exchange.response_model == f"m/{TAG}"
    assert TAG not in str(line(exchange))
    assert spans
    assert TAG not in str([(span.name, dict(span.attributes or {})) for span in spans])


async def test_without_a_guard_at_the_input_a_free_text_is_on_no_span() -> None:
    body = {**ASK, "trace": {"trace_name": "of Ada", "span_name": "plan", "tier": 3}, "session_id": "of Ada"}
    for headers in ({}, {"x-opper-guard-output": "tags"}, {"x-session-id": "of Ada"}):
        _, said = await exchange_span(body, headers)
        assert "of Ada" not in str(said)
        assert (said["guardproxy.trace.span_name"], said["guardproxy.trace.tier"]) == ("plan", 3)
    _, said = await exchange_span(body, {"x-opper-guard-input": "tags"})
    assert (said["session.id"], said["guardproxy.trace.trace_name"]) == ("of Ada", "of Ada")


async def test_a_failing_guard_tells_nothing() -> None:
    with tracing.record() as spans:
        async with proxy(ANSWER, plugins=[tracing]) as client:
            body = {**ASK, "input": "boom", "trace": {"trace_name": "nightly"}, "session_id": "s-1"}
            got = await client.post(body, {"x-opper-guard-input": "raises"}, path=DOOR)
            assert got.status == 500
    assert "nightly" not in str([dict(s.attributes or {}) for s in spans])


async def test_other_doors_do_not_read_trace_and_session() -> None:
    with tracing.record() as spans:
        async with proxy(ANSWER, plugins=[tracing]) as client:
            body = {**ASK, "trace": {"trace_name": "nightly"}, "session_id": "s-1"}
            await client.post(body, {"x-session-id": "s-2"})
    said = str([dict(s.attributes or {}) for s in spans])
    assert "nightly" not in said
    assert "session.id" not in said


def test_the_profile_is_there_to_be_mounted() -> None:
    assert PROFILES["openrouter"].name == "openrouter"
