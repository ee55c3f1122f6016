"""An exchange leaves nothing for the garbage collector: its texts leave the memory when it is over."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

import guardproxy_tracing as tracing
from guardproxy import Action, Guard, Policy, Rule, hookimpl
from guardproxy.api import Body
from guardproxy.errors import StoreUnavailable
from guardproxy.exchange import Exchange
from guardproxy.lifecycle import Arrival
from guardproxy.settings import LimitSettings, StoreSettings
from guardproxy.stage import StageRun
from guardproxy.testing import FakeUpstream, Gate, Script
from guardproxy.testing.upstream import Ending
from guardproxy.types import Step
from guardproxy.values import MEMORY
from tests.harness import Client, proxy
from tests.samples import Waits

ASK = {"model": "m", "input": "hello TAG-1234, Zorp, boom"}
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
    "a guard fails at the input": {"x-opper-guard-input": "raises"},
    "a guard fails at the output": {"x-opper-guard-output": "raises"},
    "another encoding": {"x-opper-guard-input": "tags", "content-encoding": "zstd"},
    "no gzip": {"x-opper-guard-input": "tags", "content-encoding": "gzip"},
    "no such guard": {"x-opper-guard-input": "none"},
    "no key": {"authorization": ""},
}
CODES = {
    "a guard fails at the input": "guardrail_failed",
    "another encoding": "unsupported_media_type",
    "no gzip": "unsupported_media_type",
}
SHADOW = Policy(*[{name: Rule(Action.BLOCK, shadow=True) for name in ("tags", "raises")}] * 2)
STREAMING = [CASES[name] for name in ("no guard", "flag", "redact", "blocked at the end")]


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """What other tests have left is not looked at."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@contextmanager
def nothing_left(client: Client, name: str) -> Iterator[None]:
    """What belongs to an exchange is gone, without the collector's help; no connection or timer keeps it."""
    gc.collect()
    gc.disable()
    try:
        yield
        client.recorder.exchanges.clear()
        client.recorder.verdicts.clear()
        ours = Exchange | Step | Body | Arrival | StageRun | httpx.Request
        left = [thing for thing in gc.get_objects() if isinstance(thing, ours)]
        assert not left, name
    finally:
        gc.enable()


async def cancelled_tasks_end() -> None:
    """Let the loop go round as often as a cancelled task, and one that it waits for, need to end."""
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def real(upstream: FakeUpstream, **given: Any) -> AsyncIterator[Client]:
    """A proxy that traces, in front of a server."""
    with tracing.record() as spans:
        async with proxy(upstream.url, plugins=[tracing], **given) as client:
            await client.post(ASK)  # what is made once is there
            yield client
        assert spans


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_nothing_is_left_of_an_exchange(script: Script) -> None:
    with FakeUpstream(script) as upstream:
        async with real(upstream, stream_idle_timeout=0.1, upstream_timeout=0.1) as client:
            for name, headers in CASES.items():
                for stream in (False, True):
                    with nothing_left(client, f"{name}, stream: {stream}"):
                        await client.post({**ASK, "stream": stream}, headers)
                        await cancelled_tasks_end()
                        if name in CODES:
                            assert client.recorder.exchanges[-1].error_code == CODES[name]


@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_is_left_of_an_exchange_with_guards_in_shadow(stream: bool) -> None:
    with FakeUpstream() as upstream:
        async with real(upstream, floor=SHADOW) as client:
            for name in ("no guard", "redact"):
                with nothing_left(client, name):
                    await client.post({**ASK, "stream": stream}, CASES[name])
                    await cancelled_tasks_end()
                    failed = client.recorder.exchanges[-1].guard_failures
                    assert failed == {"input.raises": "raised", "output.raises": "raised"}


@pytest.mark.parametrize("hook", ["resolve_policy", "before_forward"])
async def test_nothing_is_left_of_an_exchange_that_a_plugin_fails_to_decide(hook: str) -> None:
    class Fails:
        """Raises in one hook."""

        @hookimpl
        def guardproxy_resolve_policy(self) -> None:
            if hook == "resolve_policy":
                raise ValueError

        @hookimpl
        def guardproxy_before_forward(self) -> None:
            if hook == "before_forward":
                raise ValueError

    with FakeUpstream() as upstream:
        async with proxy(upstream.url, plugins=[Fails()]) as client:
            await client.post(ASK)
            gc.collect()
            with nothing_left(client, hook):
                await client.post(ASK)
                await cancelled_tasks_end()
                assert client.recorder.exchanges[-1].error_code == "internal_error"


@pytest.mark.parametrize(
    ("storage", "code"), [(MEMORY, "rate_limit_exceeded"), ("valkey://127.0.0.1:1", "limits_unavailable")]
)
async def test_nothing_is_left_of_a_request_that_a_limit_refuses(storage: str, code: str) -> None:
    with FakeUpstream() as upstream:
        async with real(upstream, limits=LimitSettings(per_key="1/day", storage=storage)) as client:
            with nothing_left(client, code):
                await client.post(ASK)
                await cancelled_tasks_end()
                assert client.recorder.exchanges[-1].error_code == code


@pytest.mark.parametrize("fails", [False, True])
async def test_nothing_is_left_of_an_exchange_that_is_kept(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def save(*_: object, **__: object) -> None:
        raise StoreUnavailable("no")

    store = StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/kept.db")
    with FakeUpstream() as upstream:
        async with real(upstream, profile="julep", store=store) as client:
            await client.post({**ASK, "store": True})
            if fails:
                monkeypatch.setattr("guardproxy.store.Store.save", save)
            for headers in STREAMING[:3]:  # what is blocked is not kept
                for stream in (False, True):
                    with nothing_left(client, f"{headers}, stream: {stream}"):
                        await client.post({**ASK, "store": True, "stream": stream}, headers)
                        await cancelled_tasks_end()
                        code = client.recorder.exchanges[-1].error_code
                        assert code == ("store_unavailable" if fails else None)


async def test_nothing_is_left_of_an_exchange_whose_first_model_fails() -> None:
    with FakeUpstream() as upstream:
        async with real(upstream) as client:
            for headers in STREAMING[:3]:
                upstream.then(Script(status=500))
                with nothing_left(client, str(headers)):
                    body = {"models": ["a", "b"], "input": "hi", "stream": True}
                    got = await client.post(body, headers, path="/api/v1/responses")
                    await cancelled_tasks_end()
                    assert got.status == 200


async def test_nothing_is_left_of_a_request_that_gets_no_answer() -> None:
    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with proxy(f"http://{host}:{port}/v1") as client:
            await client.post(ASK)
            with nothing_left(client, "cut"):
                await client.post(ASK)
                await cancelled_tasks_end()
                assert client.recorder.exchanges[-1].upstream_failure == "broke_off"


async def test_nothing_is_left_of_an_exchange_whose_client_leaves_while_a_guard_works() -> None:
    waits = Waits()
    with FakeUpstream() as upstream:
        async with proxy(upstream.url, made={"waits": Guard("waits", (waits,))}) as client:
            for stream in (False, True):
                for stage in ("input", "output"):
                    waits.asked.clear()
                    left = asyncio.Event()
                    with nothing_left(client, f"{stage}, stream: {stream}"):
                        headers = {f"x-opper-guard-{stage}": "waits"}
                        answered = asyncio.create_task(
                            client.post({**ASK, "stream": stream}, headers, disconnect=left)
                        )
                        await waits.asked.wait()
                        left.set()
                        await answered
                        await cancelled_tasks_end()
                        assert client.recorder.exchanges[-1].error_code == "client_disconnected"
                        del answered


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
