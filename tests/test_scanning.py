"""The scanner: where each detector runs, what it remembers, and that a failure shows nothing of the text."""

import asyncio
import multiprocessing
import os
import signal
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.errors import ConfigError, GuardFailed, GuardProxyError, Overloaded
from guardproxy.inspection import PIECE, find
from guardproxy.scanning import BATCH, LOCAL_CACHED, TEXT, UNLIMITED, DetectorRef, Meter, Scanner, batches
from guardproxy.settings import Settings
from guardproxy.types import Detector, Guard, Match
from tests.samples import guards
from tests.test_pool import HIT, LONG, Actor, LoadsNot, note, read, until

CANARY = "canary-" + "4711"


class Inline(Detector):
    """Runs on the loop; counts what it is asked."""

    name = "inline"
    reach: int | None = 8
    inline_below = UNLIMITED

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        self.seen.append(list(texts))
        for text in texts:
            word, _, rest = text.partition(":")
            if word == "raise":
                raise ValueError(rest)
            if word == "exit":
                raise SystemExit(rest)
            if word == "cancel":
                raise asyncio.CancelledError(rest)
            if word == "chained":
                try:
                    raise KeyError(rest)
                except KeyError as error:
                    raise ValueError(rest) from error
            if word == "wrong":
                return [[Match(0, len(text) + 1, "A")]]
            if word == "named":
                return [[Match(0, 1, rest)]]
        return [[HIT] if text else [] for text in texts]


class Blockwise(Inline):
    name = "blockwise"
    reach: int | None = None


class Short(Actor):
    """On the loop below ten characters, else in a worker."""

    name = "short"
    reach = 8
    inline_below = 10

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        note(self.place / f"by-{os.getpid()}", "x")
        return super().scan(texts)


class BlockActor(Actor):
    """Counts, in a file, the texts that it is asked."""

    name = "block"

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        note(self.place / "scanned", "".join("x" for text in texts if text.startswith("wait")))
        return super().scan(texts)


class Remote(Detector):
    """Asks somebody else."""

    name = "remote"

    def __init__(self) -> None:
        self.loaded = 0
        self.cancelled = 0
        self.begun = asyncio.Event()

    def load(self) -> None:
        self.loaded += 1

    async def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        await asyncio.sleep(0)
        for text in texts:
            word, _, rest = text.partition(":")
            if word == "hang":
                self.begun.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise
            if word == "raise":
                raise TimeoutError(rest)
            if word == "cancel":
                raise asyncio.CancelledError(rest)
            if word == "wrong":
                return [[Match(0, len(text) + 1, "A")]]
        return [[HIT] for _ in texts]


class Unpicklable(Detector):
    name = "unpicklable"

    def __init__(self) -> None:
        self.text = lambda: CANARY

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return [[] for _ in texts]


@asynccontextmanager
async def scanner_of(
    *detectors: Detector,
    limit: float = LONG,
    queue_timeout: float = LONG,
    workers: int = 1,
    cache_size: int = 1024 * 1024,
) -> AsyncIterator[Scanner]:
    settings = Settings(
        guard_timeout=limit, queue_timeout=queue_timeout, scan_workers=workers, cache_size=cache_size
    )
    scanner = Scanner({"guard": Guard("guard", detectors)}, settings)
    await scanner.start()
    try:
        yield scanner
    finally:
        await scanner.stop()


def first(scanner: Scanner) -> DetectorRef:
    return scanner.refs("guard")[0]


async def test_refs_say_what_is_at_work() -> None:
    inline, remote = Inline(), Remote()
    guards = {"a": Guard("a", (inline,)), "b": Guard("b", (remote, Blockwise()))}
    scanner = Scanner(guards, Settings())
    assert scanner.refs("a") == (DetectorRef(0, "a", "inline", 8),)
    assert scanner.refs("b") == (DetectorRef(1, "b", "remote", None), DetectorRef(2, "b", "blockwise", None))
    assert not scanner.ready


async def test_a_detector_without_a_name_has_its_class_name() -> None:
    nameless = Inline()
    nameless.name = ""
    scanner = Scanner({"a": Guard("a", (nameless,))}, Settings())
    assert scanner.refs("a")[0].name == "Inline"


async def test_no_process_is_started_for_guards_that_need_none() -> None:
    before = set(multiprocessing.active_children())
    remote = Remote()
    async with scanner_of(Inline(), remote) as scanner:
        assert scanner.ready
        assert set(multiprocessing.active_children()) == before
        assert remote.loaded == 1
        for ref in scanner.refs("guard"):
            assert await scanner.scan(ref, ["a" * 100_000]) == [[HIT]]
    async with scanner_of() as scanner:
        assert scanner.ready
    assert not scanner.ready


async def test_short_texts_on_the_loop_longer_ones_in_a_worker(tmp_path: Path) -> None:
    def scanned_by() -> set[int]:
        """The processes that have scanned since the last call."""
        files = list(tmp_path.glob("by-*"))
        for file in files:
            file.unlink()
        return {int(file.name.removeprefix("by-")) for file in files}

    async with scanner_of(Short(tmp_path)) as scanner:
        ref = first(scanner)
        assert len(scanned_by()) == 2  # the trial, here and there
        assert await scanner.scan(ref, ["a" * 9]) == [[HIT]]
        assert scanner.scan_now(ref, "a" * 9) == [HIT]
        assert scanned_by() == {os.getpid()}
        assert scanner.scan_now(ref, "a" * 10) is None
        assert scanned_by() == set()
        meter = Meter()
        assert await scanner.scan(ref, ["a" * 10, ""], meter) == [[HIT], []]
        assert len(scanned_by()) == 2
        assert 0 < meter.seconds < LONG


async def test_remote_detectors_do_not_scan_now() -> None:
    async with scanner_of(Remote()) as scanner:
        assert scanner.scan_now(first(scanner), "a") is None


async def test_other_tasks_have_their_turn_between_batches_on_the_loop() -> None:
    inline = Inline()
    async with scanner_of(inline) as scanner:
        inline.seen.clear()
        scan = asyncio.create_task(scanner.scan(first(scanner), ["a" * BATCH] * 3))
        await asyncio.sleep(0)
        assert len(inline.seen) == 1
        assert await scan == [[HIT]] * 3


async def test_a_scanner_that_is_not_started_fails(tmp_path: Path) -> None:
    scanner = Scanner({"guard": Guard("guard", (Actor(tmp_path),))}, Settings())
    with pytest.raises(GuardFailed):
        await scanner.scan(first(scanner), ["a"])


# What is remembered.


async def test_blocks_are_remembered_and_windows_of_streams_are_not() -> None:
    blockwise, local = Blockwise(), Inline()
    async with scanner_of(blockwise, local) as scanner:
        of_blocks, of_windows = scanner.refs("guard")
        for ref in (of_blocks, of_blocks, of_windows, of_windows):
            assert await scanner.scan(ref, ["a" * 600]) == [[HIT]]
        assert blockwise.seen[1:] == [["a" * 600]]  # the first is the trial
        assert local.seen[1:] == [["a" * 600], ["a" * 600]]
        assert len(scanner.cache) == 1


async def test_whole_pieces_of_local_detectors_are_remembered() -> None:
    assert LOCAL_CACHED <= PIECE
    local = Inline()
    async with scanner_of(local) as scanner:
        local.seen.clear()
        for text in ("a" * PIECE, "b" * PIECE, "a" * PIECE):
            assert await scanner.scan(first(scanner), [text, text[:5]]) == [[HIT], [HIT]]
        seen = [text for batch in local.seen for text in batch]
        assert seen == ["a" * PIECE, "aaaaa", "b" * PIECE, "bbbbb", "aaaaa"]


async def test_what_was_found_in_slices_is_not_taken_for_whole_texts() -> None:
    async with scanner_of(Blockwise()) as scanner:
        ref = first(scanner)
        await scanner.scan(ref, ["text"])
        assert all(
            scanner.cache.get(scanner.slot(ref.guard, local=local), scanner.digest("text")) is None
            for local in (False, True)
        )


def test_digests_are_of_use_in_one_process_only() -> None:
    one, two = Scanner({}, Settings()), Scanner({}, Settings())
    assert one.digest("text") == one.digest("text") != two.digest("text")
    assert len(one.digest("text")) == 16


@given(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=20))
def test_digests_tell_texts_apart_lone_surrogates_too(left: str, right: str) -> None:
    scanner = Scanner({}, Settings())
    assert (scanner.digest(left) == scanner.digest(right)) is (left == right)
    assert scanner.digest("\ud800" + left) != scanner.digest("\ufffd" + left)


@given(st.lists(st.integers(0, BATCH + 10), max_size=20))
def test_batches_hold_every_text_once_in_order_and_little_enough(lengths: list[int]) -> None:
    texts = ["a" * length for length in lengths]
    groups = batches(texts, range(len(texts)))
    assert [index for group in groups for index in group] == list(range(len(texts)))
    lengths = [max(TEXT, length) for length in lengths]  # a hundred words are a hundred beginnings
    sums = [sum(lengths[index] for index in group) for group in groups]
    assert all(len(group) == 1 or length <= BATCH for group, length in zip(groups, sums, strict=True))
    for length, after in zip(sums, groups[1:], strict=False):
        assert length + lengths[after[0]] > BATCH


async def test_a_cancelled_clients_results_are_remembered(tmp_path: Path) -> None:
    async with scanner_of(BlockActor(tmp_path)) as scanner:
        ref = first(scanner)
        client = asyncio.create_task(scanner.scan(ref, ["wait:pid"]))
        await until(lambda: read(tmp_path / "pid"))
        client.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client
        (tmp_path / "go").touch()
        await scanner.scan(ref, ["the next in the queue"])
        assert await scanner.scan(ref, ["wait:pid"]) == [[HIT]]
        assert read(tmp_path / "scanned") == "x"


async def test_many_batches_spread_over_the_workers(tmp_path: Path) -> None:
    async with scanner_of(Actor(tmp_path), workers=2) as scanner:
        texts = ["wait:one", "a" * BATCH, "wait:two", "b" * BATCH, ""]
        scan = asyncio.create_task(scanner.scan(first(scanner), texts))
        await until(lambda: read(tmp_path / "one") and read(tmp_path / "two"))
        (tmp_path / "go").touch()
        assert await scan == [[HIT], [HIT], [HIT], [HIT], []]


# Failures.


async def failure(scanner: Scanner, word: str) -> GuardProxyError:
    """How scanning fails; no frame of ours keeps the text."""
    try:
        await scanner.scan(first(scanner), [f"{word}:{CANARY}"])
    except GuardProxyError as error:
        return error
    raise AssertionError("it did not fail")


def assert_silent(error: BaseException) -> None:
    """Nothing that can be shown of `error` holds the canary."""
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "scanning.py" in shown
    assert CANARY not in f"{error} {error!r} {error.args!r} {vars(error)!r} {shown}"


RAISED = "The guard 'guard' failed: its detector '{}' raised {}."
OUTSIDE = "The guard 'guard' failed: its detector '{}' returned a match that is empty or outside of its text."
UNNAMED = "The guard 'guard' failed: its detector '{}' returned a match whose category is not UPPER_SNAKE."
RAISES = {"raise": "TimeoutError", "cancel": "CancelledError"}
IN_A_WORKER = {"raise": "ValueError", "exit": "SystemExit"}
LATE = "The guard 'guard' failed: its detector '{}' ran for more than {} seconds."


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("named", UNNAMED.format("inline")),
        ("raise", RAISED.format("inline", "ValueError")),
        ("chained", RAISED.format("inline", "ValueError")),
        ("exit", RAISED.format("inline", "SystemExit")),
        ("cancel", RAISED.format("inline", "CancelledError")),
        ("wrong", OUTSIDE.format("inline")),
    ],
)
async def test_failures_on_the_loop_show_nothing_of_the_text(word: str, message: str) -> None:
    async with scanner_of(Inline()) as scanner:
        error = await failure(scanner, word)
        assert (type(error), str(error)) == (GuardFailed, message)
        assert_silent(error)
        with pytest.raises(GuardFailed) as caught:
            scanner.scan_now(first(scanner), f"{word}:{CANARY}")
        assert str(caught.value) == message
        assert_silent(caught.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("raise", RAISED.format("remote", "TimeoutError")),
        ("cancel", RAISED.format("remote", "CancelledError")),
        ("wrong", OUTSIDE.format("remote")),
        ("hang", LATE.format("remote", "0.2")),
    ],
)
async def test_failures_of_remote_detectors_show_nothing_of_the_text(word: str, message: str) -> None:
    async with scanner_of(Remote(), limit=0.2 if word == "hang" else LONG) as scanner:
        error = await failure(scanner, word)
        assert (type(error), str(error)) == (GuardFailed, message)
        assert isinstance(error, GuardFailed)
        assert error.kind == ("timeout" if word == "hang" else "raised")
        assert (error.detector, error.raised) == ("remote", RAISES.get(word))
        assert_silent(error)


async def test_failures_in_a_worker_show_nothing_of_the_text(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with scanner_of(Actor(tmp_path), limit=1.0) as scanner:
        for word, message in (
            ("raise", RAISED.format("actor", "ValueError")),
            ("exit", RAISED.format("actor", "SystemExit")),
            ("loop", LATE.format("actor", "1")),
        ):
            error = await failure(scanner, word)
            assert (type(error), str(error)) == (GuardFailed, message)
            assert isinstance(error, GuardFailed)
            assert error.kind == ("timeout" if word == "loop" else "raised")
            assert (error.detector, error.raised) == ("actor", IN_A_WORKER.get(word))
            assert_silent(error)
        assert await scanner.scan(first(scanner), ["a"]) == [[HIT]]
    assert CANARY not in (out := capfd.readouterr()).out + out.err + caplog.text


async def test_a_killed_worker_shows_nothing_of_the_text(tmp_path: Path) -> None:
    async with scanner_of(Actor(tmp_path)) as scanner:
        failing = asyncio.create_task(failure(scanner, "wait"))
        os.kill(int(await until(lambda: read(tmp_path / CANARY))), signal.SIGKILL)
        error = await asyncio.wait_for(failing, LONG)
        assert "ended its worker process" in str(error)
        assert isinstance(error, GuardFailed)
        assert (error.kind, error.detector, error.raised) == ("died", "actor", None)
        assert_silent(error)


async def test_a_full_queue_is_overload_not_failure(tmp_path: Path) -> None:
    async with scanner_of(Actor(tmp_path), queue_timeout=0.05) as scanner:
        busy = asyncio.create_task(scanner.scan(first(scanner), ["wait:pid"]))
        await until(lambda: read(tmp_path / "pid"))
        meter = Meter()
        error = await failure(scanner, "pid")
        assert (type(error), str(error)) == (
            Overloaded,
            "The guard 'guard' had no free worker for 0.05 seconds.",
        )
        assert isinstance(error, Overloaded)
        assert (error.kind, error.detector) == ("overloaded", "actor")
        assert meter.seconds == 0
        assert_silent(error)
        (tmp_path / "go").touch()
        assert await busy == [[HIT]]


async def test_a_failed_batch_stops_those_that_have_not_begun() -> None:
    inline = Inline()
    async with scanner_of(inline) as scanner:
        inline.seen.clear()
        with pytest.raises(GuardFailed):
            await scanner.scan(first(scanner), ["raise:", "a" * BATCH, "b" * BATCH])
        assert inline.seen == [["raise:"]]


async def test_a_cancelled_client_ends_its_remote_scan() -> None:
    remote = Remote()
    async with scanner_of(remote) as scanner:
        client = asyncio.create_task(scanner.scan(first(scanner), ["hang:"]))
        await asyncio.wait_for(remote.begun.wait(), LONG)
        client.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client
        assert remote.cancelled == 1


class LoadsNotInline(LoadsNot):
    name = "loadsnotinline"
    inline_below = UNLIMITED


async def test_a_guard_that_cannot_start_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    before = set(multiprocessing.active_children())
    for detector, message in (
        (Unpicklable(), "its detector 'unpicklable' cannot be sent to a worker process (pickling raised "),
        (LoadsNot(tmp_path), "loading its detector 'loadsnot' raised LookupError."),
        (LoadsNotInline(tmp_path), "loading its detector 'loadsnotinline' raised LookupError."),
    ):
        with pytest.raises(ConfigError) as caught:
            async with scanner_of(detector):
                raise AssertionError("it started")
        assert str(caught.value).startswith("The guard 'guard' cannot start: ")
        assert message in str(caught.value)
        assert_silent(caught.value)
    assert set(multiprocessing.active_children()) == before


async def test_a_meter_tells_what_was_scanned_from_what_was_known() -> None:
    scanner = Scanner(guards(), Settings())
    (ref,) = scanner.refs("names")
    meter = Meter()
    await scanner.scan(ref, ["one Zorp", "two"], meter)
    assert (meter.scanned, meter.cached) == (2, 0)
    await scanner.scan(ref, ["two", "three"], meter)
    assert (meter.scanned, meter.cached) == (3, 1)
    texts = ["one Zorp", "new"]
    for _ in range(2):
        await find(scanner, "names", texts, [scanner.digest(text) for text in texts], meter)
    assert (meter.scanned, meter.cached) == (4, 4)
