"""What an exchange knows of its time, by a clock that only the script moves."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

import guardproxy_tracing as tracing
from guardproxy import (
    Action,
    Detector,
    Guard,
    LocalReply,
    Match,
    Outcome,
    Policy,
    Rule,
    Stage,
    Step,
    StepKind,
    hookimpl,
)
from guardproxy.exchange import Exchange, Stopwatch
from guardproxy.lifecycle import line
from guardproxy.settings import ClientKey
from tests.harness import Chunks, Upstreaming, message, proxy, response, sse, streaming, text_events, whole
from tests.samples import Raises, Tags, Waits

CONNECT, PIECE, SCAN, PATIENCE = 2.0, 3.0, 0.25, 4.0  # halves and quarters: their sums are exact
SHADOW = Policy(
    input={"slow": Rule(Action.FLAG, shadow=True)}, output={"slow": Rule(Action.FLAG, shadow=True)}
)


class Clock:
    """Stands still unless somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", made)
    return made


class Slow(Detector):
    """Takes SCAN seconds for all texts together, and finds tags."""

    name = "slow"
    reach = 16
    inline_below = 1 << 30

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        self.clock.wait(SCAN)
        return Tags().scan(texts)


class Late(Detector):
    """Begins when the client has its answer, and takes a hundred seconds."""

    name = "late"
    reach = 16

    def __init__(self, clock: Clock, delivered: asyncio.Event) -> None:
        self.clock, self.delivered = clock, delivered

    async def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        await self.delivered.wait()
        self.clock.wait(100)
        return [[] for _ in texts]


class Body(httpx.AsyncByteStream):
    """Each piece takes PIECE seconds; `ends` is an error, or None, or `hangs` until it is given up."""

    def __init__(self, clock: Clock, pieces: Sequence[bytes], ends: "Exception | str | None") -> None:
        self.clock, self.pieces, self.ends = clock, pieces, ends
        self.sent = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.clock.wait(PIECE)
            yield piece
        self.sent.set()
        if isinstance(self.ends, Exception):
            self.clock.wait(PATIENCE)
            raise self.ends
        if self.ends == "hangs":
            try:
                await asyncio.Event().wait()
            finally:
                self.clock.wait(PATIENCE)


def answering(
    clock: Clock, pieces: Sequence[bytes], kind: str = "text/event-stream", ends: Any = None
) -> tuple[Upstreaming, Body]:
    body = Body(clock, pieces, ends)

    def answer(_: httpx.Request) -> httpx.Response:
        clock.wait(CONNECT)
        return httpx.Response(200, headers={"content-type": kind}, stream=body)

    return answer, body


EVENTS = [sse([event], done=False) for event in text_events("fine words ")] + [b"data: [DONE]\n\n"]
WHOLE = [httpx.Response(200, json=response(message("fine words"))).content]
NONE: dict[str, str] = {}
REDACT = {"x-opper-guard-output": "slow", "x-opper-guard-action": "redact"}
FLAG = {"x-opper-guard-output": "slow"}


async def exchange_of(
    clock: Clock, upstream: Upstreaming, headers: dict[str, str], stream: bool = True, **given: Any
) -> Exchange:
    made = {"slow": Guard("slow", (Slow(clock),)), **given.pop("made", {})}
    left: asyncio.Event | None = given.pop("left", None)
    async with proxy(upstream, made=made, **given) as client:
        body = {"model": "m", "input": "hi", "stream": stream}
        await client.post(body, headers, disconnect=left, delivered=given.pop("delivered", None))
    exchange: Exchange = client.recorder.exchanges[0]
    return exchange


@pytest.mark.parametrize(
    ("headers", "pieces", "kind", "given"),
    [
        pytest.param(NONE, EVENTS, "text/event-stream", {}, id="raw stream"),
        pytest.param(NONE, WHOLE, "application/json", {}, id="raw whole"),
        pytest.param(REDACT, EVENTS, "text/event-stream", {}, id="guarded stream"),
        pytest.param(REDACT, WHOLE, "application/json", {}, id="guarded whole"),
        pytest.param(FLAG, EVENTS, "text/event-stream", {}, id="flagged stream"),
        pytest.param(NONE, EVENTS, "text/event-stream", {"floor": SHADOW}, id="shadowed stream"),
    ],
)
async def test_waiting_for_the_upstream_is_all_that_counts(
    clock: Clock, headers: dict[str, str], pieces: list[bytes], kind: str, given: dict[str, Any]
) -> None:
    upstream, _ = answering(clock, pieces, kind)
    exchange = await exchange_of(clock, upstream, headers, kind != "application/json", **given)
    if "floor" not in given:  # the shadows' clock runs on while the upstream is waited for
        assert exchange.upstream_seconds == CONNECT + PIECE * len(pieces)
    assert exchange.seconds is not None
    assert exchange.seconds >= exchange.upstream_seconds >= CONNECT + PIECE * len(pieces)
    scans = (exchange.seconds - exchange.upstream_seconds) / SCAN
    assert scans == int(scans)
    assert (scans > 0) is bool(headers)


@pytest.mark.parametrize("pieces", [EVENTS, WHOLE])
async def test_a_slow_client_is_no_overhead(clock: Clock, pieces: list[bytes]) -> None:
    upload, read = 7.0, 0.5
    upstream, _ = answering(clock, pieces, "text/event-stream" if pieces is EVENTS else "application/json")
    async with proxy(upstream, made={"slow": Guard("slow", (Slow(clock),))}) as client:
        inner = client.app

        async def slowly(scope: Any, receive: Any, send: Any) -> None:
            async def take() -> Any:
                message = await receive()
                if message["type"] == "http.request":
                    clock.wait(upload)
                return message

            async def give(message: Any) -> None:
                if message["type"] == "http.response.body":
                    clock.wait(read)
                await send(message)

            await inner(scope, take, give)

        client.app = slowly
        got = await client.post({"model": "m", "input": "hi"}, REDACT)
    (exchange,) = client.recorder.exchanges
    written = len(got.pieces) + (pieces is EVENTS)  # the end of a stream is a piece without a byte
    assert exchange.client_seconds == upload + read * written
    scans = exchange.overhead_seconds / SCAN
    assert scans == int(scans) > 0
    assert exchange.seconds == (
        exchange.overhead_seconds + exchange.upstream_seconds + exchange.client_seconds
    )


async def test_the_first_piece(clock: Clock) -> None:
    for floor in (Policy(), SHADOW):
        upstream, _ = answering(clock, EVENTS)
        exchange = await exchange_of(clock, upstream, NONE, floor=floor)
        assert exchange.first_event_seconds is not None
        assert CONNECT + PIECE <= exchange.first_event_seconds < CONNECT + 2 * PIECE


@pytest.mark.parametrize("headers", [NONE, REDACT])
async def test_an_answer_that_breaks_off(clock: Clock, headers: dict[str, str]) -> None:
    upstream, _ = answering(clock, EVENTS[:4], ends=httpx.ReadError("broken"))
    exchange = await exchange_of(clock, upstream, headers)
    assert exchange.error_code == "upstream_error"
    assert exchange.upstream_seconds == CONNECT + 4 * PIECE + PATIENCE


@pytest.mark.parametrize("headers", [NONE, REDACT])
async def test_a_client_that_leaves(clock: Clock, headers: dict[str, str]) -> None:
    upstream, body = answering(clock, EVENTS[:4], ends="hangs")
    exchange = await exchange_of(clock, upstream, headers, left=body.sent)
    assert exchange.error_code == "client_disconnected"
    assert exchange.upstream_seconds == CONNECT + 4 * PIECE + PATIENCE
    assert exchange.seconds is not None
    assert exchange.seconds >= exchange.upstream_seconds


async def test_an_upstream_that_cannot_be_reached(clock: Clock) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        clock.wait(CONNECT)
        raise httpx.ConnectError("refused")

    exchange = await exchange_of(clock, refuse, REDACT)
    assert (exchange.error_code, exchange.upstream_seconds) == ("upstream_error", CONNECT)
    assert exchange.seconds == CONNECT


@pytest.mark.parametrize("stops", ["a guard", "a plugin"])
async def test_without_the_upstream_nobody_waits_for_it(clock: Clock, stops: str) -> None:
    class Local:
        @hookimpl
        def guardproxy_before_forward(self) -> LocalReply:
            clock.wait(PATIENCE)
            return LocalReply(200, response(message("local")))

    upstream, _ = answering(clock, WHOLE)
    made = {"tags": Guard("tags", (Tags(),))}
    block = {"x-opper-guard-input": "slow=block"}
    async with proxy(
        upstream, made=made | {"slow": Guard("slow", (Slow(clock),))}, plugins=[Local()]
    ) as client:
        await client.post({"model": "m", "input": "TAG-" + "1234"}, block if stops == "a guard" else REDACT)
        (exchange,) = client.recorder.exchanges
    assert not client.requests
    assert exchange.upstream_seconds == 0
    assert exchange.seconds >= (SCAN if stops == "a guard" else PATIENCE)


async def test_guards_in_shadow_are_not_waited_for(clock: Clock) -> None:
    delivered = asyncio.Event()
    made = {"late": Guard("late", (Late(clock, delivered),))}
    rule = {"late": Rule(Action.FLAG, shadow=True)}
    upstream, _ = answering(clock, WHOLE, "application/json")
    async with proxy(upstream, made=made, floor=Policy(input=rule, output=rule)) as client:
        await client.post({"model": "m", "input": "hi"}, delivered=delivered)
    (exchange,) = client.recorder.exchanges
    assert clock.now >= 1100
    assert exchange.seconds == exchange.upstream_seconds == CONNECT + PIECE


def held_by(times: Sequence[tuple[float, bytes]], began: float) -> float:
    """The longest that an event was under way, as the client sees it: one goes out for each that came in."""
    left = [now for now, piece in times for _ in range(piece.count(b"data: {"))]
    came = [began + CONNECT + PIECE * (number + 1) for number in range(len(left))]
    return max(b - a for a, b in zip(came, left, strict=True))


@pytest.mark.parametrize("action", ["flag", "redact", "block"])
@pytest.mark.parametrize("text", ["fine words " * 4, "x" * 40 + " TAG-" + "1234 and more words"])
async def test_how_long_a_stream_was_held(clock: Clock, action: str, text: str) -> None:
    times: list[tuple[float, bytes]] = []
    upstream, _ = answering(clock, [sse([event], done=False) for event in text_events(text)])
    headers = {"x-opper-guard-output": f"tags={action}"}
    async with proxy(upstream, made={"tags": Guard("tags", (Tags(),))}) as client:
        inner = client.app

        async def timed(scope: Any, receive: Any, send: Any) -> None:
            async def note(message: Any) -> None:
                times.append((clock.now, message.get("body", b"")))
                await send(message)

            await inner(scope, receive, note)

        client.app = timed
        began = clock.now
        await client.post({"model": "m", "input": "hi", "stream": True}, headers)
    (exchange,) = client.recorder.exchanges
    if exchange.outcome == "blocked":  # what was held then never left: the last piece is ours
        times.pop(-2)
    assert exchange.held_seconds == held_by(times, began)
    assert (exchange.held_seconds > 10 * PIECE) is (action != "flag")


@pytest.mark.parametrize("floor", [Policy(), Policy(output={"tags": Rule(Action.REDACT, shadow=True)})])
async def test_what_nobody_holds_was_not_held(clock: Clock, floor: Policy) -> None:
    upstream, _ = answering(clock, EVENTS)
    exchange = await exchange_of(clock, upstream, NONE, made={"tags": Guard("tags", (Tags(),))}, floor=floor)
    assert exchange.held_seconds is None


def test_a_stopwatch_goes_on_from_where_it_stopped(clock: Clock) -> None:
    watch = Stopwatch()
    with watch:
        clock.wait(1)
    clock.wait(10)
    try:
        with watch:
            clock.wait(2)
            raise ValueError
    except ValueError:
        assert watch.seconds == 3


class Leaving:
    """An application whose client leaves at the `number`th piece that it is sent."""

    def __init__(self, app: Any, left: asyncio.Event, number: int) -> None:
        self.app, self.left, self.number = app, left, number

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def until(message: Any) -> None:
            self.number -= 1
            if self.number == 0:
                self.left.set()
                await asyncio.Event().wait()  # the server waits for it to read
            await send(message)

        await self.app(scope, receive, until)


KEYED = ClientKey(name="a", sha256=hashlib.sha256(b"known").hexdigest(), allowed_models=("m",))
BOTH = {"x-opper-guard-input": "tags", "x-opper-guard-output": "tags"}
BROKEN = httpx.ReadError("gone")


@pytest.mark.parametrize(
    ("body", "headers", "upstream", "words"),
    [
        pytest.param({"input": "hi"}, BOTH, whole(message("ok")), "clean clean", id="through"),
        pytest.param({"input": "hi"}, {}, whole(message("ok")), "off off", id="no guards"),
        pytest.param({"input": "TAG-1234"}, BOTH, whole(), "flagged clean", id="found"),
        pytest.param(
            {"input": "TAG-1234"},
            {"x-opper-guard-input": "tags=block", "x-opper-guard-output": "tags"},
            whole(),
            "blocked not_run",
            id="blocked",
        ),
        pytest.param(
            {"input": "hi"}, BOTH | {"authorization": "Bearer no"}, whole(), "not_run not_run", id="401"
        ),
        pytest.param({"input": "hi"}, {"x-opper-guard-input": "no"}, whole(), "not_run not_run", id="guard"),
        pytest.param({"input": "hi", "model": "n"}, BOTH, whole(), "not_run not_run", id="model"),
        pytest.param(b"{", BOTH, whole(), "interrupted not_run", id="invalid"),
        pytest.param(
            {"input": "boom"}, {"x-opper-guard-input": "raises"}, whole(), "failed off", id="guard failed"
        ),
        pytest.param(
            {"input": "hi"},
            {"x-opper-guard-output": "raises"},
            streaming(sse(text_events("boom"))),
            "off failed",
            id="guard failed in a stream",
        ),
        pytest.param(
            {"input": "hi"},
            BOTH,
            lambda _: httpx.Response(200, stream=Chunks([b"{"], BROKEN)),
            "clean interrupted",
            id="broke off",
        ),
        pytest.param(
            {"input": "hi"},
            BOTH,
            streaming(sse(text_events("ok")[:5], done=False), error=BROKEN),
            "clean interrupted",
            id="stream broke off",
        ),
    ],
)
async def test_the_word_of_a_stage_says_whether_its_guards_were_through(
    body: Any, headers: dict[str, str], upstream: Upstreaming, words: str
) -> None:
    keys = (KEYED,) if "model" in repr(body) or "authorization" in headers else ()
    given = {"authorization": "Bearer known"} | headers
    async with proxy(upstream, keys=keys) as client:
        await client.post(body, given)
    (exchange,) = client.recorder.exchanges
    assert " ".join(exchange.final_outcome(stage) for stage in Stage) == words
    told = {stage.value: word for stage, word in zip(Stage, words.split(), strict=True) if word != "off"}
    assert {name: word for name, word in line(exchange).items() if name in ("input", "output")} == told


@pytest.mark.parametrize(
    ("made", "number", "word"),
    [
        (whole(message("ok")), 2, "clean"),  # the body
        (streaming(sse(text_events("ok"), done=False), 400), 2, "interrupted"),
        (streaming(sse(text_events("ok"))), 3, "clean"),  # the end of the body
    ],
)
@pytest.mark.parametrize("shadow", [True, False])
async def test_a_client_that_leaves_interrupts_the_guards_that_are_not_through(
    made: Upstreaming, number: int, word: str, shadow: bool
) -> None:
    left, waits = asyncio.Event(), Waits()
    samples = {"waits": Guard("waits", (waits,)), "tags": Guard("tags", (Tags(),))}
    floor = Policy(output={"waits": Rule(shadow=True)} if shadow else {})
    async with proxy(made, made=samples, floor=floor) as client:
        client.app = Leaving(client.app, left, number)
        await client.post({"input": "hi"}, BOTH, disconnect=left)
    (exchange,) = client.recorder.exchanges
    assert exchange.error_code == "client_disconnected"
    assert exchange.final_outcome(Stage.OUTPUT) == ("interrupted" if shadow else word)


async def test_a_name_that_a_guard_in_shadow_had_no_time_for_is_not_told_where_another_blocked() -> None:
    waits, delivered = Waits(), asyncio.Event()
    made = {"waits": Guard("waits", (waits,)), "tags": Guard("tags", (Tags(),))}
    floor = Policy(input={"tags": Rule(Action.BLOCK), "waits": Rule(shadow=True)})
    async with proxy(whole(), made=made, floor=floor) as client:
        asked = client.post({"input": TAG, "model": "m"}, {"x-opper-name": "n"}, delivered=delivered)
        running = asyncio.create_task(asked)
        await delivered.wait()
        running.cancel()  # as the server does when the drain is over
        with pytest.raises(asyncio.CancelledError):
            await running
    (exchange,) = client.recorder.exchanges
    assert exchange.final_outcome(Stage.INPUT) == "blocked"
    assert (exchange.told_name, exchange.may_tell("model", Stage.INPUT)) == (None, False)


async def test_a_guard_in_shadow_that_fails_is_no_finding() -> None:
    made = {"raises": Guard("raises", (Raises(),)), "tags": Guard("tags", (Tags(),))}
    floor = Policy(input={"tags": Rule(), "raises": Rule(shadow=True)})
    async with proxy(whole(), made=made, floor=floor) as client:
        await client.post({"input": "boom"})
    (exchange,) = client.recorder.exchanges
    assert (exchange.outcome, exchange.final_outcome(Stage.INPUT)) == ("allowed", "clean")
    assert exchange.guard_failures == {"input.raises": "raised"}


class Endless(Detector):
    """Remote: never goes on, and notes that it was stopped."""

    name = "endless"
    reach = 8

    def __init__(self) -> None:
        self.asked = self.stopped = 0

    async def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        self.asked += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped += 1
        return []


async def test_no_guard_in_shadow_works_on_for_a_stream_that_broke_off() -> None:
    endless = Endless()
    floor = Policy(output={"endless": Rule(shadow=True)})
    upstream = streaming(sse(text_events("ok"), done=False), 400, BROKEN)
    async with proxy(upstream, made={"endless": Guard("endless", (endless,))}, floor=floor) as client:
        await client.post({"input": "hi"})
        await asyncio.sleep(0)
    assert endless.asked == endless.stopped > 0


class Outcomes:
    """A plugin that notes what became of each guard."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @hookimpl
    def guardproxy_step(self, step: Step) -> None:
        if step.kind is StepKind.GUARD:
            self.steps.append(step)

    @property
    def words(self) -> dict[str, str | None]:
        return {step.name: step.outcome for step in self.steps}


@pytest.mark.parametrize(
    ("text", "raw", "words"),
    [
        ("hello", None, {"tags": "clean", "pairs": "clean"}),
        ("TAG-1234 and more", None, {"tags": "blocked", "pairs": "interrupted"}),
        ("hello", sse(text_events("hello")[:6], done=False), {"tags": "interrupted", "pairs": "interrupted"}),
        ("hello", b"", {"tags": "not_run", "pairs": "not_run"}),
    ],
)
async def test_what_becomes_of_the_guards_of_a_stream(
    text: str, raw: bytes | None, words: dict[str, str]
) -> None:
    seen = Outcomes()
    upstream = streaming(sse(text_events(text)) if raw is None else raw)
    async with proxy(upstream, plugins=[seen]) as client:
        await client.post({"input": "hi"}, {"x-opper-guard-output": "tags=block,pairs"})
    assert seen.words == words


@pytest.mark.parametrize("shadow", [True, False])
@pytest.mark.parametrize(
    ("text", "kind", "word"),
    [
        ("{}", "application/json; charset=utf-16", "not_run"),
        ('{"id": "a", "id": "a"}', "application/json", "interrupted"),
    ],
)
async def test_guards_of_an_answer_that_passes_uninspected_call_nothing_clean(
    text: str, kind: str, word: str, shadow: bool
) -> None:
    seen = Outcomes()
    upstream = saying(text, {"content-type": kind})
    floor = Policy(output={"tags": Rule(shadow=shadow)})
    async with proxy(upstream, plugins=[seen], floor=floor) as client:
        await client.post({"input": "hi"})
    assert seen.words == {"tags": word}
    assert client.recorder.exchanges[0].final_outcome(Stage.OUTPUT) == "interrupted"


async def test_guards_of_what_is_no_json_did_not_run() -> None:
    seen = Outcomes()
    async with proxy(whole(), plugins=[seen]) as client:
        await client.post(b"{", {"x-opper-guard-input": "tags"})
    assert seen.words == {"tags": "not_run"}


EVENTS_SENT = text_events("hello")
REPAIRED = {"x-opper-guard-output": "tags,pairs=redact"}
BLOCKS = {"x-opper-guard-output": "tags=block"}


@pytest.mark.parametrize(
    ("body", "headers", "came", "delivered", "added"),
    [
        pytest.param(sse(EVENTS_SENT), REPAIRED, len(EVENTS_SENT), len(EVENTS_SENT), False, id="all"),
        pytest.param(
            b": hi\n\n" + sse(EVENTS_SENT) + b": bye\n\n",
            REPAIRED | {"x-opper-guard-report": "items"},
            len(EVENTS_SENT),
            len(EVENTS_SENT),
            False,
            id="with comments and items of ours",
        ),
        pytest.param(
            sse(EVENTS_SENT[:-1]), REPAIRED, len(EVENTS_SENT) - 1, len(EVENTS_SENT) - 1, True, id="no end"
        ),
        pytest.param(
            sse(EVENTS_SENT[:5], done=False),
            {"x-opper-guard-output": "names=redact"},
            5,
            3,
            False,
            id="broke off",
        ),
        pytest.param(
            sse(text_events("TAG-1234", size=8)),
            BLOCKS,
            len(text_events("TAG-1234", size=8)),
            3,
            False,
            id="blocked",
        ),
    ],
)
async def test_only_the_upstreams_events_count(
    body: bytes, headers: dict[str, str], came: int, delivered: int, added: bool
) -> None:
    async with proxy(streaming(body)) as client:
        got = await client.post({"input": "hi"}, headers)
    (exchange,) = client.recorder.exchanges
    assert (exchange.events_delivered, exchange.terminal_added) == (delivered, added)
    assert exchange.events == came or exchange.outcome == "blocked"  # nobody reads on after a block
    own = [event for event in got.events if event != "[DONE]"][delivered:]
    assert bool(own) is (added or exchange.error_code is not None or "x-opper-guard-report" in headers)


async def test_events_that_the_client_did_not_take_are_not_delivered() -> None:
    left = asyncio.Event()
    async with proxy(streaming(sse(EVENTS_SENT))) as client:
        client.app = Leaving(client.app, left, 2)
        await client.post({"input": "hi"}, REPAIRED, disconnect=left)
    (exchange,) = client.recorder.exchanges
    assert (exchange.events, exchange.events_delivered) == (len(EVENTS_SENT), 0)


async def test_a_watched_stream_without_an_end_gets_none() -> None:
    floor = Policy(output={"tags": Rule(shadow=True)})
    async with proxy(streaming(sse(EVENTS_SENT[:-1])), floor=floor) as client:
        await client.post({"input": "hi"})
    assert not client.recorder.exchanges[0].terminal_added


ERROR_EVENT = {"type": "error", "error": {"code": "server_error", "message": "no"}}
FAILED_EVENT = {"type": "response.failed", "response": response(status="failed")}
FLAGGED = {"x-opper-guard-input": "tags", "x-opper-guard-output": "tags"}
WATCHED = Policy(output={"tags": Rule(shadow=True)})


def ending(*last: Any) -> Upstreaming:
    return streaming(sse([*EVENTS_SENT[:-1], *last]))


@pytest.mark.parametrize(
    ("upstream", "code", "status"),
    [
        pytest.param(whole(message("ok")), None, "completed", id="completed"),
        pytest.param(whole(status=429), "429", "completed", id="429"),
        pytest.param(lambda _: httpx.Response(400, json={"error": {}}), "400", None, id="400"),
        pytest.param(lambda _: httpx.Response(503, content=b"busy"), "503", None, id="503"),
        pytest.param(
            lambda _: httpx.Response(200, json=response() | {"status": "failed"}),
            "response_failed",
            "failed",
            id="failed",
        ),
        pytest.param(
            lambda _: httpx.Response(200, json=response() | {"status": "incomplete"}),
            None,
            "incomplete",
            id="incomplete",
        ),
        pytest.param(
            lambda _: httpx.Response(200, json=response() | {"status": "cancelled"}),
            None,
            "cancelled",
            id="cancelled",
        ),
        pytest.param(
            lambda _: httpx.Response(200, json=response() | {"status": "my word"}),
            None,
            None,
            id="no status",
        ),
        pytest.param(ending(FAILED_EVENT), "response_failed", "failed", id="failed stream"),
        pytest.param(ending(ERROR_EVENT, FAILED_EVENT), "response_failed", "failed", id="both"),
        pytest.param(ending(ERROR_EVENT), "response_failed", "in_progress", id="error event"),
        pytest.param(
            ending({"type": "response.incomplete", "response": response() | {"status": "incomplete"}}),
            None,
            "incomplete",
            id="incomplete stream",
        ),
    ],
)
@pytest.mark.parametrize("how", ["raw", "guarded", "watched"])
async def test_an_answer_that_is_an_error_is_no_success(
    upstream: Upstreaming, code: str | None, status: str | None, how: str
) -> None:
    floor = WATCHED if how == "watched" else Policy()
    async with proxy(upstream, floor=floor) as client:
        await client.post({"input": "TAG-1234"}, FLAGGED if how == "guarded" else {})
    (exchange,) = client.recorder.exchanges
    if how == "raw" and status == "in_progress":  # then only the last event is read
        status = None
    fine = "flagged" if how == "guarded" else "allowed"
    assert exchange.outcome == ("error" if code else fine)
    assert (exchange.error_code, exchange.response_status) == (code, status)
    assert line(exchange).get("code") == code
    assert line(exchange).get("response_status") == status


async def test_a_block_is_the_outcome_of_an_answer_that_is_an_error_too() -> None:
    async with proxy(whole(message("TAG-1234"), status=429)) as client:
        await client.post({"input": "hi"}, BLOCKS)
    (exchange,) = client.recorder.exchanges
    assert (exchange.outcome, exchange.error_code) == ("blocked", "guardrail_violation")


@pytest.mark.parametrize("how", ["raw", "guarded", "watched"])
async def test_a_stream_that_broke_off_is_no_success_whoever_reads_it(how: str) -> None:
    floor = WATCHED if how == "watched" else Policy()
    async with proxy(streaming(sse(EVENTS_SENT[:5], done=False)), floor=floor) as client:
        await client.post({"input": "hi"}, FLAGGED if how == "guarded" else {})
    (exchange,) = client.recorder.exchanges
    assert (exchange.outcome, exchange.error_code, exchange.broke) == ("error", "upstream_error", True)


async def test_the_tokens_of_a_stream_without_guards_are_known() -> None:
    usage = {"input_tokens": 3, "output_tokens": 4}
    last = {"type": "response.completed", "response": response() | {"usage": usage}}
    async with proxy(ending(last)) as client:
        await client.post({"input": "hi", "stream": True})
    (exchange,) = client.recorder.exchanges
    assert exchange.usage == usage
    assert (exchange.outcome, exchange.response_status, exchange.told_response_id) == (
        "allowed",
        "completed",
        "resp_1",
    )


async def test_the_tokens_of_an_answer_whose_guard_failed_are_known_and_its_names_are_not() -> None:
    usage = {"input_tokens": 3, "output_tokens": 4}
    async with proxy(whole(message("boom"), usage=usage)) as client:
        await client.post({"input": "hi"}, {"x-opper-guard-output": "raises"})
    (exchange,) = client.recorder.exchanges
    assert exchange.outcome == "failed"
    assert exchange.usage == usage
    assert (exchange.response_id, exchange.response_model) == (None, None)


async def test_a_guard_in_shadow_that_fails_flags_nothing() -> None:
    floor = Policy({"raises": Rule(shadow=True)}, {"raises": Rule(shadow=True)})
    async with proxy(whole(message("boom")), floor=floor) as client:
        await client.post({"input": "boom"})
    (exchange,) = client.recorder.exchanges
    assert exchange.outcome == "allowed"
    assert [verdict.outcome for verdict in exchange.verdicts.values()] == [Outcome.CLEAN, Outcome.CLEAN]
    assert exchange.guard_failures == {"input.raises": "raised", "output.raises": "raised"}


TAG = "TAG-" + "1234"
WATCHING = {"tags": Rule(Action.FLAG, shadow=True)}
FLAGGING = {"tags": Rule(Action.FLAG)}
AS_JSON = {"content-type": "application/json"}
NAMED_TWICE = f'{{"id": "{TAG}", "id": "{TAG}", "model": "{TAG}", "output": []}}'
NAMED = f'{{"id": "{TAG}", "model": "{TAG}", "output": []}}'
UTF_16 = {"content-type": "application/json; charset=utf-16"}


def saying(text: str, headers: dict[str, str]) -> Upstreaming:
    return lambda _: httpx.Response(200, content=text.encode(), headers=headers)


def too_deep() -> Any:
    value: Any = 1
    for _ in range(600):
        value = [value]
    event = {"type": "response.completed", "response": response(id=TAG, model=TAG, metadata=value)}
    return streaming(sse([event]))


MANY = [f"TAG-{number:08d}" for number in range(10_001)]
MANY_SAID = sse(
    [{"type": "response.completed", "response": {"metadata": MANY, **response(id=TAG, model=TAG)}}]
)


@pytest.mark.parametrize(
    ("upstream", "floor", "said"),
    [
        (saying(NAMED_TWICE, AS_JSON), Policy(output=WATCHING), {"input": "hi"}),
        (saying(NAMED_TWICE, AS_JSON), Policy(output=FLAGGING), {"input": "hi"}),
        (saying(NAMED, UTF_16), Policy(output=WATCHING), {"input": "hi"}),
        (saying(NAMED, UTF_16), Policy(output=FLAGGING), {"input": "hi"}),
        (too_deep(), Policy(output=WATCHING), {"input": "hi"}),
        (too_deep(), Policy(output=FLAGGING), {"input": "hi"}),
        (whole(), Policy(input=WATCHING), {"input": MANY, "model": TAG}),
        (whole(), Policy(input=FLAGGING), {"input": MANY, "model": TAG}),
        (streaming(MANY_SAID), Policy(output=WATCHING), {"input": "hi"}),
        (streaming(MANY_SAID), Policy(output=FLAGGING), {"input": "hi"}),
    ],
)
async def test_a_name_is_told_only_where_every_guard_has_seen_it(
    upstream: Upstreaming, floor: Policy, said: Any
) -> None:
    with tracing.record() as spans, capture_logs() as logged:
        async with proxy(upstream, floor=floor, plugins=[tracing]) as client:
            await client.post(said)
    assert [line["event"] for line in logged if "outcome" in line] == ["exchange"]
    assert len(spans) == 5
    assert TAG not in f"{[span.to_json() for span in spans]} {logged}"


@pytest.mark.parametrize("stage", Stage)
async def test_an_answer_that_broke_off_is_not_held_up_by_guards_in_shadow(stage: Stage) -> None:
    """The client knows of it by the end of its connection alone."""
    waits = Waits()
    rules = {"waits": Rule(shadow=True)}
    floor = Policy(rules, {}) if stage is Stage.INPUT else Policy({}, rules)
    broken = streaming(sse(text_events("ok"), done=False), 400, httpx.ReadError("reset"))
    async with proxy(broken, made={"waits": Guard("waits", (waits,))}, floor=floor) as client:
        got = await client.post({"input": "hi"})  # nothing ever lets the guard go
    (exchange,) = client.recorder.exchanges
    assert got.status == 200
    assert exchange.error_code == "upstream_error"
    assert exchange.final_outcome(stage) == "interrupted"
