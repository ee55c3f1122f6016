"""upstream.py against small raw servers: what is sent, what comes back, and every way it can fail."""

import asyncio
import base64
import errno
import gzip
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from guardproxy.errors import ConfigError, GuardProxyError, InternalError, UpstreamError, UpstreamTimeout
from guardproxy.settings import Settings
from guardproxy.transport import _Connection
from guardproxy.upstream import Upstream

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
HUGE = b"HTTP/1.1 200 OK\r\n" + b"x-filler: 0123456789\r\n" * 20_000
NEVER = 3600.0
SOON = 0.05


@dataclass
class Peer:
    """One connection as the server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> tuple[bytes, bytes]:
        """The head and the body of the next request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return head, await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))


@dataclass
class Server:
    """A server that answers each connection by a function."""

    port: int = 0
    connections: int = 0
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


Handler = Callable[[Server, Peer], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        try:
            await handler(server, Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            server.ended.set()
            writer.close()
            tasks.discard(task)

    listening = await asyncio.start_server(connection, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()


def answers(*data: bytes) -> Handler:
    """Answer every request of a connection by `data`."""

    async def handler(server: Server, peer: Peer) -> None:
        while True:
            server.requests.append(await peer.request())
            for piece in data:
                await peer.send(piece)

    return handler


def made(transport: httpx.AsyncBaseTransport | None = None, **given: object) -> Upstream:
    settings = Settings(**given)  # type: ignore[arg-type]
    (of,) = settings.all_upstreams()
    return Upstream(of, settings, transport)


@asynccontextmanager
async def connected(
    server: Server, transport: httpx.AsyncBaseTransport | None = None, **settings: object
) -> AsyncIterator[Upstream]:
    values: dict[str, object] = {"upstream": server.url, **settings}
    upstream = made(transport, **values)
    try:
        yield upstream
    finally:
        await upstream.aclose()


async def collected(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def post(upstream: Upstream, body: bytes = b"{}") -> bytes:
    answer = await upstream.send("POST", "/responses", b"", [], body)
    return await answer.read(1 << 30)


# What goes out


async def test_a_request_goes_out_as_it_is_with_host_and_length_only() -> None:
    async with serving(answers(OK)) as server, connected(server) as upstream:
        headers = [(b"x-b", b"1"), (b"authorization", b"Bearer k"), (b"x-b", b"2"), (b"cookie", b'a="1 2"')]
        answer = await upstream.send("POST", "/responses", b"", headers, b'{"model":"m"}')
        assert await answer.read(2) == b"ok"
    head, body = server.requests[0]
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/responses HTTP/1.1"
    fields = [line.partition(":")[::2] for line in lines[1:-2]]
    assert sorted((name.lower(), value.strip()) for name, value in fields) == [
        ("authorization", "Bearer k"),
        ("content-length", "13"),
        ("cookie", 'a="1 2"'),
        ("host", f"127.0.0.1:{server.port}"),
        ("x-b", "1"),
        ("x-b", "2"),
    ]
    assert body == b'{"model":"m"}'


async def test_a_get_has_no_body_and_no_length() -> None:
    async with serving(answers(OK)) as server, connected(server) as upstream:
        answer = await upstream.send("GET", "/models", b"", [], None)
        await answer.read(2)
    head, _ = server.requests[0]
    assert head.startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"content-length" not in head.lower()


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/models/a%2Fb%7e", b"", "/v1/models/a%2Fb%7e"),
        ("/responses", b"include[]=a&x=%7E%2f+b", "/v1/responses?include[]=a&x=%7E%2f+b"),
        ("/responses", b"a=1&a=1&=&b", "/v1/responses?a=1&a=1&=&b"),
        ("/responses", b"a='|\"{}\\^`", "/v1/responses?a='|\"{}\\^`"),
        ("/responses", b"a=\xc3\xa9%41", "/v1/responses?a=%C3%A9%41"),
    ],
)
async def test_the_target_is_not_rewritten(path: str, query: bytes, target: str) -> None:
    async with serving(answers(OK)) as server, connected(server) as upstream:
        await (await upstream.send("GET", path, query, [], None)).read(2)
    assert server.requests[0][0].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()


@pytest.mark.parametrize("value", [b"caf\xc3\xa9", b"a\tb", b"", b"{}"])
async def test_header_values_keep_their_bytes(value: bytes) -> None:
    async with serving(answers(OK)) as server, connected(server) as upstream:
        await (await upstream.send("GET", "/models", b"", [(b"x-v", value)], None)).read(2)
    assert b"\r\nx-v: " + value + b"\r\n" in server.requests[0][0]


@pytest.mark.parametrize("size", [0, 1, 300_000, 5_000_000])
async def test_bodies_of_any_size(size: int) -> None:
    async with serving(answers(OK)) as server, connected(server) as upstream:
        assert await post(upstream, b"x" * size) == b"ok"
    head, body = server.requests[0]
    assert body == b"x" * size
    assert b"transfer-encoding" not in head.lower()


async def test_connections_are_kept_and_cookies_are_not() -> None:
    cookie = b"HTTP/1.1 200 OK\r\nset-cookie: tenant=a; Path=/\r\ncontent-length: 0\r\n\r\n"
    async with serving(answers(cookie)) as server, connected(server) as upstream:
        for _ in range(3):
            await post(upstream)
    assert server.connections == 1
    assert not any(b"cookie" in head.lower() for head, _ in server.requests)


async def test_the_environment_plays_no_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with serving(answers(OK)) as server, connected(server) as upstream:
        assert await post(upstream) == b"ok"
    assert b"authorization" not in server.requests[0][0].lower()


# What comes back


async def test_an_answer_is_raw() -> None:
    packed = gzip.compress(b"hello")
    head = (
        b"HTTP/1.1 201 Made\r\nX-Case: A\r\nx-case: b\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    )
    async with serving(answers(head % len(packed) + packed)) as server, connected(server) as upstream:
        answer = await upstream.send("POST", "/responses", b"", [(b"accept-encoding", b"gzip")], b"{}")
        assert answer.status == 201
        assert answer.headers == [
            (b"X-Case", b"A"),
            (b"x-case", b"b"),
            (b"Content-Encoding", b"gzip"),
            (b"Content-Length", str(len(packed)).encode()),
        ]
        assert await answer.read(1000) == packed


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 401, 429, 500, 503])
async def test_any_status_passes_and_nothing_is_followed_or_repeated(status: int) -> None:
    head = b"HTTP/1.1 %d X\r\nlocation: /elsewhere\r\nretry-after: 0\r\ncontent-length: 2\r\n\r\nok" % status
    async with serving(answers(head)) as server, connected(server) as upstream:
        answer = await upstream.send("POST", "/responses", b"", [], b"{}")
        assert answer.status == status
        assert await answer.read(2) == b"ok"
    assert len(server.requests) == 1


async def test_an_offer_to_upgrade_is_an_answer_like_any_other() -> None:
    offer = b"HTTP/1.1 200 OK\r\nupgrade: h2,h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nok"
    async with serving(answers(offer)) as server, connected(server) as upstream:
        assert await post(upstream) == b"ok"


async def test_interim_answers_are_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with serving(answers(interim + OK)) as server, connected(server) as upstream:
        assert await post(upstream) == b"ok"


async def test_chunks_come_when_they_are_sent() -> None:
    go_on = asyncio.Event()

    async def handler(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await peer.chunk(b"first")
        await go_on.wait()
        await peer.chunk(b"second")
        await peer.send(b"0\r\n\r\n")

    async with serving(handler) as server, connected(server) as upstream:
        answer = await upstream.send("POST", "/responses", b"", [], b"{}")
        chunks = answer.chunks()
        assert await anext(chunks) == b"first"
        go_on.set()
        assert await anext(chunks) == b"second"
        assert await anext(chunks, None) is None
        await answer.aclose()
        await answer.aclose()


async def test_a_slow_reader_slows_the_upstream() -> None:
    size, count = 64 * 1024, 500
    sent = 0

    async def handler(server: Server, peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(STREAM)
        for _ in range(count):
            await peer.chunk(b"x" * size)
            sent += size
        await peer.send(b"0\r\n\r\n")

    async with serving(handler) as server, connected(server) as upstream:
        answer = await upstream.send("POST", "/responses", b"", [], b"{}")
        chunks = answer.chunks()
        received = len(await anext(chunks))
        before = -1
        while before != sent:  # until the server is stuck
            before = sent
            await asyncio.sleep(0.1)
        assert sent < size * count / 2
        async for chunk in chunks:
            received += len(chunk)
        assert received == size * count


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    async def handler(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    async with serving(handler) as server, connected(server) as upstream:
        assert await post(upstream) == b"all of it"
        assert await post(upstream) == b"all of it"
    assert server.connections == 2


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0\r\nx-trailer: 1\r\n\r\n"])
async def test_chunks_in_any_pieces(end: bytes) -> None:
    whole = STREAM + b"5;extension=1\r\nhello\r\n6\r\n world\r\n" + end

    async def handler(server: Server, peer: Peer) -> None:
        while True:
            server.requests.append(await peer.request())
            cut = 40 * len(server.requests)
            await peer.send(whole[:cut])
            await asyncio.sleep(0)
            await peer.send(whole[cut:])

    async with serving(handler) as server, connected(server) as upstream:
        for _ in range(len(whole) // 40):
            assert await post(upstream) == b"hello world"
    assert server.connections == 1


@pytest.mark.parametrize("head", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"])
async def test_answers_without_a_body(head: bytes) -> None:
    async with serving(answers(head)) as server, connected(server) as upstream:
        assert await post(upstream) == b""
        assert await post(upstream) == b""
    assert server.connections == 1


async def test_the_head_alone() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    async with serving(answers(head)) as server, connected(server) as upstream:
        answer = await upstream.send("HEAD", "/models", b"", [], None)
        assert answer.headers == [(b"content-length", b"5")]
        assert await answer.read(0) == b""


@pytest.mark.parametrize("apart", [False, True])
async def test_an_answer_that_nobody_asked_for_answers_nobody(apart: bool) -> None:
    forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"

    async def handler(server: Server, peer: Peer) -> None:
        server.requests.append(await peer.request())
        await peer.send(OK if apart else OK + forged)
        if apart:
            await server.asked.wait()
            await peer.send(forged)
        server.ended.set()
        await peer.reader.read()

    async with serving(handler) as server, connected(server) as upstream:
        assert await post(upstream) == b"ok"
        server.asked.set()
        await server.ended.wait()
        await asyncio.sleep(SOON)  # the forged answer arrives
        assert await post(upstream) == b"ok"
    assert server.connections == 2


async def test_an_early_answer_ends_a_large_upload() -> None:
    async def handler(server: Server, peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await server.asked.wait()

    async with serving(handler) as server, connected(server) as upstream:
        answer = await upstream.send("POST", "/responses", b"", [], b"x" * 50_000_000)
        assert answer.status == 413
        assert await answer.read(2) == b"no"
        server.asked.set()


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/responses", (b"x-a", b"1\r\nx-b: 2")),
        ("/responses", (b"x-a\n", b"1")),
        ("/responses", (b"x-a", b"1\rx")),
        ("/a HTTP/1.1\r\nx: y", (b"x-a", b"1")),
        ("/a b", (b"x-a", b"1")),
    ],
)
async def test_nothing_can_break_the_framing(path: str, header: tuple[bytes, bytes]) -> None:
    async with serving(answers(OK)) as server, connected(server) as upstream:
        with pytest.raises(InternalError):
            await upstream.send("POST", path, b"", [header], b"{}")
    assert server.connections == 0


# Leaving


async def wait_for_request_then_the_end(server: Server, peer: Peer) -> None:
    server.requests.append(await peer.request())
    server.asked.set()
    assert await peer.reader.read() == b""


async def test_cancelling_before_the_answer_closes_the_connection() -> None:
    async with serving(wait_for_request_then_the_end) as server, connected(server) as upstream:
        call = asyncio.create_task(post(upstream))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.ended.wait(), 5)
    assert server.connections == 1


@pytest.mark.parametrize("how", ["aclose", "cancel", "aclose while another task reads"])
async def test_leaving_within_the_answer_closes_the_connection(how: str) -> None:
    async def handler(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await peer.chunk(b"first")
        assert await peer.reader.read() == b""

    async with serving(handler) as server, connected(server) as upstream:
        answer = await upstream.send("POST", "/responses", b"", [], b"{}")
        chunks = answer.chunks()
        await anext(chunks)
        if how != "aclose":
            reading = asyncio.ensure_future(anext(chunks))
            await asyncio.sleep(0)
        if how == "cancel":
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        await answer.aclose()
        if how.endswith("reads"):
            with pytest.raises(UpstreamError, match="the call was closed"):
                await reading
        await asyncio.wait_for(server.ended.wait(), 5)


async def test_cancelling_when_the_answer_is_there_leaves_the_connection_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(answers(OK)) as server, connected(server) as upstream:
        call = asyncio.create_task(post(upstream))
        completed = _Connection.on_message_complete

        def complete_and_cancel(connection: _Connection) -> None:
            completed(connection)
            call.cancel()

        with monkeypatch.context() as patch:
            patch.setattr(_Connection, "on_message_complete", complete_and_cancel)
            with pytest.raises(asyncio.CancelledError):
                await call
        assert await post(upstream) == b"ok"
    assert server.connections == 1


async def test_cancelling_a_large_upload_closes_the_connection() -> None:
    async def handler(server: Server, peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        server.asked.set()
        with pytest.raises(asyncio.IncompleteReadError):
            await peer.reader.readexactly(50_000_000)

    async with serving(handler) as server, connected(server) as upstream:
        call = asyncio.create_task(post(upstream, b"x" * 50_000_000))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.ended.wait(), 5)


async def test_closing_ends_the_calls_under_way() -> None:
    async with serving(wait_for_request_then_the_end) as server, connected(server) as upstream:
        call = asyncio.create_task(post(upstream))
        await server.asked.wait()
        await upstream.aclose()
        with pytest.raises(UpstreamError, match="guardproxy closed the connection"):
            await call


# Failing


async def failure(upstream: Upstream) -> GuardProxyError:
    with pytest.raises(GuardProxyError) as raised:
        await post(upstream)
    assert raised.value.headers["x-should-retry"] == "false"
    return raised.value


async def test_refused() -> None:
    async with serving(answers(OK)) as server:
        pass
    async with connected(server) as upstream:
        error = await failure(upstream)
    assert isinstance(error, UpstreamError)
    assert error.message == "The upstream could not be reached: connection refused."
    assert error.failure == "refused"


@pytest.mark.parametrize(
    ("raised", "reason", "failure_word"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no route to host", "unreachable"),
        (OSError("Multiple exceptions: [Errno 99] a, [Errno 111] b"), "connection refused", "refused"),
        (OSError("Multiple exceptions: [Errno 99] a, [Errno 101] b"), None, "unreachable"),
        (ssl.SSLCertVerificationError("of a host"), "its TLS certificate is not trusted", "tls"),
        (ssl.SSLError("wrong version"), "the TLS handshake failed", "tls"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "connection reset by peer", "tls"),
    ],
)
async def test_why_there_is_no_connection(
    monkeypatch: pytest.MonkeyPatch, raised: OSError, reason: str | None, failure_word: str
) -> None:
    async def no_connection(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", no_connection)
    async with connected(Server(), upstream="https://nowhere.invalid/v1") as upstream:
        error = await failure(upstream)
    assert isinstance(error, UpstreamError)
    assert error.failure == failure_word
    assert reason is None or error.message.endswith(f"could not be reached: {reason}.")


async def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_such_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", no_such_name)
    async with connected(Server(), upstream="http://nowhere.invalid/v1") as upstream:
        error = await failure(upstream)
    assert isinstance(error, UpstreamError)
    assert error.message.endswith("upstream could not be reached: its name cannot be resolved.")
    assert error.failure == "dns"


async def test_a_connection_that_takes_too_long() -> None:
    # The port takes the connection and never speaks TLS.
    async def handler(server: Server, peer: Peer) -> None:
        await peer.reader.read()

    async with (
        serving(handler) as server,
        connected(server, upstream=f"https://127.0.0.1:{server.port}", connect_timeout=SOON) as upstream,
    ):
        error = await failure(upstream)
    assert isinstance(error, UpstreamTimeout)
    assert error.message.endswith("could not be reached within 0.05 s (connect_timeout).")


async def test_no_answer_in_time() -> None:
    async with (
        serving(wait_for_request_then_the_end) as server,
        connected(server, upstream_timeout=SOON) as upstream,
    ):
        error = await failure(upstream)
        await asyncio.wait_for(server.ended.wait(), 5)
    assert isinstance(error, UpstreamTimeout)
    assert error.message.endswith("sent no answer within 0.05 s (upstream_timeout).")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content_type", "setting"),
    [
        ("text/event-stream; charset=utf-8", "stream_idle_timeout"),
        ("Text/Event-Stream", "stream_idle_timeout"),
        ("application/json", "upstream_timeout"),
    ],
)
async def test_silence_within_the_answer(content_type: str, setting: str) -> None:
    async def handler(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\r\nfirst".encode())
        assert await peer.reader.read() == b""

    patience = {"stream_idle_timeout": NEVER, "upstream_timeout": NEVER, setting: 0.3}
    async with serving(handler) as server, connected(server, None, **patience) as upstream:
        answer = await upstream.send("POST", "/responses", b"", [], b"{}")
        chunks = answer.chunks()
        assert await anext(chunks) == b"first"
        with pytest.raises(UpstreamTimeout, match=rf"was silent for 0.3 s .*\({setting}\)"):
            await anext(chunks)
        await asyncio.wait_for(server.ended.wait(), 5)


@pytest.mark.parametrize(
    ("start", "rest", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst", b"more", "the connection was closed"),
        (STREAM + b"5\r\nfirst\r\n", b"", "the connection was closed"),
        (STREAM + b"5\r\nfirst\r\n", b"5\r\nmo", "the connection was closed"),
        (STREAM + b"5\r\nfirst\r\n", b"nonsense\r\n", "it is not valid HTTP"),
    ],
)
async def test_an_answer_that_breaks_off(start: bytes, rest: bytes, reason: str) -> None:
    go_on = asyncio.Event()

    async def handler(server: Server, peer: Peer) -> None:
        await peer.request()
        await peer.send(start)
        await go_on.wait()
        await peer.send(rest)

    async with serving(handler) as server, connected(server) as upstream:
        answer = await upstream.send("POST", "/responses", b"", [], b"{}")
        chunks = answer.chunks()
        assert await anext(chunks) == b"first"
        go_on.set()
        with pytest.raises(UpstreamError, match=f"broke off its answer: {reason}") as raised:
            await collected(chunks)
        assert raised.value.failure == ("invalid" if "HTTP" in reason else "broke_off")


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 200", b"SSH-2.0-Server\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", SWITCH, HUGE]
)
async def test_no_valid_answer(reply: bytes) -> None:
    async def handler(server: Server, peer: Peer) -> None:
        server.requests.append(await peer.request())
        await peer.send(reply)

    async with serving(handler) as server, connected(server) as upstream:
        error = await failure(upstream)
    assert isinstance(error, UpstreamError)
    assert "gave no answer: " in error.message
    assert error.failure == ("broke_off" if reply in (b"", b"HTTP/1.1 200") else "invalid")
    assert len(server.requests) == 1


async def test_a_kept_connection_that_dies_under_a_post_is_not_a_second_post() -> None:
    async def handler(server: Server, peer: Peer) -> None:
        server.requests.append(await peer.request())
        await peer.send(OK)
        server.requests.append(await peer.request())  # and closes without an answer

    async with serving(handler) as server, connected(server) as upstream:
        assert await post(upstream) == b"ok"
        error = await failure(upstream)
    assert error.message.endswith("the connection was closed. It may have processed the request.")
    assert (len(server.requests), server.connections) == (2, 1)


async def test_a_kept_connection_that_is_known_to_be_closed_is_not_used() -> None:
    async def handler(server: Server, peer: Peer) -> None:
        server.requests.append(await peer.request())
        await peer.send(OK)

    async with serving(handler) as server, connected(server) as upstream:
        for _ in range(3):
            server.ended.clear()
            assert await post(upstream) == b"ok"
            await server.ended.wait()
            await asyncio.sleep(SOON)  # the end of the connection arrives
    assert server.connections == 3


async def test_an_answer_over_the_limit() -> None:
    async with serving(answers(OK)) as server, connected(server) as upstream:
        answer = await upstream.send("POST", "/responses", b"", [], b"{}")
        with pytest.raises(UpstreamError, match="larger than 1 bytes") as raised:
            await answer.read(1)
        assert raised.value.failure == "invalid"


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"upstream": "ftp://example.org"}, "must be an http or https URL"),
        ({"upstream": "example.org/v1"}, "must be an http or https URL"),
        ({"upstream": "http://me:hidden@example.org/v1"}, "must not hold a user name or password"),
        ({"upstream": "http://example.org/v1?a=b"}, "without a query"),
        ({"upstream": "http://[::1"}, "not a URL"),
        ({"upstream_proxy": "socks5://127.0.0.1:1"}, "upstream_proxy must be"),
        ({"upstream_ca_file": "/nowhere/ca.pem"}, "upstream_ca_file /nowhere/ca.pem cannot be used"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        made(None, **settings)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("upstream", "origin"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com"),
        ("HTTP://Example.org:80/v1/", "http://example.org"),
        ("http://[::1]:8443", "http://[::1]:8443"),
    ],
)
def test_origin(upstream: str, origin: str) -> None:
    assert made(upstream=upstream).origin == origin


async def test_a_proxy_is_used_and_its_failure_named() -> None:
    async with (
        serving(answers(OK)) as proxy,
        connected(
            Server(),
            upstream="http://model.invalid/v1",
            upstream_proxy=f"http://user:hidden@127.0.0.1:{proxy.port}",
        ) as upstream,
    ):
        assert await post(upstream) == b"ok"
    head = proxy.requests[0][0]
    assert head.startswith(b"POST http://model.invalid/v1/responses HTTP/1.1\r\n")
    assert b"\r\nproxy-authorization: basic " in head.lower()
    async with connected(
        Server(),
        upstream="http://model.invalid/v1",
        upstream_proxy=f"http://user:hidden@127.0.0.1:{proxy.port}",
    ) as upstream:
        error = await failure(upstream)
    assert error.message.endswith("could not be reached: the proxy (upstream_proxy) cannot be reached.")
    assert isinstance(error, UpstreamError)
    assert error.failure == "proxy"


async def test_a_proxy_that_refuses_the_tunnel() -> None:
    refusal = b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"
    async with (
        serving(answers(refusal)) as proxy,
        connected(
            Server(), upstream="https://model.invalid", upstream_proxy=f"http://127.0.0.1:{proxy.port}"
        ) as upstream,
    ):
        error = await failure(upstream)
    assert proxy.requests[0][0].startswith(b"CONNECT model.invalid:443 HTTP/1.1\r\n")
    assert error.message.endswith("could not be reached: the proxy (upstream_proxy) refused.")
    assert isinstance(error, UpstreamError)
    assert error.failure == "proxy"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own CA, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command makes the certificate, and is not installed")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


async def test_the_ca_file_decides_whom_to_trust(certificate: tuple[Path, Path]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    async with serving(answers(OK), tls) as server:
        url = f"https://127.0.0.1:{server.port}/v1"
        async with connected(server, upstream=url, upstream_ca_file=str(certificate[0])) as upstream:
            assert await post(upstream) == b"ok"
        async with connected(server, upstream=url) as upstream:
            error = await failure(upstream)
    assert error.message == "The upstream could not be reached: its TLS certificate is not trusted."
    assert isinstance(error, UpstreamError)
    assert error.failure == "tls"


async def test_tls_goes_through_a_proxy(certificate: tuple[Path, Path]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    async with serving(answers(OK), tls) as server:

        async def tunnel(proxy: Server, peer: Peer) -> None:
            proxy.requests.append(await peer.request())
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(1 << 16):
                    sink.write(data)
                sink.close()

            try:
                await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))
            finally:
                writer.transport.abort()

        async with (
            serving(tunnel) as proxy,
            connected(
                server,
                upstream=f"https://127.0.0.1:{server.port}/v1",
                upstream_ca_file=str(certificate[0]),
                upstream_proxy=f"http://me:a%40b@127.0.0.1:{proxy.port}",
            ) as upstream,
        ):
            assert await post(upstream) == b"ok"
            assert await post(upstream) == b"ok"
    (asked, _), *others = proxy.requests
    credentials = base64.b64encode(b"me:a@b").decode()
    assert asked.decode().split("\r\n")[:3] == [
        f"CONNECT 127.0.0.1:{server.port} HTTP/1.1",
        f"host: 127.0.0.1:{server.port}",
        f"proxy-authorization: Basic {credentials}",
    ]
    assert not others
    assert len(server.requests) == 2
    assert b"proxy-authorization" not in server.requests[0][0]


# Another transport


async def test_any_httpx_transport_will_do() -> None:
    seen: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, headers={"x-a": "1"}, content=b"mocked")

    async with connected(
        Server(), httpx.MockTransport(reply), upstream="http://model.invalid/v1"
    ) as upstream:
        answer = await upstream.send("POST", "/responses", b"a=1", [(b"x-b", b"2")], b"{}")
        assert await answer.read(100) == b"mocked"
    assert str(seen[0].url) == "http://model.invalid/v1/responses?a=1"
    assert (seen[0].headers["x-b"], seen[0].content) == ("2", b"{}")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectTimeout("t"), UpstreamTimeout),
        (httpx.PoolTimeout("t"), UpstreamTimeout),
        (httpx.ReadTimeout("t"), UpstreamTimeout),
        (httpx.ConnectError("refused"), UpstreamError),
        (httpx.ReadError("reset"), UpstreamError),
    ],
)
async def test_its_errors_are_mapped(raised: Exception, kind: type[GuardProxyError]) -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        raise raised

    async with connected(
        Server(), httpx.MockTransport(reply), upstream="http://model.invalid/v1"
    ) as upstream:
        assert type(await failure(upstream)) is kind
