"""The composition root: health, plugins' routes, and a startup that fails."""

from typing import Any

import httpx
import pluggy
import pytest
from litestar import Request, get

from guardproxy import Detector, Guard, InvalidRequest, Match, hookimpl, hookspecs, identify, serve
from guardproxy.app import create_app
from guardproxy.errors import ConfigError
from guardproxy.plugins import PROJECT
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.types import Policy, Rule
from tests.harness import proxy, whole


async def test_health_needs_no_key() -> None:
    async with proxy(whole()) as client:
        for path in ("/livez", "/readyz"):
            got = await client.post(b"", {"authorization": ""}, path=path, method="GET")
            assert (got.status, got.body) == (200, b"ok")
        client.app.state.draining = True
        got = await client.post(b"", path="/readyz", method="GET")
        assert (got.status, got.body) == (503, b"draining")
        assert (await client.post(b"", path="/livez", method="GET")).status == 200


async def test_a_probe_may_be_a_head() -> None:
    app = create_app(Settings(), plugins=no_plugins())
    async with serve.running(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for path in ("/livez", "/readyz"):
            # On one connection: what came behind the head of the first would not be the second.
            head, whole_one = await client.head(path), await client.get(path)
            assert (head.status_code, head.content, whole_one.content) == (200, b"", b"ok")
            assert head.headers == whole_one.headers
        app.state.draining = True
        assert (await client.head("/readyz")).status_code == 503


async def test_readyz_before_the_models_are_warm() -> None:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    app = create_app(Settings(), plugins=manager)
    assert app.state.ready is False


class Routes:
    @hookimpl
    def guardproxy_register_routes(self) -> list[Any]:
        @get("/hello", sync_to_thread=False)
        def hello() -> str:
            return "hello"

        return [hello]


async def test_routes_of_plugins() -> None:
    async with proxy(whole(), plugins=[Routes()]) as client:
        got = await client.post(b"", path="/hello", method="GET")
    assert (got.status, got.body) == (200, b"hello")


class Refusing:
    @hookimpl
    def guardproxy_register_routes(self, settings: Settings) -> list[Any]:
        @get("/acme/{name:str}", sync_to_thread=False)
        def acme(request: Request[Any, Any, Any]) -> str:
            client = identify(settings, request.scope["headers"])
            if request.path_params["name"] != "known":
                raise InvalidRequest("The name must be 'known'.", param="name")
            return str(client.name)

        return [acme]


async def test_routes_of_plugins_may_raise_errors_that_are_shown() -> None:
    async with proxy(whole(), plugins=[Refusing()]) as client:
        got = await client.post(b"", path="/acme/known", method="GET")
        wrong = await client.post(b"", path="/acme/other", method="GET")
        nobody = await client.post(b"", {"authorization": ""}, path="/acme/known", method="GET")
    assert (got.status, got.body) == (200, b"None")
    error = {"message": "The name must be 'known'.", "type": "invalid_request_error"}
    assert (wrong.status, wrong.json) == (
        400,
        {"error": {**error, "code": "invalid_request", "param": "name"}},
    )
    assert (nobody.status, nobody.json["error"]["code"]) == (401, "invalid_api_key")


async def test_a_path_that_is_not_served_is_told_what_plugins_serve() -> None:
    async with proxy(whole(), plugins=[Refusing()]) as client:
        missing = await client.post(b"", path="/v3/acme", method="GET")
        wrong = await client.post(b"", path="/acme/known", method="POST")
    assert (missing.status, wrong.status) == (404, 405)
    for got in (missing, wrong):
        assert got.json["error"]["message"].endswith("GET /livez, GET /readyz, GET /acme/{name}.")


class Broken(Detector):
    name = "broken"

    def load(self) -> None:
        raise OSError("a path that nobody should see")

    def scan(self, texts: Any) -> list[list[Match]]:
        return [[] for _ in texts]


class BrokenGuard:
    @hookimpl
    def guardproxy_register_guards(self) -> list[Guard]:
        return [Guard("broken", (Broken(),))]


async def test_a_model_that_does_not_load_stops_the_startup() -> None:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(BrokenGuard(), "broken")
    app = create_app(Settings(), plugins=manager)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with app.lifespan():
            raise AssertionError("it started")
    assert caught.group_contains(ConfigError)
    assert "broken" in app.state.problem
    assert "nobody should see" not in app.state.problem


async def test_a_startup_that_fails_unforeseen_is_told_by_type_and_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def start(_: Any) -> None:
        raise KeyError("a path that nobody should see")

    monkeypatch.setattr(Scanner, "start", start)
    app = create_app(Settings(), plugins=no_plugins())
    with pytest.raises(BaseExceptionGroup):
        async with app.lifespan():
            raise AssertionError("it started")
    assert app.state.problem.startswith("KeyError at tests/test_app.py:")


def no_plugins() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def test_a_floor_with_an_unknown_guard_is_refused() -> None:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    with pytest.raises(ConfigError, match="unknown guard 'pi'"):
        create_app(Settings(floor=Policy(input={"pi": Rule()})), plugins=manager)
