"""`GET /v1/models`: what a client's key may use, of all upstreams, by the names that lead there."""

import gzip
import hashlib
import json
from typing import Any

import httpx
import pytest

from guardproxy.settings import ClientKey, UpstreamSettings
from tests.harness import Client, proxy

TOKEN = "team-" + "token"
BEARER = {"authorization": f"Bearer {TOKEN}"}
LISTS = {
    "first.test": ["gpt-4.1", "o3", "claude-3"],
    "second.test": ["claude-3", "gpt-4.1", "other"],
    "upstream.test": ["gpt-4.1", "o3"],
}


def key(*models: str) -> ClientKey:
    return ClientKey("a", hashlib.sha256(TOKEN.encode()).hexdigest(), allowed_models=models)


def of(name: str, **given: Any) -> UpstreamSettings:
    times = {"connect_timeout": 1.0, "upstream_timeout": 2.0, "stream_idle_timeout": 3.0}
    return UpstreamSettings(name=name, url=f"https://{name}.test/v1", **{**times, **given})


FIRST = of("first", models=("gpt-*",), default=True)
SECOND = of("second", models=("claude-*",), api_key="provider-" + "key")
EMPTY = of("empty", api_key="")


def upstream(request: httpx.Request) -> httpx.Response:
    assert request.method == "GET"
    _, _, model = request.url.path.partition("/v1/models")
    if model:
        return httpx.Response(200, json={"id": model.removeprefix("/"), "at": request.url.host})
    data = [{"id": m, "object": "model", "created": 1, "owned_by": "x"} for m in LISTS[request.url.host]]
    return httpx.Response(200, json={"object": "list", "data": data})


async def listed(client: Client, headers: Any = ()) -> list[str]:
    got = await client.post(b"", headers, path="/v1/models", method="GET")
    assert got.status == 200, got.body
    assert got.json["object"] == "list"
    return [model["id"] for model in got.json["data"]]


async def test_of_one_upstream_the_list_is_its_own() -> None:
    async with proxy(upstream) as client:
        assert await listed(client) == ["gpt-4.1", "o3"]


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/models", "/v3/compat/models", "/llm/models"])
async def test_the_list_is_beside_each_door(path: str) -> None:
    async with proxy(upstream, front_doors={"/llm/julep": "julep"}, keys=(key("o3"),)) as client:
        got = await client.post(b"", BEARER, path=path, method="GET")
        assert [model["id"] for model in got.json["data"]] == ["o3"]
        got = await client.post(b"", BEARER, path=f"{path}/o3", method="GET")
        assert got.json == {"id": "o3", "at": "upstream.test"}
        refused = await client.post(b"", path=path, method="GET")
        flat = path.startswith("/llm")  # in the words of the door beside it
        assert (refused.json if flat else refused.json["error"])["code"] == "invalid_api_key"
        assert (await client.post(b"", BEARER, path=f"{path}/../responses", method="GET")).status == 404


async def test_a_key_sees_the_models_that_it_may_use() -> None:
    async with proxy(upstream, keys=(key("o3", "unknown"),)) as client:
        assert await listed(client, BEARER) == ["o3"]
        assert (await client.post(b"", path="/v1/models", method="GET")).status == 401


async def test_models_of_several_upstreams_have_the_names_that_lead_to_them() -> None:
    async with proxy(upstream, upstreams=(FIRST, SECOND, EMPTY)) as client:
        names = await listed(client)
        assert names == ["gpt-4.1", "o3", "first@claude-3", "claude-3", "second@gpt-4.1", "second@other"]
        for name in names:  # each can be asked for by its name
            got = await client.post(b"", path=f"/v1/models/{name}", method="GET")
            assert got.json["id"] == name.rpartition("@")[2]
        assert {request.headers.get("authorization") for request in client.requests} == {
            "Bearer client",
            "Bearer " + "provider-" + "key",
        }


async def test_the_clients_own_credential_goes_to_one_upstream_alone() -> None:
    second, local = of("second"), of("upstream")
    async with proxy(upstream, upstreams=(FIRST, second, local)) as client:
        names = await listed(client, {"authorization": "Bearer a", "x-api-key": "b"})
        assert "second@other" in names  # asked without one, which may do
        sent = {
            r.url.host: (r.headers.get("authorization"), r.headers.get("x-api-key")) for r in client.requests
        }
    assert sent == {
        "first.test": ("Bearer a", "b"),
        "second.test": (None, None),
        "upstream.test": (None, None),
    }


async def test_a_key_and_several_upstreams() -> None:
    allowed = key("first@claude-3", "second@claude-3", "gpt-4.1")
    async with proxy(upstream, upstreams=(FIRST, SECOND), keys=(allowed,)) as client:
        assert await listed(client, BEARER) == ["gpt-4.1", "first@claude-3", "claude-3"]


async def test_a_model_that_the_key_may_not_use_is_refused() -> None:
    async with proxy(upstream, keys=(key("o3"),)) as client:
        got = await client.post(b"", BEARER, path="/v1/models/gpt-4.1", method="GET")
        assert (got.status, got.json["error"]["code"]) == (403, "model_not_allowed")
        assert not client.requests


@pytest.mark.parametrize(
    "broken",
    [
        httpx.Response(500, json={}),
        httpx.Response(404, text="no"),
        httpx.Response(200, text="no"),
        httpx.Response(200, json={"data": {}}),
        httpx.Response(200, content=b"\xff"),
    ],
)
async def test_an_upstream_without_a_list_hides_no_other(broken: httpx.Response) -> None:
    def some(request: httpx.Request) -> httpx.Response:
        if request.url.host == "first.test":
            return httpx.Response(broken.status_code, content=broken.content)
        return upstream(request)

    async with proxy(some, upstreams=(FIRST, SECOND)) as client:
        assert await listed(client) == ["claude-3", "second@gpt-4.1", "second@other"]
    async with proxy(some, upstreams=(FIRST,)) as client:
        got = await client.post(b"", path="/v1/models", method="GET")
        assert (got.status, got.json["error"]["code"]) == (502, "upstream_error")


async def test_a_list_may_come_compressed() -> None:
    def packed(request: httpx.Request) -> httpx.Response:
        body = gzip.compress(json.dumps({"data": [{"id": "o3"}, {"id": 5}, "x"]}).encode())
        return httpx.Response(200, headers={"content-encoding": "gzip"}, content=body)

    async with proxy(packed, keys=(key("o3"),)) as client:
        assert await listed(client, BEARER) == ["o3"]


@pytest.mark.parametrize("rest", ["", "..", ".", "../responses/resp_1", "./o3", "/o3"])
async def test_the_name_of_an_upstream_leads_out_of_its_models_nowhere(rest: str) -> None:
    async with proxy(upstream, upstreams=(FIRST, SECOND)) as client:
        got = await client.post(b"", path=f"/v1/models/second@{rest}", method="GET")
        assert (got.status, got.json["error"]["code"]) == (404, "model_not_found")
        assert not client.requests
