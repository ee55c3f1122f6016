"""Run detectors over texts: on the loop when they are cheap, else in worker processes; with a cache.

A detector that raises, takes too long, or reports what cannot be fails its guard; no message tells
more than the type of what happened, since an exception's text may hold what a guard found.
"""

import asyncio
import inspect
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardproxy.cache import MatchCache
from guardproxy.errors import ConfigError, GuardFailed
from guardproxy.pool import Pool
from guardproxy.settings import Settings
from guardproxy.types import Detector, Guard, Match

BATCH = 16 * 1024  # characters that a worker gets at a time
# The pieces of a stream are shorter and differ by a character or two: caching them would only push out
# what is worth keeping. Blocks and the pieces of whole texts are longer.
SHORTEST_CACHED = 512
_CATEGORY = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class DetectorRef:
    """A detector of this scanner: by its index, with what callers must know of it."""

    index: int
    guard: str
    name: str
    reach: int | None

    def __str__(self) -> str:
        return f"'{self.guard}' (detector '{self.name}')"


@dataclass(slots=True)
class Meter:
    """Adds up the seconds of compute."""

    seconds: float = 0.0


class Scanner:
    """The detectors of all guards, and where they run."""

    def __init__(self, guards: Mapping[str, Guard], settings: Settings) -> None:
        self._settings = settings
        self._detectors: list[Detector] = []
        self._refs: dict[str, tuple[DetectorRef, ...]] = {}
        for guard in guards.values():
            first = len(self._detectors)
            self._detectors += guard.detectors
            self._refs[guard.name] = tuple(
                DetectorRef(first + index, guard.name, detector.name, detector.reach)
                for index, detector in enumerate(guard.detectors)
            )
        self._remote = [inspect.iscoroutinefunction(detector.scan) for detector in self._detectors]
        self.cache = MatchCache(settings.cache_size)
        self.digest = self.cache.digest
        self._pool: Pool | None = None
        self._working: set[asyncio.Task[Any]] = set()

    def refs(self, guard: str) -> tuple[DetectorRef, ...]:
        """The detectors of `guard`."""
        return self._refs[guard]

    @property
    def ready(self) -> bool:
        """Whether all models are loaded and the workers run."""
        return self._pool is not None and self._pool.ready

    async def start(self) -> None:
        """Load what runs on the loop, and start the workers.

        Raises:
            ConfigError: a detector's `load` failed.
        """
        settings = self._settings
        # The pool pickles detectors before they are loaded: a model need not be picklable.
        workers = [None if r else d for d, r in zip(self._detectors, self._remote, strict=True)]
        pool = Pool(workers, settings.scan_workers, settings.guard_timeout, settings.queue_timeout)
        for ref in (ref for refs in self._refs.values() for ref in refs):
            detector = self._detectors[ref.index]
            if self._remote[ref.index] or detector.inline_below > 0:
                problem = await asyncio.to_thread(_load, detector)
                if problem:
                    raise ConfigError(f"Guard {ref} could not be loaded: it raised {problem}.")
        await pool.start()
        self._pool = pool

    async def stop(self) -> None:
        """End the workers."""
        for task in self._working:
            task.cancel()
        if self._pool is not None:
            await self._pool.stop()

    def scan_now(self, ref: DetectorRef, text: str) -> list[Match] | None:
        """The matches in `text` when the detector is cheap enough to run here and now; else None."""
        detector = self._detectors[ref.index]
        if self._remote[ref.index] or len(text) >= detector.inline_below:
            return None
        return self._inline(ref, (text,), None)[0]

    async def scan(
        self, ref: DetectorRef, texts: Sequence[str], meter: Meter | None = None
    ) -> list[list[Match]]:
        """The matches in each of `texts`. `meter` gets the seconds of compute, without those of waiting.

        Raises:
            GuardFailed: the detector raised, ran out of its time, or reported what cannot be.
            Overloaded: no worker was free in time.
        """
        if self._remote[ref.index]:
            return await self._called(ref, texts, meter)
        if sum(map(len, texts)) < self._detectors[ref.index].inline_below:
            return self._inline(ref, texts, meter)
        found: list[list[Match] | None] = [None] * len(texts)
        batches: list[list[int]] = []
        room = 0
        for index, text in enumerate(texts):
            if len(text) >= SHORTEST_CACHED:
                found[index] = self.cache.get(ref.index, self.digest(text))
                if found[index] is not None:
                    continue
            if not batches or len(text) > room:
                batches.append([])
                room = BATCH
            batches[-1].append(index)
            room -= len(text)
        if batches:
            work = [self._start(ref, [texts[i] for i in batch], meter) for batch in batches]
            # A client that leaves does not stop a worker: its result is kept for the next who asks.
            results = await asyncio.gather(*map(asyncio.shield, work))
            for batch, of_batch in zip(batches, results, strict=True):
                for index, matches in zip(batch, of_batch, strict=True):
                    found[index] = matches
        return [matches or [] for matches in found]

    def _start(
        self, ref: DetectorRef, texts: list[str], meter: Meter | None
    ) -> asyncio.Task[list[list[Match]]]:
        task = asyncio.create_task(self._far(ref, texts, meter))
        self._working.add(task)
        task.add_done_callback(self._worked)
        return task

    def _worked(self, task: asyncio.Task[Any]) -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits has it

    async def _far(self, ref: DetectorRef, texts: list[str], meter: Meter | None) -> list[list[Match]]:
        if self._pool is None:
            raise GuardFailed(f"Guard {ref} failed: its workers are not running.")
        seconds, results = await self._pool.run(ref.index, texts, str(ref))
        if meter is not None:
            meter.seconds += seconds
        results = _checked(ref, texts, results)
        for text, matches in zip(texts, results, strict=True):
            if len(text) >= SHORTEST_CACHED:
                self.cache.put(ref.index, self.digest(text), matches)
        return results

    def _inline(self, ref: DetectorRef, texts: Sequence[str], meter: Meter | None) -> list[list[Match]]:
        started = time.perf_counter()
        results: Any = None
        raised = ""
        try:
            results = self._detectors[ref.index].scan(texts)
        except Exception as error:  # its message may hold a text
            raised = type(error).__name__
        if meter is not None:
            meter.seconds += time.perf_counter() - started
        if raised:
            raise GuardFailed(f"Guard {ref} failed: it raised {raised}.")
        return _checked(ref, texts, results)

    async def _called(self, ref: DetectorRef, texts: Sequence[str], meter: Meter | None) -> list[list[Match]]:
        started = time.perf_counter()
        results: Any = None
        problem = ""
        try:
            async with asyncio.timeout(self._settings.guard_timeout):
                scanning: Any = self._detectors[ref.index].scan(texts)
                results = await scanning
        except TimeoutError:
            problem = f"it took longer than {self._settings.guard_timeout:g} s"
        except Exception as error:  # its message may hold a text
            problem = f"it raised {type(error).__name__}"
        if meter is not None:
            meter.seconds += time.perf_counter() - started
        if problem:
            raise GuardFailed(f"Guard {ref} failed: {problem}.")
        return _checked(ref, texts, results)


def _load(detector: Detector) -> str | None:
    try:
        detector.load()
    except Exception as error:  # only its type is told
        return type(error).__name__
    return None


def _checked(ref: DetectorRef, texts: Sequence[str], results: Any) -> list[list[Match]]:
    """`results`, once they are what a detector may report."""
    if not isinstance(results, list) or len(results) != len(texts):
        raise GuardFailed(f"Guard {ref} failed: it did not report a list for each text.")
    for text, matches in zip(texts, results, strict=True):
        if matches and not all(_possible(match, len(text)) for match in matches):
            raise GuardFailed(f"Guard {ref} failed: it reported a match that cannot be.")
    return results


def _possible(match: Any, length: int) -> bool:
    return (
        isinstance(match, Match)
        and isinstance(match.start, int)
        and isinstance(match.end, int)
        and 0 <= match.start < match.end <= length
        and 0 <= match.score <= 1
        and _CATEGORY.fullmatch(match.category) is not None
    )
