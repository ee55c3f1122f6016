"""The windows in which requests are counted, and what is done when their storage fails."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from guardproxy import counters
from guardproxy.counters import Count, Counters, Windows
from guardproxy.errors import LimitsUnavailable
from guardproxy.rates import parse
from guardproxy.values import MEMORY
from tests.backends.processes import free_ports

SECRET = "valkey-" + "canary"
(MINUTE,) = parse("3/minute")


class Clock:
    """A time that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(counters, "time", made)
    return made


async def passed(limit: int, length: int, pauses: Sequence[float]) -> list[tuple[float, bool]]:
    """When each request came, and whether it passed."""
    windows, clock = Windows(), Clock()
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counters, "time", clock)
        for pause in pauses:
            clock.now += pause
            found.append((clock.now, await windows.acquire_entry("who", limit, length)))
    return found


@given(
    st.integers(1, 5),
    st.integers(1, 10),
    st.lists(st.one_of(st.integers(0, 12), st.floats(0, 12)), max_size=60),
)
def test_no_window_has_more_than_its_limit_and_none_less(
    limit: int, length: int, pauses: list[float]
) -> None:
    found = asyncio.run(passed(limit, length, pauses))
    let_in = [when for when, did in found if did]
    for when, did in found:
        before = [one for one in let_in if when - length <= one < when]
        of_now = [one for one in let_in if one == when]
        assert len(before) + len(of_now) <= limit
        assert did or len(before) + len(of_now) == limit  # refused only where the window is full


async def test_a_request_passes_when_it_was_said_to(clock: Clock) -> None:
    counting = Counters(MEMORY)
    told = []
    for pause in (0, 10.2, 10.2, 10.2):
        clock.now += pause
        told.append(await counting.count(MINUTE, "address", "a"))
    assert told == [Count(True, 2, 60), Count(True, 1, 50), Count(True, 0, 40), Count(False, 0, 30)]
    assert (await counting.count(MINUTE, "address", "b")).passed  # another's window
    clock.now += 29
    assert not (await counting.count(MINUTE, "address", "a")).passed
    clock.now += 1
    assert await counting.count(MINUTE, "address", "a") == Count(True, 0, 10)


async def test_windows_that_are_over_take_no_memory(clock: Clock) -> None:
    windows = Windows()
    for number in range(1000):
        await windows.acquire_entry(f"minute {number}", 5, 60)
        await windows.acquire_entry(f"day {number}", 5, 86400)
    assert len(windows) == 2000
    clock.now += 61
    for number in range(600):
        await windows.acquire_entry(f"later {number}", 5, 60)
    assert len(windows) == 1600
    clock.now += 61
    assert await windows.get_moving_window("later 0", 5, 60) == (clock.now, 0)
    assert len(windows) == 1599


class Storage:
    """Stands in for the windows in a storage that works, hangs or fails."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.error: Exception | None = None
        self.hangs = False

    async def hit(self, *_: Any) -> bool:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error
        return True

    async def get_window_stats(self, *_: Any) -> tuple[float, int]:
        return self.clock() + 7.5, 2


@pytest.fixture
def storage(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setattr(counters, "PATIENCE", 0.01)
    monkeypatch.setattr(counters, "monotonic", clock)
    return Storage(clock)


async def test_a_storage_that_fails_stops_exchanges_and_is_told_of_once_a_minute(
    clock: Clock, storage: Storage
) -> None:
    counting = Counters(MEMORY)
    counting._storage = f"valkey://user:{SECRET}@valkey.example:6379/1"
    counting._windows = storage  # type: ignore[assignment]
    events = []
    with capture_logs() as logged:
        assert await counting.count(MINUTE, "key", "a") == Count(True, 2, 8)
        storage.error = OSError(SECRET)
        for _ in range(5):
            with pytest.raises(LimitsUnavailable) as raised:
                await counting.count(MINUTE, "key", "a")
        storage.error, storage.hangs = None, True
        clock.now += 60
        with pytest.raises(LimitsUnavailable):
            await counting.count(MINUTE, "key", "a")
        storage.hangs = False
        for _ in range(3):
            await counting.count(MINUTE, "key", "a")
        events = [(line["event"], line.get("failed"), line.get("error")) for line in logged]
    assert events == [
        ("limits_unavailable", 1, "OSError"),
        ("limits_unavailable", 5, "TimeoutError"),
        ("limits_restored", None, None),
    ]
    assert {line["storage"] for line in logged} == {"valkey://valkey.example:6379"}
    assert SECRET not in repr(logged) + str(raised.value)
    assert (raised.value.status, raised.value.headers) == (503, {"retry-after": "1"})


async def test_a_storage_that_is_not_there_stops_exchanges() -> None:
    (port,) = free_ports(1)
    counting = Counters(f"redis://:{SECRET}@127.0.0.1:{port}")
    with capture_logs() as logged, pytest.raises(LimitsUnavailable):
        await counting.count(MINUTE, "key", "a")
    await counting.aclose()
    assert [(line["event"], line["storage"]) for line in logged] == [
        ("limits_unavailable", f"redis://127.0.0.1:{port}")
    ]
    assert SECRET not in repr(logged)


@pytest.mark.parametrize("scheme", ["valkeys", "rediss"])
def test_over_tls_the_certificate_must_be_of_the_host(scheme: str) -> None:
    pool: Any = Counters(f"{scheme}://valkey.example:6379")._pool
    context = pool.make_connection().ssl_context.get()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
