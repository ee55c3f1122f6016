"""Requests over a limit are refused before anything is read, and the others say how many are left."""

import hashlib
from typing import Any

import pytest
from structlog.testing import capture_logs

import guardproxy_tracing as tracing
from guardproxy import counters, profiles
from guardproxy.api import Body
from guardproxy.profiles import MAIN, Form, Profile
from guardproxy.routes import CHECK, models_beside
from guardproxy.settings import ClientKey, LimitSettings, Settings
from tests.backends.processes import free_ports
from tests.harness import Client, message, proxy, sse, streaming, text_events, whole
from tests.test_counters import Clock

MODELS = models_beside(MAIN)

TOKEN = "team-" + "token"
OTHER = "other-" + "token"
SECRET = "valkey-" + "canary"
ASK = {"model": "m", "input": "hi"}
LIMITED = Profile("limited", Form.FIELDS, per_address="1/minute", per_key="1/day")


def key(name: str, token: str, limits: str | None = None) -> ClientKey:
    return ClientKey(name, hashlib.sha256(token.encode()).hexdigest(), limits=limits)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def statuses(client: Client, count: int, headers: Any = (), **given: Any) -> list[int]:
    return [(await client.post(ASK, headers, **given)).status for _ in range(count)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(counters, "time", made)
    return made


async def test_an_address_over_its_limit_is_refused_until_its_time_is_over(clock: Clock) -> None:
    async with proxy(whole(message("ok")), made={}, limits=LimitSettings(per_address="2/minute")) as client:
        first = await client.post(ASK)
        clock.now += 29.5
        second = await client.post(ASK)
        refused = await client.post(ASK)
        assert len(client.requests) == 2
        clock.now += 30.6
        later = await client.post(ASK)
    assert [got.status for got in (first, second, refused, later)] == [200, 200, 429, 200]
    for got, state in ((first, "r=1;t=60"), (second, "r=0;t=31"), (refused, "r=0;t=31"), (later, "r=0;t=30")):
        assert got.headers["ratelimit-policy"] == '"address-per-minute";q=2;w=60'
        assert got.headers["ratelimit"] == f'"address-per-minute";{state}'
    assert refused.json == {
        "error": {
            "message": "Rate limit exceeded: 2 per minute for this address. Please try again in 31 seconds.",
            "type": "rate_limit_exceeded",
            "code": "rate_limit_exceeded",
            "param": None,
        }
    }
    assert refused.headers["retry-after"] == "31"
    assert "x-should-retry" not in refused.headers
    assert "retry-after" not in first.headers


async def test_a_refused_request_is_an_exchange_with_its_code(clock: Clock) -> None:
    with capture_logs() as logged, tracing.record() as spans:
        limits = LimitSettings(per_key="1/minute")
        async with proxy(whole(), made={}, plugins=[tracing], limits=limits) as client:
            assert await statuses(client, 2) == [200, 429]
            refused = client.recorder.exchanges[-1]
    assert (refused.outcome, refused.error_code, refused.status) == ("error", "rate_limit_exceeded", 429)
    line = logged[-1]
    assert (line["event"], line["log_level"]) == ("exchange", "info")
    assert (line["outcome"], line["code"], line["status"]) == ("error", "rate_limit_exceeded", 429)
    told = spans[-1].attributes or {}
    assert told["error.type"] == "rate_limit_exceeded"
    assert told["http.response.status_code"] == 429


async def test_nothing_is_read_of_a_request_that_is_over(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy(whole(), made={}, limits=LimitSettings(per_address="1/minute")) as client:
        assert await statuses(client, 1) == [200]
        monkeypatch.setattr(Body, "read", None)
        assert await statuses(client, 1) == [429]


async def test_no_header_is_another_address(clock: Clock) -> None:
    names = ("x-forwarded-for", "forwarded", "x-real-ip", "x-client-ip", "cf-connecting-ip", "true-client-ip")
    async with proxy(whole(), made={}, limits=LimitSettings(per_address="1/minute")) as client:
        assert await statuses(client, 1) == [200]
        for name in names:
            value = "for=192.0.2.9" if name == "forwarded" else "192.0.2.9"
            assert await statuses(client, 1, {name: value}) == [429]
        assert await statuses(client, 2, address="192.0.2.9") == [200, 429]
        assert await statuses(client, 1, address="2001:db8::1") == [200]
        assert await statuses(client, 1, address="2001:db8::2") == [429]


async def test_keys_cannot_be_guessed_faster_than_an_address_may_ask(clock: Clock) -> None:
    limits = LimitSettings(per_address="3/minute", per_key="100/day")
    async with proxy(whole(), made={}, limits=limits, keys=(key("a", TOKEN),)) as client:
        assert [await statuses(client, 1, bearer(f"guess-{n}")) for n in range(3)] == [[401]] * 3
        assert await statuses(client, 1, bearer(TOKEN)) == [429]
        got = await client.post(ASK, bearer(TOKEN), address="192.0.2.9")
    assert got.headers["ratelimit"] == '"address-per-minute";r=2;t=60, "key-per-day";r=99;t=86400'
    assert got.headers["ratelimit-policy"] == '"address-per-minute";q=3;w=60, "key-per-day";q=100;w=86400'


async def test_a_key_has_its_own_limit_wherever_it_is_used(clock: Clock) -> None:
    keys = (key("a", TOKEN, limits="1/second; 2/day"), key("b", OTHER))
    async with proxy(whole(), made={}, limits=LimitSettings(per_key="1/day"), keys=keys) as client:
        assert await statuses(client, 1, bearer(TOKEN)) == [200]
        assert await statuses(client, 1, bearer(TOKEN), address="192.0.2.9") == [429]
        # What the shorter rate refused does not count for the longer one.
        clock.now += 2
        assert await statuses(client, 1, bearer(TOKEN)) == [200]
        clock.now += 2
        over = await client.post(ASK, bearer(TOKEN))
        assert await statuses(client, 2, bearer(OTHER)) == [200, 429]
    assert over.status == 429
    assert over.json["error"]["message"].startswith("Rate limit exceeded: 2 per day for this key.")
    assert over.headers["retry-after"] == str(86400 - 4)


async def test_without_keys_a_credential_is_counted_however_it_is_sent(clock: Clock) -> None:
    async with proxy(whole(), made={}, limits=LimitSettings(per_key="1/day"), auth="none") as client:
        assert await statuses(client, 2, bearer(TOKEN)) == [200, 429]
        assert await statuses(client, 1, {"x-api-key": TOKEN}) == [429]
        assert await statuses(client, 2, bearer(OTHER)) == [200, 429]
        assert await statuses(client, 2, {"authorization": ""}) == [200, 429]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/responses/input_tokens"),
        ("GET", "/v1/responses/resp_1"),
        ("POST", "/v3/compat/openresponses"),
        ("GET", MODELS),
        ("GET", f"{MODELS}/m"),
        ("POST", CHECK),
    ],
)
async def test_every_route_counts(clock: Clock, method: str, path: str) -> None:
    async with proxy(whole(), made={}, limits=LimitSettings(per_address="2/minute")) as client:
        got = await client.post(ASK if method == "POST" else b"", path=path, method=method)
        assert got.headers["ratelimit"] == '"address-per-minute";r=1;t=60'
        assert await statuses(client, 2) == [200, 429]
        over = await client.post(b"", path=path, method=method)
        assert (over.status, over.headers["retry-after"]) == (429, "60")
        assert over.headers["ratelimit"] == '"address-per-minute";r=0;t=60'


async def test_what_is_not_served_does_not_count(clock: Clock) -> None:
    async with proxy(whole(), made={}, limits=LimitSettings(per_address="1/minute")) as client:
        for method, path in (("GET", "/v1/unknown"), ("PUT", "/v1/responses"), ("GET", "/livez")):
            await client.post(b"", path=path, method=method)
        assert await statuses(client, 2) == [200, 429]


async def test_a_stream_says_how_many_are_left(clock: Clock) -> None:
    body = sse(text_events("hello"))
    async with proxy(streaming(body), limits=LimitSettings(per_key="5/minute")) as client:
        for headers in ({}, {"x-opper-guard-output": "tags=redact"}):
            got = await client.post({**ASK, "stream": True}, headers)
            assert got.headers["ratelimit-policy"] == '"key-per-minute";q=5;w=60'
    assert got.headers["ratelimit"] == '"key-per-minute";r=3;t=60'


async def test_a_profile_has_limits_where_the_deployment_has_none(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(profiles.PROFILES, LIMITED.name, LIMITED)
    given: dict[str, Any] = {"front_doors": {"/limited": LIMITED.name}}
    async with proxy(whole(), made={}, **given) as client:
        assert await statuses(client, 2, path="/limited") == [200, 429]
        assert await statuses(client, 1, path="/limited", address="192.0.2.9") == [429]  # the key's
        assert await statuses(client, 1, bearer(OTHER), path="/limited", address="192.0.2.9") == [429]
        got = await client.post(ASK)
    assert got.status == 200
    assert "ratelimit" not in got.headers
    limits = LimitSettings(per_address="2/minute", per_key="10/day")
    async with proxy(whole(), made={}, limits=limits, **given) as client:
        assert await statuses(client, 1, path="/limited") == [200]
        assert await statuses(client, 2) == [200, 429]  # the deployment's are counted at all doors together


async def test_limits_that_cannot_be_counted_let_nothing_in() -> None:
    (port,) = free_ports(1)
    limits = LimitSettings(per_address="100/minute", storage=f"valkey://me:{SECRET}@127.0.0.1:{port}/1")
    with capture_logs() as logged:
        async with proxy(whole(), made={}, limits=limits) as client:
            got = [await client.post(ASK) for _ in range(3)]
            listed = await client.post(b"", path=MODELS, method="GET")
            assert client.requests == []
            assert {one.error_code for one in client.recorder.exchanges} == {"limits_unavailable"}
    for one in (*got, listed):
        assert one.status == 503
        assert one.json["error"]["code"] == "limits_unavailable"
        assert one.json["error"]["type"] == "server_error"
        assert one.headers["retry-after"] == "1"
        assert "x-should-retry" not in one.headers
    assert [line["event"] for line in logged].count("limits_unavailable") == 1
    assert SECRET not in repr(logged) + repr(got)


async def test_nothing_is_counted_where_nobody_has_a_limit() -> None:
    assert Settings().first_limit() is None
    async with proxy(whole(), made={}) as client:
        got = await client.post(ASK)
    assert not {"ratelimit", "ratelimit-policy"} & got.headers.keys()


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"limits": LimitSettings(per_address="1/day")}, "limits.per_address"),
        ({"limits": LimitSettings(per_key="1/day")}, "limits.per_key"),
        ({"keys": (key("a", TOKEN), key("b", OTHER, "1/day"))}, 'limits of the 2nd [[keys]] ("b")'),
        ({"front_doors": {"/limited": "limited"}}, "the front door /limited (limited)"),
    ],
)
def test_a_limit_is_known_by_its_place(
    given: dict[str, Any], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(profiles.PROFILES, LIMITED.name, LIMITED)
    assert Settings(**given).first_limit() == place
