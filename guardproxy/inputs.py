"""Inspect a request's body, and make the body that is forwarded."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from guardproxy import document
from guardproxy.capture import Captured
from guardproxy.document import LARGE, Number, Walked
from guardproxy.errors import GuardProxyError, InvalidRequest, Uninspectable
from guardproxy.shapes import REQUEST
from guardproxy.stage import StageRun
from guardproxy.types import Path, Stage, TextPart, pointer

OWN = "opper:"  # the type of items that are ours, never the upstream's
# The type as it stands, or with an escaped letter, which no serialiser writes of its own accord.
_MAYBE_OWN = re.compile(rb"opper:|\\u00(?:6[Ff]|70|65|72|3[Aa])")
# What the API repeats of a request in the response. Nothing else may be left unjudged there: a client could
# forward the text that it wants to get, as an `output` or an `error` that the upstream passes over.
_ECHOED = frozenset(
    (
        *("background", "context_management", "conversation", "include", "instructions", "metadata", "model"),
        *("previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_retention", "reasoning"),
        *("safety_identifier", "service_tier", "text", "tool_choice", "tools", "truncation", "user"),
    )
)


class Forwarded(NamedTuple):
    """The body to forward, the texts in it that the response may repeat, and whether the body changed."""

    body: bytes
    echoes: Mapping[Path, str]
    changed: bool


class _Read(NamedTuple):
    text: str
    changed: bool
    document: Any
    walked: Walked


def stripped(body: bytes) -> bytes:
    """`body` less our own items in `input`; nothing else is looked at, and nothing raises."""
    if not _MAYBE_OWN.search(body):
        return body
    try:
        text = document.decode(body)
        new = _without_own(text, document.parse(text))
    except GuardProxyError:
        return body
    return body if new is text else new.encode()


async def inspect(
    run: StageRun | None,
    body: bytes,
    unscannable: Mapping[str, str],
    check: Callable[[Mapping[str, Any]], None] = lambda _: None,
    observe: Callable[[Mapping[str, Any]], None] = lambda _: None,
    *,
    needed: bool = True,
) -> Forwarded:
    """Run the guards of the input over `body`; without a run, only read it.

    `check` gets the request before any guard runs, and may raise. `observe` gets its members
    less those in which something was found. A body that is not `needed` may be missing; one that
    comes all the same has no echoes.

    Raises:
        InvalidRequest: the body cannot be inspected.
        GuardProxyError: a guard failed.
    """
    if not body:
        if not needed:
            return Forwarded(body, {}, False)
        raise InvalidRequest("The request has no body; send a JSON object.")
    read = await asyncio.to_thread(_read, body) if len(body) > LARGE else _read(body)
    check(read.document)
    parts = read.walked.parts
    found: set[Path] = set()
    texts: Mapping[Path, str] = {}
    new = read.text
    if run is not None:
        if run.captures:
            run.captured = Captured(Stage.INPUT, read.text, parts)
        run.count(parts, read.walked.skipped)
        run.unscannable(read.walked.skipped, unscannable)
        hits = await run.hits(parts, run.enforced, joined=True)
        run.watch(parts, document=read.document)
        edits = run.apply(parts, hits, document=read.document)
        found = {part.path for part, of_part in zip(parts, hits, strict=True) if of_part}
        if edits and not run.blocked:
            _check_sealed(run, read.document, edits)
            large = len(read.text) > LARGE
            new = await asyncio.to_thread(edits.apply, read.text) if large else edits.apply(read.text)
            texts = edits.texts
    observe({k: v for k, v in read.document.items() if (k,) not in found})
    echoes = {p.path: texts.get(p.path, p.text) for p in parts if needed and p.path and p.path[0] in _ECHOED}
    changed = read.changed or new is not read.text
    return Forwarded(new.encode() if changed else body, echoes, changed)


def model_of(body: bytes) -> str | None:
    """The model that a request asks for; None where it names none.

    Raises:
        InvalidRequest: the body is no JSON object, or one that could be read in two ways.
    """
    value = document.parse(document.decode(body)) if body else None
    if not isinstance(value, dict):
        raise InvalidRequest("The request has no body that is a JSON object; send a Responses request.")
    model = value.get("model")
    return model if isinstance(model, str) and not isinstance(model, Number) else None


def renamed(forwarded: Forwarded, plain: bytes, asked: str, model: str) -> Forwarded:
    """`forwarded`, which asks for `model` where the client asked for `asked`; `plain` is its body, decoded.

    A model that was redacted stays so.
    """
    text = document.decode(plain)
    if document.parse(text).get("model") != asked:
        return forwarded
    edits = document.Edits()
    edits.put((), "model", document.dumps(model), True)
    echoes = {**forwarded.echoes, ("model",): model} if forwarded.echoes else {}
    return Forwarded(edits.apply(text).encode(), echoes, True)


async def clean_label(run: StageRun, name: str, value: str | None) -> str | None:
    """The value of a client's label (a header such as X-Opper-Name); None where a guard found something.

    Raises:
        GuardProxyError: a guard failed.
    """
    if value is None:
        return None
    parts = [TextPart((name,), value)]
    hits = await run.hits(parts, run.enforced)
    run.watch(parts)
    run.apply(parts, hits)
    return None if hits[0] else value


async def inspect_query(run: StageRun, query: bytes) -> None:
    """Inspect the values of a query; they go on as they came, or not at all.

    Raises:
        InvalidRequest: one would have to be redacted.
        GuardProxyError: a guard failed.
    """
    values = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    parts = [TextPart((f"?{name}",), value) for name, value in values if value]
    hits = await run.hits(parts, run.enforced)
    run.watch(parts)
    run.apply(parts, hits)
    for part, of_part in zip(parts, hits, strict=True):
        if run.found.ranges(of_part) and not run.blocked:
            name = str(part.path[0]).removeprefix("?")
            raise InvalidRequest(
                f"The query's '{name}' would have to be redacted, and cannot be; leave it out.",
                param=pointer(part.path),
                code="uninspectable",
            )


def _read(body: bytes) -> _Read:
    text = document.decode(body)
    value = document.parse(text)
    if not isinstance(value, dict):
        raise Uninspectable("The body is no JSON object; send a Responses request.")
    new = _without_own(text, value)
    if new is not text:
        value = document.parse(new)
    return _Read(new, new is not text, value, document.walk(value, REQUEST))


def _without_own(text: str, value: Any) -> str:
    items = value.get("input") if isinstance(value, dict) else None
    own = {index for index, item in enumerate(items) if _is_own(item)} if isinstance(items, list) else set()
    return document.without(text, ("input",), own) if own else text


def _is_own(item: Any) -> bool:
    kind = item.get("type") if isinstance(item, dict) else None
    return isinstance(kind, str) and kind.startswith(OWN)


def _check_sealed(run: StageRun, value: Any, edits: document.Edits) -> None:
    """A redaction next to `encrypted_content` blocks: the sealed copy still says what was removed.

    Raises:
        InvalidRequest: names the item, and says to drop it.
    """
    for path in edits.texts:
        item: Any = value
        for depth, step in enumerate(document.outer(path)):
            sealed = isinstance(item, dict) and isinstance(item.get("encrypted_content"), str)
            if sealed and step != "encrypted_content":
                place = run.found.shown(pointer(path[:depth]))
                run.found.blocked = True
                raise InvalidRequest(
                    f"The item at {place} would have to be redacted, but its encrypted_content cannot be; "
                    "drop the item.",
                    param=place,
                    code="guardrail_violation",
                )
            if isinstance(step, str | int):
                item = item[step] if not isinstance(item, str) else item
