"""A fake Responses upstream: a real HTTP/1.1 server on loopback whose every write a test decides.

It runs in a thread of its own, so that sync tests, async tests and the demo can use it. Without a script it
is an echo: its message is the text of the last user input.
"""

import asyncio
import enum
import gzip
import json
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import unquote

import httptools

from guardproxy.testing.events import (
    Dialect,
    Event,
    Item,
    error_body,
    error_event,
    frames,
    in_dialect,
    message_item,
    response,
    shown_response,
    stream_events,
    usage,
)

Ending: TypeAlias = Literal[
    "complete",
    "no_terminal",
    "no_done",
    "dropped",
    "flat_error",
    "nested_error",
    "invalid_json",
    "failed",
    "incomplete",
]
_STREAM = "text/event-stream"
_CREATED = 1_767_225_600


class Signal:
    """Something that happens once: set from any thread, waited for in any thread or event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def set(self) -> None:
        """Let it happen; more calls change nothing."""
        with self._lock:
            self._event.set()
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def is_set(self) -> bool:
        """Whether it happened."""
        return self._event.is_set()

    def wait(self, timeout: float = 10.0) -> None:
        """Block until it happened; TimeoutError after `timeout` seconds."""
        if not self._event.wait(timeout):
            raise TimeoutError("it did not happen in time")

    async def happened(self, timeout: float | None = 10.0) -> None:  # noqa: ASYNC109 - as `wait`
        """Await that it happened; TimeoutError after `timeout` seconds, None waits for ever."""
        event = asyncio.Event()
        with self._lock:
            if self._event.is_set():
                return
            self._waiting.append((asyncio.get_running_loop(), event))
        async with asyncio.timeout(timeout):
            await event.wait()


class Gate:
    """A place in an answer where the server waits: `reached` when it stands there, on after `open()`."""

    def __init__(self) -> None:
        self.reached = Signal()
        self._opened = Signal()

    def open(self) -> None:
        """Let the server go on."""
        self._opened.set()

    async def passed(self) -> None:
        """Report arrival and await the opening (the server's side)."""
        self.reached.set()
        await self._opened.happened(timeout=None)


class Drop(enum.Enum):
    """In an answer's chunks: the connection is reset here, in mid-body."""

    DROP = "drop"


DROP = Drop.DROP
Chunk: TypeAlias = bytes | Gate | Drop


@dataclass(eq=False, slots=True)
class Recorded:
    """A request as it arrived: header names in their case, the body's bytes as sent.

    `written` counts the answer's chunks that were written. `answered` happens when the whole answer
    was written, `left` when the client closed the connection before that.
    """

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    written: int = 0
    answered: Signal = field(default_factory=Signal)
    left: Signal = field(default_factory=Signal)

    def header(self, name: str) -> str | None:
        """The values of a header, joined by a comma; None when it was not sent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def json(self) -> Any:
        """The body, decompressed and decoded."""
        encoding = self.header("content-encoding")
        if encoding == "gzip":
            return json.loads(gzip.decompress(self.body))
        return json.loads(zlib.decompress(self.body) if encoding == "deflate" else self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, to the byte. Each chunk is a write of its own, and an HTTP chunk unless `length` is given.

    `headers` are added to content-type and framing. `hold` stops the answer before its head.
    """

    chunks: Sequence[Chunk] = ()
    status: int = 200
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()
    length: int | None = None
    hold: Gate | None = None

    @classmethod
    def of_json(cls, value: object, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> "Reply":
        """A JSON answer in one write, with its length."""
        body = json.dumps(value, ensure_ascii=False).encode()
        return cls([body], status, headers=headers, length=len(body))

    def compressed(self) -> "Reply":
        """The same answer with `Content-Encoding: gzip`, in one write; gates and drops are left out."""
        body = gzip.compress(b"".join(c for c in self.chunks if isinstance(c, bytes)), mtime=0)
        headers = [*self.headers, ("Content-Encoding", "gzip")]
        return Reply([body], self.status, self.content_type, headers, len(body), self.hold)


@dataclass(frozen=True, slots=True)
class Script:
    """How the upstream answers POST /v1/responses.

    `text` replaces the echo (`""` too); `before` and `after` are items around the message; `message=False`
    leaves it out. `chunk` is the characters of a delta. `write` is how the stream is written: an event each
    write, or that many bytes. `ending` says how a stream ends; `dropped` also breaks off a whole answer.
    `gates` stop the stream before the event of that number. `hang` never answers, `hold` not before it is
    open. `status` other than 200 answers with `error` (or OpenAI's envelope). `reply` decides alone: it gets
    the request's JSON, and gives bytes, a JSON object, or a Reply.
    """

    text: str | None = None
    message: bool = True
    before: Sequence[Item] = ()
    after: Sequence[Item] = ()
    chunk: int = 8
    dialect: Dialect = "openai"
    write: Literal["event"] | int = "event"
    ending: Ending = "complete"
    gates: Mapping[int, Gate] = field(default_factory=dict)
    hold: Gate | None = None
    hang: bool = False
    status: int = 200
    error: Mapping[str, Any] | None = None
    headers: Sequence[tuple[str, str]] = ()
    gzip: bool = False
    reply: Callable[[dict[str, Any]], "bytes | dict[str, Any] | Reply"] | None = None


class FakeUpstream:
    """The server; a context manager, sync and async. `url` ends in `/v1`.

    `script` may be replaced between requests; the scripts given to `then` answer the next requests first.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.requests: list[Recorded] = []
        self.responses: dict[str, dict[str, Any]] = {}
        self.port = 0
        self._next: list[Script] = []
        self._made = 0
        self._started = threading.Event()
        self._stopping = Signal()
        self._thread: threading.Thread | None = None
        self._connections: set[_Connection] = set()

    @property
    def url(self) -> str:
        """The base URL, with `/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def last(self) -> Recorded:
        """The last request; an IndexError when there was none."""
        return self.requests[-1]

    def then(self, *scripts: Script) -> None:
        """Answer the next POSTs of responses by these scripts, one each, before `script` again."""
        self._next.extend(scripts)

    def start(self) -> None:
        """Listen; returns when the port is known."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fake-upstream")
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """Close all connections, in mid-answer if need be, and end the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        await asyncio.to_thread(self.stop)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopping.happened(timeout=None)
        server.close()
        open_ones = list(self._connections)
        for connection in open_ones:
            connection.abort()
        await asyncio.gather(*(c.task for c in open_ones), return_exceptions=True)
        await server.wait_closed()

    def answer(self, request: Recorded) -> Reply:
        """The answer to any request."""
        path = unquote(request.path).removeprefix("/v1")
        match (request.method, path.strip("/").split("/")):
            case "GET", ["models"]:
                return Reply.of_json({"object": "list", "data": [_model("test-model")]})
            case "GET", ["models", name]:
                return Reply.of_json(_model(name))
            case "POST", ["responses"]:
                return self._create(request)
            case "POST", ["responses", "input_tokens"]:
                tokens = usage(len(request.body), [])["input_tokens"]
                return Reply.of_json({"object": "response.input_tokens", "input_tokens": tokens})
            case "POST", ["responses", "compact"]:
                return Reply.of_json(_compacted(request.json))
            case "GET", ["responses", id_] if id_ in self.responses:
                return Reply.of_json(self.responses[id_])
            case "DELETE", ["responses", id_] if self.responses.pop(id_, None):
                return Reply.of_json({"id": id_, "object": "response", "deleted": True})
        message = f"Nothing at {request.method} {request.path}."
        return Reply.of_json(error_body(message, code="not_found"), 404)

    def _create(self, request: Recorded) -> Reply:
        script = self._next.pop(0) if self._next else self.script
        try:
            asked = request.json
        except ValueError:
            return Reply.of_json(error_body("The body is not JSON.", code="invalid_json"), 400)
        self._made += 1
        made = _scripted(script, asked, self._made, self.responses)
        return made.compressed() if script.gzip else made


def echoed(asked: Mapping[str, Any]) -> str:
    """What the echo says: the text of the last user message of the input, its parts joined."""
    given = asked.get("input")
    if isinstance(given, str):
        return given
    for item in reversed(given or []):
        if item.get("role") == "user":
            content = item.get("content", "")
            if isinstance(content, str):
                return content
            return "".join(part.get("text", "") for part in content)
    return ""


def _scripted(script: Script, asked: dict[str, Any], number: int, kept: dict[str, dict[str, Any]]) -> Reply:
    hold = Gate() if script.hang else script.hold
    if script.reply is not None:
        given = script.reply(asked)
        if isinstance(given, bytes):
            return Reply([given], script.status, headers=script.headers, length=len(given), hold=hold)
        return given if isinstance(given, Reply) else Reply.of_json(given, script.status, script.headers)
    if script.status != 200:
        error = script.error or error_body("The upstream says no.", type="server_error", code="scripted")
        return _held(Reply.of_json(error, script.status, script.headers), hold)
    text = echoed(asked) if script.text is None else script.text
    said = [message_item(text, id=f"msg_{number}")] if script.message else []
    items = [*script.before, *said, *script.after]
    id_ = f"resp_{number}"
    status = script.ending if script.ending in ("failed", "incomplete") else "completed"
    whole = response(items=items, request=asked, id=id_, status=status)
    if asked.get("store") is not False:
        kept[id_] = whole
    if asked.get("stream"):
        events = stream_events(items, chunk=script.chunk, request=asked, id=id_, status=status)
        return _streamed(script, events, hold)
    shown = shown_response(whole, script.dialect)
    made = _held(Reply.of_json(shown, headers=script.headers), hold)
    if script.ending == "dropped":
        body = b"".join(c for c in made.chunks if isinstance(c, bytes))
        return Reply([body[: len(body) // 2], DROP], headers=made.headers, length=made.length, hold=hold)
    return made


def _streamed(script: Script, events: list[Event], hold: Gate | None) -> Reply:
    told = in_dialect(events, script.dialect)
    done = script.ending not in ("no_done", "dropped") and script.dialect == "openai"
    shown: list[Event | bytes] = list(told)
    match script.ending:
        case "no_terminal" | "dropped":
            shown = shown[:-1]
        case "flat_error" | "nested_error":
            flat = script.ending == "flat_error"
            shown[-1] = error_event(flat=flat, sequence_number=len(shown) - 1)
        case "invalid_json":
            shown.insert(len(shown) // 2, b'{"type": "response.output_text.delta", "delta": ')
    written = frames(shown, names=script.dialect != "transformers", done=done)
    chunks: list[Chunk] = []
    for number, data in enumerate(written):
        if number in script.gates:
            chunks.append(script.gates[number])
        size = len(data) if script.write == "event" else script.write
        chunks.extend(data[at : at + size] for at in range(0, len(data), size))
    if script.ending == "dropped":
        chunks.append(DROP)
    return Reply(chunks, content_type=_STREAM, headers=script.headers, hold=hold)


def _held(made: Reply, hold: Gate | None) -> Reply:
    return Reply(made.chunks, made.status, made.content_type, made.headers, made.length, hold)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "guardproxy.testing"}


def _compacted(asked: Mapping[str, Any]) -> dict[str, Any]:
    sealed = {"type": "compaction", "id": "cmp_1", "encrypted_content": "c2VhbGVk"}
    counted = usage(len(json.dumps(asked.get("input"))), [sealed])
    return {
        "id": "resp_compacted",
        "object": "response.compaction",
        "created_at": _CREATED,
        "output": [sealed],
        "usage": counted,
    }


class _Connection(asyncio.Protocol):
    """One connection: requests are parsed as they come and answered one after the other."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self.upstream = upstream
        self.parser = httptools.HttpRequestParser(self)
        self.waiting: asyncio.Queue[tuple[Recorded, bool]] = asyncio.Queue()
        self.writable = asyncio.Event()
        self.writable.set()
        self.target = b""
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.current: Recorded | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.upstream._connections.add(self)
        self.task = asyncio.get_running_loop().create_task(self._answer_all())

    def connection_lost(self, exc: Exception | None) -> None:
        self.upstream._connections.discard(self)
        if self.current is not None:
            self.current.left.set()
        self.task.cancel()

    def abort(self) -> None:
        self.transport.abort()
        self.task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def on_message_begin(self) -> None:
        self.target, self.headers, self.body = b"", [], b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if any(name.lower() == "expect" for name, _ in self.headers):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        path, _, query = self.target.decode("latin-1").partition("?")
        method = self.parser.get_method().decode()
        request = Recorded(method, path, query, self.headers, self.body)
        self.upstream.requests.append(request)
        self.waiting.put_nowait((request, self.parser.should_keep_alive()))

    async def _answer_all(self) -> None:
        keep = True
        while keep:
            self.current, keep = await self.waiting.get()
            keep = await self._answer(self.current, self.upstream.answer(self.current)) and keep
            self.current = None
        self.transport.close()

    async def _answer(self, request: Recorded, reply: Reply) -> bool:
        """Write the answer; False when the connection cannot be used again."""
        if reply.hold is not None:
            await reply.hold.passed()
        chunked = reply.length is None
        self.transport.write(_head(reply))
        for chunk in reply.chunks if request.method != "HEAD" else ():
            if isinstance(chunk, Gate):
                await chunk.passed()
            elif isinstance(chunk, Drop):
                await self._flushed()
                self.current = None
                self.transport.close()
                return False
            elif chunk:
                self.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
                request.written += 1
                await self.writable.wait()
                await asyncio.sleep(0)  # a write of its own; and a lost connection is seen between two
        if chunked:
            self.transport.write(b"0\r\n\r\n")
        request.answered.set()
        return True

    async def _flushed(self) -> None:
        self.transport.set_write_buffer_limits(high=0)
        await self.writable.wait()


def _head(reply: Reply) -> bytes:
    framing = (
        ("Transfer-Encoding", "chunked") if reply.length is None else ("Content-Length", str(reply.length))
    )
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    own = [("Date", date), ("Content-Type", reply.content_type), framing]
    lines = [f"{name}: {value}\r\n" for name, value in [*own, *reply.headers]]
    return (f"HTTP/1.1 {reply.status} Scripted\r\n" + "".join(lines) + "\r\n").encode("latin-1")
