"""headers.py: what passes on, what stays behind, and that nothing else is added."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.headers import can_be_set, lower_headers, request_headers, response_headers

HOP_BY_HOP = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "HTTP2-Settings",
]
OURS = ["X-Opper-Guard-Input", "x-opper-name", "X-Guardproxy-Verdict", "x-guardproxy-receipt"]

Pairs = list[tuple[bytes, bytes]]


def forwarded(raw: Pairs) -> Pairs:
    return request_headers(raw, replace_authorization=None, extra={})


def returned(raw: Pairs) -> Pairs:
    return response_headers(raw, {}, drop=())


@pytest.mark.parametrize("name", [*HOP_BY_HOP, *OURS, "Host", "Content-Length", "Expect"])
def test_a_request_leaves_behind(name: str) -> None:
    raw = [(b"accept", b"*/*"), (name.encode(), b"1"), (name.lower().encode(), b"2")]
    assert forwarded(raw) == [(b"accept", b"*/*")]


@pytest.mark.parametrize("name", [*HOP_BY_HOP, *OURS])
def test_a_response_leaves_behind(name: str) -> None:
    raw = [(b"Content-Type", b"application/json"), (name.encode(), b"1")]
    assert returned(raw) == [(b"content-type", b"application/json")]


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "accept-encoding",
        "content-encoding",
        "cookie",
        "x-request-id",
        "openai-organization",
        "user-agent",
        "forwarded",
        "idempotency-key",
        "x-opperative",
    ],
)
def test_a_request_keeps(name: str) -> None:
    raw = [(name.encode(), b"one"), (b"x-between", b""), (name.encode(), b"two")]
    assert forwarded(raw) == raw


@pytest.mark.parametrize("pass_on", [forwarded, returned])
def test_what_connection_names_stays_behind(pass_on: object) -> None:
    assert callable(pass_on)
    raw = [
        (b"X-Hop", b"1"),
        (b"connection", b"close, x-hop"),
        (b"x-also", b"2"),
        (b"Connection", b" X-Also "),
        (b"x-end", b"3"),
    ]
    assert pass_on(raw) == [(b"x-end", b"3")]


def test_the_upstream_key_replaces_the_clients() -> None:
    raw = [(b"authorization", b"Bearer client"), (b"Authorization", b"Bearer twice"), (b"accept", b"*/*")]
    assert request_headers(raw, replace_authorization="Bearer ours", extra={}) == [
        (b"accept", b"*/*"),
        (b"authorization", b"Bearer ours"),
    ]


def test_connection_cannot_take_the_upstream_key_away() -> None:
    raw = [(b"connection", b"authorization")]
    found = request_headers(raw, replace_authorization="Bearer ours", extra={})
    assert found == [(b"authorization", b"Bearer ours")]


def test_trace_context_replaces_the_clients() -> None:
    raw = [(b"traceparent", b"theirs"), (b"accept", b"*/*")]
    found = request_headers(raw, replace_authorization=None, extra={"Traceparent": "ours"})
    assert found == [(b"accept", b"*/*"), (b"traceparent", b"ours")]


def test_an_empty_extra_header_only_removes() -> None:
    raw = [(b"Accept", b"*/*"), (b"tracestate", b"theirs=1")]
    found = request_headers(raw, replace_authorization=None, extra={"tracestate": ""})
    assert found == [(b"accept", b"*/*")]


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Host", "X-Opper-Name"])
def test_an_extra_header_cannot_break_the_framing(name: str) -> None:
    assert request_headers([], replace_authorization=None, extra={name: "7"}) == []


def test_a_response_gets_ours_and_loses_what_is_dropped() -> None:
    raw = [
        (b"Content-Encoding", b"gzip"),
        (b"Content-Length", b"12"),
        (b"X-Request-Id", b"theirs"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    ]
    ours = {"x-request-id": "req_1", "X-Guardproxy-Verdict": "input=clean"}
    assert response_headers(raw, ours, drop={"content-encoding", "content-length"}) == [
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"x-request-id", b"req_1"),
        (b"x-guardproxy-verdict", b"input=clean"),
    ]


def test_repeated_headers_join() -> None:
    raw = [(b"X-A", b"1"), (b"x-b", b"\xe9"), (b"x-a", b""), (b"X-a", b"2")]
    assert lower_headers(raw) == {"x-a": "1, , 2", "x-b": "é"}


NAMES = st.sampled_from([b"accept", b"x-opper-name", b"Connection", b"X-Hop", b"te", b"cookie", b"Host"])
VALUES = st.sampled_from([b"", b"x-hop", b"close, cookie", b"1", b"\xff", b",,", b"connection"])


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_passing_on_only_removes_and_does_so_once(raw: Pairs) -> None:
    lowered = [(name.lower(), value) for name, value in raw]
    for pass_on in (forwarded, returned):
        found = pass_on(raw)
        rest = iter(lowered)
        assert all(pair in rest for pair in found)  # a subsequence: in order, nothing new
        assert pass_on(found) == found


def test_no_credential_of_the_client_stays_where_ours_stands_in() -> None:
    raw = [(b"Authorization", b"Bearer a"), (b"api-key", b"b"), (b"X-Api-Key", b"c"), (b"accept", b"*/*")]
    assert request_headers(raw, replace_authorization="Bearer k", extra={}) == [
        (b"accept", b"*/*"),
        (b"authorization", b"Bearer k"),
    ]
    assert request_headers(raw, replace_authorization="", extra={}) == [(b"accept", b"*/*")]
    assert len(request_headers(raw, replace_authorization=None, extra={})) == 4


@pytest.mark.parametrize("name", ["x-org", "api-key", "OpenAI-Organization"])
def test_what_can_be_set_is_sent(name: str) -> None:
    assert can_be_set(name)
    sent = request_headers([], replace_authorization="", extra={name: "ours"})
    assert sent == [(name.lower().encode(), b"ours")]
