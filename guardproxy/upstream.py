"""Forwarding to the upstream: one call, its answer as raw bytes, and every failure as one of our errors.

Nothing is decoded, followed, stored or repeated. A request is sent once: when a connection fails
after it was made, nobody knows what the upstream has done with what it got.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from functools import lru_cache
from string import punctuation
from urllib.parse import quote_from_bytes

import httpx

from guardproxy.errors import ConfigError, InternalError, UpstreamError, UpstreamFailure, UpstreamTimeout
from guardproxy.exchange import Stopwatch, clock
from guardproxy.settings import Settings, UpstreamSettings
from guardproxy.transport import NoConnection, Transport

_EVENT_STREAM = re.compile(rb"\s*text/event-stream\b", re.IGNORECASE)


class Answer:
    """The upstream's answer: the head as received, the body when it is asked for. Close it in any case."""

    def __init__(
        self, response: httpx.Response, called: str, settings: UpstreamSettings, watch: Stopwatch
    ) -> None:
        self.status = response.status_code
        self.headers: list[tuple[bytes, bytes]] = response.headers.raw
        self._response = response
        self._watch = watch
        self.first: float | None = None  # when the first bytes of the body were there, by `clock`
        self._called = called
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
                with self._watch:
                    async with asyncio.timeout(self._patience):
                        chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except (TimeoutError, httpx.TimeoutException):
                await self.aclose()
                raise UpstreamTimeout(
                    f"{self._called} was silent for {self._patience:g} s within its answer ({self._setting})."
                ) from None
            except httpx.TransportError as error:
                await self.aclose()
                raise UpstreamError(
                    f"{self._called} broke off its answer: {error}.", failure=_failure(error)
                ) from None
            if chunk:
                if self.first is None:
                    self.first = clock()
                yield chunk
                chunk = b""

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

    def __init__(
        self, of: UpstreamSettings, settings: Settings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Check the settings; the first call connects.

        Raises:
            ConfigError: its URL, `upstream_proxy` or `upstream_ca_file` cannot work.
        """
        base = _base(of.url)
        self._settings = of
        self.name = of.name
        # Where it is says the log alone: in the message clients would learn of a deployment's inside.
        self._called = f"The upstream '{of.name}'" if settings.upstreams else "The upstream"
        self.api_key = of.api_key
        self.headers = of.headers
        self._base_path = base.raw_path.decode("ascii").rstrip("/")
        self._base = base.copy_with(raw_path=b"/")
        self._host = base.netloc
        self.origin = str(self._base).rstrip("/")
        self._extensions = {"connect": of.connect_timeout, "read": None, "write": None, "pool": None}
        self._transport = transport or Transport(
            proxy=settings.upstream_proxy, ca_file=settings.upstream_ca_file
        )
        self._url = lru_cache(maxsize=256)(self._make_url)

    def shown(self, path: str) -> str:
        """The URL of `path` below the base, for spans; a template stays one."""
        return f"{self.origin}{self._base_path}{path}"

    async def send(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        body: bytes | None,
        watch: Stopwatch | None = None,
    ) -> Answer:
        """Send one request, as it is, with Host and Content-Length; return when the answer's head is there.

        `path` follows the path of `upstream` (`/responses`), escaped as it came, `query` has no `?`.
        `headers` come from `request_headers`. `watch` measures all waiting for the upstream, that for the
        answer's body included. Cancelling closes the connection.

        Raises:
            UpstreamError: no connection, or it broke before the answer.
            UpstreamTimeout: over `connect_timeout`, or no answer within `upstream_timeout`.
            InternalError: a header or the target that would break the framing.
        """
        target = self._base_path + path
        if query:
            target += "?" + _ascii(query)
        fixed = [(b"host", self._host)]
        if body is not None:
            fixed.append((b"content-length", b"%d" % len(body)))
        settings = self._settings
        watch = Stopwatch() if watch is None else watch
        try:
            request = httpx.Request(
                method,
                self._url(target),
                headers=fixed + headers,
                stream=httpx.ByteStream(body or b""),
                extensions={"timeout": self._extensions, "target": target.encode("ascii")},
            )
            with watch:
                async with asyncio.timeout(settings.upstream_timeout):
                    response = await self._transport.handle_async_request(request)
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            raise UpstreamTimeout(
                f"{self._called} could not be reached within {settings.connect_timeout:g} s"
                " (connect_timeout).",
                unsent=True,
            ) from None
        except (TimeoutError, httpx.TimeoutException):
            raise UpstreamTimeout(
                f"{self._called} sent no answer within {settings.upstream_timeout:g} s (upstream_timeout)."
            ) from None
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise UpstreamError(
                f"{self._called} could not be reached: {error}.", failure=_failure(error)
            ) from None
        except (httpx.LocalProtocolError, httpx.InvalidURL):
            raise InternalError("A request header or the request target holds a line break.") from None
        except httpx.TransportError as error:
            raise UpstreamError(
                f"{self._called} gave no answer: {error}. It may have processed the request.",
                failure=_failure(error),
            ) from None
        return Answer(response, self._called, settings, watch)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    def _make_url(self, target: str) -> httpx.URL:
        return self._base.copy_with(raw_path=target.encode("ascii"))


def _failure(error: httpx.TransportError) -> UpstreamFailure:
    if isinstance(error, NoConnection):
        return error.failure
    if isinstance(error, httpx.ProxyError):
        return "proxy"
    if isinstance(error, httpx.ConnectError):
        return "unreachable"
    return "invalid" if isinstance(error, httpx.RemoteProtocolError) else "broke_off"


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
