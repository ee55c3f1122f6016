"""The worker processes: warm, held to their time, replaced, ended; and the check of what detectors return.

Processes and tests tell each other where they are through files.
"""

import asyncio
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from guardproxy.errors import ConfigError
from guardproxy.pool import NICENESS, Busy, Failed, Job, Pool, Results, attempt, checked
from guardproxy.types import Detector, Match

LONG = 120.0  # seconds that no test should take
HIT = Match(0, 1, "FIRST")


class Actor(Detector):
    """Does what the text says; `place` is where it leaves notes."""

    name = "actor"

    def __init__(self, place: Path) -> None:
        self.place = place

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        for text in texts:
            word, _, rest = text.partition(":")
            if word == "loop":
                (self.place / rest).write_text(str(os.getpid()))
                while True:
                    pass
            if word == "wait":
                note(self.place / rest, str(os.getpid()))
                while not (self.place / "go").exists():
                    time.sleep(0.005)
            if word == "raise":
                raise ValueError(rest)
            if word == "exit":
                sys.exit(rest)
            if word == "say":
                say(rest)
            if word == "pid":
                return [[Match(0, 1, f"PID_{os.getpid()}", 1.0)]]
            if word == "nice":
                return [[Match(0, 1, f"NICE_{os.nice(0)}", 1.0)]]
        return [[HIT] if text else [] for text in texts]


def say(text: str) -> None:
    """What libraries may do with a text that they cannot read."""

    def crash() -> None:
        raise ValueError(text)

    class Falls:
        def __del__(self) -> None:
            crash()

    logging.getLogger("some.library").warning("cannot read %s", text)
    logging.getLogger("some.library").error("cannot count %d", text)
    own = logging.getLogger("another.library")
    own.addHandler(logging.StreamHandler())
    own.critical(text)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(text, stacklevel=1)
    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    Falls()


class LoadsNot(Actor):
    """Its load fails, once the file `broken` is there."""

    name = "loadsnot"

    def load(self) -> None:
        note(self.place / "loads", "x")
        if (self.place / "broken").exists():
            raise LookupError("canary-" + "4711")


class Explains(LoadsNot):
    """Says itself why it does not load."""

    def load(self) -> None:
        raise ConfigError("the model 'm' is not installed.")


class FailsTrial(Detector):
    name = "failstrial"

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return []


class EndsWhileLoading(Detector):
    name = "ends"

    def load(self) -> None:
        os._exit(3)

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return [[] for _ in texts]


def note(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(text)


def job(detector: Detector) -> Job:
    return Job("guard", detector.name, pickle.dumps(detector))


def forget(results: Results) -> None:
    """Keep nothing."""


@asynccontextmanager
async def pool_of(
    detector: Detector, workers: int = 1, limit: float = LONG, queue_timeout: float = LONG
) -> AsyncIterator[Pool]:
    pool = Pool({0: job(detector)}, workers, limit, queue_timeout)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(LONG):
        while not (value := condition()):  # noqa: ASYNC110 - files have no events
            await asyncio.sleep(0.005)
    return value


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def pid_of(pool: Pool) -> int:
    outcome, _ = await pool.run(0, ["pid:"], forget)
    assert isinstance(outcome, list)
    return int(outcome[0][0].category.removeprefix("PID_"))


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pebble_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "_loop)" in thread.name]


def replaced(why: str) -> dict[str, str]:
    """The line of the log about a worker that is lost."""
    facts = {"guard": "guard", "detector": "actor", "why": why}
    return {"event": "scan_worker_replaced", "log_level": "warning", **facts}


async def test_a_worker_scans_gently_and_apart(tmp_path: Path) -> None:
    async with pool_of(Actor(tmp_path)) as pool:
        assert pool.ready
        outcome, seconds = await pool.run(0, ["a", "", "b"], forget)
        assert outcome == [[HIT], [], [HIT]]
        assert 0 < seconds < LONG
        assert await pid_of(pool) != os.getpid()
        niceness, _ = await pool.run(0, ["nice:"], forget)
        assert niceness == [[Match(0, 1, f"NICE_{min(19, os.nice(0) + NICENESS)}")]]


async def test_what_a_library_says_of_a_text_stays_in_the_worker(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with pool_of(Actor(tmp_path)) as pool:
        outcome, _ = await pool.run(0, ["say:" + "canary-" + "4711"], forget)
    assert outcome == [[HIT]]
    said = capfd.readouterr()
    assert "4711" not in said.out + said.err


async def test_all_workers_have_loaded_before_the_first_batch(tmp_path: Path) -> None:
    async with pool_of(LoadsNot(tmp_path), workers=2) as pool:
        assert read(tmp_path / "loads") == "xx"
        await pool.run(0, ["a"], forget)
        assert read(tmp_path / "loads") == "xx"


async def test_a_batch_that_never_ends_fails_in_its_time_and_others_go_on(tmp_path: Path) -> None:
    async with pool_of(Actor(tmp_path), workers=2, limit=1.0) as pool:
        endless = asyncio.create_task(pool.run(0, ["loop:pid"], forget))
        pid = int(await until(lambda: read(tmp_path / "pid")))
        assert (await pool.run(0, ["a"], forget))[0] == [[HIT]]
        with capture_logs() as logged:
            outcome, seconds = await asyncio.wait_for(endless, LONG)
        assert logged == [replaced("timed out")]
        assert outcome == Failed("ran for more than 1 seconds", "timeout")
        assert seconds == 1.0
        await until(lambda: not alive(pid))
        both = await asyncio.gather(*(pool.run(0, ["a"], forget) for _ in range(4)))
        assert [outcome for outcome, _ in both] == [[[HIT]]] * 4


async def test_loading_anew_is_not_the_next_batchs_time(tmp_path: Path) -> None:
    async with pool_of(LoadsNot(tmp_path), limit=1.0) as pool:
        await pool.run(0, ["loop:pid"], forget)
        outcome, seconds = await pool.run(0, ["a"], forget)
        assert outcome == [[HIT]]
        assert read(tmp_path / "loads").startswith("xx")
        assert seconds < 1.0


async def test_a_killed_worker_fails_its_own_batch_alone(tmp_path: Path) -> None:
    async with pool_of(Actor(tmp_path), workers=2) as pool:
        victim = asyncio.create_task(pool.run(0, ["wait:victim"], forget))
        other = asyncio.create_task(pool.run(0, ["wait:other"], forget))
        pid = int(await until(lambda: read(tmp_path / "victim")))
        await until(lambda: read(tmp_path / "other"))
        with capture_logs() as logged:
            os.kill(pid, signal.SIGKILL)
            assert (await asyncio.wait_for(victim, LONG))[0] == Failed(
                "ended its worker process, or somebody did", "died"
            )
        assert logged == [replaced("killed")]
        assert not other.done()
        (tmp_path / "go").touch()
        assert (await asyncio.wait_for(other, LONG))[0] == [[HIT]]
        after = await asyncio.gather(*(pool.run(0, ["a"], forget) for _ in range(4)))
        assert [outcome for outcome, _ in after] == [[[HIT]]] * 4


async def test_a_worker_killed_in_its_sleep_fails_nothing(tmp_path: Path) -> None:
    async with pool_of(Actor(tmp_path)) as pool:
        for seen in (False, True):  # whether pebble knows of it yet
            pid = await pid_of(pool)
            os.kill(pid, signal.SIGKILL)
            if seen:
                await until(lambda: len(pebble_threads()) < 3)
            assert await asyncio.wait_for(pid_of(pool), LONG) != pid


async def test_workers_ignore_the_signals_that_end_the_server(tmp_path: Path) -> None:
    async with pool_of(Actor(tmp_path)) as pool:
        pid = await pid_of(pool)
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        assert await pid_of(pool) == pid


async def test_a_worker_that_cannot_load_again_is_not_ready_until_it_can(tmp_path: Path) -> None:
    async with pool_of(LoadsNot(tmp_path), limit=0.5, queue_timeout=0.01) as pool:
        (tmp_path / "broken").touch()
        outcome, _ = await pool.run(0, ["loop:pid"], forget)
        assert isinstance(outcome, Failed)
        await until(lambda: not pool.ready)
        assert (await pool.run(0, ["a"], forget))[0] == Busy()
        (tmp_path / "broken").unlink()
        await until(lambda: pool.ready)
        assert (await pool.run(0, ["a"], forget))[0] == [[HIT]]


async def test_waiting_too_long_for_a_worker(tmp_path: Path) -> None:
    async with pool_of(Actor(tmp_path), queue_timeout=0.05) as pool:
        first = asyncio.create_task(pool.run(0, ["wait:pid"], forget))
        await until(lambda: read(tmp_path / "pid"))
        assert await pool.run(0, ["a"], forget) == (Busy(), 0.0)
        assert not first.done()
        (tmp_path / "go").touch()
        assert (await first)[0] == [[HIT]]
        assert (await pool.run(0, ["a"], forget))[0] == [[HIT]]


async def test_a_client_that_stops_waiting_kills_no_worker_and_its_results_are_kept(tmp_path: Path) -> None:
    kept: list[Results] = []
    async with pool_of(Actor(tmp_path)) as pool:
        client = asyncio.create_task(pool.run(0, ["wait:pid"], kept.append))
        pid = int(await until(lambda: read(tmp_path / "pid")))
        client.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client
        (tmp_path / "go").touch()
        assert await pid_of(pool) == pid
        assert kept == [[[HIT]]]


async def test_a_client_that_stops_waiting_in_the_queue_costs_nothing(tmp_path: Path) -> None:
    async with pool_of(Actor(tmp_path)) as pool:
        first = asyncio.create_task(pool.run(0, ["wait:first"], forget))
        await until(lambda: read(tmp_path / "first"))
        queued = asyncio.create_task(pool.run(0, ["wait:queued"], forget))
        await asyncio.sleep(0)
        queued.cancel()
        (tmp_path / "go").touch()
        await first
        await pool.run(0, ["a"], forget)
        assert queued.cancelled()
        assert not (tmp_path / "queued").exists()


async def test_stopping_fails_what_runs_and_what_waits_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    async with pool_of(Actor(tmp_path)) as pool:
        running = asyncio.create_task(pool.run(0, ["wait:pid"], forget))
        pid = int(await until(lambda: read(tmp_path / "pid")))
        waiting = [asyncio.create_task(pool.run(0, ["a"], forget)) for _ in range(3)]
        await asyncio.sleep(0)
        await pool.stop()
        for task in (running, *waiting):
            assert await asyncio.wait_for(task, LONG) == (Failed("was stopped"), 0.0)
        assert not pool.ready
        assert (await pool.run(0, ["a"], forget))[0] == Failed("was stopped")
    assert set(multiprocessing.active_children()) == before
    assert not alive(pid)
    assert pebble_threads() == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (LoadsNot, "The guard 'guard' cannot start: loading its detector 'loadsnot' raised LookupError."),
        (Explains, "The guard 'guard' cannot start: the model 'm' is not installed."),
        (
            lambda place: FailsTrial(),
            "The guard 'guard' cannot start: in a trial scan its detector 'failstrial' "
            "returned something else than a list for each text.",
        ),
        (lambda place: EndsWhileLoading(), "A worker process ended while it loaded the guards."),
    ],
)
async def test_a_guard_that_does_not_load_stops_the_start(
    make: Callable[[Path], Detector],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "broken").touch()
    pool = Pool({0: job(make(tmp_path))}, 1, LONG, LONG)
    with pytest.raises(ConfigError) as caught:
        await pool.start()
    assert str(caught.value) == message
    assert caught.value.__context__ is None
    assert "canary-4711" not in (out := capfd.readouterr()).out + out.err + caplog.text
    assert multiprocessing.active_children() == []


ORPHAN = """
import asyncio, os, signal
from pathlib import Path
from tests.test_pool import Actor, forget, pool_of, read, until

async def main():
    place = Path({place!r})
    async with pool_of(Actor(place)) as pool:
        task = asyncio.create_task(pool.run(0, ["loop:pid"], forget))
        await until(lambda: read(place / "pid"))
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
async def test_workers_end_with_their_parent_even_in_an_endless_loop(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    script = ORPHAN.format(place=str(tmp_path))
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], cwd=root, timeout=LONG, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    pid = int(read(tmp_path / "pid"))
    await until(lambda: not alive(pid))


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        (None, "something else than a list for each text"),
        ([], "something else than a list for each text"),
        ([[], []], "something else than a list for each text"),
        ([()], "something else than a list for each text"),
        ([[(0, 1, "A")]], "something else than a Match"),
        ([[Match(0.0, 1, "A")]], "a match whose offsets are not int"),  # type: ignore[arg-type]
        ([[Match(False, True, "A")]], "a match whose offsets are not int"),
        ([[Match(1, 1, "A")]], "a match that is empty or outside of its text"),
        ([[Match(2, 1, "A")]], "a match that is empty or outside of its text"),
        ([[Match(-1, 1, "A")]], "a match that is empty or outside of its text"),
        ([[Match(0, 5, "A")]], "a match that is empty or outside of its text"),
        ([[Match(0, 1, "")]], "a match whose category is not UPPER_SNAKE"),
        ([[Match(0, 1, "Name")]], "a match whose category is not UPPER_SNAKE"),
        ([[Match(0, 1, "A\n")]], "a match whose category is not UPPER_SNAKE"),
        ([[Match(0, 1, "1A")]], "a match whose category is not UPPER_SNAKE"),
        ([[Match(0, 1, "A", 1.01)]], "a match whose score is not in 0 to 1"),
        ([[Match(0, 1, "A", float("nan"))]], "a match whose score is not in 0 to 1"),
        ([[Match(0, 1, "A", "1")]], "a match whose score is not in 0 to 1"),  # type: ignore[arg-type]
        ([[Match(0, 1, "A", 1.0, 1)]], "a match whose marks are not bool"),  # type: ignore[arg-type]
    ],
)
def test_results_that_are_none(results: object, reason: str) -> None:
    assert checked(results, ["text"]) == Failed(f"returned {reason}")


def test_results_that_are_good() -> None:
    results = [[Match(0, 4, "A_1", 1, True, True), Match(3, 4, "B", 0.0)], []]
    assert checked(results, ["text", ""]) is results


def test_whatever_a_detector_raises_is_named_by_its_type_alone(tmp_path: Path) -> None:
    actor = Actor(tmp_path)
    assert attempt(actor, ["raise:canary"]) == Failed("raised ValueError", raised="ValueError")
    assert attempt(actor, ["exit:canary"]) == Failed("raised SystemExit", raised="SystemExit")
