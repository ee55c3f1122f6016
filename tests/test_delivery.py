"""How an answer reaches the client, and what a slow one gets when its time is over."""

import asyncio
from contextlib import nullcontext

import pytest

from guardproxy.delivery import Delivery
from guardproxy.exchange import Exchange
from guardproxy.messages import Expected
from guardproxy.profiles import Form
from guardproxy.report import Reporter
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.shapes import RESPONSE
from guardproxy.stage import StageRun
from guardproxy.streaming import GuardedStream
from guardproxy.testing.events import parse_sse, sse, stream_events
from guardproxy.types import Action, Policy, Rule, Stage
from tests.samples import guards

RULES = {"tags": Rule(Action.REDACT)}


class Answered:
    """An answer of the upstream's that arrives in these pieces."""

    status = 200

    def __init__(self, *pieces: bytes) -> None:
        self.headers = [(b"content-type", b"text/event-stream")]
        self.pieces = pieces

    async def chunks(self):  # type: ignore[no-untyped-def]
        for piece in self.pieces:
            yield piece


class Slow:
    """A client whose `number`th piece is cancelled while the server waits for it to read."""

    gone = False

    def __init__(self, number: int) -> None:
        self.number = number
        self.started = False
        self.taken: list[bytes] = []

    async def _wait(self) -> None:
        self.number -= 1
        if self.number == 0:
            raise asyncio.CancelledError

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self._wait()
        self.started = True

    async def write(self, data: bytes) -> None:
        assert self.started
        await self._wait()
        self.taken.append(data)

    async def end(self, data: bytes = b"") -> None:
        self.taken.append(data)


@pytest.mark.parametrize("number", range(1, 12))
async def test_what_was_waiting_for_a_slow_client_comes_before_the_end(number: int) -> None:
    events = stream_events(text="one two three TAG-1234 four five", chunk=4)
    answer = Answered(*(sse([event], done=False) for event in events))
    exchange = Exchange("POST", "/v1/responses", {}, policy=Policy(output=RULES))
    run = StageRun(
        Stage.OUTPUT, RULES, Scanner(guards(), Settings()), "[{category}]", lambda _: nullcontext()
    )
    stream = GuardedStream(run, Reporter(exchange, Form.NONE), {}, {}, lambda *_: None)
    reply = Slow(number)
    reporter = Reporter(exchange, Form.NONE)
    expected = Expected(RESPONSE, {}, lambda _: None)
    delivery = Delivery(Settings())
    await delivery.stream(exchange, answer, run, stream, expected, reporter, reply)  # type: ignore[arg-type]
    got = parse_sse(b"".join(reply.taken))
    text = "".join(event["delta"] for event in got if event["type"] == "response.output_text.delta")
    assert "one two three [TAG] four five".startswith(text)
    numbers = [event["sequence_number"] for event in got]
    assert numbers == list(range(len(numbers)))
    assert exchange.error_code == "shutting_down"
    last = [event["type"] for event in got[-2:]]
    assert last == ["error", "response.failed"] or last[1] == "response.completed"  # all was there already
