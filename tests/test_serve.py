"""serve: a tiny application served in this loop, and in subprocesses that signals stop."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pluggy
import pytest
import structlog
from structlog.testing import capture_logs

from guardproxy import hookspecs, serve, server
from guardproxy.app import create_app
from guardproxy.errors import ConfigError
from guardproxy.plugins import PROJECT
from guardproxy.settings import Settings
from guardproxy.testing.events import parse_sse
from tests.harness import SampleGuards, sse, text_events
from tests.samples import guards


class TinyApp:
    """Says which process it is; `/slow` streams until it is told that the server drains."""

    def __init__(self, *, fails: bool = False, loads_long: bool = False) -> None:
        self.state = SimpleNamespace(draining=False)
        self.fails = fails
        self.loads_long = loads_long

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            if scope["path"] == "/slow":
                await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
                while not self.state.draining:  # noqa: ASYNC110 - the server sets a plain flag
                    await asyncio.sleep(0.01)
            if scope["path"] == "/forever":
                await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
                await asyncio.Event().wait()
            body = json.dumps({"pid": os.getpid(), "draining": self.state.draining}).encode()
            await send({"type": "http.response.body", "body": body})

    async def lifespan(self, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        if self.loads_long:
            structlog.stdlib.get_logger("guardproxy.x").info("models_load")
            try:
                await asyncio.Event().wait()
            finally:
                structlog.stdlib.get_logger("guardproxy.x").info("models_gone")
        kind = "failed" if self.fails else "complete"
        await send({"type": f"lifespan.startup.{kind}"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await send({"type": "lifespan.shutdown.complete"})


def tiny(settings: Settings) -> TinyApp:
    return TinyApp()


def failing(settings: Settings) -> TinyApp:
    return TinyApp(fails=True)


def loading(settings: Settings) -> TinyApp:
    return TinyApp(loads_long=True)


def refusing(settings: Settings) -> TinyApp:
    raise ConfigError("the detector 'x' does not load")


PROGRAM = """
import sys
from guardproxy import logs, serve
from guardproxy.settings import Settings
from tests import test_serve

if __name__ == "__main__":
    settings = Settings(port=0, workers=int(sys.argv[2]), drain=float(sys.argv[3]), log_format="json")
    logs.configure(settings, sys.stdout)
    sys.exit(serve.run(settings, getattr(test_serve, sys.argv[1])))
"""


class Served:
    """A server in a subprocess."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    def until(self, event: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"no {event}: {self.lines}")

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sig)
        return self.process.wait(30)


@contextlib.contextmanager
def served(factory: str = "tiny", workers: int = 1, drain: float = 10.0) -> Iterator[Served]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, factory, str(workers), str(drain)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            yield Served(process)
        finally:
            process.kill()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_ends_it_with_success(sig: signal.Signals, workers: int) -> None:
    with served(workers=workers) as server:
        url = server.until("listening")["address"]
        assert httpx.get(url).json()["draining"] is False
        assert server.stop(sig) == 0
        server.until("stopped")
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_does_not_wait_for_models_that_load(sig: signal.Signals) -> None:
    with served("loading") as server:
        server.until("models_load")
        assert server.stop(sig) == 0
        server.until("stopped")
    assert [line["event"] for line in server.lines] == ["models_load", "models_gone", "stopped"]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_open_stream_sees_the_drain_and_ends_whole(workers: int) -> None:
    with served(workers=workers) as server:
        url = server.until("listening")["address"]
        with httpx.stream("GET", f"{url}/slow", timeout=30) as response:
            pieces = response.iter_text()
            assert next(pieces) == "begun "
            server.process.send_signal(signal.SIGTERM)
            assert json.loads("".join(pieces))["draining"] is True
        assert server.process.wait(30) == 0


def test_a_stream_that_does_not_end_is_cut_after_the_drain() -> None:
    with served(drain=0.2) as server:
        url = server.until("listening")["address"]
        with httpx.stream("GET", f"{url}/forever", timeout=30) as response:
            pieces = response.iter_text()
            assert next(pieces) == "begun "
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.HTTPError):
                list(pieces)
        assert server.process.wait(30) == 0


def test_a_worker_that_dies_is_replaced() -> None:
    with served(workers=2) as server:
        url = server.until("listening")["address"]
        killed = httpx.get(url).json()["pid"]
        assert killed != server.process.pid
        os.kill(killed, signal.SIGKILL)
        assert server.until("worker_died")["exit_code"] == -signal.SIGKILL
        assert httpx.get(url).json()["pid"] != killed
        assert server.stop() == 0


def test_workers_end_with_a_supervisor_that_is_killed() -> None:
    with served(workers=2) as server:
        server.until("listening")
        server.process.kill()
        assert server.process.stdout is not None
        server.process.stdout.read()  # ends when the last worker has let go of it


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_startup_is_exit_code_1(workers: int) -> None:
    with served("failing", workers) as server:
        if workers == 1:
            server.until("startup_failed")
            assert [line["event"] for line in server.lines] == ["startup_failed"]
        else:
            server.until("worker_died")
        assert server.process.wait(30) == 1


def test_a_factory_that_refuses_in_a_worker_stops_all() -> None:
    with served("refusing", 2) as server:
        server.until("worker_died")
        assert server.process.wait(30) == 1


async def test_running_serves_in_this_loop_and_stops() -> None:
    app = TinyApp()
    async with serve.running(app) as url, httpx.AsyncClient() as client:
        response = await client.get(url)
        assert response.json() == {"pid": os.getpid(), "draining": False}
        assert not {"server", "date"} & set(response.headers)
    assert app.state.draining
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_running_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with serve.running(TinyApp()):
        assert signal.getsignal(signal.SIGTERM) is before


async def test_running_tells_of_a_failed_startup() -> None:
    with pytest.raises(serve.StartupFailed):
        async with serve.running(TinyApp(fails=True)):
            raise AssertionError("not reached")


async def test_running_can_be_cancelled_while_models_load() -> None:
    async def serve_it() -> None:
        async with serve.running(TinyApp(loads_long=True)):
            raise AssertionError("not reached")

    with capture_logs() as logged:
        task = asyncio.create_task(serve_it())
        while not logged:  # noqa: ASYNC110 - the list of logs has no events
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [line["event"] for line in logged] == ["models_load", "models_gone"]


async def test_an_address_that_is_taken_meanwhile_is_a_failed_startup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as ours, socket.socket() as theirs:
        for each in (ours, theirs):
            server.reuse_later(each)
            each.bind(("127.0.0.1", 0) if each is ours else ours.getsockname())
        theirs.listen()
        monkeypatch.setattr(serve, "bind", lambda *_: ours)
        with pytest.raises(serve.StartupFailed, match="The address cannot be listened on: Address already"):
            async with serve.running(TinyApp()):
                raise AssertionError("not reached")


async def test_the_end_of_the_drain_is_told_in_a_guarded_stream() -> None:
    never = asyncio.Event()

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield sse(text_events("hello")[:4], done=False)
            await never.wait()

    reply = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Endless())
    pieces: list[bytes] = []
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(SampleGuards({"tags": guards()["tags"]}), "samples")
    app = create_app(Settings(), plugins=manager, transport=httpx.MockTransport(lambda _: reply))
    with capture_logs() as logged:
        async with httpx.AsyncClient() as client:
            headers = {"authorization": "Bearer x", "x-opper-guard-output": "tags=redact"}

            async def read(url: str, begun: asyncio.Event) -> None:
                async with client.stream("POST", f"{url}/v1/responses", json={}, headers=headers) as response:
                    async for piece in response.aiter_bytes():
                        pieces.append(piece)
                        begun.set()

            async with serve.running(app, drain=0.1) as url:
                begun = asyncio.Event()
                reading = asyncio.create_task(read(url, begun))
                await begun.wait()
            await reading
    events = parse_sse(b"".join(pieces))
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-2]["error"]["code"] == "shutting_down"
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
    assert [(line["event"], line.get("code")) for line in logged] == [
        ("drain_over", None),
        ("exchange", "shutting_down"),
    ]


async def test_running_passes_on_what_the_block_raises() -> None:
    with pytest.raises(KeyError):
        async with serve.running(TinyApp()):
            raise KeyError("x")


def test_a_taken_port_is_a_config_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port = {port}: cannot be listened on"):
            serve.bind("127.0.0.1", port)


def test_an_address_is_taken_before_it_is_listened_on() -> None:
    with contextlib.closing(serve.bind("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(
            ConfigError, match=f"port = {port}: cannot be listened on: Address already in use"
        ):
            serve.bind("127.0.0.1", port)


async def test_an_address_can_be_taken_again_while_old_connections_linger() -> None:
    async with serve.running(TinyApp()) as url, httpx.AsyncClient() as client:
        assert (await client.get(url, headers={"connection": "close"})).status_code == 200  # we close first
    port = httpx.URL(url).port
    assert port is not None
    async with serve.running(TinyApp(), port=port) as again:
        assert again == url


def test_a_foreign_address_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"host = '192\.0\.2\.1'"):
        serve.bind("192.0.2.1", 0)


def test_the_base_url_has_the_real_port() -> None:
    with contextlib.closing(serve.bind("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert port > 0
        assert serve.base_url(listener) == f"http://127.0.0.1:{port}"


def test_settings_that_cannot_travel_refuse_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = {sig: signal.getsignal(sig) for sig in serve.STOP_SIGNALS}
    struct = msgspec.defstruct("Local", [("x", int, 1)])  # importable by no name
    settings = Settings(port=0, workers=2, plugins={"local": struct()})
    try:
        with pytest.raises(ConfigError, match="workers must be 1"):
            serve.run(settings, tiny)
    finally:
        for sig, handler in handlers.items():
            signal.signal(sig, handler)
