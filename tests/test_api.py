"""The HTTP surface: exact paths, methods, bodies and errors of the framework's own."""

from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.harness import proxy, whole


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/v1/responses", {}, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", {}, 405, "method_not_allowed"),
        ("GET", "/v1/responses", {"upgrade": "websocket"}, 501, "not_implemented"),
        ("GET", "/v1/models/../responses", {}, 404, "not_found"),
        ("GET", "/v1/models/a//b", {}, 404, "not_found"),
        ("GET", "/v1/modelsandmore", {}, 404, "not_found"),
        ("POST", "/v1//responses", {}, 404, "not_found"),
        ("GET", "/v1/nothing", {"upgrade": "websocket"}, 501, "not_implemented"),
        ("GET", "/v1/models/m", {"upgrade": "h2c, WebSocket"}, 501, "not_implemented"),
        ("GET", "/", {}, 404, "not_found"),
    ],
)
async def test_what_is_not_served(
    method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with proxy(whole()) as client:
        got = await client.post(b"", headers, path=path, method=method)
        assert client.requests == []
    assert (got.status, got.json["error"]["code"]) == (status, code)
    assert set(got.json["error"]) == {"message", "type", "code", "param"}
    assert got.headers["x-request-id"].startswith("req_")
    assert parsedate_to_datetime(got.headers["date"])


async def test_an_error_of_an_exchange_has_its_own_date_and_an_answer_its_upstreams() -> None:
    there = {"date": "Thu, 01 Jan 1970 00:00:00 GMT"}
    async with proxy(lambda _: httpx.Response(200, json={}, headers=there)) as client:
        refused = await client.post({}, {"x-opper-guard-input": "nothing"})
        passed = await client.post({})
    assert refused.status == 400
    assert parsedate_to_datetime(refused.headers["date"]).year > 1970
    assert passed.headers["date"] == there["date"]


async def test_a_path_that_is_not_served_is_told_what_is() -> None:
    async with proxy(whole()) as client:
        got = await client.post(b"", path="/v1/nothing")
    for served in ("POST /v1/responses,", "GET /v1/responses/{id}/input_items,", "/v3/compat/openresponses,"):
        assert served in got.json["error"]["message"]


async def test_a_content_length_over_the_cap_is_refused_before_it_is_read() -> None:
    async with proxy(whole(), max_body=10) as client:
        got = await client.post(b"", {"content-length": "11"})
    assert (got.status, got.json["error"]["code"]) == (413, "body_too_large")
