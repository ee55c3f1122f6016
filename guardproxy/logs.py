"""Logging: one structlog set-up for us and the libraries, which never writes a text that passed through.

What we log ourselves are events with facts. A library's message may quote anything (asyncio quotes
the exception, HTTP clients the URL), so of its records only the logger, the place of the call and the
template of the message are kept. An exception is its type and the place where it was raised: its
message and its frames' variables are never written.
"""

import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePath
from types import MappingProxyType, TracebackType
from typing import Any, TextIO

import structlog

from guardproxy.exchange import Exchange
from guardproxy.settings import Settings

_URL = re.compile(r"(\bhttps?://)(?:[^\s/?#@]*@)?([^\s?#]*)[?#]?\S*")
# uvicorn's word for a response that was cut; `exchange` says which, and why.
_CUT = "ASGI callable returned without completing response."
_log = structlog.stdlib.get_logger("guardproxy")
_within: ContextVar[Mapping[str, str]] = ContextVar("guardproxy_exchange", default=MappingProxyType({}))


class Handler(logging.StreamHandler[TextIO]):
    """Our one handler on the root logger; its type tells it from others' when logging is configured again."""


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Log to `stream` (default: standard error), for us and for every library. Can be called again."""
    stream = sys.stderr if stream is None else stream
    console = settings.log_format == "console" or (settings.log_format == "auto" and stream.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if console
        else structlog.processors.JSONRenderer()
    )
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _add_ids,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            stamp,
            _without_text,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # so that it can be configured again
    )
    handler = Handler(stream)
    handler.addFilter(_is_news)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                stamp,
                _foreign,
                _add_ids,
                structlog.contextvars.merge_contextvars,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            # Formatting a foreign message could fail on its arguments; only its template is kept anyway.
            use_get_message=False,
            pass_foreign_args=True,
        )
    )
    _route_libraries()
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    # When a record cannot be formatted, logging would print its arguments.
    logging.raiseExceptions = False


@contextmanager
def within(exchange: Exchange) -> Iterator[None]:
    """What is logged in the block, by whomever, begins with the ids of `exchange`."""
    ids = {"exchange": exchange.id, "trace_id": exchange.trace_id, "span_id": exchange.span_id}
    # Not the exchange: a connection that is opened in the block keeps its context as long as it lives.
    token = _within.set({name: value for name, value in ids.items() if value is not None})
    try:
        yield
    finally:
        _within.reset(token)


def _add_ids(_: Any, __: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # structlog's own context variables are one for each name: three to set and to reset in each exchange.
    for name, value in _within.get().items():
        facts.setdefault(name, value)
    return facts


def _route_libraries() -> None:
    """Let the records of loggers that libraries have set up go to the root only."""
    for logger in logging.getLogger().manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            for handler in list(logger.handlers):
                logger.removeHandler(handler)
            logger.propagate = True


def _is_news(record: logging.LogRecord) -> bool:
    if isinstance(record.msg, dict):  # ours
        return True
    return record.levelno >= logging.WARNING and (record.name, record.msg) != ("uvicorn.error", _CUT)


def failure(event: str, error: BaseException, **facts: Any) -> None:
    """Log `event` as an error, with the type and the place of `error` and of its cause, never its message."""
    _log.error(event, **describe(error), **facts)


def describe(error: BaseException) -> dict[str, str]:
    """The facts of an exception that may be logged: `error` and `place`, and those of its cause."""
    facts = {"error": _type_name(error), "place": _place(error.__traceback__)}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        facts |= {"cause": _type_name(cause), "cause_place": _place(cause.__traceback__)}
    if isinstance(error, BaseExceptionGroup):
        facts["errors"] = ", ".join(sorted({_type_name(inner) for inner in error.exceptions}))
    return facts


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _place(traceback: TracebackType | None) -> str:
    """Where it was raised: the innermost frame, as `folder/file.py:line in function`."""
    if traceback is None:
        return "unknown"
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return _spelled(code.co_filename, traceback.tb_lineno, code.co_name)


def _spelled(file: str, line: int, function: str | None) -> str:
    place = f"{'/'.join(PurePath(file).parts[-2:])}:{line}"
    return f"{place} in {function}" if function else place


def _without_text(_: Any, __: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn exceptions into type and place, and cut users and queries from URLs."""
    found = facts.pop("exc_info", None)
    facts.pop("stack_info", None)
    if found:
        error = _exception(found)
        if error is not None:
            facts.update(describe(error))
    for name, value in facts.items():
        if isinstance(value, BaseException):
            facts[name] = f"{_type_name(value)} at {_place(value.__traceback__)}"
        elif isinstance(value, str):
            facts[name] = without_query(value)
    return facts


def _exception(found: Any) -> BaseException | None:
    if isinstance(found, BaseException):
        return found
    error = found[1] if isinstance(found, tuple) else sys.exc_info()[1]
    return error if isinstance(error, BaseException) else None


def without_query(text: str) -> str:
    """`text` whose URLs have lost their user, query and fragment."""
    return _URL.sub(r"\1\2", text) if "://" in text else text  # few texts are worth a search


def _foreign(_: Any, __: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A library's record: which logger, where in its code, and the message's template when it is one."""
    record: logging.LogRecord = facts["_record"]
    kept = {
        name: facts[name] for name in ("level", "timestamp", "_record", "_from_structlog") if name in facts
    }
    kept |= {
        "event": "library_log",
        "logger": record.name,
        "logged_at": _spelled(record.pathname, record.lineno, record.funcName),
    }
    if facts.get("positional_args") and isinstance(record.msg, str):
        kept["template"] = without_query(record.msg)
    if record.name == "uvicorn.error" and str(record.msg).startswith("Invalid HTTP request"):
        kept["hint"] = "a client does not speak HTTP; TLS is not served"
    error = _exception(record.exc_info) if record.exc_info else None
    if error is not None:
        kept |= describe(error)
    return kept


def hook_uncaught() -> None:
    """Log what nobody caught (threads', finalisers' errors, warnings) instead of printing its text."""

    def main_thread(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
        failure("crashed", error)

    def other_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None:
            failure("thread_crashed", found.exc_value)

    def unraisable(found: Any) -> None:
        if found.exc_value is not None:
            failure("unraisable", found.exc_value)

    def warned(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **__: object
    ) -> None:
        _log.warning("warned", warning=category.__qualname__, place=_spelled(filename, lineno, None))

    sys.excepthook, threading.excepthook, sys.unraisablehook = main_thread, other_thread, unraisable
    warnings.showwarning = warned
