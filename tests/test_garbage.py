"""An exchange leaves nothing for the garbage collector: its texts leave the memory when it is over."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, get_args

import pytest

import guardproxy_tracing as tracing
from guardproxy.exchange import Exchange
from guardproxy.testing import FakeUpstream, Gate, Script
from guardproxy.testing.upstream import Ending
from guardproxy.types import Step
from tests.harness import Client, proxy

ASK = {"model": "m", "input": "hello TAG-1234, Zorp"}
SCRIPTS = {ending: Script(ending=ending) for ending in get_args(Ending)}
SCRIPTS |= {"status 500": Script(status=500), "never ends": Script(hang=True)}
CASES = {
    "no guard": {},
    **{
        action: {
            "x-opper-guard-input": "tags",
            "x-opper-guard-output": "tags",
            "x-opper-guard-action": action,
        }
        for action in ("flag", "redact", "block")
    },
    "blocked at the end": {"x-opper-guard-output": "tags", "x-opper-guard-action": "block"},
    "a guard fails": {"x-opper-guard-output": "raises"},
    "no such guard": {"x-opper-guard-input": "none"},
    "no key": {"authorization": ""},
}
STREAMING = [CASES[name] for name in ("no guard", "flag", "redact", "blocked at the end")]


@contextmanager
def nothing_left(client: Client, name: str) -> Iterator[None]:
    """What belongs to an exchange is gone, without the collector's help; no connection or timer keeps it."""
    gc.collect()
    gc.disable()
    try:
        yield
        client.recorder.exchanges.clear()
        left = [thing for thing in gc.get_objects() if isinstance(thing, Exchange | Step)]
        assert not left, name
    finally:
        gc.enable()


@asynccontextmanager
async def real(upstream: FakeUpstream, **given: Any) -> AsyncIterator[Client]:
    """A proxy that traces, in front of a server."""
    with tracing.record() as spans:
        async with proxy(upstream.url, plugins=[tracing], **given) as client:
            await client.post(ASK)  # what is made once is there
            gc.collect()
            gc.freeze()  # and is not looked at again
            try:
                yield client
            finally:
                gc.unfreeze()
        assert spans


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_nothing_is_left_of_an_exchange(script: Script) -> None:
    with FakeUpstream(script) as upstream:
        async with real(upstream, stream_idle_timeout=0.1, upstream_timeout=0.1) as client:
            for name, headers in CASES.items():
                for stream in (False, True):
                    with nothing_left(client, f"{name}, stream: {stream}"):
                        await client.post({**ASK, "stream": stream}, headers)


@pytest.mark.parametrize("gate", [0, 3])
async def test_nothing_is_left_of_an_exchange_whose_client_leaves(gate: int) -> None:
    with FakeUpstream() as upstream:
        async with real(upstream) as client:
            for headers in STREAMING:
                held, left = Gate(), asyncio.Event()
                upstream.then(Script(gates={gate: held}))
                with nothing_left(client, str(headers)):
                    answered = asyncio.create_task(
                        client.post({**ASK, "stream": True}, headers, disconnect=left)
                    )
                    await held.reached.happened()
                    left.set()
                    await answered
                    assert client.recorder.exchanges[-1].error_code == "client_disconnected"
                    del answered
                held.open()
