"""Where requests are counted: in this process, or in Valkey for all that share it. Moving windows."""

import asyncio
from collections import defaultdict, deque
from contextlib import suppress
from itertools import islice
from math import ceil
from time import monotonic, time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import structlog
from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from valkey.asyncio import BlockingConnectionPool

from guardproxy.errors import LimitsUnavailable
from guardproxy.logs import describe
from guardproxy.values import MEMORY

PATIENCE = 1.0  # seconds that a storage may take for one rate
QUIET = 60.0  # seconds between two lines of the log about a storage that fails
CONNECTIONS = 32  # to Valkey, from each process
PREFIX = "guardproxy"  # of the names there
_log = structlog.stdlib.get_logger("guardproxy.limits")


class Count(NamedTuple):
    """Whether a request passed, how many may follow, and in how many seconds the next one is forgotten."""

    passed: bool
    left: int
    seconds: int


class Windows(MemoryStorage):
    """The windows of this process.

    The library's own looks for what is over in threads, through all keys, as long as there are requests.
    """

    def __init__(self) -> None:
        super().__init__()
        # By their length, in the order of their last requests: the first ones are over first.
        self._windows: defaultdict[int, dict[str, deque[float]]] = defaultdict(dict)

    def __len__(self) -> int:
        return sum(map(len, self._windows.values()))

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count a request, unless the window is full."""
        now, windows = time(), self._windows[expiry]
        window = windows.pop(key, None) or deque[float]()
        _forget(window, now - expiry)
        passed = len(window) + amount <= limit
        if passed:
            window.extend((now,) * amount)
        if window:
            windows[key] = window
        for first in list(islice(windows, 2)):  # more than come
            if windows[first][-1] < now - expiry:
                del windows[first]
        return passed

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest request of the window came, and how many there are."""
        now, windows = time(), self._windows[expiry]
        if window := windows.get(key):
            _forget(window, now - expiry)
        if not window:
            windows.pop(key, None)
            return now, 0
        return window[0], len(window)


def _forget(window: deque[float], before: float) -> None:
    while window and window[0] < before:
        window.popleft()


class Counters:
    """The windows at one `storage`, `memory://` or a URL of Valkey. One that fails stops exchanges."""

    def __init__(self, storage: str) -> None:
        self._storage = storage
        self._pool: BlockingConnectionPool | None = None
        if storage == MEMORY:
            self._windows = MovingWindowRateLimiter(Windows())
        else:
            # Which the client does not check by itself.
            tls = {"ssl_check_hostname": True} if storage.startswith(("valkeys:", "rediss:")) else {}
            self._pool = BlockingConnectionPool.from_url(storage, max_connections=CONNECTIONS, **tls)
            given: dict[str, Any] = {"connection_pool": self._pool}
            self._windows = MovingWindowRateLimiter(RedisStorage("valkey://", key_prefix=PREFIX, **given))
        self._failed = 0  # exchanges, since the log said so
        self._told: float | None = None
        self._broken = False

    async def count(self, rate: RateLimitItem, *who: str) -> Count:
        """Count a request of `who`, where `rate` lets it pass.

        Raises:
            LimitsUnavailable: the storage cannot be reached, does not answer in time, or fails.
        """
        problem: dict[str, str] | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                passed = await self._windows.hit(rate, *who)
                until, left = await self._windows.get_window_stats(rate, *who)
        except Exception as error:  # a limit that cannot be counted holds, whatever the client raises
            problem = describe(error)
        if problem is not None:  # raised here: the error would know the client's frames
            self._note(problem)
            raise LimitsUnavailable("The requests cannot be counted right now. Please try again.")
        if self._broken:
            self._broken = False
            _log.info("limits_restored", storage=self._shown)
        # Valkey rounds times, up or down.
        return Count(passed, max(left, 0), min(max(1, ceil(until - time())), rate.get_expiry()))

    def _note(self, problem: dict[str, str]) -> None:
        self._failed += 1
        now = monotonic()
        if self._told is None or now - self._told >= QUIET:
            _log.warning("limits_unavailable", storage=self._shown, failed=self._failed, **problem)
            self._told, self._failed, self._broken = now, 0, True

    @property
    def _shown(self) -> str:
        parts = urlsplit(self._storage)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    async def aclose(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            with suppress(Exception):  # they may be broken already
                await self._pool.aclose()
