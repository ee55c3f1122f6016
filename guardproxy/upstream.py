"""Forwarding to the upstream: one call, its answer as raw bytes, and every failure as one of our errors.

Nothing is decoded, followed, stored or repeated. A request is sent once: when a connection fails
after it was made, nobody knows what the upstream has done with what it got.
"""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from string import punctuation
from urllib.parse import quote_from_bytes

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

from guardproxy.errors import ConfigError, UpstreamError, UpstreamTimeout
from guardproxy.settings import Settings

_EVENT_STREAM = re.compile(rb"\s*text/event-stream\b", re.IGNORECASE)


class Answer:
    """The upstream's answer: the head as received, the body when it is asked for. Close it in any case."""

    def __init__(self, response: httpx.Response, origin: str, settings: Settings) -> None:
        self.status = response.status_code
        self.headers: list[tuple[bytes, bytes]] = response.headers.raw
        self._response = response
        self._origin = origin
        if any(n.lower() == b"content-type" and _EVENT_STREAM.match(v) for n, v in self.headers):
            self._patience, self._setting = settings.stream_idle_timeout, "stream_idle_timeout"
        else:
            # Some upstreams send the head at once and the document when it is ready.
            self._patience, self._setting = settings.upstream_timeout, "upstream_timeout"

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, in the bytes that came; once only.

        Raises:
            UpstreamTimeout: silence for `stream_idle_timeout` (`upstream_timeout` where the answer
                is not an event stream).
            UpstreamError: the upstream broke off.
        """
        stream = self._response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        chunks = aiter(stream)
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except (TimeoutError, httpx.TimeoutException):
                await self.aclose()
                raise UpstreamTimeout(
                    f"The upstream {self._origin} was silent for {self._patience:g} s within its answer"
                    f" ({self._setting})."
                ) from None
            except httpx.TransportError as error:
                await self.aclose()
                raise UpstreamError(f"The upstream {self._origin} broke off its answer: {error}.") from None
            if chunk:
                yield chunk

    async def read(self, limit: int) -> bytes:
        """The whole body, and the call is closed.

        Raises:
            UpstreamTimeout, UpstreamError: as `chunks`; also a body of more than `limit` bytes.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            async for chunk in self.chunks():
                size += len(chunk)
                if size > limit:
                    raise UpstreamError(f"The upstream's answer is larger than {limit} bytes.")
                pieces.append(chunk)
        finally:
            await self.aclose()
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Give the connection back; the call is cancelled where the body was not read to its end."""
        await self._response.aclose()


class Upstream:
    """One upstream and the pool of connections to it. Belongs to one event loop."""

    def __init__(self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Check the settings; the first call connects.

        Raises:
            ConfigError: `upstream`, `upstream_proxy` or `upstream_ca_file` cannot work.
        """
        base = _base(settings.upstream)
        self._settings = settings
        self._base_path = base.raw_path.decode("ascii").rstrip("/")
        self._base = base.copy_with(raw_path=b"/")
        self._host = base.netloc
        self.origin = str(self._base).rstrip("/")
        self._extensions = {"connect": settings.connect_timeout, "read": None, "write": None, "pool": None}
        self._transport = transport or AiohttpTransport(
            proxy=settings.upstream_proxy, ca_file=settings.upstream_ca_file
        )
        self._url = lru_cache(maxsize=256)(self._make_url)

    async def send(
        self, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes | None
    ) -> Answer:
        """Send one request, as it is, with Host and Content-Length; return when the answer's head is there.

        `path` follows the path of `upstream` (`/responses`), escaped as it came, `query` has no `?`.
        `headers` come from `request_headers`. Cancelling closes the connection.

        Raises:
            UpstreamError: no connection, or it broke before the answer.
            UpstreamTimeout: over `connect_timeout`, or no answer within `upstream_timeout`.
        """
        target = self._base_path + path
        if query:
            target += "?" + _ascii(query)
        fixed = [(b"host", self._host)]
        if body is not None:
            fixed.append((b"content-length", b"%d" % len(body)))
        request = httpx.Request(
            method,
            self._url(target),
            headers=fixed + headers,
            stream=httpx.ByteStream(body or b""),
            extensions={"timeout": self._extensions, "target": target.encode("ascii")},
        )
        settings = self._settings
        try:
            async with asyncio.timeout(settings.upstream_timeout):
                response = await self._transport.handle_async_request(request)
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            raise UpstreamTimeout(
                f"The upstream {self.origin} could not be reached within {settings.connect_timeout:g} s"
                " (connect_timeout)."
            ) from None
        except (TimeoutError, httpx.TimeoutException):
            raise UpstreamTimeout(
                f"The upstream {self.origin} sent no answer within {settings.upstream_timeout:g} s"
                " (upstream_timeout)."
            ) from None
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise UpstreamError(f"The upstream {self.origin} could not be reached: {error}.") from None
        except httpx.TransportError as error:
            raise UpstreamError(
                f"The upstream {self.origin} gave no answer: {error}. It may have processed the request."
            ) from None
        return Answer(response, self.origin, settings)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    def _make_url(self, target: str) -> httpx.URL:
        return self._base.copy_with(raw_path=target.encode("ascii"))


def _base(upstream: str) -> httpx.URL:
    try:
        url = httpx.URL(upstream)
    except httpx.InvalidURL as error:
        raise ConfigError(f"upstream is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("upstream must be an http or https URL, like https://api.openai.com/v1.")
    if url.userinfo:
        raise ConfigError("upstream must not hold a user name or password; set upstream_api_key instead.")
    if url.query or url.fragment:
        raise ConfigError("upstream must be a base URL, without a query or a fragment.")
    return url


def _ascii(query: bytes) -> str:
    return query.decode("ascii") if query.isascii() else quote_from_bytes(query, safe=punctuation)


# aiohttp would add these where the client sent none.
_AUTO_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_KEEP_ALIVE = 15.0  # seconds; many servers close idle connections soon after
_HEAD_LIMIT = 64 * 1024
_SLICE = 256 * 1024


class AiohttpTransport(httpx.AsyncBaseTransport):
    """httpx's transport interface on aiohttp's client, without what that client does of its own accord.

    No header, cookie, redirect, decoding or environment variable plays a part; a POST is sent once.
    The request's extension `target` is the request target, byte for byte. Belongs to one event loop.
    """

    def __init__(self, *, proxy: str | None = None, ca_file: str | None = None) -> None:
        """Read the CA file, or the certifi bundle.

        Raises:
            ConfigError: the CA file cannot be used, or the proxy is not an http URL.
        """
        if proxy is not None and URL(proxy).scheme not in ("http", "https"):
            raise ConfigError("upstream_proxy must be an http or https URL.")
        self._proxy = proxy
        self._tls = _tls(ca_file)
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`; the body of the response comes as it is read.

        Raises:
            httpx.TransportError: with a message that holds no URL and no header.
        """
        if self._session is None:
            self._session = self._open()
        limits = request.extensions["timeout"]
        target = request.extensions["target"].decode("ascii")
        url = request.url
        try:
            response = await self._session.request(
                request.method,
                URL(f"{url.scheme}://{url.netloc.decode('ascii')}{target}", encoded=True),
                headers=CIMultiDict(
                    (name.decode("latin-1"), _text(value)) for name, value in request.headers.raw
                ),
                data=_payload(request.read()),
                allow_redirects=False,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(connect=limits["connect"], sock_read=limits["read"]),
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _failure(error) from error
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls, keepalive_timeout=_KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTO_HEADERS,
            auto_decompress=False,
            trust_env=False,
            max_line_size=_HEAD_LIMIT,
            max_field_size=_HEAD_LIMIT,
        )


class _Body(httpx.AsyncByteStream):
    """A response's body, in the pieces that the network brought; reading slowly slows the sender."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while chunk := await self._response.content.readany():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise _failure(error) from error

    async def aclose(self) -> None:
        # A connection whose answer was read to its end is back in the pool by now; any other is closed.
        self._response.close()


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


def _text(value: bytes) -> str:
    # aiohttp writes headers in UTF-8, so bytes that are UTF-8 arrive as they are.
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _payload(body: bytes) -> bytes | AsyncIterator[bytes] | None:
    # In pieces, a large body waits while the upstream does not read, instead of filling the write buffer.
    return _slices(body) if len(body) > _SLICE else body or None


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _SLICE):
        yield body[start : start + _SLICE]


def _failure(error: Exception) -> httpx.TransportError:
    """The httpx error of an aiohttp one. Before the connection is made it is a Connect or Proxy error."""
    for kind, mapped, reason in _FAILURES:
        if isinstance(error, kind):
            return mapped(reason or _os_reason(error))
    return httpx.ReadError(_os_reason(error))


def _os_reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number).lower() if isinstance(number, int) and number > 0 else "the connection failed"


_FAILURES: tuple[tuple[type[Exception], type[httpx.TransportError], str], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout, "the connection took too long"),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout, "no bytes came"),
    (aiohttp.ClientConnectorDNSError, httpx.ConnectError, "its name cannot be resolved"),
    (aiohttp.ClientConnectorCertificateError, httpx.ConnectError, "its TLS certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, httpx.ConnectError, "the TLS handshake failed"),
    (aiohttp.ClientProxyConnectionError, httpx.ProxyError, "the proxy (upstream_proxy) cannot be reached"),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError, "the proxy (upstream_proxy) refused"),
    (aiohttp.ClientConnectorError, httpx.ConnectError, ""),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError, "the connection was closed"),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError, "the body is incomplete or malformed"),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError, "the answer is not valid HTTP"),
)
