"""The worker processes that models live in: started warm, and killed and replaced one by one.

A worker that hangs past the time of its batch, or that somebody kills, takes only its own batch with
it. Workers run at low priority and end with the process that started them.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from multiprocessing.connection import Connection
from typing import Any

from pebble import ProcessExpired, ProcessPool

from guardproxy.errors import ConfigError, GuardFailed, Overloaded
from guardproxy.types import Detector, Match

NICENESS = 10
START_SECONDS = 120.0  # for a worker to load its models

# What a batch comes back as: the seconds of compute and the matches, or the type of what was raised.
Reply = tuple[float, list[list[Match]] | None, str]


class Pool:
    """Runs batches of texts through `detectors`, addressed by index, in `workers` processes."""

    def __init__(
        self, detectors: Sequence[Detector | None], workers: int, batch_seconds: float, queue_seconds: float
    ) -> None:
        self._pickled = pickle.dumps(list(detectors))
        self._workers = workers
        self._batch_seconds = batch_seconds
        self._queue_seconds = queue_seconds
        self._slots = asyncio.Semaphore(workers)
        self._pool: Any = None
        self._alive: Connection | None = None

    async def start(self) -> None:
        """Start all workers and wait until each has loaded its models.

        Raises:
            ConfigError: a detector's `load` failed.
        """
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(self._workers)
        reader, self._alive = context.Pipe(duplex=False)
        self._pool = ProcessPool(
            max_workers=self._workers,
            initializer=_begin,
            initargs=(self._pickled, reader, barrier),
            context=context,
        )
        warm = [self._pool.schedule(_warm, timeout=START_SECONDS) for _ in range(self._workers)]
        failed = await asyncio.gather(*map(asyncio.wrap_future, warm), return_exceptions=True)
        for problem in failed:
            if problem:
                await self.stop()
                what = type(problem).__name__ if isinstance(problem, BaseException) else problem
                raise ConfigError(f"A scan worker did not start: {what}.")

    @property
    def ready(self) -> bool:
        """Whether batches can be run."""
        return self._pool is not None and bool(self._pool.active)

    async def stop(self) -> None:
        """End the workers, whatever they do."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            await asyncio.to_thread(pool.join)
        if self._alive is not None:
            self._alive.close()

    async def run(self, index: int, texts: Sequence[str], name: str) -> tuple[float, list[list[Match]]]:
        """The compute seconds of a batch and the matches in each of its texts.

        Raises:
            GuardFailed: the detector raised, ran out of its time, or its worker died.
            Overloaded: no worker was free within the queue time.
        """
        try:
            async with asyncio.timeout(self._queue_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise Overloaded("The guards are busy; try again.") from None
        try:
            problem, reply = await self._batch(index, texts)
        finally:
            self._slots.release()
        if reply is None:
            raise GuardFailed(f"Guard {name} failed: {problem}.")
        seconds, found, raised = reply
        if found is None:
            raise GuardFailed(f"Guard {name} failed: it raised {raised}.")
        return seconds, found

    async def _batch(self, index: int, texts: Sequence[str]) -> tuple[str, Reply | None]:
        if not self.ready:
            return "its workers are not running", None
        future = self._pool.schedule(_scan, args=(index, list(texts)), timeout=self._batch_seconds)
        try:
            # The batch's own time runs in the pool; this bounds the replacement of a dead worker.
            async with asyncio.timeout(self._batch_seconds + START_SECONDS):
                return "", await asyncio.wrap_future(future)
        except (FutureTimeout, TimeoutError):
            return f"it took longer than {self._batch_seconds:g} s", None
        except ProcessExpired:
            return "its worker died", None
        except Exception as error:  # whatever else the pool raises fails closed, too
            return f"its worker raised {type(error).__name__}", None


_detectors: list[Detector | None] = []
_problem: str | None = None
_barrier: Any = None


def _begin(pickled: bytes, alive: Connection, barrier: Any) -> None:
    """Set up a worker: loads every detector."""
    global _detectors, _problem, _barrier  # a process has one set of detectors
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    # A library's log line could hold a text, and a worker has nobody to tell it to.
    logging.disable(logging.CRITICAL)
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
    _barrier = barrier
    _detectors = pickle.loads(pickled)  # noqa: S301 - our own bytes
    for detector in _detectors:
        if detector is not None:
            try:
                detector.load()
                detector.scan(["Warm up."])
            except Exception as error:  # reported by `_warm`
                _problem = f"the detector '{detector.name}' raised {type(error).__name__} when it was loaded"


def _end_with_parent(alive: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        alive.recv_bytes()
    os._exit(0)


def _warm() -> str | None:
    _barrier.wait(START_SECONDS)
    return _problem


def _scan(index: int, texts: list[str]) -> Reply:
    detector = _detectors[index]
    if detector is None or _problem:
        return 0.0, None, "LoadError"
    started = time.thread_time()
    try:
        found = detector.scan(texts)
    except Exception as error:  # its message may hold a text
        return 0.0, None, type(error).__name__
    return time.thread_time() - started, found, ""  # type: ignore[return-value] # async ones are not here
