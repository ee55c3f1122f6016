"""Serving: uvicorn in this process or in several, from a bound socket to a drained end."""

import asyncio
import contextlib
import errno
import importlib
import multiprocessing
import multiprocessing.connection
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, TypeAlias

import structlog

from guardproxy import logs
from guardproxy.errors import ConfigError
from guardproxy.server import App, Server, reuse_later
from guardproxy.settings import Settings

Factory: TypeAlias = Callable[[Settings], App]

RETRY = 1.0  # seconds before a worker that failed to start again is given another try
GRACE = 10.0  # seconds beyond `drain` that a worker has to end
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = structlog.stdlib.get_logger("guardproxy.serve")
_spawn = multiprocessing.get_context("spawn")


def create_app(settings: Settings) -> App:
    """The proxy itself; imported here, for the application may import this module."""
    return importlib.import_module("guardproxy.app").create_app(settings)


class StartupFailed(Exception):
    """The application did not start; the log says why."""


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the first address of `host`; port 0 takes a free one.

    Raises:
        ConfigError: the address is taken, not ours, or unknown.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"host = {host!r} cannot be listened on: {error.strerror}.") from None
    try:
        try:
            # Not to be reused: another server that binds is refused although we do not listen yet.
            listener.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            reuse_later(listener)  # the last connections of a server that has ended may linger there
            listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"host = {host!r}, port = {port}: cannot be listened on: {error.strerror}."
        ) from None
    listener.set_inheritable(True)
    return listener


def base_url(listener: socket.socket) -> str:
    """`http://host:port` of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def running(app: App, host: str = "127.0.0.1", port: int = 0, drain: float = 5.0) -> AsyncIterator[str]:
    """Serve `app` in this event loop while the block runs; gives its base URL. Signals are left alone.

    Raises:
        ConfigError: the address cannot be listened on.
        StartupFailed: the application's startup raised.
    """
    with contextlib.closing(bind(host, port)) as listener:
        url = base_url(listener)
        ready = asyncio.Event()
        server = Server(app, drain, ready.set, signals=False)
        serving = asyncio.create_task(_serve(server, listener))
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
            yield url
        finally:
            waiting.cancel()
            server.stop()
            if not serving.done():
                await serving


async def _serve(server: Server, listener: socket.socket) -> None:
    try:
        await server.serve([listener])
    except SystemExit:  # uvicorn's way to say that startup failed; in a task it would end the loop
        if not server.should_exit:
            raise StartupFailed(server.why() or "The application did not start.") from None


def run(settings: Settings, factory: Factory = create_app) -> int:
    """Serve until SIGTERM or SIGINT; the exit code is 0 then, and 1 when startup failed.

    With several workers `factory` runs in each, on the same settings, so it must be importable by name.

    Raises:
        ConfigError: the address cannot be listened on, or `factory` refuses the settings.
    """
    for sig in STOP_SIGNALS:
        signal.signal(sig, _leave)  # until the server handles them
    with contextlib.closing(bind(settings.host, settings.port)) as listener:
        if settings.workers > 1:
            return _Supervisor(settings, factory, listener).run()
        code = _run_here(settings, factory, listener, lambda: _say_listening(settings, listener))
    if code == 0:
        _log.info("stopped")
    return code


def _leave(sig: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _say_listening(settings: Settings, listener: socket.socket) -> None:
    _log.info(
        "listening", address=base_url(listener), workers=settings.workers, upstream=settings.shown_upstreams()
    )


def _run_here(
    settings: Settings, factory: Factory, listener: socket.socket, on_ready: Callable[[], None]
) -> int:
    server = Server(factory(settings), settings.drain, on_ready)
    if multiprocessing.parent_process() is not None:
        threading.Thread(target=_stop_with_parent, args=(server,), daemon=True).start()
    try:
        server.run([listener])
    except SystemExit:
        if server.started or server.should_exit:
            return 0
        _log.error("startup_failed", problem=server.why())
        return 1
    return 0


def _stop_with_parent(server: Server) -> None:
    """A worker whose supervisor was killed must not go on alone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        server.stop()


def _work(settings: Settings, factory: Factory, listener: socket.socket, ready: Connection) -> None:
    """What a worker process runs."""
    logs.configure(settings)
    logs.hook_uncaught()
    try:
        code = _run_here(settings, factory, listener, lambda: ready.send(True))
    except ConfigError as error:
        _log.error("startup_failed", reason=str(error))
        code = 2
    sys.exit(code)


class _Worker:
    """One worker process, and whether it said that it is ready."""

    def __init__(self, settings: Settings, factory: Factory, listener: socket.socket) -> None:
        self.news, ready = _spawn.Pipe(duplex=False)
        self.ready = False
        # Not daemonic: it has scan workers of its own. Settings travel through a pipe, as secrets must.
        self.process: SpawnProcess = _spawn.Process(target=_work, args=(settings, factory, listener, ready))
        self.process.start()
        ready.close()

    def hear(self) -> None:
        """Take the news that it is ready."""
        with contextlib.suppress(EOFError):
            self.ready = self.ready or (self.news.poll() and self.news.recv())

    def end(self, deadline: float) -> None:
        """Wait for its end, and kill it after `deadline`."""
        self.process.join(max(0.0, deadline - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.news.close()


class _Supervisor:
    """Keeps `settings.workers` worker processes on one socket."""

    def __init__(self, settings: Settings, factory: Factory, listener: socket.socket) -> None:
        try:
            pickle.dumps((settings, factory))
        except Exception as error:
            raise ConfigError(
                "workers must be 1: a plugin's settings cannot be sent to another process "
                f"({type(error).__name__}). A plugin's Struct must be defined at the top of a module."
            ) from error
        self.settings = settings
        self.factory = factory
        self.listener = listener
        self.stopping = False
        self.wake, self.bell = socket.socketpair()

    def run(self) -> int:
        for sig in STOP_SIGNALS:
            signal.signal(sig, self._stop)
        workers = [_Worker(self.settings, self.factory, self.listener) for _ in range(self.settings.workers)]
        try:
            code = self._watch(workers)
        finally:
            for worker in workers:
                worker.process.terminate()
            deadline = time.monotonic() + self.settings.drain + GRACE
            for worker in workers:
                worker.end(deadline)
            self.wake.close()
            self.bell.close()
        _log.info("stopped")
        return code

    def _stop(self, sig: int, frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping = True
            self.bell.send(b"!")

    def _watch(self, workers: list[_Worker]) -> int:
        """Until stopped: replace workers that die. One that dies before all were ready once is fatal."""
        listening = False
        while not self.stopping:
            waited: list[Any] = [self.wake, *(worker.process.sentinel for worker in workers)]
            multiprocessing.connection.wait(waited + [worker.news for worker in workers if not worker.ready])
            for index, worker in enumerate(workers):
                worker.hear()
                if worker.process.is_alive() or self.stopping:
                    continue
                worker.process.join()
                _log.error("worker_died", exit_code=worker.process.exitcode)
                if not listening:
                    return 1
                if not worker.ready:
                    multiprocessing.connection.wait([self.wake], RETRY)
                worker.news.close()
                workers[index] = _Worker(self.settings, self.factory, self.listener)
            if not listening and all(worker.ready for worker in workers):
                listening = True
                _say_listening(self.settings, self.listener)
        return 0
