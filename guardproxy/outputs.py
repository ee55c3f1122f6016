"""Inspect a whole answer of the upstream, and make the one that the client gets."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from guardproxy import document
from guardproxy.agreement import follow
from guardproxy.document import LARGE, Edits, dumps
from guardproxy.errors import Uninspectable, UpstreamError
from guardproxy.places import delivered
from guardproxy.report import Reporter
from guardproxy.shapes import Shape
from guardproxy.stage import StageRun
from guardproxy.types import Path, PathMark, TextPart


async def inspect(
    run: StageRun,
    body: bytes,
    shape: Shape,
    echoes: Mapping[Path, str],
    unscannable: Mapping[str, str],
    reporter: Reporter,
    observe: Callable[[dict[str, Any]], None],
) -> bytes:
    """Run the guards of the output over `body`; the body to deliver, with the report.

    `observe` gets the response's members, less what was redacted, before the report is made.

    Raises:
        Violation: a guard blocked.
        UpstreamError: the body cannot be inspected, and a guard is on that may block or redact.
        GuardProxyError: a guard failed.
    """
    exchange = reporter.exchange
    text = _text(run, body)
    if text is None:
        return body
    try:
        value = await asyncio.to_thread(document.parse, text) if len(text) > LARGE else document.parse(text)
    except Uninspectable:
        return await _plain(run, text, reporter)
    if isinstance(value, dict | list):
        walked = document.walk(value, shape)
    else:
        return await _plain(run, text, reporter)
    parts = [part for part in walked.parts if echoes.get(part.path) != part.text]
    # Echoed keys are not judged, but paths go through them.
    keys = [p for p in walked.parts if p.path[-1:] == (PathMark.KEY,) and echoes.get(p.path) == p.text]
    run.count(parts, walked.skipped)
    run.unscannable(walked.skipped, unscannable)

    def place(path: Path) -> Path:
        return delivered(path, reporter.reserved)

    run.hide(keys, await run.hits(keys, run.guards), place)
    edits = run.apply(parts, await run.hits(parts, run.guards), place, value)
    dropped = follow(value, edits, lambda path: run.ranges_at(place(path)), run.placeholder)
    if dropped:
        run.count((), {"encrypted_dropped": dropped})
    if isinstance(value, dict):  # what was redacted is no fact; items of ours are named after the id
        observe({k: v for k, v in value.items() if (k,) not in edits.texts})
    _judge(run, reporter)
    if isinstance(value, dict) and exchange.status is not None and exchange.status < 300:
        _report(value, edits, reporter)
    return edits.apply(text).encode() if edits else body


def _text(run: StageRun, body: bytes) -> str | None:
    try:
        return document.decode(body)
    except Uninspectable:
        if run.holds:
            raise UpstreamError("The upstream's answer cannot be inspected: it is not UTF-8.") from None
        run.count((), {"file": 1})
        return None


async def _plain(run: StageRun, text: str, reporter: Reporter) -> bytes:
    """An answer that is no JSON document, like the error page of a gateway: one text."""
    part = TextPart((), text)
    run.count([part], {})
    edits = run.apply([part], await run.hits([part], run.guards))
    _judge(run, reporter)
    return edits.texts.get((), text).encode()


def _judge(run: StageRun, reporter: Reporter) -> None:
    if run.rules:
        reporter.exchange.verdicts[run.stage] = run.verdict()
    if run.blocked:
        raise reporter.violation()


def _report(value: dict[str, Any], edits: Edits, reporter: Reporter) -> None:
    if (report := reporter.field()) is not None:
        edits.put((), "guards", dumps(report), "guards" in value)
    if items := reporter.items():
        told = ",".join(dumps(item) for item in items)
        if isinstance(value.get("output"), list):
            edits.add(("output",), told)
        else:
            edits.put((), "output", f"[{told}]", "output" in value)
