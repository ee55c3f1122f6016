"""The worker processes that scan: started warm, held to their time, replaced when they end.

A detector's failure is a value here, `Failed`, made where it happens and without the exception:
an exception's message, its causes and its frames may hold the text that was scanned.
"""

import asyncio
import contextlib
import ctypes
import functools
import gc
import logging
import multiprocessing
import multiprocessing.connection
import os
import pickle
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pebble import CONSTS, ProcessExpired, ProcessPool

from guardproxy.errors import ConfigError, GuardFailure
from guardproxy.types import Detector, Match

NICENESS = 10  # scanning gives way to the event loop
LOAD_TIMEOUT = 300.0  # seconds that a worker may take to load its models
# Seconds between two attempts to replace a worker whose detectors do not load any more.
FIRST_REST, LONGEST_REST = 0.5, 30.0
# Seconds beyond a batch's time until a process that does not even take the batch up is given up.
GRACE = 10.0
TRIAL = ("Ada Lovelace wrote to Charles Babbage on 10 December 1842.", "")

_CATEGORY = re.compile(r"[A-Z][A-Z0-9_]*")
START = "spawn"  # how worker processes start: with nothing of ours, whatever threads there are
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Workers ignore SIGTERM: a service manager sends it to the whole process group, and the exchanges
# that are still being drained need them. So asking first, as pebble does, is lost time.
CONSTS.term_timeout = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """What a detector did wrong, in words that hold nothing of the text: "raised ValueError"."""

    reason: str
    kind: GuardFailure = "raised"
    raised: str | None = None  # the type of the exception


def raised(error: BaseException) -> Failed:
    """What stays of an exception: its type."""
    name = type(error).__name__
    return Failed(f"raised {name}", raised=name)


@dataclass(frozen=True, slots=True)
class Busy:
    """No worker became free within the queue's time."""


Results: TypeAlias = list[list[Match]]


@dataclass(frozen=True, slots=True)
class Job:
    """One detector as it goes to the workers: pickled before it was loaded."""

    guard: str
    name: str
    pickled: bytes


def cancelling() -> bool:
    """Whether somebody cancels the task that asks."""
    # Not where it is caught: who holds the task there is held by what it ends with.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def attempt(detector: Detector, texts: Sequence[str]) -> Results | Failed:
    """Scan, and check the results; whatever the detector does wrong becomes a value."""
    try:
        return checked(detector.scan(texts), texts)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() in a guard must not end the process
        return raised(error)


def checked(results: object, texts: Sequence[str]) -> Results | Failed:
    """`results` when they are a list of matches for each of `texts`, each match within its text."""
    if not isinstance(results, list) or len(results) != len(texts):
        return Failed("returned something else than a list for each text")
    for matches, text in zip(results, texts, strict=True):
        if not isinstance(matches, list):
            return Failed("returned something else than a list for each text")
        for match in matches:
            if fault := _fault(match, len(text)):
                return Failed(f"returned {fault}")
    return results


def _fault(match: object, length: int) -> str | None:
    if type(match) is not Match:
        return "something else than a Match"
    if type(match.start) is not int or type(match.end) is not int:
        return "a match whose offsets are not int"
    if not 0 <= match.start < match.end <= length:
        return "a match that is empty or outside of its text"
    if type(match.category) is not str or not _CATEGORY.fullmatch(match.category):
        return "a match whose category is not UPPER_SNAKE"
    if not isinstance(match.score, int | float) or not 0 <= match.score <= 1:
        return "a match whose score is not in 0 to 1"
    if type(match.validated) is not bool or type(match.open) is not bool:
        return "a match whose marks are not bool"
    return None


def load(detector: Detector, guard: str, name: str, trial: bool = True) -> str | None:
    """Load a detector and try it out; what is wrong, as a sentence, or None."""
    try:
        detector.load()
    except ConfigError as error:  # said to be shown, unlike other exceptions' messages
        return f"The guard '{guard}' cannot start: {error}"
    except Exception as error:
        return (
            f"The guard '{guard}' cannot start: loading its detector '{name}' raised {type(error).__name__}."
        )
    outcome = attempt(detector, list(TRIAL)) if trial else None
    if isinstance(outcome, Failed):
        return f"The guard '{guard}' cannot start: in a trial scan its detector '{name}' {outcome.reason}."
    return None


# In the worker.

_Wire: TypeAlias = (
    list[list[tuple[Any, ...]]] | Failed
)  # plain values: pickled three times faster than matches

_detectors: dict[int, Detector] = {}
_faults: list[str] = []


def _begin(jobs: Mapping[int, Job], parent: int) -> None:
    """Load everything, before the worker's first task: no batch's time counts it.

    Never raises, because pebble would log the exception with its text; `_fault_of_worker` tells.
    """
    _silence()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # pebble sees to SIGINT
    _end_with(parent)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    for index, job in jobs.items():
        try:
            detector = pickle.loads(job.pickled)  # noqa: S301 - made by our own parent
        except Exception as error:
            _faults.append(
                f"The guard '{job.guard}' cannot start: unpickling its detector '{job.name}' "
                f"in a worker raised {type(error).__name__}."
            )
            return
        if fault := load(detector, job.guard, job.name):
            _faults.append(fault)
            return
        _detectors[index] = detector
    gc.collect()
    gc.freeze()  # models live as long as the process: later collections need not walk them


def _silence() -> None:
    """Let no library tell what it was given: not to a log of any handler, as a warning or in a traceback."""

    def nothing(*_: object, **__: object) -> None: ...

    logging.disable(sys.maxsize)
    warnings.showwarning = nothing
    sys.excepthook = threading.excepthook = sys.unraisablehook = nothing


def _end_with(parent: int) -> None:
    """See to it that this process ends when its parent does, however that ends."""
    if sys.platform == "linux" and os.getppid() == parent:  # else it has ended, or another forked us for it
        with contextlib.suppress(OSError, AttributeError):
            # The kernel's parent is the *thread* that started us: pebble's own, or the event loop's.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it ended before we asked
                os._exit(1)
            return
    if (process := multiprocessing.parent_process()) is None:
        return
    sentinel = process.sentinel

    def watch() -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="guardproxy-parent", daemon=True).start()


def _fault_of_worker() -> str | None:
    return _faults[0] if _faults else None


def _scan(index: int, texts: Sequence[str]) -> tuple[float, _Wire]:
    began = time.perf_counter()
    outcome = attempt(_detectors[index], texts)
    seconds = time.perf_counter() - began
    if isinstance(outcome, Failed):
        return seconds, outcome
    return seconds, [
        [(m.start, m.end, m.category, float(m.score), m.validated, m.open) for m in matches]
        for matches in outcome
    ]


# In the parent.


class Worker:
    """One process: a pebble pool of its own.

    In a larger pool one process that is killed while it is idle, or while it holds the pipe's lock,
    takes all others with it.
    """

    def __init__(self, jobs: Mapping[int, Job]) -> None:
        self._jobs = jobs
        self._pool: ProcessPool | None = None
        self._ending: asyncio.Task[None] | None = None

    async def call(
        self, function: Callable[..., Any], *args: object, limit: float | None = None, deadline: float
    ) -> Any:
        """Run `function` there; `limit` counts from when the worker takes it up, `deadline` from now.

        Raises:
            TimeoutError: one of both was exceeded.
            OSError: pebble's ProcessExpired, the process ended while it was at it.
            RuntimeError: pebble's BrokenProcessPool and others, the process ended before.
        """
        if self._pool is None:
            context = multiprocessing.get_context(START)
            initargs = (self._jobs, os.getpid())
            self._pool = ProcessPool(1, initializer=_begin, initargs=initargs, context=context)
        async with asyncio.timeout(deadline):
            return await asyncio.wrap_future(self._pool.schedule(function, args=args, timeout=limit))

    async def warm(self) -> str | None:
        """Wait until everything is loaded; what is wrong, as a sentence, or None."""
        try:
            fault: str | None = await self.call(_fault_of_worker, deadline=LOAD_TIMEOUT)
        except TimeoutError:
            return f"The guards did not load within {LOAD_TIMEOUT:g} seconds."
        except (OSError, RuntimeError):
            return "A worker process ended while it loaded the guards."
        return fault

    async def close(self) -> None:
        """End the process; the next call starts another."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()  # type: ignore[no-untyped-call]
            self._ending = asyncio.create_task(asyncio.to_thread(pool.join))
        if self._ending is not None:
            await asyncio.shield(self._ending)  # whoever is cancelled: `Pool.stop` must see its end


class Pool:
    """The workers, and the queue for them: first come, first served."""

    def __init__(self, jobs: Mapping[int, Job], workers: int, timeout: float, queue_timeout: float) -> None:
        """Let one batch compute for `timeout` seconds, and wait `queue_timeout` seconds for a worker."""
        self._jobs = jobs
        self._timeout = timeout
        self._queue_timeout = queue_timeout
        self._workers = [Worker(jobs) for _ in range(workers)]
        self._idle: list[Worker] = []
        self._free = asyncio.Semaphore(0)
        self._faulty: set[Worker] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopped = False

    @property
    def ready(self) -> bool:
        """Whether there is a worker, or one that is about to be: not only ones that fail to load."""
        return not self._stopped and len(self._faulty) < len(self._workers)

    async def start(self) -> None:
        """Start all workers and wait until the last is warm.

        Raises:
            ConfigError: a detector does not load, or fails on a trial text.
        """
        try:
            faults = await asyncio.gather(*(worker.warm() for worker in self._workers))
        except BaseException:
            await self.stop()
            raise
        if any(faults):
            await self.stop()
            raise ConfigError(next(fault for fault in faults if fault))
        for worker in self._workers:
            self._release(worker)

    async def stop(self) -> None:
        """End all workers; what they were doing fails."""
        self._stopped = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for worker in self._workers:
            self._release(worker)  # to the queue, which is told that all is over
        await asyncio.gather(*(worker.close() for worker in self._workers))

    async def run(
        self, index: int, texts: Sequence[str], keep: Callable[[Results], None]
    ) -> tuple[Results | Failed | Busy, float]:
        """One batch through one detector: the outcome, and the seconds of compute.

        Once a worker has the batch, it is finished whoever stops waiting for it, and `keep` gets
        the results: the client's next attempt finds them. What still waits in the queue is dropped.
        """
        try:
            async with asyncio.timeout(self._queue_timeout):
                await self._free.acquire()
        except TimeoutError:
            return Busy(), 0.0
        worker = self._idle.pop()
        if self._stopped:
            self._release(worker)  # so that the next in the queue learns of it
            return Failed("was stopped"), 0.0
        task = self._spawn(self._work(worker, index, texts, keep))
        try:
            outcome: tuple[Results | Failed, float] = await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self._stopped or cancelling():
                raise
            return Failed("was stopped"), 0.0
        return outcome

    async def _work(
        self, worker: Worker, index: int, texts: Sequence[str], keep: Callable[[Results], None]
    ) -> tuple[Results | Failed, float]:
        """Have the batch scanned; at the return the worker is idle again, or is being replaced."""
        try:
            seconds, wire = await self._call(worker, index, texts)
        except TimeoutError:  # an OSError, as is pebble's ProcessExpired
            self._say_replaced(index, "timed out")
            self._spawn(self._revive(worker))
            return Failed(f"ran for more than {self._timeout:g} seconds", "timeout"), self._timeout
        except (OSError, RuntimeError) as error:
            killed = isinstance(error, ProcessExpired) and (error.exitcode or 0) < 0
            self._say_replaced(index, "killed" if killed else "died")
            self._spawn(self._revive(worker))
            return Failed("ended its worker process, or somebody did", "died"), 0.0
        self._release(worker)
        if isinstance(wire, Failed):
            return wire, seconds
        results = _matches(wire)
        keep(results)
        return results, seconds

    async def _call(self, worker: Worker, index: int, texts: Sequence[str]) -> tuple[float, _Wire]:
        call = functools.partial(
            worker.call, _scan, index, texts, limit=self._timeout, deadline=self._timeout + GRACE
        )
        result: tuple[float, _Wire]
        try:
            result = await call()
        except RuntimeError:  # pebble's BrokenProcessPool: it had died before it could take the batch
            self._say_replaced(index, "died while idle")
            await worker.close()
            await worker.warm()
            result = await call()
        return result

    def _say_replaced(self, index: int, why: str) -> None:
        """Log that a worker is lost: `index` is the detector that it had, or was to have, at work."""
        import structlog  # here, for the workers import this module, and this takes half a second

        job = self._jobs[index]
        structlog.stdlib.get_logger("guardproxy.pool").warning(
            "scan_worker_replaced", guard=job.guard, detector=job.name, why=why
        )

    async def _revive(self, worker: Worker) -> None:
        """Put a warm process in the place of one that failed. Until then the queue for it waits."""
        rest = FIRST_REST
        await worker.close()
        while await worker.warm() is not None:
            self._faulty.add(worker)
            await worker.close()
            await asyncio.sleep(rest)
            rest = min(LONGEST_REST, 2 * rest)
        self._faulty.discard(worker)
        self._release(worker)

    def _release(self, worker: Worker) -> None:
        self._idle.append(worker)
        self._free.release()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _matches(wire: list[list[tuple[Any, ...]]]) -> Results:
    # Interned: the cache holds many matches of few categories.
    return [[Match(m[0], m[1], sys.intern(m[2]), *m[3:]) for m in matches] for matches in wire]
