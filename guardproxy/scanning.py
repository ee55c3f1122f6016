"""Run detectors over texts: on the event loop, or in the worker processes, within their time.

A failure is handed up as a value and raised by `scan` and `scan_now` alone, when nothing in sight
holds the text: neither the error nor its traceback, causes and frames included, shows what was scanned.
"""

import asyncio
import hashlib
import inspect
import pickle
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from guardproxy.cache import MatchCache
from guardproxy.errors import ConfigError, GuardFailed, Overloaded
from guardproxy.pool import Busy, Failed, Job, Pool, Results, attempt, cancelling, checked, load, raised
from guardproxy.types import CONTEXT, Detector, Guard, Match

if TYPE_CHECKING:
    from guardproxy.settings import Settings

# Characters that go to a detector at once; a longer text goes alone. Names take a second for 4,000 of the
# worst kind (a word a line) on a busy machine, and a batch that is over `guard_timeout` fails an exchange.
BATCH = 4 * 1024
TEXT = 256  # characters that every text counts for at least: a model's work begins anew with each
REMOTE_WIDTH = 4  # batches of one scan that wait for an `async def scan` at a time
UNLIMITED = 1 << 30  # `inline_below` from here on: never in a process
# Slices of local detectors that are worth remembering. inspection.py cuts long texts into pieces of
# this length: when a text grows, they come again. Shorter slices are whole texts, which inspection.py
# remembers itself, or a stream's windows, which are as many as its events and never come again: they
# would only push out what does.
LOCAL_CACHED = 8192


@dataclass(frozen=True, slots=True)
class DetectorRef:
    """A detector that is at work: its number, its guard, its name, its reach or its context."""

    index: int
    guard: str
    name: str
    reach: int | None
    context: int = CONTEXT


@dataclass(slots=True)
class Meter:
    """Sums the seconds of compute of scans, without their time in the queue, and what was looked at.

    `scanned` counts the texts, or pieces of them, that a detector got, `cached` those that were known.
    """

    seconds: float = 0.0
    scanned: int = 0
    cached: int = 0
    last: float | None = None  # when a look was over the last time, by `time.perf_counter`


Outcome: TypeAlias = Results | Failed | Busy
Faults: TypeAlias = Failed | Busy | None


class Scanner:
    """All detectors of all guards, ready to scan, and the cache of what they found."""

    def __init__(self, guards: Mapping[str, Guard], settings: "Settings") -> None:
        self.cache = MatchCache(settings.cache_size)
        self.allow = settings.allow
        self.replacements = {
            category: text for guard in guards.values() for category, text in guard.replacements.items()
        }
        self._settings = settings
        self._key = secrets.token_bytes(32)
        self._detectors: list[Detector] = []
        self._refs: dict[str, tuple[DetectorRef, ...]] = {}
        for guard in guards.values():
            refs: list[DetectorRef] = []
            for detector in guard.detectors:
                name = detector.name or type(detector).__name__
                number = len(self._detectors)
                refs.append(DetectorRef(number, guard.name, name, detector.reach, detector.context))
                self._detectors.append(detector)
            self._refs[guard.name] = tuple(refs)
        self._numbers = {guard: number for number, guard in enumerate(self._refs)}
        self._remote = [inspect.iscoroutinefunction(detector.scan) for detector in self._detectors]
        self._pool: Pool | None = None
        self._started = False

    def refs(self, guard: str) -> tuple[DetectorRef, ...]:
        """The detectors of a guard."""
        return self._refs[guard]

    @property
    def ready(self) -> bool:
        """Whether texts can be scanned."""
        return self._started and (self._pool is None or self._pool.ready)

    async def start(self) -> None:
        """Load every detector in each process that will use it, and start the workers that are needed.

        Raises:
            ConfigError: a detector cannot be pickled, does not load, or fails on a trial text.
        """
        jobs: dict[int, Job] = {}
        here: list[DetectorRef] = []
        for refs in self._refs.values():
            for ref in refs:
                detector = self._detectors[ref.index]
                if not self._remote[ref.index] and detector.inline_below < UNLIMITED:
                    jobs[ref.index] = _job(ref, detector)
                if self._remote[ref.index] or detector.inline_below > 0:
                    here.append(ref)
        for ref in here:
            # A trial of a remote detector would cost money, and its outage the whole startup.
            trial = not self._remote[ref.index]
            if fault := load(self._detectors[ref.index], ref.guard, ref.name, trial):
                raise ConfigError(fault)
        if jobs:
            settings = self._settings
            pool = Pool(jobs, settings.scan_workers, settings.guard_timeout, settings.queue_timeout)
            await pool.start()
            self._pool = pool
        self._started = True

    async def stop(self) -> None:
        """End the workers. Scans that are under way fail."""
        self._started = False
        if self._pool is not None:
            await self._pool.stop()

    def digest(self, text: str) -> bytes:
        """What stands for `text` in the cache; of use in this process only, as its key is random."""
        data = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=16, key=self._key).digest()

    def slot(self, guard: str, *, local: bool) -> int:
        """Where the cache keeps what a guard found in whole texts; `local`: its local detectors alone."""
        return 2 * self._numbers[guard] + local

    def scan_now(self, ref: DetectorRef, text: str) -> list[Match] | None:
        """The matches in `text` when the detector may scan it on the event loop, else None.

        Raises:
            GuardFailed: the detector raised, or its results are invalid.
        """
        detector = self._detectors[ref.index]
        if self._remote[ref.index] or len(text) >= detector.inline_below:
            return None
        outcome = attempt(detector, [text])
        if isinstance(outcome, Failed):
            del text
            raise self._error(ref, outcome)
        return outcome[0]

    async def scan(self, ref: DetectorRef, texts: Sequence[str], meter: Meter | None = None) -> Results:
        """The detector's matches in each of `texts`, as it reports them.

        Raises:
            GuardFailed: it raised, ran out of its time, lost its worker, or its results are invalid.
            Overloaded: no worker became free within `queue_timeout`.
        """
        outcome = await self._scan(ref, texts, Meter() if meter is None else meter)
        if not isinstance(outcome, list):
            del texts
            raise self._error(ref, outcome)
        return outcome

    def _error(self, ref: DetectorRef, outcome: Failed | Busy) -> GuardFailed | Overloaded:
        if isinstance(outcome, Busy):
            seconds = self._settings.queue_timeout
            message = f"The guard '{ref.guard}' had no free worker for {seconds:g} seconds."
            return Overloaded(message, detector=ref.name)
        message = f"The guard '{ref.guard}' failed: its detector '{ref.name}' {outcome.reason}."
        return GuardFailed(message, kind=outcome.kind, detector=ref.name, raised=outcome.raised)

    async def _scan(self, ref: DetectorRef, texts: Sequence[str], meter: Meter) -> Outcome:
        slot = ~ref.index  # what inspection.py remembers of whole texts is something else
        digests = [self._digest_of_slice(ref, text) for text in texts]
        found: list[Sequence[Match] | None] = [
            None if digest is None else self.cache.get(slot, digest) for digest in digests
        ]
        missing = [index for index, matches in enumerate(found) if matches is None]
        meter.cached += len(found) - len(missing)
        meter.scanned += len(missing)
        if missing:

            def keep(batch: Sequence[int], results: Results) -> None:
                for index, matches in zip(batch, results, strict=True):
                    found[index] = matches
                    if (digest := digests[index]) is not None:
                        self.cache.put(slot, digest, matches)

            if fault := await self._scan_missing(ref, texts, missing, keep, meter):
                return fault
        meter.last = time.perf_counter()
        return [list(matches or ()) for matches in found]

    def _digest_of_slice(self, ref: DetectorRef, text: str) -> bytes | None:
        if ref.reach is not None and len(text) < LOCAL_CACHED:
            return None
        return self.digest(text)

    async def _scan_missing(
        self,
        ref: DetectorRef,
        texts: Sequence[str],
        missing: Sequence[int],
        keep: Callable[[Sequence[int], Results], None],
        meter: Meter,
    ) -> Faults:
        detector = self._detectors[ref.index]
        timeout = self._settings.guard_timeout

        async def remotely(batch: list[int]) -> Faults:
            outcome, seconds = await _attempt_remotely(detector, [texts[i] for i in batch], timeout)
            meter.seconds += seconds
            if isinstance(outcome, Failed):
                return outcome
            keep(batch, outcome)
            return None

        async def elsewhere(batch: list[int]) -> Faults:
            if self._pool is None:
                return Failed("has no worker: the scanner is not started")
            outcome, seconds = await self._pool.run(
                ref.index, [texts[i] for i in batch], lambda results: keep(batch, results)
            )
            meter.seconds += seconds
            return None if isinstance(outcome, list) else outcome

        if self._remote[ref.index]:
            return await _spread(batches(texts, missing), remotely, REMOTE_WIDTH)
        limit = detector.inline_below
        unlimited = limit >= UNLIMITED
        small = [i for i in missing if unlimited or len(texts[i]) < limit]
        large = [i for i in missing if not unlimited and len(texts[i]) >= limit]
        for number, batch in enumerate(batches(texts, small)):
            if number:
                await asyncio.sleep(0)  # the others on the loop have their turn
            began = time.perf_counter()
            outcome = attempt(detector, [texts[i] for i in batch])
            meter.seconds += time.perf_counter() - began
            if isinstance(outcome, Failed):
                return outcome
            keep(batch, outcome)
        # No more at once than there are workers: between the batches of a long text others get in.
        return await _spread(batches(texts, large), elsewhere, self._settings.scan_workers)


def batches(texts: Sequence[str], indexes: Iterable[int]) -> list[list[int]]:
    """`indexes` in groups whose texts count for at most BATCH characters together, or are one."""
    groups: list[list[int]] = []
    length = 0
    for index in indexes:
        size = max(TEXT, len(texts[index]))
        length += size
        if groups and length <= BATCH:
            groups[-1].append(index)
        else:
            groups.append([index])
            length = size
    return groups


async def _spread(
    groups: Sequence[list[int]], work: Callable[[list[int]], Awaitable[Faults]], width: int
) -> Faults:
    """Do the work on each group, `width` at a time; the first fault stops what has not begun."""
    if len(groups) <= 1 or width == 1:
        for group in groups:
            if fault := await work(group):
                return fault
        return None
    waiting = iter(groups)
    faults: list[Failed | Busy] = []

    async def lane() -> None:
        for group in waiting:
            fault = None if faults else await work(group)
            if fault:
                faults.append(fault)

    await asyncio.gather(*(lane() for _ in range(min(width, len(groups)))))
    return faults[0] if faults else None


async def _attempt_remotely(
    detector: Detector, texts: Sequence[str], limit: float
) -> tuple[Results | Failed, float]:
    began = time.perf_counter()
    outcome: Results | Failed
    deadline = asyncio.timeout(limit)
    try:
        async with deadline:
            results = detector.scan(texts)
            outcome = checked(await results if inspect.isawaitable(results) else results, texts)
    except asyncio.CancelledError as error:
        if cancelling():
            del deadline  # it holds the task, and so would keep this frame
            raise
        outcome = raised(error)  # of its own accord: nobody cancelled us
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        late = Failed(f"ran for more than {limit:g} seconds", "timeout")
        outcome = late if deadline.expired() else raised(error)
    return outcome, time.perf_counter() - began


def _job(ref: DetectorRef, detector: Detector) -> Job:
    try:
        return Job(ref.guard, ref.name, pickle.dumps(detector))
    except Exception as error:
        fault = type(error).__name__
    raise ConfigError(
        f"The guard '{ref.guard}' cannot start: its detector '{ref.name}' "
        f"cannot be sent to a worker process (pickling raised {fault})."
    )
