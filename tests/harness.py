"""Drives a whole proxy in memory: sample guards, a scripted upstream, and what the client got."""

import asyncio
import json
import logging
import multiprocessing
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx
import pluggy
import structlog

from guardproxy import Guard, hookimpl, hookspecs, pool
from guardproxy.app import create_app
from guardproxy.plugins import PROJECT
from guardproxy.settings import Settings
from tests.samples import guards

# A scan worker a proxy: forked from a process that has imported what it needs, it starts in no time.
pool.START = "forkserver"
multiprocessing.set_forkserver_preload(["__main__", "guardproxy.pool", "tests.samples"])
AUTHORIZED = {"authorization": "Bearer client"}


@dataclass
class Answered:
    """A response as the client got it; `ended` is False where the connection broke off."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes]
    ended: bool

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of all events; `[DONE]` as the string."""
        found = []
        for block in self.body.decode().split("\n\n"):
            data = "\n".join(line[6:] for line in block.splitlines() if line.startswith("data: "))
            if data:
                found.append(data if data == "[DONE]" else json.loads(data))
        return found

    @property
    def text(self) -> str:
        """All text deltas, joined."""
        return "".join(e["delta"] for e in self.events if e != "[DONE]" and e["type"].endswith(".delta"))


class Chunks(httpx.AsyncByteStream):
    """A body in pieces; `error` breaks it off."""

    def __init__(self, pieces: Iterable[bytes], error: Exception | None = None) -> None:
        self.pieces, self.error = pieces, error
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            await asyncio.sleep(0)
            yield piece
        if self.error:
            raise self.error

    async def aclose(self) -> None:
        self.closed = True


@dataclass(eq=False)
class Recorder:
    """A plugin that notes every step and hook."""

    steps: list[str] = field(default_factory=list)
    exchanges: list[Any] = field(default_factory=list)
    verdicts: list[Any] = field(default_factory=list)

    @hookimpl
    def guardproxy_step(self, exchange: Any, step: Any) -> Any:
        @contextmanager
        def around() -> Any:
            name = f"{step.kind} {step.name}".strip()
            self.steps.append(f"+{name}")
            yield
            self.steps.append(f"-{name}")

        return around()

    @hookimpl
    def guardproxy_resolve_policy(self) -> None:
        self.steps.append("resolve_policy")

    @hookimpl
    async def guardproxy_verdict(self, verdict: Any) -> None:
        self.steps.append(f"verdict {verdict.stage}")
        self.verdicts.append(verdict)

    @hookimpl
    def guardproxy_before_forward(self) -> None:
        self.steps.append("before_forward")

    @hookimpl
    async def guardproxy_after_forward(self, exchange: Any) -> None:
        self.steps.append("after_forward")
        self.exchanges.append(exchange)


class SampleGuards:
    """The plugin that brings tests/samples.py."""

    def __init__(self, made: Mapping[str, Guard]) -> None:
        self.made = made

    @hookimpl
    def guardproxy_register_guards(self) -> list[Guard]:
        return list(self.made.values())


class Client:
    """Sends requests to a proxy in memory."""

    def __init__(self, app: Any, requests: list[httpx.Request], recorder: Recorder) -> None:
        self.app, self.requests, self.recorder = app, requests, recorder

    async def post(
        self,
        body: Any,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        path: str = "/v1/responses",
        method: str = "POST",
        query: str = "",
        disconnect: asyncio.Event | None = None,
        delivered: asyncio.Event | None = None,
        address: str = "127.0.0.1",
    ) -> Answered:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = list(headers.items() if isinstance(headers, Mapping) else headers)
        if not any(name.lower() in {"authorization", "api-key", "x-api-key"} for name, _ in given):
            given += AUTHORIZED.items()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in given],
            "client": (address, 1),
            "server": ("127.0.0.1", 2),
            "state": {},
        }
        sent: list[Any] = []
        ended = asyncio.Event()
        messages = iter([{"type": "http.request", "body": data, "more_body": False}])

        async def receive() -> Any:
            for message in messages:
                return message
            # A server says so of a client that has left, and behind the last piece of every answer.
            ends = [asyncio.create_task(event.wait()) for event in (ended, disconnect) if event is not None]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for end in ends:
                    end.cancel()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"].endswith("body") and not message.get("more_body"):
                ended.set()
                if delivered is not None:
                    delivered.set()

        await self.app(scope, receive, send)
        if not sent:
            return Answered(0, {}, [], False)
        head = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        pieces = [m["body"] for m in sent[1:] if m["body"]]
        return Answered(sent[0]["status"], head, pieces, not sent[-1].get("more_body", False))


Upstreaming = Callable[[httpx.Request], httpx.Response]


@asynccontextmanager
async def proxy(
    upstream: Upstreaming | str,
    *,
    made: Mapping[str, Guard] | None = None,
    plugins: Iterable[object] = (),
    own: Mapping[str, Any] | None = None,
    **given: Any,
) -> AsyncIterator[Client]:
    """A running proxy in front of `upstream`, an answer or a URL; `own` are the plugins' settings."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    recorder = Recorder()
    manager.register(SampleGuards(guards() if made is None else made), "samples")
    manager.register(recorder, "recorder")
    for index, plugin in enumerate(plugins):
        manager.register(plugin, f"extra-{index}")
    requests: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        await request.aread()
        requests.append(request)
        assert not isinstance(upstream, str)
        return upstream(request)

    real = isinstance(upstream, str)
    url = upstream if real else "http://upstream.test/v1"
    settings = Settings(**{"upstream": url, "plugins": dict(own or {}), **given})
    app = create_app(settings, plugins=manager, transport=None if real else httpx.MockTransport(answer))
    async with app.lifespan():
        yield Client(app, requests, recorder)


@asynccontextmanager
async def in_one_task(manager: AbstractAsyncContextManager[Client]) -> AsyncIterator[Client]:
    """A client that fixtures may keep: an application must be left by the task that entered it."""
    opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def keep() -> None:
        async with manager as client:
            opened.set_result(client)
            await leave.wait()

    task = asyncio.create_task(keep())
    await asyncio.wait((task, opened), return_when=asyncio.FIRST_COMPLETED)
    try:
        if opened.done():
            yield opened.result()
    finally:
        leave.set()
        await task


def message(text: str, item_id: str = "msg_1") -> dict[str, Any]:
    """An output message."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": item_id, "role": "assistant", "status": "completed", "content": [part]}


def response(*items: Any, **more: Any) -> dict[str, Any]:
    """A response object."""
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "m",
        "output": list(items),
        **more,
    }


def whole(*items: Any, status: int = 200, **more: Any) -> Upstreaming:
    """An upstream that answers with a response object."""
    return lambda _: httpx.Response(status, json=response(*items, **more))


def text_events(text: str, size: int = 1, numbered: bool = True) -> list[dict[str, Any]]:
    """The events of a stream with one message whose text comes `size` characters at a time."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = message(text)
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response(status="in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {"type": "output_text", "text": ""}},
        *(
            {"type": "response.output_text.delta", **place, "delta": text[i : i + size], "logprobs": []}
            for i in range(0, len(text), size)
        ),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response(item)},
    ]
    if numbered:
        return [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return events


def sse(events: Iterable[Any], done: bool = True) -> bytes:
    """Events on the wire."""
    out = b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)
    return out + (b"data: [DONE]\n\n" if done else b"")


def streaming(body: bytes, size: int = 0, error: Exception | None = None) -> Upstreaming:
    """An upstream that streams `body`, `size` bytes at a time (0: all at once)."""

    def answer(_: httpx.Request) -> httpx.Response:
        pieces = [body[i : i + size] for i in range(0, len(body), size)] if size else [body]
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=Chunks(pieces, error))

    return answer


@contextmanager
def logging_restored() -> Iterator[None]:
    """Logging is afterwards as it was before."""
    root, raising = logging.getLogger(), logging.raiseExceptions
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.raiseExceptions = raising
        structlog.reset_defaults()
