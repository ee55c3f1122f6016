"""Deliver an answer to the client: as it came, whole and guarded, or as a guarded stream."""

import asyncio
import time
from collections.abc import AsyncIterator, Container, Mapping
from typing import Any

import structlog

from guardproxy import encodings, facts, outputs, report, sse
from guardproxy.errors import (
    GuardFailed,
    GuardProxyError,
    InternalError,
    Overloaded,
    ShuttingDown,
    UpstreamError,
    Violation,
)
from guardproxy.exchange import Exchange
from guardproxy.headers import lower_headers, response_headers
from guardproxy.logs import failure
from guardproxy.messages import Expected, LocalAnswer, Reply
from guardproxy.report import Reporter
from guardproxy.settings import Settings
from guardproxy.stage import StageRun
from guardproxy.streaming import GuardedStream
from guardproxy.upstream import Answer

_log = structlog.stdlib.get_logger("guardproxy")

# What an answer's headers say of a body that was changed.
_OF_BODY = frozenset(
    ("content-length", "content-encoding", "etag", "content-md5", "digest", "content-digest")
)


class Delivery:
    """The ways in which an answer reaches the client."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def whole(
        self,
        exchange: Exchange,
        answer: "Answer | LocalAnswer",
        run: StageRun,
        expected: Expected,
        reporter: Reporter,
        reply: Reply,
    ) -> None:
        """Inspect the whole of an answer, then deliver it with the report.

        Raises:
            GuardProxyError: a guard blocked or failed; nothing is sent yet.
        """
        received = await answer.read(self._settings.max_body)
        plain = self._decoder(answer).whole(received)
        body = plain
        if plain:
            body = await outputs.inspect(
                run,
                plain,
                expected.shape,
                expected.echoes,
                self._settings.unscannable,
                reporter,
                lambda response: _learn(exchange, expected, response),
            )
        drop = ("content-length",) if body is received else _OF_BODY
        length = {"content-length": str(len(body))}
        await reply.start(answer.status, response_head(exchange, answer.headers, drop, length))
        await reply.end(body)

    async def watched(
        self,
        exchange: Exchange,
        answer: "Answer | LocalAnswer",
        run: StageRun,
        stream: GuardedStream | None,
        expected: Expected,
        reporter: Reporter,
        reply: Reply,
    ) -> None:
        """All guards run in shadow: the answer passes as it came, and is looked at on its way."""
        decoder, events = self._decoder(answer), sse.Decoder()
        body = bytearray()
        await reply.start(answer.status, response_head(exchange, answer.headers, ()))
        async for chunk in answer.chunks():
            await reply.write(chunk)
            try:
                plain = decoder.feed(chunk) if run.problem is None else b""
                if stream is None:
                    body += plain
                else:
                    for frame in events.feed(plain):
                        await stream.feed(frame)
            except (GuardProxyError, ValueError):
                run.problem = "uninspectable"
        await reply.end()
        try:
            if stream is not None:
                await stream.end()
                await stream.settle_shadow()
            elif body and run.problem is None:
                facts.of_answer(exchange, bytes(body))
                expected.learned()
                await outputs.inspect(run, bytes(body), expected.shape, {}, {}, reporter, lambda _: None)
        except GuardProxyError as error:
            run.problem = error.error_code

    async def raw(self, exchange: Exchange, answer: "Answer | LocalAnswer", reply: Reply) -> None:
        """Deliver an answer as it came; its facts are noted on its way."""
        exchange.status = answer.status
        await reply.start(answer.status, response_head(exchange, answer.headers, ()))
        tail = bytearray()
        keeps = True
        async for chunk in answer.chunks():
            if exchange.first_event_seconds is None:
                exchange.first_event_seconds = _elapsed(exchange)
            await reply.write(chunk)
            keeps = keeps and len(tail) + len(chunk) <= facts.MOST_READ
            if keeps:
                tail += chunk
        await reply.end()
        if keeps:
            facts.of_answer(exchange, bytes(tail))

    async def stream(
        self,
        exchange: Exchange,
        answer: "Answer | LocalAnswer",
        stream: GuardedStream,
        reply: Reply,
    ) -> None:
        """Deliver a stream as its guards let it go.

        Raises:
            GuardProxyError: a guard blocked or failed, and nothing is sent yet.
        """

        async def write(pieces: list[bytes]) -> None:
            if not pieces:
                return
            if not reply.started:
                exchange.first_event_seconds = _elapsed(exchange)
                await reply.start(answer.status, response_head(exchange, answer.headers, _OF_BODY))
            await reply.write(b"".join(pieces))

        pieces: list[bytes] = []
        try:
            async for frames in self._frames(answer):
                for frame in frames:
                    exchange.events += 1
                    pieces += await stream.feed(frame)
                frames.clear()  # or they would be kept until the next ones come
                safe, pieces = pieces, []  # before they are written, which may be cancelled
                await write(safe)
            safe, pieces = [*pieces, *await stream.end()], []
            await write(safe)
        except BaseException as error:
            stream.cancel()
            told = _told(error, exchange, reply)
            if told is None or not (reply.started or pieces):
                raise
            await write(pieces)
            note_error(exchange, told)
            await write(stream.fail(told))
        await reply.end()
        await stream.settle_shadow()

    async def _frames(self, answer: "Answer | LocalAnswer") -> AsyncIterator[list[sse.Frame]]:
        """The events of `answer`, as many at a time as have arrived."""
        undo, decoder = self._decoder(answer), sse.Decoder()
        async for chunk in answer.chunks():
            try:
                frames = decoder.feed(undo.feed(chunk))
            except ValueError as error:
                raise UpstreamError(f"The upstream's stream cannot be read: {error}.") from None
            chunk = b""
            if frames:
                yield frames
        if (rest := decoder.close()) is not None:
            yield [rest]

    def _decoder(self, answer: "Answer | LocalAnswer") -> encodings.Decoder:
        encoding = lower_headers(answer.headers).get("content-encoding", "")
        return encodings.Decoder(encoding, self._settings.max_body, UpstreamError, "The upstream's answer")


def response_head(
    exchange: Exchange,
    headers: list[tuple[bytes, bytes]],
    drop: Container[str],
    more: Mapping[str, str] | None = None,
) -> list[tuple[bytes, bytes]]:
    """The headers of the response: the answer's less `drop`, with verdict, receipt, ids and `more`."""
    ours = {**exchange.response_headers, **report.headers(exchange), **(more or {})}
    if not any(name.lower() == b"x-request-id" for name, _ in headers):
        ours["x-request-id"] = exchange.id
    return response_headers(headers, ours, drop=drop)


def drain_over() -> ShuttingDown:
    """The error in the place of a cancellation that the client did not cause; the task goes on to tell it."""
    if (task := asyncio.current_task()) is not None:
        task.uncancel()
    return ShuttingDown("guardproxy shuts down, and this exchange was not over within its time to drain.")


def _told(error: BaseException, exchange: Exchange, reply: Reply) -> GuardProxyError | None:
    """What the client of a stream is told of `error`; None when nobody is there to be told."""
    if isinstance(error, GuardProxyError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return None if reply.gone else drain_over()
    if not isinstance(error, Exception):
        return None
    failure("stream failed", error, exchange=exchange.id)
    return InternalError(f"guardproxy failed; its log says more under {exchange.id}.")


def _learn(exchange: Exchange, expected: Expected, response: Mapping[str, Any]) -> None:
    """Note what a response says that may be told, and remember the policy under its id."""
    facts.of_response(exchange, response)
    expected.learned()


def note_error(exchange: Exchange, error: GuardProxyError) -> None:
    """Note on the exchange what stopped it, and in the log where that was no fault of the client's."""
    exchange.error_code = error.error_code
    if error.status >= 500:
        _log.warning("exchange_failed", exchange=exchange.id, status=error.status, code=error.error_code)
    if isinstance(error, Violation) or error.error_code == Violation.code:
        exchange.outcome = "blocked"
    else:
        exchange.outcome = "failed" if isinstance(error, GuardFailed | Overloaded) else "error"


def _elapsed(exchange: Exchange) -> float:
    return time.perf_counter() - exchange.started
