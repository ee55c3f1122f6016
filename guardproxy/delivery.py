"""Deliver an answer to the client: as it came, whole and guarded, or as a guarded stream."""

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from guardproxy import document, encodings, facts, outputs, prices, report, sse
from guardproxy.document import LARGE
from guardproxy.encodings import is_like_utf8, is_stream
from guardproxy.errors import (
    GuardFailed,
    GuardProxyError,
    InternalError,
    Overloaded,
    ShuttingDown,
    Uninspectable,
    UpstreamError,
    Violation,
)
from guardproxy.exchange import Exchange
from guardproxy.headers import date, lower_headers, response_headers
from guardproxy.id_watch import IdWatch
from guardproxy.logs import failure
from guardproxy.messages import Expected, LocalAnswer, Reply
from guardproxy.report import Reporter
from guardproxy.settings import Settings
from guardproxy.stage import StageRun
from guardproxy.streaming import GuardedStream, ended_early
from guardproxy.upstream import Answer

# What an answer's headers say of a body that was changed.
_OF_BODY = frozenset(
    (
        *("content-length", "content-encoding", "content-range", "etag"),
        *("content-md5", "digest", "content-digest", "repr-digest"),
    )
)
_NO_BODY = frozenset((204, 304))
COST_HEADER = "X-Opper-Cost"


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
        if received:
            plain = self._decoder(answer).whole(received)
            try:
                body = await outputs.inspect(
                    run,
                    plain,
                    expected.shape,
                    expected.echoes,
                    self._settings.unscannable,
                    reporter,
                    partial(learn, exchange, expected),
                    content_type(answer),
                )
            except GuardProxyError as error:
                if not isinstance(error, Violation):  # then its facts are known
                    facts.of_answer(exchange, plain, "usage", "status")  # it was paid for
                raise
            if reporter.finishes and can_be_finished(answer):
                body = await self._finished(body, reporter)
        else:
            body = received
            outputs.judge(run, reporter)
        run.let_pass()
        status, ours = answer.status, {}
        if expected.failed is not None and status >= 400:
            status, body = expected.failed(status, body)
            exchange.status = status
            ours["content-type"] = "application/json"
        if expected.keep is not None and status < 300:
            await expected.keep(body)
        drop = ("content-length",) if body is received else _OF_BODY
        if status not in _NO_BODY:
            ours["content-length"] = str(len(body))
        if reporter.tells_cost and (cost := reporter.cost) is not None and status < 300:
            ours[COST_HEADER] = prices.plain(cost)
        await reply.start(status, response_head(exchange, answer.headers, drop, ours))
        await reply.end(body)

    async def _finished(self, body: bytes, reporter: Reporter) -> bytes:
        try:
            text = document.decode(body)
        except Uninspectable:
            return body
        bare = text.removeprefix("\ufeff")
        completer = reporter.completer
        large = len(text) > LARGE or (completer is not None and completer.reads_much)
        new = await asyncio.to_thread(reporter.finished, bare) if large else reporter.finished(bare)
        return body if new is bare else (text[: len(text) - len(bare)] + new).encode()

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
        decoder: encodings.Decoder | None = None
        with aside(exchange, run):
            decoder = self._decoder(answer)
        events, body, learned = sse.Decoder(), bytearray(), partial(learn, exchange, expected)
        watch = IdWatch(answer.headers, self._settings.max_body, expected.learned)
        await reply.start(answer.status, response_head(exchange, answer.headers, ()))
        try:
            async for chunk in answer.chunks():
                if exchange.first_event_seconds is None:
                    exchange.first_event_seconds = exchange.elapsed()
                watch.feed(chunk)
                await reply.write(chunk)
                if decoder is None or run.problem is not None:
                    continue
                with aside(exchange, run):
                    plain = decoder.feed(chunk)
                    if stream is None:
                        body += plain
                    else:
                        for frame in _read(events, plain):
                            await stream.feed(frame)
            watch.end()
            await reply.end()
        except BaseException:
            if stream is not None:
                stream.cancel()
            raise
        if stream is not None:
            await _end_watched(exchange, run, stream)
        elif body and run.problem is None:
            with aside(exchange, run):
                await outputs.inspect(
                    run, bytes(body), expected.shape, {}, {}, reporter, learned, content_type(answer)
                )

    async def raw(
        self,
        exchange: Exchange,
        answer: "Answer | LocalAnswer",
        reply: Reply,
        learned: Callable[[object], None] | None = None,
    ) -> None:
        """Deliver an answer as it came; its facts are noted on its way.

        `learned` is called with the id of its response before the client gets that.
        """
        exchange.status = answer.status
        watch = None if learned is None else IdWatch(answer.headers, self._settings.max_body, learned)
        await reply.start(answer.status, response_head(exchange, answer.headers, ()))
        streams = is_stream(content_type(answer))
        tail, size = bytearray(), 0
        async for chunk in answer.chunks():
            if exchange.first_event_seconds is None:
                exchange.first_event_seconds = exchange.elapsed()
            if watch is not None:
                watch.feed(chunk)
            await reply.write(chunk)
            size += len(chunk)
            tail += chunk
            del tail[: -facts.MOST_READ]
        if watch is not None:
            watch.end()
        await reply.end()
        if streams:
            if not facts.of_stream(exchange, bytes(tail)):
                note_error(exchange, ended_early())
        elif size <= facts.MOST_READ:
            facts.of_answer(exchange, bytes(tail))

    async def stream(
        self,
        exchange: Exchange,
        answer: "Answer | LocalAnswer",
        run: StageRun,
        stream: GuardedStream,
        expected: Expected,
        reporter: Reporter,
        reply: Reply,
    ) -> None:
        """Deliver a stream as its guards let it go.

        Raises:
            GuardProxyError: a guard blocked or failed, and nothing is sent yet.
        """

        pieces: list[bytes] = []  # what may go, and is not written yet
        unkept = False  # the end of the response has come, and cannot be sent yet

        async def write() -> None:
            if not pieces:
                return
            if not reply.started:
                exchange.first_event_seconds = exchange.elapsed()
                await reply.start(answer.status, response_head(exchange, answer.headers, _OF_BODY))
            # The server waits for a slow client before it takes a piece: one that is cancelled is not sent.
            await reply.write(b"".join(pieces))
            exchange.events_delivered = stream.released
            pieces.clear()

        async def keep(made: list[bytes]) -> list[bytes]:
            if expected.keep is not None and (response := stream.response()) is not None:
                nonlocal unkept
                unkept = True
                await expected.keep(reporter.finished(response).encode())
                unkept = False
            return made

        try:
            async for frames in self._frames(answer):
                for frame in frames:
                    exchange.events += bool(frame.data) and not frame.done
                    pieces += await keep(await stream.feed(frame))
                frames.clear()  # or they would be kept until the next ones come
                await write()
            pieces += await keep(await stream.end())
            await write()
            exchange.terminal_added = stream.terminal_added
        except BaseException as error:
            stream.cancel()
            told = _told(error, exchange, reply)
            if told is None or not (reply.started or pieces):
                raise
            note_error(exchange, told)
            pieces += stream.fail(told, unkept=unkept)
            await write()
        finally:
            told = None  # it may know this frame, and neither would go without the other
            exchange.held_seconds = stream.held if exchange.policy.enforced() else None
        run.let_pass()
        await reply.end()
        with aside(exchange, run):
            await stream.settle_shadow()

    async def _frames(self, answer: "Answer | LocalAnswer") -> AsyncIterator[list[sse.Frame]]:
        """The events of `answer`, as many at a time as have arrived."""
        undo, decoder = self._decoder(answer), sse.Decoder()
        async for chunk in answer.chunks():
            frames = _read(decoder, undo.feed(chunk))
            chunk = b""
            if frames:
                yield frames
        if (rest := decoder.close()) is not None:
            yield [rest]

    def _decoder(self, answer: "Answer | LocalAnswer") -> encodings.Decoder:
        encoding = lower_headers(answer.headers).get("content-encoding", "")
        return encodings.Decoder(encoding, self._settings.max_body, UpstreamError, "The upstream's answer")


async def _end_watched(exchange: Exchange, run: StageRun, stream: GuardedStream) -> None:
    with aside(exchange, run):
        if run.problem is None:  # else what was found before it counts, but there is no end to inspect
            try:
                await stream.end()
            except UpstreamError as error:  # the client has got it so; it is to be told of all the same
                note_error(exchange, error)
                raise
    with aside(exchange, run):
        await stream.settle_shadow()


@contextmanager
def aside(exchange: Exchange, run: StageRun) -> Iterator[None]:
    """Inspection that the traffic does not wait for: whatever fails in it is noted, and never raised."""
    try:
        yield
    except GuardProxyError as error:
        run.problem = error.error_code
    except Exception as error:
        failure("guards in shadow failed", error, exchange=exchange.id)
        run.problem = InternalError.code


def _read(events: sse.Decoder, data: bytes) -> list[sse.Frame]:
    try:
        return events.feed(data)
    except ValueError as error:
        raise UpstreamError(f"The upstream's stream cannot be read: {error}.") from None


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


async def reply_json(
    exchange: Exchange, reply: Reply, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Answer with a JSON body of our own."""
    exchange.status = status
    ours = {"content-type": "application/json", "content-length": str(len(body)), "date": date()}
    await reply.start(status, response_head(exchange, [], (), {**(headers or {}), **ours}))
    await reply.end(body)


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


def learn(exchange: Exchange, expected: Expected, response: Mapping[str, Any], response_id: object) -> None:
    """Note what a response says that may be told, and remember the policy under its id, told or not."""
    facts.of_response(exchange, response)
    expected.learned(response_id)


def content_type(answer: "Answer | LocalAnswer") -> str:
    """The content types of an answer, as they came."""
    return lower_headers(answer.headers).get("content-type", "")


def can_be_finished(answer: "Answer | LocalAnswer") -> bool:
    """Whether an answer may be a response to which its front door adds, by its head; else it stays as it is.

    Nobody could read another's bytes, and an error is no response.
    """
    types, encoding = content_type(answer), lower_headers(answer.headers).get("content-encoding", "")
    is_kind = is_stream(types) or outputs.JSON_TYPE.search(types) is not None
    return 200 <= answer.status < 300 and is_kind and is_like_utf8(types) and encodings.is_known(encoding)


def note_error(exchange: Exchange, error: GuardProxyError) -> None:
    """Note on the exchange what stopped it.

    What stops it first counts: an end that the client does not take is cancelled, and fails again.
    """
    if exchange.error_code is not None:
        return
    exchange.error_code, exchange.error_status = error.error_code, error.status
    if isinstance(error, UpstreamError):
        exchange.upstream_failure = error.failure
    if isinstance(error, Violation) or error.error_code == Violation.code:
        exchange.outcome = "blocked"
    else:
        exchange.outcome = "failed" if isinstance(error, GuardFailed | Overloaded) else "error"
