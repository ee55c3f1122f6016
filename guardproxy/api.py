"""The HTTP surface: ASGI in, pipeline calls, ASGI out. Thin."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any

from guardproxy.document import dumps
from guardproxy.errors import (
    BodyTooLarge,
    GuardProxyError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    NotImplementedYet,
)
from guardproxy.exchange import Stopwatch, clock, new_id
from guardproxy.headers import date
from guardproxy.messages import Incoming
from guardproxy.pipeline import Pipeline
from guardproxy.profiles import OPENRESPONSES, Profile
from guardproxy.routes import CHECK, LIVE, MODEL, MODELS, READY, ROUTES, find, models_beside

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Endpoint = Callable[[Incoming], Awaitable[None]]

_MODELS = re.compile(rf"{MODELS}(?:/{MODEL.pattern})?")


class AsgiReply:
    """A response over ASGI."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.gone = False
        self.ended: float | None = None
        self.watch = Stopwatch()

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head."""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self.started = True

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client does not read."""
        with self.watch:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece."""
        with self.watch:
            await self._send({"type": "http.response.body", "body": data})
        self.ended = clock()

    async def error(self, error: GuardProxyError, profile: Profile = OPENRESPONSES) -> None:
        """Answer with the envelope of `error`."""
        body = dumps(profile.told(error)).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
        headers |= {"x-request-id": new_id(), "date": date()}
        await self.start(error.status, [(k.encode(), v.encode("latin-1")) for k, v in headers.items()])
        await self.end(body)


class Api:
    """The endpoints of one proxy."""

    def __init__(self, pipeline: Pipeline, max_body: int, served: str, main: Profile) -> None:
        """`served` is what the others are told that ask for another path (`what_is_served`).

        `main` is the profile of the main front door, and of what is served beside the doors.
        """
        self._pipeline = pipeline
        self._main = main
        self._max_body = max_body
        self._served = served

    def door(self, at: str, profile: Profile) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """The ASGI application of the front door whose path is `at`."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            place = find(at, _raw_path(scope))
            reply = AsgiReply(send)
            if problem := self._misdirected(
                scope, place.template if place else None, place.routes if place else ()
            ):
                await reply.error(problem, profile)
                return
            assert place is not None

            async def run(incoming: Incoming) -> None:
                await self._pipeline.run(incoming, profile, place.routes[incoming.method], reply)

            target = profile.target + place.tail
            await self._serve(scope, receive, reply, place.template, target, place.response_id, run)

        return app

    async def check(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application of checks."""
        path = _raw_path(scope)
        reply = AsgiReply(send)
        if problem := self._misdirected(scope, path if path == CHECK else None, ("POST",)):
            await reply.error(problem, self._main)
            return

        async def run(incoming: Incoming) -> None:
            await self._pipeline.check(incoming, reply)

        await self._serve(scope, receive, reply, path, "", None, run)

    def models(self, door: str, profile: Profile) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """The ASGI application of the list of models beside the front door at `door`, and of one of them."""
        base = door.rpartition("/")[0]

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            path = _raw_path(scope)
            target = path.removeprefix(base)
            reply = AsgiReply(send)
            if problem := self._misdirected(scope, path if _MODELS.fullmatch(target) else None, ("GET",)):
                await reply.error(problem, profile)
                return

            async def run(incoming: Incoming) -> None:
                incoming.profile = profile
                await self._pipeline.models.serve(incoming, reply)

            await self._serve(scope, receive, reply, path, target, None, run)

        return app

    def _misdirected(
        self, scope: Scope, path: str | None, methods: Collection[str]
    ) -> GuardProxyError | None:
        """The error of a request that is not for `path` (None: not served) with one of `methods`."""
        if refused := refused_upgrade(scope):
            return refused
        if path is None:
            return _not_found(self._served)
        if scope["method"] not in methods:
            allowed = ", ".join(methods)
            return MethodNotAllowed(
                f"{path} takes {allowed}, not {scope['method'][:16]}.", headers={"allow": allowed}
            )
        return None

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        reply: AsgiReply,
        path: str,
        target: str,
        response_id: str | None,
        run: Endpoint,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        body = Body(receive, scope["headers"], self._max_body, task, reply)
        incoming = Incoming(
            scope["method"],
            path,
            target,
            scope["query_string"],
            scope["headers"],
            body.read,
            (scope.get("client") or ("",))[0],
            response_id,
            profile=self._main,
        )
        try:
            await run(incoming)
        except asyncio.CancelledError:
            # Ours, when the client left: the upstream call is closed by now, and nobody reads an answer.
            if not reply.gone:
                raise
            task.uncancel()
        finally:
            body.close()


class Body:
    """A request's body, read once within a limit; then `task` is cancelled when the client leaves."""

    def __init__(
        self,
        receive: Receive,
        headers: list[tuple[bytes, bytes]],
        limit: int,
        task: "asyncio.Task[Any]",
        reply: AsgiReply,
    ) -> None:
        self._receive = receive
        self._length = next((value for name, value in headers if name == b"content-length"), b"0")
        self._limit = limit
        self._task = task
        self._reply = reply
        self._watch: asyncio.Task[None] | None = None

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            BodyTooLarge: more than the limit.
            CancelledError: the client left.
        """
        # Twenty digits are more than any limit, and int() refuses thousands of them.
        if self._length.isdigit() and int(self._length.lstrip(b"0")[:20] or 0) > self._limit:
            raise self._too_large()
        pieces: list[bytes] = []
        size = 0
        while True:
            with self._reply.watch:
                message = await self._receive()
            if message["type"] == "http.disconnect":
                self._reply.gone = True
                raise asyncio.CancelledError
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._limit:
                raise self._too_large()
            pieces.append(piece)
            if not message.get("more_body", False):
                self._watch = asyncio.create_task(self._left())
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body is larger than {self._limit} bytes (max_body); send less.")

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        # Who has the whole answer may leave: guards in shadow, which nobody waits for, go on.
        if self._reply.ended is None:
            self._reply.gone = True
            self._task.cancel()

    def close(self) -> None:
        """The exchange is over: whether the client leaves is no matter any more."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None


def _raw_path(scope: Scope) -> str:
    # As it came: the router takes other spellings for the same (`//`, a trailing slash, `%2f`), and guards
    # must not be evaded so.
    raw: bytes = scope["raw_path"]
    return raw.decode("latin-1")


def refused_upgrade(scope: Scope) -> GuardProxyError | None:
    """The error of a request for a WebSocket, on whatever path; None for other requests."""
    if any(name == b"upgrade" and b"websocket" in value.lower() for name, value in scope["headers"]):
        return NotImplementedYet("guardproxy does not serve WebSockets; use POST with 'stream': true.")
    return None


def what_is_served(doors: Iterable[str], more: Iterable[str]) -> str:
    """All methods and paths, as errors name them: of the front doors at `doors`, and `more`."""
    first, *others = doors
    lists = dict.fromkeys(map(models_beside, (first, *others)))
    return ", ".join(
        (
            *(f"{route.method} {first}{route.tail}" for route in ROUTES),
            *(f"the same below {path}" for path in others),
            *(f"GET {path}[/{{id}}]" for path in lists),
            *(f"POST {CHECK}", f"GET {LIVE}", f"GET {READY}"),
            *more,
        )
    )


def _not_found(served: str) -> NotFound:
    return NotFound(f"guardproxy does not serve this path. It serves: {served}.")


def of_status(status: int, served: str) -> GuardProxyError:
    """The error of what the framework itself refuses."""
    if status == 404:
        return _not_found(served)
    if status == 405:
        return MethodNotAllowed(f"This path does not take that method. guardproxy serves: {served}.")
    return InternalError("guardproxy could not handle the request.")
