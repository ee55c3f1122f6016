"""What one exchange costs by transport: `uv run python -m tests.bench.transport [SECONDS]`.

Upstream, proxy and load each run in a process of their own. The proxy is a raw ASGI application
under uvicorn; its CPU time is what counts.
"""

import argparse
import asyncio
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import aiohttp
import httptools
import httpx
import uvicorn
import uvloop
from httpx_aiohttp import AiohttpTransport as PublishedAiohttpTransport
from multidict import CIMultiDict
from yarl import URL

from guardproxy.headers import request_headers, response_headers
from guardproxy.settings import Settings
from guardproxy.transport import Transport
from guardproxy.upstream import Upstream

HOST = "127.0.0.1"
CONNECTIONS = 32
DOCUMENT = json.dumps({"id": "resp_1", "output": "x" * 970}).encode()
REQUEST = json.dumps({"model": "m", "input": "y" * 990}).encode()
EVENTS = 200
PAUSE = 0.2  # seconds between the first event of a stream and the others
EVENT = b'data: {"type":"response.output_text.delta","sequence_number":%d,"delta":"word "}\n\n'
TIMEOUT = {"connect": 5.0, "read": None, "write": None, "pool": None}


class UpstreamServer(asyncio.Protocol):
    """The upstream: a document of 1 KB, or events by chunks, the first one alone."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_message_complete(self) -> None:
        if b"stream" in self.url:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            self.transport.write(head + _chunk(EVENT % 0))
            asyncio.get_running_loop().call_later(PAUSE, self.rest)
        else:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self.transport.write(head % len(DOCUMENT) + DOCUMENT)

    def rest(self) -> None:
        for number in range(1, EVENTS):
            self.transport.write(_chunk(EVENT % number))
        self.transport.write(b"0\r\n\r\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """The smallest transport on aiohttp's own client, for comparison."""

    session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.session is None:
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                auto_decompress=False,
            )
        response = await self.session.request(
            request.method,
            URL(str(request.url), encoded=True),
            headers=CIMultiDict((n.decode("latin-1"), v.decode("latin-1")) for n, v in request.headers.raw),
            data=request.read(),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(connect=TIMEOUT["connect"]),
        )
        return httpx.Response(response.status, headers=response.raw_headers, stream=AiohttpBody(response))


class AiohttpBody(httpx.AsyncByteStream):
    """The body of an answer in aiohttp's pieces."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.response.content.readany():
            yield chunk

    async def aclose(self) -> None:
        self.response.close()


TRANSPORTS: dict[str, Callable[[], httpx.AsyncBaseTransport]] = {
    "httpx": lambda: httpx.AsyncHTTPTransport(
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=1000), trust_env=False
    ),
    "httpx-aiohttp": lambda: PublishedAiohttpTransport(trust_env=False),
    "smallest on aiohttp": AiohttpTransport,
    "ours, on httptools": Transport,
}
SHIPPED = "ours, with Upstream and headers"


def application(kind: str, upstream: str) -> Callable[..., Awaitable[None]]:
    """A raw ASGI proxy over the transport `kind`; `/cpu` answers the CPU seconds of the process."""
    calls: dict[str, Any] = {}

    async def answer(scope: dict[str, Any], body: bytes) -> tuple[int, Any, AsyncIterator[bytes], Any]:
        if kind == SHIPPED:
            if kind not in calls:
                settings = Settings(upstream=upstream)
                calls[kind] = Upstream(settings.all_upstreams()[0], settings)
            shipped = calls[kind]
            headers = request_headers(scope["headers"], replace_authorization=None, extra={})
            reply = await shipped.send("POST", scope["path"], scope["query_string"], headers, body)
            return reply.status, response_headers(reply.headers, {}, drop=()), reply.chunks(), reply
        transport = calls.get(kind) or calls.setdefault(kind, TRANSPORTS[kind]())
        request = httpx.Request(
            "POST",
            upstream + scope["path"],
            headers=scope["headers"],
            content=body,
            extensions={"timeout": TIMEOUT, "target": scope["raw_path"]},
        )
        response = await transport.handle_async_request(request)
        headers = [(n.lower(), v) for n, v in response.headers.raw if n.lower() != b"transfer-encoding"]
        return response.status_code, headers, aiter(response.stream), response

    async def proxy(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        if scope["path"] == "/cpu":
            used = resource.getrusage(resource.RUSAGE_SELF)
            seconds = b"%.6f" % (used.ru_utime + used.ru_stime)
            length = (b"content-length", b"%d" % len(seconds))
            await send({"type": "http.response.start", "status": 200, "headers": [length]})
            await send({"type": "http.response.body", "body": seconds})
            return
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        status, headers, chunks, closing = await answer(scope, body)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await closing.aclose()
        await send({"type": "http.response.body", "body": b""})

    return proxy


class Client:
    """One connection of the load."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection(HOST, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(self, path: str) -> tuple[bytes, float, float]:
        """The body, and the seconds to its first byte and to its end."""
        started = time.perf_counter()
        head = b"POST %b HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer k\r\n" % path.encode()
        head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(REQUEST)
        self.writer.write(head + REQUEST)
        answer = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        if b"content-length: " in answer:
            length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await self.reader.readexactly(length)
            end = time.perf_counter() - started
            return body, end, end
        body, first = b"", 0.0
        while size := int(await self.reader.readline(), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
            first = first or time.perf_counter() - started
        await self.reader.readline()
        return body, first, time.perf_counter() - started


async def _load(port: int, seconds: float) -> int:
    end = time.perf_counter() + seconds

    async def one() -> int:
        count = 0
        async with Client(port) as client:
            while time.perf_counter() < end:
                body, _, _ = await client.ask("/responses")
                assert body == DOCUMENT
                count += 1
        return count

    return sum(await asyncio.gather(*(one() for _ in range(CONNECTIONS))))


async def _measure(port: int, seconds: float) -> tuple[float, float, float, float]:
    """CPU ms a request, requests a second, CPU ms a stream, and seconds to a stream's first byte."""
    async with Client(port) as client:
        await _load(port, 0.5)
        before = float((await client.ask("/cpu"))[0])
        started = time.perf_counter()
        count = await _load(port, seconds)
        rate = count / (time.perf_counter() - started)
        middle = float((await client.ask("/cpu"))[0])
        streams, firsts = 10, []
        for _ in range(streams):
            body, first, _ = await client.ask("/stream")
            assert body.count(b"\n\n") == EVENTS
            firsts.append(first)
        after = float((await client.ask("/cpu"))[0])
        return (middle - before) / count * 1000, rate, (after - middle) / streams * 1000, max(firsts)


def _port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _start(*arguments: str, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-m", __spec__.name, *arguments, "--port", str(port)])
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return process
        time.sleep(0.1)
    process.kill()
    raise SystemExit(f"{arguments} did not start")


def _compare(seconds: float) -> None:
    upstream_port = _port()
    upstream = _start("--serve", "upstream", port=upstream_port)
    print("| transport | CPU ms a request | requests/s | CPU ms a stream | first byte ms |")
    print("|---|---|---|---|---|")
    try:
        for kind in [*TRANSPORTS, SHIPPED]:
            port = _port()
            url = f"http://{HOST}:{upstream_port}"
            proxy = _start("--serve", "proxy", "--kind", kind, "--upstream", url, port=port)
            try:
                cpu, rate, stream, first = uvloop.run(_measure(port, seconds))
            finally:
                proxy.terminate()
                proxy.wait()
            print(f"| {kind} | {cpu:.3f} | {rate:.0f} | {stream:.1f} | {first * 1000:.1f} |", flush=True)
            if first > PAUSE:
                raise SystemExit(f"{kind} holds a stream back")
    finally:
        upstream.terminate()
        upstream.wait()


async def _upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(UpstreamServer, HOST, port)
    await server.serve_forever()


def main() -> None:
    """Compare, or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=6.0)
    parser.add_argument("--serve", choices=["upstream", "proxy"])
    parser.add_argument("--kind", choices=[*TRANSPORTS, SHIPPED])
    parser.add_argument("--upstream")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if options.serve == "upstream":
        uvloop.run(_upstream(options.port))
    elif options.serve == "proxy":
        uvicorn.run(
            application(options.kind, options.upstream),
            host=HOST,
            port=options.port,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_keep_alive=60,
        )
    else:
        _compare(min(options.seconds, 10.0))


if __name__ == "__main__":
    main()
