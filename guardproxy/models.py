"""`GET …/models`: the models that a client's key may use, of all upstreams that serve them."""

import asyncio
from typing import Any

import msgspec
import structlog

from guardproxy import encodings
from guardproxy.auth import check_models, may_use
from guardproxy.calls import Calls
from guardproxy.delivery import Delivery, drain_over, reply_json
from guardproxy.document import dumps
from guardproxy.errors import GuardProxyError, NotFound, UpstreamError
from guardproxy.exchange import Exchange
from guardproxy.headers import lower_headers
from guardproxy.lifecycle import Lifecycle, fail
from guardproxy.messages import Incoming, Reply
from guardproxy.routes import MODEL, MODELS
from guardproxy.settings import ClientKey, Settings
from guardproxy.upstream import Upstream
from guardproxy.upstreams import Upstreams

_log = structlog.stdlib.get_logger("guardproxy")


class Models:
    """Lists models, and describes one. Nothing of it is guarded: no client's text is in it."""

    def __init__(
        self,
        settings: Settings,
        lifecycle: Lifecycle,
        upstreams: Upstreams,
        calls: Calls,
        delivery: Delivery,
    ) -> None:
        self._limit = settings.max_body
        self._lifecycle = lifecycle
        self._upstreams = upstreams
        self._calls = calls
        self._delivery = delivery

    async def serve(self, incoming: Incoming, reply: Reply) -> None:
        """Answer the request, which is no exchange."""
        exchange = Exchange(incoming.method, incoming.path, lower_headers(incoming.headers))
        try:
            key = await self._lifecycle.admit(exchange, incoming)
            limited = key is not None and key.allowed_models is not None
            if incoming.target != MODELS:
                await self._one(exchange, key, incoming, reply)
            elif limited or self._upstreams.several:
                await self._list(exchange, key, incoming, reply)
            else:
                upstream = self._upstreams.of_response(None)
                await self._pass_on(exchange, upstream, incoming.target, incoming, reply)
        except GuardProxyError as error:
            await fail(exchange, error, reply, incoming.profile)
        except asyncio.CancelledError:
            if reply.gone:
                raise
            await fail(exchange, drain_over(), reply, incoming.profile)

    async def _one(self, exchange: Exchange, key: ClientKey | None, incoming: Incoming, reply: Reply) -> None:
        asked = incoming.target.removeprefix(f"{MODELS}/")
        check_models(key, [("model", asked)], self._upstreams.same)
        chosen = self._upstreams.of_model(asked)
        # Less the upstream's name it is another path: `name@../files` would lead out of the models.
        if not MODEL.fullmatch(chosen.model or ""):
            raise NotFound("There is no such model.", param="model", code="model_not_found")
        await self._pass_on(exchange, chosen.upstream, f"{MODELS}/{chosen.model}", incoming, reply)

    async def _pass_on(
        self, exchange: Exchange, upstream: Upstream, target: str, incoming: Incoming, reply: Reply
    ) -> None:
        headers = self._calls.headers(upstream, incoming, {})
        answer = await upstream.send(incoming.method, target, incoming.query, headers, None)
        try:
            await self._delivery.raw(exchange, answer, reply)
        finally:
            await answer.aclose()

    async def _list(
        self, exchange: Exchange, key: ClientKey | None, incoming: Incoming, reply: Reply
    ) -> None:
        upstreams = self._upstreams.usable()
        own = self._upstreams.of_own()
        lists = await asyncio.gather(*(self._of(up, incoming, up is own) for up in upstreams))
        found: dict[str, Any] = {}
        problems: list[GuardProxyError] = []
        for upstream, models in zip(upstreams, lists, strict=True):
            if isinstance(models, GuardProxyError):
                problems.append(models)
                _log.warning("models_missing", upstream=upstream.name, code=models.error_code)
                continue
            for model in models:
                name = self._upstreams.name_of(upstream, model["id"])
                if may_use(key, name, self._upstreams.same):
                    found.setdefault(name, {**model, "id": name})
        if problems and len(problems) == len(lists):
            raise problems[0]
        body = dumps({"object": "list", "data": list(found.values())}).encode()
        await reply_json(exchange, reply, 200, body)

    async def _of(
        self, upstream: Upstream, incoming: Incoming, passes: bool
    ) -> list[dict[str, Any]] | GuardProxyError:
        """The models that an upstream lists, or why it does not."""
        try:
            headers = self._calls.headers(upstream, incoming, {"accept-encoding": "identity"}, passes=passes)
            answer = await upstream.send("GET", MODELS, b"", headers, None)
            body = await answer.read(self._limit)
            encoding = lower_headers(answer.headers).get("content-encoding", "")
            decoder = encodings.Decoder(encoding, self._limit, UpstreamError, "The upstream's answer")
            if answer.status != 200:
                return UpstreamError(f"The upstream answered with {answer.status}.")
            listed = msgspec.json.decode(decoder.whole(body))
        except GuardProxyError as error:
            return error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            listed = None
        models = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(models, list):
            return UpstreamError("The upstream's list of models is none.")
        return [model for model in models if isinstance(model, dict) and isinstance(model.get("id"), str)]
