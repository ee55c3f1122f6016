"""The composition root: settings in, a Litestar application out."""

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import httpx
import pluggy
from litestar import HttpMethod, Litestar, MediaType, Request, Response, asgi, route
from litestar.exceptions import HTTPException

from guardproxy.api import Api, of_status, refused_upgrade, what_is_served
from guardproxy.document import dumps
from guardproxy.errors import ConfigError, GuardProxyError, InternalError
from guardproxy.exchange import new_id
from guardproxy.headers import date
from guardproxy.hooks import Hooks
from guardproxy.keeping import Keeper
from guardproxy.logs import describe, failure
from guardproxy.pipeline import Pipeline
from guardproxy.plugins import check_policies, collect_guards, collect_routes, load_plugins, places
from guardproxy.profiles import MAIN, Profile
from guardproxy.routes import CHECK, LIVE, READY, models_beside
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.upstreams import Upstreams

if TYPE_CHECKING:
    from guardproxy.limits import Limits
    from guardproxy.store import Store

_PROBED = [HttpMethod.GET, HttpMethod.HEAD]  # load balancers send either


def create_app(
    settings: Settings,
    *,
    plugins: pluggy.PluginManager | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Litestar:
    """A proxy as an ASGI application. `app.state.draining = True` makes `/readyz` answer 503.

    `plugins` stands in for the installed ones, `transport` for the network.

    Raises:
        ConfigError: settings or plugins that cannot work; a failing model raises it at startup.
    """
    manager = load_plugins() if plugins is None else plugins
    guards = collect_guards(manager, settings)
    check_policies(settings, guards)
    hooks = Hooks(manager, settings)
    scanner = Scanner(guards, settings)
    upstreams = Upstreams(settings, transport)
    limits = _limits(settings)
    routes = collect_routes(manager, settings)
    served = what_is_served(settings.doors(), places(routes))
    main = settings.doors()[MAIN]
    # Without a store nobody imports what it needs.
    store: Store | None = (
        importlib.import_module("guardproxy.store").Store(kept) if (kept := settings.kept()) else None
    )
    keeper = Keeper(store, settings.max_body) if store is not None else None
    pipeline = Pipeline(settings, guards, scanner, upstreams, hooks, limits, keeper)
    api = Api(pipeline, settings.max_body, served, main)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        try:
            hooks.startup()
            await scanner.start()
            async with store.serving() if store else nullcontext():
                app.state.ready = True
                yield
        except ConfigError as error:
            app.state.problem = str(error)  # for whoever serves: the framework only says that it failed
            raise
        except Exception as error:
            app.state.problem = "{error} at {place}".format(**describe(error))
            raise
        finally:
            await upstreams.aclose()
            if limits is not None:
                await limits.aclose()
            await scanner.stop()
            hooks.shutdown()

    @route(LIVE, http_method=_PROBED, media_type=MediaType.TEXT, sync_to_thread=False)
    def livez() -> str:
        return "ok"

    @route(READY, http_method=_PROBED, media_type=MediaType.TEXT, sync_to_thread=False)
    def readyz(request: Request[Any, Any, Any]) -> Response[str]:
        state = request.app.state
        if state.draining:
            return Response("draining", status_code=503)
        return Response("ok") if state.ready and scanner.ready else Response("starting", status_code=503)

    endpoints = {path: api.door(path, profile) for path, profile in settings.doors().items()}
    for path, profile in settings.doors().items():  # of doors side by side the first one speaks
        endpoints.setdefault(models_beside(path), api.models(path, profile))
    endpoints[CHECK] = api.check
    doors = [
        asgi(path, is_mount=True, copy_scope=True)(_door(endpoint)) for path, endpoint in endpoints.items()
    ]
    app = Litestar(
        route_handlers=[*doors, livez, readyz, *routes],
        lifespan=[lifespan],
        exception_handlers=_handlers(served, main),
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    app.state.ready = app.state.draining = False
    app.state.problem = None
    return app


def _limits(settings: Settings) -> "Limits | None":
    """What counts requests; None where nobody has a limit."""
    if settings.first_limit() is None:
        return None
    from guardproxy.limits import Limits  # a third of a second, which only those wait who have some

    return Limits(settings.limits)


def _door(endpoint: Any) -> Any:
    """`endpoint` as the plain function that Litestar wants."""

    async def door(scope: Any, receive: Any, send: Any) -> None:
        await endpoint(scope, receive, send)

    return door


def _handlers(served: str, profile: Profile) -> dict[int | type[Exception], Any]:
    """What answers errors beside the front doors: in the main one's dialect; `served` is what there is."""

    def told(error: GuardProxyError) -> Response[bytes]:
        headers = {**error.headers, "x-request-id": new_id(), "date": date()}
        body = dumps(profile.told(error)).encode()
        return Response(body, status_code=error.status, headers=headers, media_type="application/json")

    def refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
        """What the framework refuses."""
        return told(refused_upgrade(dict(request.scope)) or of_status(error.status_code, served))

    def raised(_: Request[Any, Any, Any], error: GuardProxyError) -> Response[bytes]:
        return told(error)  # by a plugin's route, to be shown

    def failed(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        failure("request failed", error)
        return told(InternalError("guardproxy could not handle the request."))

    return {HTTPException: refused, GuardProxyError: raised, Exception: failed}
