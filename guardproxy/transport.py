"""A small HTTP/1.1 client transport for httpx: what goes out is what was given, and what came is passed on.

Measured at half the CPU of the next best (docs/performance.md).
"""

import asyncio
import base64
import copy
import errno
import os
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import cast
from urllib.parse import unquote

import httptools
import httpx

from guardproxy.errors import ConfigError, UpstreamFailure

_KEEP_ALIVE = 15.0  # seconds; many servers close idle connections soon after
_HEAD_LIMIT = 256 * 1024
_BUFFER = 128 * 1024  # of an answer that nobody reads; then the upstream waits
_SLICE = 256 * 1024  # of a request, between two looks at whether the upstream reads
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_NO_BODY = frozenset({204, 304})
_CUT = (ConnectionResetError, ConnectionAbortedError)


class NoConnection(httpx.ConnectError):
    """There is no connection; `failure` says why in a word."""

    def __init__(self, message: str, failure: UpstreamFailure) -> None:
        super().__init__(message)
        self.failure = failure


class Transport(httpx.AsyncBaseTransport):
    """HTTP/1.1 behind httpx's transport interface: httptools parses, asyncio moves the bytes.

    It does what it is told and no more: no header is added, no environment read, nothing repeated.
    The request's extension `target` is the request target, byte for byte. Belongs to one event loop.
    docs/performance.md has the measurement that made us write it.
    """

    def __init__(self, *, proxy: str | None = None, ca_file: str | None = None) -> None:
        """Read the CA file, or the certifi bundle.

        Raises:
            ConfigError: the CA file cannot be used, or the proxy is not an http URL.
        """
        self._proxy = _proxy(proxy) if proxy else None
        self._tls = _tls(ca_file)
        self._idle: list[_Connection] = []  # the one used last is on top
        self._all: set[_Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`; the body of the response comes as it is read.

        Raises:
            httpx.TransportError: with a message that holds no URL and no header.
        """
        head, body = self._head(request), request.read()
        connection = self._reuse() or await self._connect(
            request.url, request.extensions["timeout"]["connect"]
        )
        answer = connection.begin(without_body=request.method == "HEAD")
        try:
            if len(body) <= _SLICE:
                connection.transport.write(head + body)
            else:
                await connection.upload(head, body)
            await answer.head
        except BaseException:
            answer.close()
            del answer  # it knows what is raised, and that knows this frame
            raise
        if request.method == "HEAD":
            connection.abort()  # the parser waits for the body that the head speaks of
        return httpx.Response(answer.status, headers=answer.headers, stream=answer)

    async def aclose(self) -> None:
        """Close all connections."""
        for connection in list(self._all):
            connection.fail(httpx.ReadError("guardproxy closed the connection"))

    def _head(self, request: httpx.Request) -> bytes:
        target = request.extensions["target"]
        fields = [b"%b: %b" % pair for pair in request.headers.raw]
        if self._proxy is not None and request.url.scheme == "http":
            target = b"http://" + request.url.netloc + target
            fields += _proxy_fields(self._proxy)
        line = b"%b %b HTTP/1.1" % (request.method.encode("ascii"), target)
        head = b"\r\n".join([line, *fields, b"", b""])
        lines = len(fields) + 2
        if head.count(b"\n") != lines or head.count(b"\r") != lines or line.count(b" ") != 2:
            raise httpx.LocalProtocolError("a line break in a header")
        return head

    def _reuse(self) -> "_Connection | None":
        """The connection that was used last; those that were idle for too long are closed."""
        oldest = time.monotonic() - _KEEP_ALIVE
        while self._idle and self._idle[0].since < oldest:
            self._idle.pop(0).abort()
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def _connect(self, url: httpx.URL, seconds: float | None) -> "_Connection":
        port = url.port or (443 if url.scheme == "https" else 80)
        tls = self._tls if url.scheme == "https" else None
        try:
            async with asyncio.timeout(seconds):
                if self._proxy is None:
                    return await self._open(_host(url), port, tls)
                connection = await self._open(_host(self._proxy), self._proxy.port or 80, None)
                if tls is not None:
                    await self._tunnel(connection, _host(url), port, tls)
                return connection
        except TimeoutError:
            raise httpx.ConnectTimeout("the connection took too long") from None
        except OSError as error:
            raise NoConnection(_reason(error), _failure(error, secured=tls is not None)) from error

    async def _open(self, host: str, port: int, tls: ssl.SSLContext | None) -> "_Connection":
        def connection() -> _Connection:
            return _Connection(self._idle, self._all)

        try:
            loop = asyncio.get_running_loop()
            _, opened = await loop.create_connection(connection, host, port, ssl=tls)
        except (OSError, UnicodeError) as error:
            if self._proxy is not None and not isinstance(error, TimeoutError):
                raise httpx.ProxyError("the proxy (upstream_proxy) cannot be reached") from error
            if isinstance(error, UnicodeError):
                raise NoConnection("its name cannot be resolved", "dns") from error
            raise
        return opened

    async def _tunnel(self, connection: "_Connection", host: str, port: int, tls: ssl.SSLContext) -> None:
        """Ask the proxy for a tunnel, and begin TLS in it."""
        assert self._proxy is not None
        there = (b"[%b]:%d" if ":" in host else b"%b:%d") % (host.encode("ascii"), port)
        lines = [b"CONNECT %b HTTP/1.1" % there, b"host: " + there, *_proxy_fields(self._proxy), b"", b""]
        answer = connection.begin(without_body=True)
        connection.transport.write(b"\r\n".join(lines))
        try:
            await answer.head
            if answer.status != 200:
                raise httpx.ProxyError("the proxy (upstream_proxy) refused")
            loop = asyncio.get_running_loop()
            secured = await loop.start_tls(connection.transport, connection, tls, server_hostname=host)
        except BaseException:
            connection.abort()
            del answer  # as above
            raise
        if secured is None:
            raise NoConnection("the TLS handshake failed", "tls")
        connection.connection_made(secured)


class _Connection(asyncio.Protocol):
    """One connection: it carries one request at a time, and waits among `idle` for the next."""

    transport: asyncio.Transport

    def __init__(self, idle: list["_Connection"], everyone: set["_Connection"]) -> None:
        self.since = 0.0
        self._idle = idle
        self._everyone = everyone
        self._answer: _Body | None = None
        self._without_body = False
        self._uploading = False
        self._until_closed = False
        self._head_size = 0
        self._paused = False
        self._full: asyncio.Future[None] | None = None  # an Event would take 700 bytes of each stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._everyone.add(self)
        self._parser = httptools.HttpResponseParser(self)

    def begin(self, *, without_body: bool) -> "_Body":
        """Expect an answer; `without_body` where its head is all that comes."""
        self._without_body = without_body
        self._until_closed = False
        self._head_size = 0
        self._answer = answer = _Body(self)
        return answer

    async def upload(self, head: bytes, body: bytes) -> None:
        """Write a large request as fast as the upstream reads it, and stop when it has answered."""
        assert self._answer is not None
        answer = self._answer.head
        self._uploading = True
        self.transport.write(head)
        for start in range(0, len(body), _SLICE):
            if self._full is not None:
                await self._full
            if answer.done():
                return
            self.transport.write(body[start : start + _SLICE])
        self._uploading = False

    def resume(self) -> None:
        """The reader has taken what there was."""
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close at once; nobody waits for the answer any more."""
        self._answer = None
        self.transport.abort()

    def fail(self, error: httpx.TransportError) -> None:
        """Close at once, and let whoever waits for the answer know why."""
        answer, self._answer = self._answer, None
        self.transport.abort()
        if answer is not None:
            answer.end(error)

    # asyncio calls these

    def pause_writing(self) -> None:
        self._full = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            # Nobody asked: what follows would be taken for the answer to the next request.
            self.transport.abort()
            return
        if not answer.head.done():
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._answer is not None:
                self.fail(httpx.RemoteProtocolError("it is not valid HTTP"))
            return
        if self._head_size > _HEAD_LIMIT and not answer.head.done():
            self.fail(httpx.RemoteProtocolError("its head is too large"))
        answer.wake()
        if answer.size > _BUFFER and self._answer is not None and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._everyone.discard(self)
        if self in self._idle:
            self._idle.remove(self)
        self.resume_writing()
        if (answer := self._answer) is None:
            return
        if self._until_closed and exc is None:
            self._answer = None
            answer.end(None)
        else:
            reason = _reason(exc) if isinstance(exc, OSError) else "the connection was closed"
            self.fail(httpx.ReadError(reason))

    # httptools calls these

    def on_message_begin(self) -> None:
        if self._answer is None:
            self.transport.abort()  # a second answer in the bytes of the first

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is not None and not self._answer.head.done():  # later ones are trailers
            self._answer.headers.append((name, value))

    def on_headers_complete(self) -> None:
        answer = self._answer
        if answer is None:
            return
        answer.status = self._parser.get_status_code()
        if answer.status < 200:
            return
        names = {name.lower() for name, _ in answer.headers}
        framed = b"content-length" in names or b"transfer-encoding" in names
        self._until_closed = not framed and answer.status not in _NO_BODY
        answer.head.set_result(None)
        self.resume_writing()
        if self._without_body:
            self._answer = None
            answer.end(None)

    def on_body(self, body: bytes) -> None:
        if self._answer is not None:
            self._answer.add(body)

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is None:
            return
        if answer.status < 200:
            answer.headers.clear()
            return
        self._answer = None
        answer.end(None)
        if self._uploading or not self._parser.should_keep_alive():
            self.transport.abort()
            return
        self.resume()
        self.since = time.monotonic()
        self._idle.append(self)


class _Body(httpx.AsyncByteStream):
    """An answer as it comes in: its head, then its body in the pieces that the network brought."""

    def __init__(self, connection: _Connection) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.head: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.size = 0
        self._connection = connection
        self._pieces: list[bytes] = []
        self._ended = False
        self._error: httpx.TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.size += len(piece)

    def end(self, error: httpx.TransportError | None) -> None:
        """All of it is here, or will never be."""
        self._ended = True
        self._error = error
        if error is not None and not self.head.done():
            self.head.set_exception(error)
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self._pieces:
                data = b"".join(self._pieces)
                self._pieces.clear()
                self.size = 0
                if not self._ended:
                    self._connection.resume()
                yield data
                data = b""  # or a stream would keep its last bytes while it waits for the next
            elif self._error is not None:
                raise copy.copy(self._error)  # what is raised knows this frame, and so this object
            elif self._ended:
                return
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        # Once the answer has ended, the connection may carry another request.
        if not self._ended:
            self._connection.abort()
            self._pieces.clear()
            self.head.cancel()
            self.end(httpx.ReadError("the call was closed"))


@lru_cache(maxsize=8)  # loading the bundle takes longer than a hundred exchanges
def _tls(ca_file: str | None) -> ssl.SSLContext:
    try:
        # With trust_env off, httpx takes the certifi bundle and no SSL_CERT_FILE.
        context = (
            ssl.create_default_context(cafile=ca_file)
            if ca_file
            else httpx.create_ssl_context(trust_env=False)
        )
    except OSError as error:
        raise ConfigError(f"upstream_ca_file {ca_file} cannot be used: {error.strerror or error}.") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _proxy(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise ConfigError("upstream_proxy is not a URL.") from None
    if url.scheme != "http" or not url.host:
        raise ConfigError("upstream_proxy must be an http URL, like http://proxy.example:3128.")
    return url


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")


def _proxy_fields(proxy: httpx.URL) -> list[bytes]:
    if not proxy.userinfo:
        return []
    pair = unquote(proxy.userinfo.decode("ascii"))
    return [b"proxy-authorization: Basic " + base64.b64encode(pair.encode())]


def _reason(error: OSError) -> str:
    """Why a connection failed, without what the system's message says of hosts."""
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its TLS certificate is not trusted"
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed"
    number = _errno(error)
    return os.strerror(number).lower() if number is not None else "the connection failed"


def _failure(error: OSError, *, secured: bool) -> UpstreamFailure:
    """The word for why a connection failed; `secured`: TLS was to begin on it."""
    if isinstance(error, socket.gaierror):
        return "dns"
    # No connection is reset or aborted before it is made: then it was in the handshake.
    if isinstance(error, ssl.SSLError) or (secured and isinstance(error, _CUT)):
        return "tls"
    return "refused" if _errno(error) == errno.ECONNREFUSED else "unreachable"


def _errno(error: OSError) -> int | None:
    """The number of the error: with several addresses to try, a refusal where one of them refused."""
    # Then asyncio has the numbers in the text only.
    found = [int(number) for number in _ERRNO.findall(str(error))]
    return errno.ECONNREFUSED if errno.ECONNREFUSED in found else next(iter(found), None)
