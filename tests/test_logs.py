"""logs: events as JSON or for a console, and never a text, whoever logs it."""

import asyncio
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from guardproxy import logs
from guardproxy.settings import Settings
from tests.harness import logging_restored

CANARY = "canary-" + "5c1e" * 4


class Output(io.StringIO):
    def __init__(self, *, tty: bool = False) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging as it was before the test."""
    with logging_restored():
        yield


@pytest.fixture
def output() -> Output:
    output = Output()
    logs.configure(Settings(log_format="json"), output)
    return output


def raised() -> Exception:
    """An exception with a cause, both with the canary in message and frame."""
    local = CANARY
    try:
        try:
            raise KeyError(local)
        except KeyError as cause:
            raise ValueError(f"about {local}") from cause
    except ValueError as error:
        return error


def test_an_event_is_one_json_line(output: Output) -> None:
    structlog.get_logger("guardproxy.x").info("listening", address="http://127.0.0.1:1")
    (line,) = output.lines
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "listening", "level": "info", "address": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("word", "tty", "is_json"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("console", False, False)],
)
def test_the_format_is_asked_for_or_follows_the_terminal(word: str, tty: bool, is_json: bool) -> None:
    output = Output(tty=tty)
    logs.configure(Settings(log_format=word), output)
    structlog.get_logger("guardproxy").info("begun")
    assert output.getvalue().startswith("{") is is_json
    assert "begun" in output.getvalue()


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_the_least_that_is_logged(level: str, count: int) -> None:
    output = Output()
    logs.configure(Settings(log_format="json", log_level=level), output)
    log = structlog.get_logger("guardproxy")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name)
    assert len(output.lines) == count


def test_configured_twice_it_logs_once(output: Output) -> None:
    logs.configure(Settings(log_format="json"), output)
    structlog.get_logger("guardproxy").info("begun")
    assert len(output.lines) == 1


def test_a_failure_is_type_and_place(output: Output) -> None:
    logs.failure("scan_failed", raised(), guard="pii")
    (line,) = output.lines
    assert (line["event"], line["level"], line["guard"]) == ("scan_failed", "error", "pii")
    assert (line["error"], line["cause"]) == ("ValueError", "KeyError")
    assert line["place"].startswith("tests/test_logs.py:")
    assert line["place"].endswith(" in raised")
    assert CANARY not in output.getvalue()


def test_a_group_names_the_types_in_it() -> None:
    group = ExceptionGroup("x", [ValueError(CANARY), KeyError(CANARY), ValueError("y")])
    assert logs.describe(group) == {
        "error": "ExceptionGroup",
        "place": "unknown",
        "errors": "KeyError, ValueError",
    }


def test_a_type_that_is_not_built_in_has_its_module() -> None:
    assert logs.describe(asyncio.QueueEmpty())["error"] == "asyncio.queues.QueueEmpty"


def test_exceptions_in_events_lose_their_text(output: Output) -> None:
    log = structlog.get_logger("guardproxy")
    error = raised()
    log.error("a", found=error)
    log.error("b", exc_info=error)
    try:
        raise error
    except ValueError:
        log.exception("c")
    assert [line["event"] for line in output.lines] == ["a", "b", "c"]
    assert all("ValueError" in json.dumps(line) for line in output.lines)
    assert CANARY not in output.getvalue()


@pytest.mark.parametrize("name", ["uvicorn.error", "litestar", "aiohttp.client", "httpx", "asyncio"])
@pytest.mark.parametrize("format_", ["json", "console"])
def test_libraries_leave_no_text(name: str, format_: str) -> None:
    noisy = logging.getLogger(name)
    noisy.addHandler(logging.StreamHandler(own := io.StringIO()))
    noisy.propagate = False
    output = Output()
    logs.configure(Settings(log_format=format_, log_level="debug"), output)
    noisy.warning("said %s at https://x/y?q=%s", CANARY, CANARY)
    noisy.error(f"said {CANARY}")
    noisy.error(raised())
    noisy.error("failed\n", exc_info=raised())
    noisy.error("%d and %d", CANARY)  # cannot be formatted
    noisy.info("said %s", CANARY)
    assert output.getvalue().count("library_log") == 5
    assert "said %s at https://x/y" in output.getvalue()
    assert "ValueError" in output.getvalue()
    assert CANARY not in output.getvalue() + own.getvalue()


def test_a_librarys_record_has_its_place_in_the_code(output: Output) -> None:
    logging.getLogger("uvicorn.error").warning("x")
    (line,) = output.lines
    assert (line["event"], line["logger"], line["level"]) == ("library_log", "uvicorn.error", "warning")
    assert line["logged_at"].startswith("tests/test_logs.py:")


def test_bytes_that_are_no_http_have_a_hint(output: Output) -> None:
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("other").warning("Invalid HTTP request received.")
    assert [line.get("hint") for line in output.lines] == [
        "a client does not speak HTTP; TLS is not served",
        None,
    ]


def test_a_response_that_was_cut_is_told_by_its_exchange_alone(output: Output) -> None:
    logging.getLogger("uvicorn.error").error("ASGI callable returned without completing response.")
    logging.getLogger("uvicorn.error").error("ASGI callable returned without starting response.")
    assert len(output.lines) == 1


async def test_what_asyncio_logs_has_no_text(output: Output) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": f"said {CANARY}", "exception": raised()})
    assert output.lines[0]["error"] == "ValueError"
    assert CANARY not in output.getvalue()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("http://x/y?q=1", "http://x/y"),
        ("to https://u:p@x:1/y#f now", "to https://x:1/y now"),
        ("http://u@x", "http://x"),
        ("http://x?q=1 and http://z?q=2", "http://x and http://z"),
        ("what? https", "what? https"),
    ],
)
def test_urls_lose_user_query_and_fragment(output: Output, text: str, kept: str) -> None:
    structlog.get_logger("guardproxy").info("event", fact=text)
    assert output.lines[0]["fact"] == kept


def test_what_nobody_caught_has_no_text(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    logs.hook_uncaught()

    def crash() -> None:
        raise raised()

    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    error = raised()
    sys.excepthook(type(error), error, error.__traceback__)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(CANARY, RuntimeWarning, stacklevel=1)
    assert [line["event"] for line in output.lines] == ["thread_crashed", "crashed", "warned"]
    assert {line["error"] for line in output.lines[:2]} == {"ValueError"}
    assert output.lines[2]["warning"] == "RuntimeWarning"
    assert output.lines[2]["place"].startswith("tests/test_logs.py:")
    assert CANARY not in output.getvalue()
