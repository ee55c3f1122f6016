"""Inspect a whole answer of the upstream, and make the one that the client gets."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from guardproxy import document, facts
from guardproxy.agreement import follow
from guardproxy.capture import Captured
from guardproxy.document import Edits, Walked, dumps
from guardproxy.encodings import is_like_utf8
from guardproxy.errors import Uninspectable, UpstreamError
from guardproxy.places import delivered
from guardproxy.report import Reporter
from guardproxy.shapes import Shape
from guardproxy.stage import StageRun
from guardproxy.threads import off_loop
from guardproxy.types import Path, PathMark, Stage, TextPart

JSON_TYPE = re.compile(r"[/+-]json\b", re.IGNORECASE)
_DATA = re.compile(r"\s*[\[{\"]")
_EVENT = re.compile(r"(?:\A|[\r\n])(?:data|event)(?:[:\r\n]|\Z)")  # a line of a stream that is not called one


async def inspect(
    run: StageRun,
    body: bytes,
    shape: Shape,
    echoes: Mapping[Path, str],
    unscannable: Mapping[str, str],
    reporter: Reporter,
    observe: Callable[[dict[str, Any], object], None],
    content_type: str = "",
) -> bytes:
    """Run the guards of the output over `body`; the body to deliver, with the report.

    `observe` gets the response's members, less what was found, and its id all the same, before the report
    is made.

    Raises:
        Violation: a guard blocked.
        UpstreamError: the body cannot be inspected, and a guard is on that may block or redact.
        GuardProxyError: a guard failed.
    """
    exchange = reporter.exchange
    text = _text(run, body, unscannable, content_type)
    if text is None:
        observe({}, facts.id_of(body))
        judge(run, reporter)
        return body
    mark = "\ufeff" if text.startswith("\ufeff") else ""  # a byte order mark is no text, and stays
    text = text.removeprefix(mark)
    try:
        # Where no guard is on, only our own members are put into the answer.
        value, walked = await off_loop(len(text), _read, text, shape if run.rules else None)
    except Uninspectable as error:
        # A client may be able to read what strict JSON is not, with its escapes, or piece by piece.
        if JSON_TYPE.search(content_type) or _DATA.match(text):
            _refuse(run, unscannable, error.message)
        elif _EVENT.search(text):
            _refuse(run, unscannable, "It is a stream whose type is not text/event-stream.")
        observe({}, facts.id_of(body))
        return (mark + await _plain(run, text, reporter)).encode()
    parts = [part for part in walked.parts if echoes.get(part.path) != part.text]
    # Echoed keys are not judged, but paths go through them.
    keys = [p for p in walked.parts if p.path[-1:] == (PathMark.KEY,) and echoes.get(p.path) == p.text]
    run.count(parts, walked.skipped)
    run.unscannable(walked.skipped, unscannable)

    def place(path: Path) -> Path:
        return delivered(path, reporter.reserved)

    if run.captures:
        run.captured = Captured(Stage.OUTPUT, text, parts, place)
    run.hide(keys, await run.hits(keys, run.enforced), place)
    hits = await run.hits(parts, run.enforced, joined=True)
    run.watch(parts, place, value, keys)
    edits = run.apply(parts, hits, place, value)
    dropped = follow(value, edits, lambda path: run.found.ranges_at(place(path)), run.placeholder)
    if dropped:
        run.count((), {"encrypted_dropped": dropped})
    if isinstance(value, dict):  # what was found is no fact; items of ours are named after the id
        found = {part.path for part, of_part in zip(parts, hits, strict=True) if of_part}
        observe({k: v for k, v in value.items() if (k,) not in found}, value.get("id"))
    judge(run, reporter)
    if isinstance(value, dict) and exchange.status is not None and exchange.status < 300:
        _report(value, edits, reporter)
    return (mark + edits.apply(text)).encode() if edits else body


def _read(text: str, shape: Shape | None) -> tuple[Any, Walked]:
    value = document.parse(text)
    return value, Walked([], {}) if shape is None else document.walk(value, shape)


def _text(run: StageRun, body: bytes, unscannable: Mapping[str, str], content_type: str) -> str | None:
    try:
        text = document.decode(body)
    except Uninspectable:
        text = "\0"
    if "\0" in text or not is_like_utf8(content_type):
        _refuse(run, unscannable, "It is not UTF-8.")
        return None
    return text


def _refuse(run: StageRun, unscannable: Mapping[str, str], why: str) -> None:
    """An answer that cannot be inspected passes only where nothing would be held back of it."""
    if run.holds:
        raise UpstreamError(f"The upstream's answer cannot be inspected. {why}")
    run.unread = True
    run.count((), {"file": 1})
    run.unscannable({"file": 1}, unscannable)


async def _plain(run: StageRun, text: str, reporter: Reporter) -> str:
    """An answer that is no JSON document, like the error page of a gateway: one text."""
    part = TextPart((), text)
    run.count([part], {})
    edits = run.apply([part], await run.hits([part], run.enforced))
    run.watch([part])
    judge(run, reporter)
    return edits.texts.get((), text)


def judge(run: StageRun, reporter: Reporter) -> None:
    """Make the verdict known.

    Raises:
        Violation: a guard blocked.
    """
    if run.rules:
        reporter.exchange.verdicts[run.stage] = run.verdict()
    if run.blocked:
        raise reporter.violation()


def _report(value: dict[str, Any], edits: Edits, reporter: Reporter) -> None:
    output = value.get("output")
    if (report := reporter.field(items_fit=isinstance(output, list | None))) is not None:
        edits.put((), "guards", dumps(report), "guards" in value)
    told = ",".join(dumps(item) for item in reporter.items())
    if told and isinstance(output, list):
        edits.add(("output",), told)
    elif told and output is None:
        edits.put((), "output", f"[{told}]", "output" in value)
