"""uvicorn's server, that says when it is ready, lets its exchanges end, and can be stopped at any time."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeAlias

import structlog
import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

App: TypeAlias = Any  # an ASGI 3 application

KEEP_ALIVE = 75  # seconds; longer than clients and load balancers keep an idle connection
FAREWELL = 2.0  # seconds that exchanges have to end after `drain`: clients are told
# Objects that come before the garbage collector looks at them. An exchange leaves it nothing (its memory
# goes with its last reference), so all that it does at the usual 700 is to walk what waits to be exported.
NEW_OBJECTS = 20_000

_log = structlog.stdlib.get_logger("guardproxy.serve")
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)


class Protocol(HttpToolsProtocol):
    """uvicorn's, but a chunked body's trailers do not become headers, early or late as the packets come."""

    def on_headers_complete(self) -> None:
        """Begin the exchange; what the parser reports from here on are trailers, and nobody reads them."""
        super().on_headers_complete()
        self.headers = []


class _Lifespan(LifespanOn):
    """uvicorn's, but its startup can be given up, and leaves the word on a failure to `startup_failed`."""

    task: "asyncio.Task[None] | None" = None

    async def startup(self) -> None:
        loud, self.logger = self.logger, _SILENT
        await super().startup()
        self.logger = loud

    async def main(self) -> None:
        self.task = asyncio.current_task()
        await super().main()

    def give_up(self) -> None:
        """Cancel the startup, unless it is over. The application cleans up."""
        if self.task is not None and not self.startup_event.is_set():
            self.task.cancel()


class Server(uvicorn.Server):
    """uvicorn, but it says when it is ready and when it drains, and a stop by signal is a success."""

    lifespan: _Lifespan

    def __init__(self, app: App, drain: float, on_ready: Callable[[], None], *, signals: bool = True) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=Protocol,
                ws="none",
                interface="asgi3",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,  # the upstream's is passed on; our own errors have theirs
                timeout_keep_alive=KEEP_ALIVE,
            )
        )
        self.config.load()
        self.config.lifespan_class = _Lifespan
        self.app = app
        self.drain = drain
        self.problem: str | None = None
        self.on_ready = on_ready
        self.signals = signals

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen, then say so."""
        stopping = asyncio.create_task(self._give_up_when_stopped())
        try:
            await super().startup(sockets)
        except OSError as error:  # of the socket; whoever took the address meanwhile was not heard of at bind
            await self.lifespan.shutdown()
            self.problem = f"The address cannot be listened on: {error.strerror}."
            sys.exit(1)
        finally:
            stopping.cancel()
        if self.started and not self.should_exit:
            for listener in sockets or ():
                reuse_later(listener)
            gc.collect()
            gc.freeze()  # what is there now stays: later collections need not walk it
            gc.set_threshold(NEW_OBJECTS)
            self.on_ready()

    async def _give_up_when_stopped(self) -> None:
        while not self.should_exit:  # noqa: ASYNC110 - signal handlers set a plain flag
            await asyncio.sleep(0.1)
        self.lifespan.give_up()

    async def _wait_tasks_to_complete(self) -> None:
        """Let open exchanges go on for `drain` seconds; cancel the others, and let them tell their clients.

        uvicorn, too, cancels them; then it would end the application under their hands.
        """
        try:
            async with asyncio.timeout(self.drain):
                await super()._wait_tasks_to_complete()
        except TimeoutError:
            late = set(self.server_state.tasks)
            _log.warning("drain_over", open=len(late))
            for task in late:
                task.cancel()
            if late:
                _, late = await asyncio.wait(late, timeout=FAREWELL)
            for task in late:  # its client does not read
                task.cancel()

    def why(self) -> str | None:
        """Why it, or its application, did not start, where that is known."""
        return self.problem or getattr(getattr(self.app, "state", None), "problem", None)

    def stop(self) -> None:
        """Drain: not ready any more, no new connections, open exchanges go on for `drain` seconds."""
        state = getattr(self.app, "state", None)
        if state is not None:
            state.draining = True
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain; a second Ctrl-C does not wait. uvicorn's own would raise the signal again afterwards."""
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.stop()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals, unless the server is a guest in someone's loop."""
        if not self.signals:
            yield
            return
        with super().capture_signals():
            yield


def reuse_later(listener: socket.socket) -> None:
    """Let the address be bound again while connections of `listener` linger after its end."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
