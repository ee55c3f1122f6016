"""Several upstreams: the model alone says which, and what each is sent."""

import hashlib
import json
from typing import Any

import httpx
import pytest

import guardproxy_tracing as tracing
from guardproxy import Settings
from guardproxy.errors import NoAccounts, NotFound
from guardproxy.settings import ClientKey, UpstreamSettings
from guardproxy.upstreams import Upstreams
from tests.harness import message, proxy, sse, text_events, whole

KEY = "provider-" + "key"
REDACT = {"X-Opper-Guard-Input": "tags", "X-Opper-Guard-Output": "tags", "X-Opper-Guard-Action": "redact"}
TIMES = {"connect_timeout": 1.0, "upstream_timeout": 2.0, "stream_idle_timeout": 3.0}


def upstream(name: str, **given: Any) -> UpstreamSettings:
    return UpstreamSettings(name=name, url=f"https://{name}.test/v1", **{**TIMES, **given})


FIRST = upstream("first", models=("gpt-*", "o?"), default=True)
SECOND = upstream("second", models=("claude-*",), api_key=KEY, headers={"x-org": "ours"})
EMPTY = upstream("empty", api_key="")
ALL = (FIRST, SECOND, EMPTY)


def place(model: str | None, *given: UpstreamSettings) -> tuple[str, str | None]:
    found = Upstreams(Settings(upstreams=given)).of_model(model)
    return found.upstream.name, found.model


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ("gpt-4.1", ("first", "gpt-4.1")),
        ("claude-3", ("second", "claude-3")),
        ("second@gpt-4.1", ("second", "gpt-4.1")),
        ("first@claude-3", ("first", "claude-3")),
        ("second@a@b", ("second", "a@b")),
        ("second@", ("second", "")),
        ("other@gpt-4.1", ("first", "other@gpt-4.1")),  # no upstream is called so: a model's own name
        ("claude@2024", ("first", "claude@2024")),
        ("SECOND@x", ("first", "SECOND@x")),
        ("GPT-4.1", ("first", "GPT-4.1")),
        ("second", ("first", "second")),
        ("", ("first", "")),
        (None, ("first", None)),
    ],
)
def test_the_model_says_which(model: str | None, where: tuple[str, str | None]) -> None:
    assert place(model, *ALL) == where


def test_the_first_pattern_that_fits_counts() -> None:
    assert place("a-b", upstream("x", models=("a-*",)), upstream("y", models=("*-b",)))[0] == "x"


def test_one_upstream_alone_is_the_default() -> None:
    assert place("other", upstream("x", models=("a",))) == ("x", "other")


def test_without_a_default_a_model_that_nobody_serves_is_not_found() -> None:
    with pytest.raises(NotFound, match="name one of x, y before it, as in 'x@MODEL'") as raised:
        place("other", upstream("x", models=("a",)), upstream("y"))
    assert (raised.value.error_code, raised.value.param) == ("model_not_found", "model")
    found = Upstreams(Settings(upstreams=(upstream("x", models=("a",)), upstream("y"))))
    with pytest.raises(NotFound) as raised:
        found.of_models([("models[0]", "b"), ("models[1]", "c")])
    assert raised.value.param == "models[0]"
    assert [chosen.number for chosen in found.of_models([("models[0]", "b"), ("models[1]", "a")])] == [1]


def test_one_of_the_scalars_takes_every_model_as_it_is() -> None:
    found = Upstreams(Settings())
    assert found.of_model("default@x")[1] == "default@x"
    assert not found.several


def test_an_upstream_whose_key_is_empty_is_sent_nothing() -> None:
    with pytest.raises(NoAccounts, match="'empty' has no key yet"):
        place("empty@gpt-4.1", *ALL)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gpt-4.1", "first@gpt-4.1", True),
        ("second@gpt-4.1", "gpt-4.1", False),
        ("claude-3", "second@claude-3", True),
        ("gpt-4.1", "gpt-4", False),
    ],
)
def test_two_spellings_of_one_model(one: str, other: str, same: bool) -> None:
    assert Upstreams(Settings(upstreams=ALL)).same(one, other) is same


# Through the pipeline


def echoing(request: httpx.Request) -> httpx.Response:
    asked = json.loads(request.content or b"{}")
    name = request.url.host.partition(".")[0]
    return whole(message("hello"), id=f"resp_{name}", model=asked.get("model", "m"))(request)


@pytest.mark.parametrize("headers", [{}, REDACT], ids=["unguarded", "guarded"])
@pytest.mark.parametrize(
    ("model", "host", "sent"),
    [("second@gpt-4.1", "second.test", "gpt-4.1"), ("gpt-4.1", "first.test", "gpt-4.1")],
)
async def test_a_request_goes_where_its_model_says(
    headers: dict[str, str], model: str, host: str, sent: str
) -> None:
    body = b'{ "input": "hi",\n "model": "' + model.encode() + b'", "extra": 1.50 }'
    async with proxy(echoing, upstreams=ALL) as client:
        given = {**headers, "authorization": "Bearer clients", "host": "elsewhere.test", "x-org": "theirs"}
        got = await client.post(body, given)
        (request,) = client.requests
        assert (got.status, request.url.host) == (200, host)
        assert request.headers["host"] == host
        assert request.content == body.replace(model.encode(), sent.encode())  # and nothing else is changed
        ours = host == "second.test"
        assert request.headers["authorization"] == (f"Bearer {KEY}" if ours else "Bearer clients")
        assert request.headers["x-org"] == ("ours" if ours else "theirs")
        assert client.recorder.exchanges[-1].model == sent
        assert client.recorder.exchanges[-1].upstream == host.partition(".")[0]


async def test_a_body_that_names_two_models_goes_nowhere() -> None:
    async with proxy(echoing, upstreams=ALL) as client:
        got = await client.post(b'{"model": "second@a", "model": "first@a", "input": "hi"}')
        assert (got.status, client.requests) == (400, [])


@pytest.mark.parametrize("body", [b"no", b"[]", b'"second@a"'])
async def test_a_body_without_a_model_to_go_by_is_refused(body: bytes) -> None:
    async with proxy(echoing, upstreams=ALL) as client:
        got = await client.post(body)
        assert (got.status, client.requests) == (400, [])


@pytest.mark.parametrize("model", [None, 5, ["second@a"], {"second@a": 1}])
async def test_what_is_no_name_goes_to_the_default(model: Any) -> None:
    async with proxy(echoing, upstreams=ALL) as client:
        await client.post({"model": model, "input": "hi"})
        assert client.requests[0].url.host == "first.test"


@pytest.mark.parametrize("headers", [{}, REDACT], ids=["unguarded", "guarded"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_is_asked_for_where_it_was_made(headers: dict[str, str], stream: bool) -> None:
    events = sse(text_events("hello")).replace(b"resp_1", b"resp_second")

    def answer(request: httpx.Request) -> httpx.Response:
        if stream and request.method == "POST":
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events)
        return echoing(request)

    async with proxy(answer, upstreams=ALL) as client:
        made = await client.post({"model": "second@a", "input": "hi", "stream": stream}, headers)
        response_id = made.events[0]["response"]["id"] if stream else made.json["id"]
        await client.post(b"", path=f"/v1/responses/{response_id}", method="GET")
        await client.post(b"", path="/v1/responses/resp_unknown", method="GET")
        assert [r.url.host for r in client.requests] == ["second.test", "second.test", "first.test"]
        assert client.requests[1].headers["authorization"] == f"Bearer {KEY}"


async def test_without_a_default_an_unknown_response_is_not_found() -> None:
    async with proxy(echoing, upstreams=(SECOND, EMPTY)) as client:
        got = await client.post(b"", path="/v1/responses/resp_unknown", method="GET")
        assert (got.status, client.requests) == (404, [])


async def test_a_request_that_names_no_model_goes_to_the_default() -> None:
    async with proxy(echoing, upstreams=ALL) as client:
        got = await client.post({"input": "hi"})
        assert (got.status, client.requests[0].url.host) == (200, "first.test")
    async with proxy(echoing, upstreams=(SECOND, EMPTY)) as client:
        got = await client.post({"input": "hi"})
        assert (got.status, got.json["error"]["code"]) == (404, "model_not_found")


async def test_a_model_that_was_redacted_stays_so() -> None:
    async with proxy(echoing, upstreams=ALL) as client:
        await client.post({"model": "second@TAG-1234", "input": "hi"}, REDACT)
        (request,) = client.requests
        assert (request.url.host, json.loads(request.content)["model"]) == ("second.test", "second@[TAG]")


async def test_the_models_that_a_key_may_use_are_told_apart_by_upstream() -> None:
    token = "team-" + "token"
    digest = hashlib.sha256(token.encode()).hexdigest()
    key = ClientKey("a", digest, allowed_models=("gpt-4.1", "second@claude-3"))
    tried = {"first@gpt-4.1": 200, "gpt-4.1": 200, "claude-3": 200, "second@gpt-4.1": 403, "o3": 403}
    async with proxy(echoing, upstreams=(FIRST, SECOND), keys=(key,)) as client:
        for model, status in tried.items():
            got = await client.post({"model": model, "input": "hi"}, {"authorization": f"Bearer {token}"})
            assert got.status == status, model
        sent = {request.headers.get("authorization") for request in client.requests}
        assert sent == {None, f"Bearer {KEY}"}  # never a key of ours


async def test_of_a_model_that_is_refused_the_log_says_which() -> None:
    token = "team-" + "token"
    key = ClientKey("a", hashlib.sha256(token.encode()).hexdigest(), allowed_models=("gpt-4.1",))
    async with proxy(echoing, keys=(key,)) as client:
        headers = {"authorization": f"Bearer {token}", "x-opper-name": "checkout"}
        await client.post({"model": "other", "input": "hi"}, headers)
        of = client.recorder.exchanges[-1]
        assert (of.error_code, of.model, of.name) == ("model_not_allowed", "other", "checkout")


async def test_no_accounts() -> None:
    async with proxy(echoing, upstreams=ALL) as client:
        got = await client.post({"model": "empty@a", "input": "hi"})
        assert (got.status, got.json["error"]["code"], client.requests) == (503, "no_accounts", [])


async def test_the_upstream_is_on_the_span_of_the_attempt() -> None:
    with tracing.record() as spans:
        async with proxy(echoing, upstreams=ALL, plugins=[tracing]) as client:
            await client.post({"model": "second@gpt-4.1", "input": "hi"})
    named = {span.name: dict(span.attributes or {}) for span in spans}
    assert named["POST"]["guardproxy.upstream.name"] == "second"
    assert named["POST"]["server.address"] == "second.test"
    assert named["chat gpt-4.1"]["gen_ai.request.model"] == "gpt-4.1"
