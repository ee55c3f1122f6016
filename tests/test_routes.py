"""The whole life of a response: which spellings exist, and that guards are at work on every route."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from guardproxy import Guard, Policy, Rule, Settings
from guardproxy.errors import ConfigError
from guardproxy.memory import KEPT, PolicyMemory
from guardproxy.profiles import DOORS
from guardproxy.routes import ROUTES, Route, check_doors, find
from guardproxy.scanning import UNLIMITED
from guardproxy.settings import ClientKey
from guardproxy.types import Action
from tests import harness, samples
from tests.harness import Answered, Chunks, Client, message, response, sse, streaming, text_events, whole


class Tags(samples.Tags):
    inline_below = UNLIMITED  # no worker process: a proxy starts at once


class Pairs(samples.Pairs):
    inline_below = UNLIMITED


class Names(samples.Names):
    inline_below = UNLIMITED


GUARDS = {one.name: Guard(one.name, (one,)) for one in (Tags(), Pairs(), Names())}
proxy = partial(harness.proxy, made=GUARDS)
DOOR = "/v1/responses"
ID = "resp_1-A"
IN, OUT = "x-opper-guard-input", "x-opper-guard-output"
WITH_BODY = [route for route in ROUTES if route.body]
OF_STORED = [route for route in ROUTES if not route.body]


def name(route: Route) -> str:
    return f"{route.method} {route.tail}"


def path(route: Route, door: str = DOOR) -> str:
    return door + route.tail.replace("{id}", ID)


def answer_of(request: httpx.Request, text: str) -> dict[str, Any]:
    """What the API answers at a path, with `text` in it."""
    below = request.url.path.removeprefix("/v1/responses")
    if below.endswith("/input_items"):
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        return {"object": "list", "data": [item], "first_id": "msg_1", "last_id": "msg_1", "has_more": False}
    if below == "/input_tokens":
        return {"object": "response.input_tokens", "input_tokens": 11, "note": text}
    if request.method == "DELETE":
        return {"id": ID, "object": "response", "deleted": True, "note": text}
    return response(message(text), id=ID)


def stored(text: str = "fine", *, stream: bool = False) -> Any:
    """An upstream with one response."""

    def upstream(request: httpx.Request) -> httpx.Response:
        if stream and request.method == "POST" and request.url.path == "/v1/responses":
            events = sse(text_events(text)).replace(b'"resp_1"', f'"{ID}"'.encode())
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Chunks([events]))
        return httpx.Response(200, json=answer_of(request, text))

    return upstream


async def ask(
    client: Client,
    route: Route,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    text: str = "hi",
    **more: Any,
) -> Answered:
    body = {"model": "m", "input": text} if route.body else b""
    return await client.post(body, headers or {}, path=path(route), method=route.method, **more)


@pytest.mark.parametrize("at", DOORS)
@pytest.mark.parametrize("route", ROUTES, ids=name)
async def test_every_route_reaches_its_place_at_the_upstream(route: Route, at: str) -> None:
    async with proxy(stored()) as client:
        door = path(route, at)
        got = await client.post(b"{}" if route.body else b"", path=door, method=route.method, query="limit=2")
        (sent,) = client.requests
    assert got.status == 200
    assert (sent.method, str(sent.url)) == (
        route.method,
        f"http://upstream.test/v1{path(route, '/responses')}?limit=2",
    )


SPELLINGS = (
    "{}/",
    "{}//",
    "{}/.",
    "{}/..",
    "{};a=b",
    "{}%2f",
    "{}%00",
    "{}%0a",
    "{}/%2e%2e",
    "/{}",
    "/.{}",
    "/v1/..{}",
)


def misspelt() -> Iterator[tuple[str, str, int]]:
    for route in ROUTES:
        right = path(route)
        for spelling in SPELLINGS:
            yield route.method, spelling.format(right), 404
        if route.tail:
            yield route.method, f"{right}/x", 404
        yield route.method, right.replace("/", "//"), 404
        yield route.method, right.replace("/responses", "/Responses"), 404
        yield route.method, right.replace("s/", "s%2F").replace("/v1/r", "/v1/%72"), 404
        head, _, last = right.rpartition("/")
        yield route.method, f"{head}//{last}", 404
        yield route.method, f"{head}/x/../{last}", 404
        yield route.method, f"{head}/%2e/{last}", 404
        if last != ID:
            yield (
                route.method,
                f"{head}/{last.upper()}",
                404 if "{id}" in route.tail or not route.tail else 405,
            )
    for odd in (
        "a.b",
        "a b",
        "a%20b",
        "ä",
        "a:b",
        "a,b",
        "{id}",
        "a" * 129,
        "%61",
        "a+b",
        "a%3fb",
    ):
        yield "GET", f"{DOOR}/{odd}", 404
        yield "POST", f"{DOOR}/{odd}/cancel", 404
    for method, tail in (
        *(
            ("HEAD", f"/{ID}"),
            ("PUT", f"/{ID}"),
            ("POST", f"/{ID}"),
            ("PATCH", f"/{ID}"),
            ("OPTIONS", f"/{ID}"),
        ),
        *(("GET", ""), ("DELETE", ""), ("GET", "/compact"), ("DELETE", "/input_tokens"), ("get", f"/{ID}")),
        *(("GET", f"/{ID}/cancel"), ("POST", f"/{ID}/input_items"), ("DELETE", f"/{ID}/input_items")),
    ):
        yield method, DOOR + tail, 405


@pytest.mark.parametrize(("method", "where", "status"), list(misspelt()))
async def test_only_exact_routes_exist(method: str, where: str, status: int) -> None:
    async with proxy(stored()) as client:
        got = await client.post(b"{}", {OUT: "tags"}, path=where, method=method)
        upgrade = await client.post(b"", {"upgrade": "websocket"}, path=where, method=method)
        assert client.requests == []
    assert got.status == status
    assert upgrade.status == 501
    assert ID not in got.body.decode()


@pytest.mark.parametrize("route", ROUTES, ids=name)
async def test_a_websocket_is_refused_everywhere(route: Route) -> None:
    async with proxy(stored()) as client:
        got = await ask(client, route, {"upgrade": "websocket"})
        assert client.requests == []
    assert (got.status, got.json["error"]["code"]) == (501, "not_implemented")


@pytest.mark.parametrize(
    ("tail", "allow"),
    [("", "POST"), (f"/{ID}", "GET, DELETE"), (f"/{ID}/input_items", "GET"), ("/compact", "POST")],
)
async def test_a_wrong_method_is_told_the_right_ones(tail: str, allow: str) -> None:
    async with proxy(stored()) as client:
        got = await client.post(b"", path=DOOR + tail, method="PUT")
    assert (got.status, got.headers["allow"]) == (405, allow)


def test_what_is_served_is_told() -> None:
    place = find(DOOR, f"{DOOR}/{ID}/cancel")
    assert place is not None
    assert place[:3] == (f"{DOOR}/{{id}}/cancel", f"/{ID}/cancel", ID)
    assert find(DOOR, "/v1/other") is None
    assert find(DOOR, f"{DOOR}/{'a' * 128}") is not None


@pytest.mark.parametrize("action", ["flag", "redact", "block"])
@pytest.mark.parametrize("route", ROUTES, ids=name)
async def test_the_answer_is_inspected(route: Route, action: str) -> None:
    async with proxy(stored("see TAG-1234")) as client:
        got = await ask(client, route, {OUT: f"tags={action}"})
        (exchange,) = client.recorder.exchanges
    outcome = {"flag": "flagged", "redact": "redacted", "block": "blocked"}[action]
    assert exchange.outcome == outcome
    assert got.headers["x-guardproxy-verdict"] == f"input=off, output={outcome}"
    assert got.status == (400 if action == "block" else 200)
    if action == "block":
        assert got.json["error"]["code"] == "guardrail_violation"
    else:
        (entry,) = got.json["guards"]
        assert (entry["stage"], entry["total"]) == ("output", 1)
    assert (b"TAG-1234" in got.body) is (action == "flag")
    assert ID not in "".join(client.recorder.steps)


@pytest.mark.parametrize("action", ["flag", "redact", "block"])
@pytest.mark.parametrize("route", WITH_BODY, ids=name)
async def test_the_request_is_inspected(route: Route, action: str) -> None:
    async with proxy(stored()) as client:
        got = await ask(client, route, {IN: f"tags={action}"}, text="see TAG-1234")
        sent = [json.loads(request.content)["input"] for request in client.requests]
    assert sent == {"flag": ["see TAG-1234"], "redact": ["see [TAG]"], "block": []}[action]
    assert got.status == (400 if action == "block" else 200)


@pytest.mark.parametrize("route", WITH_BODY, ids=name)
async def test_requests_with_a_body_are_refused_as_for_a_response(route: Route) -> None:
    own = [{"type": "opper:guard"}, {"role": "user", "content": "x"}]
    where = path(route)
    async with proxy(stored()) as client:
        for body in (b"", b"{", b"[]", b'{"input":"a","input":"b"}'):
            assert (await client.post(body, {IN: "tags"}, path=where)).status == 400
        assert client.requests == []
        await client.post({"input": own}, path=where)
        assert json.loads(client.requests[0].content)["input"] == own[1:]
    token = "t" + "oken"
    key = ClientKey("team", hashlib.sha256(token.encode()).hexdigest(), allowed_models=("small",))
    async with proxy(stored(), keys=(key,)) as client:
        got = await ask(client, route, {"authorization": f"Bearer {token}"})
        assert (got.status, got.json["error"]["code"]) == (403, "model_not_allowed")
        for other in OF_STORED:
            assert (await ask(client, other, {"authorization": f"Bearer {token}"})).status == 200


@pytest.mark.parametrize("route", OF_STORED, ids=name)
async def test_a_body_that_nobody_expects_is_inspected_all_the_same(route: Route) -> None:
    where = path(route)
    async with proxy(stored("see TAG-1234")) as client:
        got = await client.post({"a": "TAG-1234"}, {IN: "tags=redact"}, path=where, method=route.method)
        assert json.loads(client.requests[0].content) == {"a": "[TAG]"}
        assert got.headers["x-guardproxy-verdict"] == "input=redacted, output=off"
        got = await client.post(b"TAG-1234", {IN: "tags"}, path=where, method=route.method)
        assert (got.status, got.json["error"]["code"]) == (400, "uninspectable")
        # It makes no echoes: nothing of it can be known to be in the response.
        told = {"output": [message("see TAG-1234")], "note": "see TAG-1234"}
        got = await client.post(told, {OUT: "tags=block"}, path=where, method=route.method)
        assert got.status == 400


@pytest.mark.parametrize("route", OF_STORED, ids=name)
async def test_raw_is_the_bytes_as_they_came(route: Route) -> None:
    odd = b'{ "a":  1e400, "a": "TAG-1234" }'
    reply = httpx.Response(202, content=odd, headers={"x-other": "1", "content-type": "application/json"})
    async with proxy(lambda _: reply) as client:
        got = await ask(client, route, query="any=thing%20odd&x")
        (sent,) = client.requests
    assert (got.status, got.body, got.headers["x-other"]) == (202, odd, "1")
    assert sent.url.query == b"any=thing%20odd&x"
    assert sent.content == b""
    assert ("content-length" in sent.headers) is (route.method == "POST")
    assert "x-guardproxy-verdict" not in got.headers


@pytest.mark.parametrize("route", OF_STORED, ids=name)
async def test_connection_does_not_disarm(route: Route) -> None:
    async with proxy(stored("see TAG-1234")) as client:
        got = await ask(client, route, {OUT: "tags=redact", "connection": "X-Opper-Guard-Output"})
    assert b"TAG-1234" not in got.body


async def test_steps_and_hooks_are_those_of_any_exchange() -> None:
    async with proxy(stored()) as client:
        await ask(client, Route("GET", "/{id}"), {OUT: "tags"})
        assert client.recorder.steps == [
            "+exchange GET /v1/responses/{id}",
            "resolve_policy",
            "before_forward",
            "+call",
            "+attempt GET",
            "+stage output",
            "+guard tags",
            "-guard tags",
            "-stage output",
            "verdict output",
            "-attempt GET",
            "-call",
            "after_forward",
            "-exchange GET /v1/responses/{id}",
        ]
        (exchange,) = client.recorder.exchanges
        assert (exchange.method, exchange.path) == ("GET", "/v1/responses/{id}")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("action", ["flag", "redact", "block"])
async def test_the_policy_of_the_post_is_remembered(action: str, stream: bool) -> None:
    """Also where it was blocked: the response is there, whatever the client was told."""
    async with proxy(stored("see TAG-1234", stream=stream)) as client:
        body = {"input": "hi", "stream": stream}
        await client.post(body, {OUT: f"tags={action}"})
        for route in OF_STORED[:1] + OF_STORED[2:] + OF_STORED[1:2]:
            got = await ask(client, route)
            assert (b"TAG-1234" in got.body) is (action == "flag"), name(route)
            assert got.headers["x-guardproxy-verdict"].startswith("input=off, output="), name(route)


@pytest.mark.parametrize("response_id", ["TAG-5678", 1234567], ids=["found", "number"])
@pytest.mark.parametrize("stream", [False, True])
async def test_it_is_remembered_whatever_the_id_is(response_id: Any, stream: bool) -> None:
    made = response(message("Zorp"), id=response_id)
    body = sse([{"type": "response.completed", "response": made}])
    async with proxy(streaming(body) if stream else whole(message("Zorp"), id=response_id)) as client:
        await client.post({"input": "hi"}, {OUT: "tags=flag,names=redact"})
        got = await client.post(b"", path=f"/v1/responses/{response_id}", method="GET")
    assert b"Zorp" not in got.body
    assert got.headers["x-guardproxy-verdict"] == "input=off, output=redacted"


@pytest.mark.parametrize(
    "credential",
    [
        [("api-key", "client")],
        [("x-api-key", "client")],
        [("authorization", "Bearer client"), ("authorization", "Bearer client")],
        [("authorization", "junk"), ("authorization", "Bearer client")],
        [("authorization", "Bearer client,")],
        [("authorization", "bearer\tclient")],
        [("authorization", "Basic junk"), ("api-key", "client")],
        [("authorization", "Bearer other")],
    ],
)
async def test_it_is_remembered_however_the_credential_is_spelled(credential: list[tuple[str, str]]) -> None:
    """The provider may take all of these for the same client, and guardproxy cannot know it."""
    async with proxy(stored("see TAG-1234")) as client:
        await client.post({"input": "hi"}, {OUT: "tags=redact"})
        for route in OF_STORED:
            got = await ask(client, route, credential)
            assert got.status == 200
            assert b"TAG-1234" not in got.body, name(route)
            assert got.headers["x-guardproxy-verdict"] == "input=off, output=redacted", name(route)


async def test_it_is_known_when_the_client_knows_the_id() -> None:
    events = sse(text_events("TAG-1234")).replace(b'"resp_1"', f'"{ID}"'.encode())
    first, _, rest = events.partition(b"\n\n")
    asked: list[Answered] = []

    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield first + b"\n\n"
            asked.append(await ask(client, OF_STORED[0]))
            yield rest

    def upstream(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=answer_of(request, "TAG-1234"))
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Stream())

    async with proxy(upstream) as client:
        await client.post({"input": "hi", "stream": True}, {OUT: "tags=redact"})
    assert asked[0].json["output"][0]["content"][0]["text"] == "[TAG]"


async def test_nothing_is_remembered_without_guards_or_of_a_count() -> None:
    def upstream(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=response(message("TAG-1234"), id=ID))

    async with proxy(upstream) as client:
        await client.post({"input": "hi"})
        await client.post({"input": "hi"}, {OUT: "tags=redact"}, path=f"{DOOR}/input_tokens")
        got = await ask(client, OF_STORED[0])
        assert "x-guardproxy-verdict" not in got.headers
        await client.post({"input": "hi"}, {OUT: "tags=redact"}, path=f"{DOOR}/compact")
        got = await ask(client, OF_STORED[0])
        assert got.headers["x-guardproxy-verdict"] == "input=off, output=redacted"


async def test_a_policy_of_the_past_joins_the_floor_and_the_headers() -> None:
    floor = Policy(output={"pairs": Rule(Action.REDACT)})
    async with proxy(stored("TAG-1234 xyx Zorp"), floor=floor) as client:
        await client.post({"input": "hi"}, {OUT: "tags=redact"})
        got = await ask(client, OF_STORED[0], {OUT: "names=redact, tags=flag"})
    assert got.json["output"][0]["content"][0]["text"] == "[TAG] [XY] [NAME]"


@pytest.mark.parametrize("status", [200, 202, 404, 500])
@pytest.mark.parametrize("deleted", [True, False])
async def test_it_is_forgotten_after_a_day_and_not_by_a_delete(
    status: int, deleted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer to DELETE is no proof that the response is gone; and one that is gone gives nothing away."""
    now = [0.0]
    monkeypatch.setattr("guardproxy.pipeline.PolicyMemory", partial(PolicyMemory, now=lambda: now[0]))

    def upstream(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return httpx.Response(status, json={"id": ID, "object": "response", "deleted": deleted})
        return httpx.Response(200, json=answer_of(request, "TAG-1234"))

    get, delete = OF_STORED[:2]
    async with proxy(upstream) as client:

        async def known() -> bool:
            return b"TAG-1234" not in (await ask(client, get)).body

        await client.post({"input": "hi"}, {OUT: "tags=redact"})
        await ask(client, delete)
        assert await known()
        now[0] = KEPT - 1
        assert await known()
        now[0] = KEPT
        assert not await known()


def resumed(request: httpx.Request) -> httpx.Response:
    events = text_events("a TAG-1234 b", 2)[3:]
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=sse(events))


@pytest.mark.parametrize("query", ["stream=true", "starting_after=2", "stream=1", "a=1&stream=TRUE"])
async def test_events_of_a_stored_response(query: str) -> None:
    get = OF_STORED[0]
    async with proxy(resumed) as client:
        raw = await ask(client, get, query=query)
        assert raw.body == sse(text_events("a TAG-1234 b", 2)[3:])
        query = query.replace("a=1&", "")
        for action in ("redact", "block"):
            client.requests.clear()
            got = await ask(client, get, {OUT: f"tags={action}"}, query=query)
            assert (got.status, got.json["error"]["code"]) == (501, "not_implemented")
            assert client.requests == []
        flagged = await ask(client, get, {OUT: "tags"}, query=query)
        assert client.recorder.exchanges[-1].stream is True
    assert flagged.text == "a TAG-1234 b"
    assert flagged.events[-2]["response"]["guards"][0]["flagged"] is True


async def test_events_are_refused_for_the_policy_of_the_past_too() -> None:
    async with proxy(stored("hi")) as client:
        await client.post({"input": "hi"}, {OUT: "tags=redact"})
        got = await ask(client, OF_STORED[0], query="stream=true")
        assert got.status == 501
        for query in ("", "stream=false", "include[]=x"):
            assert (await ask(client, OF_STORED[0], query=query)).status == 200


async def test_a_continued_stream_with_items_keeps_its_numbers() -> None:
    headers = {OUT: "tags", "x-opper-guard-report": "items"}
    async with proxy(resumed) as client:
        got = await ask(client, OF_STORED[0], headers, query="starting_after=2")
    numbers = [event["sequence_number"] for event in got.events[:-1]]
    assert numbers == list(range(3, 3 + len(numbers)))


@pytest.mark.parametrize("route", ROUTES, ids=name)
async def test_where_the_report_is(route: Route) -> None:
    """Only a response has items."""
    headers = {OUT: "tags", "x-opper-guard-report": "items"}
    async with proxy(stored("TAG-1234")) as client:
        got = await ask(client, route, headers)
    if "output" in answer_of(client.requests[0], ""):
        assert [item["type"] for item in got.json["output"]] == ["opper:guard", "message"]
        assert "guards" not in got.json
    else:
        assert "output" not in got.json
        assert got.json["guards"][0]["total"] == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("after=msg_1&before=x&limit=20&order=asc&include[]=a.b&include_obfuscation=false", 200),
        ("text=hello", 400),
        ("after=some%20words", 400),
    ],
)
async def test_queries_under_guards(query: str, status: int) -> None:
    items = next(route for route in ROUTES if route.tail.endswith("/input_items"))
    async with proxy(stored()) as client:
        assert (await ask(client, items, {OUT: "tags"}, query=query)).status == status
        assert (await ask(client, items, query=query)).status == 200


async def test_findings_among_input_items_have_their_places() -> None:
    items = next(route for route in ROUTES if route.tail.endswith("/input_items"))
    async with proxy(stored("see TAG-1234")) as client:
        got = await ask(client, items, {IN: "tags=block", OUT: "tags=redact"})
    assert got.json["data"][0]["content"][0]["text"] == "see [TAG]"
    (found,) = [entry for entry in got.json["guards"] if entry["flagged"]]
    assert found["findings"][0]["path"] == "/data/0/content/0/text"
    assert got.headers["x-guardproxy-verdict"] == "input=clean, output=redacted"


async def test_without_a_credential_nothing_is_asked() -> None:
    async with proxy(stored()) as client:
        for route in ROUTES:
            got = await ask(client, route, {"authorization": ""})
            assert got.status == 401
        assert client.requests == []


async def test_background_then_get() -> None:
    def upstream(request: httpx.Request) -> httpx.Response:
        text = "" if request.method == "POST" else "TAG-1234"
        return httpx.Response(200, json=response(message(text), id=ID, status="queued"))

    async with proxy(upstream) as client:
        await client.post({"input": "hi", "background": True}, {OUT: "tags"})
        got = await ask(client, OF_STORED[0])
    assert got.json["guards"][0]["flagged"] is True


async def test_a_door_can_be_set() -> None:
    async with proxy(stored(), front_doors={"/llm": "opper", "/v1/responses": "opper"}) as client:
        for at in ("/llm", "/v1/responses", "/v3/compat/responses"):
            got = await client.post({"model": "m", "input": "hi"}, {"x-opper-guard-output": "tags"}, path=at)
            assert got.json["output"][0]["type"] == "opper:guard", at
        of = client.recorder.exchanges[0]
        assert (of.path, of.creates) == ("/llm", True)
        got = await client.post(b"", path="/llm/resp_1", method="GET")
        assert (got.status, client.recorder.exchanges[-1].creates) == (200, False)
        got = await client.post(b"", path="/llm/x/y")
        assert "the same below /llm" in got.json["error"]["message"]


async def test_the_profile_of_the_first_door_is_a_scalar() -> None:
    async with proxy(stored(), profile="opper") as client:
        got = await client.post({"model": "m", "input": "hi"}, {"x-opper-guard-output": "tags"})
        assert got.json["output"][0]["type"] == "opper:guard"


@pytest.mark.parametrize(
    ("door", "other"),
    [
        ("/v1", "/v1/responses"),
        ("/v1/responses/of-ours", "/v1/responses"),
        ("/v1/models", "/v1/models"),
        ("/api/v1/models", "/api/v1/models"),
        ("/v1/guard", "/v1/guard/check"),
        ("/livez", "/livez"),
        ("/acme", "/acme/state"),
        ("/acme/state", "/acme/state"),
    ],
)
def test_a_door_is_in_nobody_s_way(door: str, other: str) -> None:
    with pytest.raises(ConfigError, match=f"^The front door {door} and {other} are in each other's way"):
        check_doors(Settings(front_doors={door: "opper"}).doors(), ["/acme/state"])


def test_a_plugin_s_route_is_in_nobody_s_way() -> None:
    with pytest.raises(ConfigError, match=r"^A plugin has a route /v3/compat/models"):
        check_doors(Settings().doors(), ["/v3/compat/models"])
