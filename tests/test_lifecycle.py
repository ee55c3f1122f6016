"""The life of an exchange around its work: its one line in the log, and the ids in every line."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from guardproxy import Exchange, Step, StepKind, hookimpl, logs
from guardproxy.settings import Settings
from tests.harness import message, proxy, whole


async def test_an_exchange_is_one_line_of_the_log() -> None:
    with capture_logs() as logged:
        async with proxy(lambda _: (_ for _ in ()).throw(httpx.ConnectError("no"))) as client:
            got = await client.post({"input": "hi"})
            await client.post({"input": "hi"}, {"x-opper-guard-input": "nobody"})  # a 400 is no failure
            failed, refused = client.recorder.exchanges
    assert got.status == 502
    for line, level, of, code in (
        (logged[0], "warning", failed, "upstream_error"),
        (logged[1], "info", refused, "unknown_guard"),
    ):
        assert line.pop("seconds") > 0
        assert line == {
            "event": "exchange",
            "log_level": level,
            "exchange": of.id,
            "method": "POST",
            "route": "/v1/responses",
            "status": of.status,
            "outcome": "error",
            "code": code,
        }
    assert len(logged) == 2


async def test_the_line_of_an_exchange_counts_and_has_no_text() -> None:
    made = whole(message("again TAG-1234"), usage={"input_tokens": 3, "output_tokens": 4})
    with capture_logs() as logged:
        async with proxy(made) as client:
            body = {"model": "m-1", "input": [{"role": "user", "content": "TAG-1234 TAG-1234"}]}
            await client.post(body, {"x-opper-guard-input": "tags=redact", "x-opper-guard-output": "tags"})
    (line,) = logged
    assert line.pop("seconds") > 0
    assert set(line.pop("guard_seconds")) == {"input.tags", "output.tags"}
    assert line.pop("exchange").startswith("req_")
    assert line == {
        "event": "exchange",
        "log_level": "info",
        "method": "POST",
        "route": "/v1/responses",
        "status": 200,
        "outcome": "redacted",
        "model": "m-1",
        "input": "redacted",
        "input_findings": {"tags.TAG": 2},
        "input_parts": 1,
        "output": "flagged",
        "output_findings": {"tags.TAG": 1},
        "output_parts": 1,
        "input_tokens": 3,
        "output_tokens": 4,
    }


async def test_the_line_of_an_exchange_names_no_model_that_a_guard_found_something_in() -> None:
    with capture_logs() as logged:
        async with proxy(whole()) as client:
            await client.post({"model": "TAG-1234", "input": "hi"}, {"x-opper-guard-input": "tags"})
    assert "TAG-1234" not in repr(logged)
    assert logged[0]["input_findings"] == {"tags.TAG": 1}


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """What is logged as JSON; afterwards logging is as it was."""
    root, raising = logging.getLogger(), logging.raiseExceptions
    handlers, level = list(root.handlers), root.level
    output = io.StringIO()
    logs.configure(Settings(log_format="json"), output)
    yield output
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising
    structlog.reset_defaults()


class Ids:
    """A plugin that names a span, as tracing does; in each it has a library log a warning."""

    @hookimpl
    def guardproxy_step(self, exchange: Exchange, step: Step) -> Any:
        @contextmanager
        def around() -> Iterator[None]:
            if step.kind is StepKind.EXCHANGE:
                exchange.trace_id, exchange.span_id = exchange.headers["x-ids"] * 32, "b" * 16
            yield

        return around()

    @hookimpl
    async def guardproxy_before_forward(self, exchange: Exchange) -> None:
        await asyncio.sleep(0)  # another exchange has its turn
        logging.getLogger("library").warning("about %s", "TAG-1234")
        if exchange.headers["x-ids"] == "a":
            raise RuntimeError("TAG-1234")


async def test_every_line_has_the_ids_of_its_exchange(output: io.StringIO) -> None:
    async with proxy(whole(), plugins=[Ids()]) as client:
        got = await asyncio.gather(*(client.post({"input": "hi"}, {"x-ids": name}) for name in "abc"))
        logging.getLogger("library").warning("outside")
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    for name, answer in zip("abc", got, strict=True):
        own = [line for line in lines if line.get("trace_id") == name * 32]
        assert {line["span_id"] for line in own} == {"b" * 16}
        assert {line["exchange"] for line in own} == {answer.headers["x-request-id"]}
        failed = ["plugin failed"] if name == "a" else []
        assert [line["event"] for line in own] == ["library_log", *failed, "exchange"]
    assert "trace_id" not in lines[-1]
    assert "TAG-1234" not in output.getvalue()
