"""Facts of a request and a response that need no inspection: model, ids, token counts. Lenient."""

import codecs
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from guardproxy import document
from guardproxy.errors import Uninspectable
from guardproxy.exchange import Exchange
from guardproxy.shapes import GRAMMAR, TERMINAL
from guardproxy.types import Number, is_text


class _Head(msgspec.Struct):
    model: Any = None
    stream: Any = None


class _Answer(msgspec.Struct):
    id: Any = None
    model: Any = None
    status: Any = None
    usage: Any = None


class _Event(msgspec.Struct):
    type: Any = None
    response: _Answer | None = None


class _Traced(msgspec.Struct):
    trace: Any = None


class _Id(msgspec.Struct):
    id: Any = None


_OF_ID = msgspec.json.Decoder(_Id)
_TRACED = msgspec.json.Decoder(_Traced)
_HEAD = msgspec.json.Decoder(_Head)
_ANSWER = msgspec.json.Decoder(_Answer)
_LAST = msgspec.json.Decoder(_Event)
_LAST_LINES = 16  # of a stream: its last events, and blank ones
_FAILED = frozenset(("error", "response.failed"))
_STATUSES = frozenset(("completed", "failed", "incomplete", "cancelled", "in_progress", "queued"))
_USAGE = ("input_tokens", "output_tokens", "total_tokens")
_DETAILS = (
    ("input_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cache_write_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
)
MOST_TOKENS = 10**8
_COUNT = re.compile(r"[0-9]{1,8}")
TRACE_IDS = ("trace_id", "parent_span_id")
_ID = re.compile(r"[0-9A-Fa-f-]{16,36}")  # digits of an id are no text, whoever sent them
_MEMBER = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # the end of an attribute's name
MOST_MEMBERS = 32
LONGEST_MEMBER = 1000  # characters
MOST_READ = 256 * 1024  # bytes of an answer that are read for its facts


def of_request(exchange: Exchange, body: bytes) -> None:
    """Note what `body` says, which nobody has to have read: it may be no JSON."""
    try:
        head = _HEAD.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    of_document(exchange, {"model": head.model, "stream": head.stream})


def of_trace(exchange: Exchange, body: bytes) -> None:
    """Note the ids of the body's `trace` object (OpenRouter's), where it has them."""
    if b'"trace"' not in body:
        return
    try:
        traced = _TRACED.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    if isinstance(traced.trace, dict):
        given = {name: traced.trace.get(name) for name in TRACE_IDS}
        exchange.trace = {name: _id(value) for name, value in given.items() if value is not None}


def of_traced(exchange: Exchange, document: Mapping[str, Any]) -> None:
    """Note what a parsed request says of itself for traces alone: its session, and the members of `trace`."""
    if is_text(session := document.get("session_id")):
        exchange.session_id = session
    if isinstance(trace := document.get("trace"), dict):
        names = [name for name in trace if name not in TRACE_IDS and _MEMBER.fullmatch(name)]
        given = {name: _scalar(trace[name]) for name in names[:MOST_MEMBERS]}
        exchange.trace_members = {name: value for name, value in given.items() if value is not None}


def _scalar(value: Any) -> str | float | bool | None:
    """`value` as an attribute can have it; None for what is none."""
    if isinstance(value, Number):
        return (float(value) if set(value) & set(".eE") else int(value)) if len(value) < 16 else str(value)
    return value if isinstance(value, bool) or (is_text(value) and len(value) <= LONGEST_MEMBER) else None


def _id(value: Any) -> str:
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def of_document(exchange: Exchange, document: Mapping[str, Any]) -> None:
    """Note what a parsed request says."""
    exchange.model = label(document.get("model"))
    exchange.stream = document.get("stream") is True


def of_answer(exchange: Exchange, body: bytes, *names: str) -> None:
    """Note what a whole response says, under all of its `names` or these."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    found = msgspec.structs.asdict(answer)
    of_response(exchange, {name: found[name] for name in names} if names else found)


def id_of(body: bytes) -> object:
    """The id that a whole response says it has, whatever it is; None where it says none."""
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return _OF_ID.decode(body).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:  # what is JSON all the same, with a lone surrogate or a number that is too large
        found = document.parse(document.decode(body))
    except Uninspectable:
        return None
    return found.get("id") if isinstance(found, dict) else None


def id_in(event: bytes) -> object:
    """The id of the response that the data of an event tells of; None where it tells of none."""
    try:
        found = _LAST.decode(event).response
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None if found is None else found.id


def of_stream(exchange: Exchange, tail: bytes) -> bool:
    """Note what the last event of a stream says, by the stream's last bytes; whether it was an end.

    What cannot be read here counts as one: nobody knows better.
    """
    lines = tail.rsplit(b"\n", _LAST_LINES)
    told = [line[5:].strip() for line in lines if line.startswith(b"data:")]
    done = told[-1:] == [b"[DONE]"]
    try:
        event = _LAST.decode(told[-2 if done else -1])
    except (IndexError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True
    if not isinstance(kind := event.type, str):
        return True
    if event.response is not None:
        of_response(exchange, msgspec.structs.asdict(event.response))
    exchange.response_failed |= kind in _FAILED
    return done or kind in _FAILED or kind in TERMINAL or not kind.startswith("response.")


def of_response(exchange: Exchange, response: Mapping[str, Any]) -> None:
    """Note what a response object says."""
    exchange.response_id = label(response.get("id")) or exchange.response_id
    exchange.response_model = label(response.get("model")) or exchange.response_model
    if isinstance(status := response.get("status"), str) and status in _STATUSES:
        exchange.response_status = str(status)
        exchange.response_failed |= status == "failed"
    usage = response.get("usage")
    if isinstance(usage, dict):
        given = {name: usage.get(name) for name in _USAGE}
        for details, name in _DETAILS:
            given[name] = within.get(name) if isinstance(within := usage.get(details), dict) else None
        counts = {name: _count(value) for name, value in given.items()}
        exchange.usage |= {name: count for name, count in counts.items() if count is not None}


def _count(value: Any) -> int | None:
    """`value` where it is a number of tokens, as such or as the digits of a parsed document."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    digits = str(value) if isinstance(value, str) or value < MOST_TOKENS else ""
    # More digits than any count has could be a text that nobody inspected, such as a card's number.
    return int(digits) if _COUNT.fullmatch(digits) else None


def label(value: Any) -> str | None:
    """`value` where it fits the grammar of names: anything else could be a text that nobody inspected."""
    return value if is_text(value) and GRAMMAR.fullmatch(value) else None
