"""Exchanges as trees on a terminal: for demonstrations, and for whoever has no backend yet."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from guardproxy_tracing.names import GUARDRAIL_BLOCKED, LATEST, RESULT_EVENT, SETTLED

MOST_WAITING: Final = 10_000  # spans that wait for their exchange's; beyond it the oldest are not drawn
_WIDTH: Final = 1000  # a terminal breaks what is longer than itself; rich would cut it, in files, too
_CHECK: Final = "/v1/guard/check"  # the route that asks no provider
_STYLES: Final = {"flagged": "yellow", "redacted": "yellow"} | dict.fromkeys(
    ("blocked", "failed", "error"), "red"
)


def trees(spans: Sequence[ReadableSpan]) -> Iterator[Tree]:
    """`spans` as trees, one for each that has no parent among them; with durations and what guards found.

    The head of each names its trace, its span and the parent elsewhere, by which a chain can be followed.
    """
    ids = {_id(span) for span in spans}
    children: dict[int, list[ReadableSpan]] = defaultdict(list)
    roots: list[ReadableSpan] = []
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        above = span.parent.span_id if span.parent else None
        (children[above] if above in ids and above is not None else roots).append(span)

    def grow(tree: Tree, span: ReadableSpan) -> None:
        branch = tree.add(_line(span))
        for child in children[_id(span)]:
            grow(branch, child)

    for root in roots:
        tree = Tree(Text(_head(root), "dim"))
        grow(tree, root)
        yield tree


def _id(span: ReadableSpan) -> int:
    found: int = span.context.span_id
    return found


def _head(root: ReadableSpan) -> str:
    below = f"  below span {root.parent.span_id:016x}" if root.parent else ""
    return f"trace {root.context.trace_id:032x}  span {_id(root):016x}{below}"


def _line(span: ReadableSpan) -> Text:
    facts = span.attributes or {}
    took = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
    line = Text.assemble(span.name, "  ", (f"{took:.1f} ms", "cyan"))
    shadow = facts.get("guardproxy.guard.shadow") is True
    words = (facts.get(f"guardproxy.{name}") for name in ("outcome", "verdict.outcome", "guard.outcome"))
    if outcome := str(next(filter(None, words), "")):
        unseen = "dim" if outcome in ("not_run", "interrupted") else "green"
        line.append(f"  {'shadow: ' if shadow else ''}{outcome}", _STYLES.get(outcome, unseen))
    for event in span.events:
        if event.name == RESULT_EVENT:
            line.append(f"  {_result(event.attributes or {}, 'would ' if shadow else '')}", "yellow")
    failed = span.status.status_code is StatusCode.ERROR
    status = facts.get("http.response.status_code")
    error = facts.get("error.type", "error" if failed else None)
    if status is not None and str(status) != error:
        line.append(f"  {status}", "dim")
    if error is not None and not (error == GUARDRAIL_BLOCKED and outcome == "blocked"):
        line.append(f"  {error}", "red" if failed else "dim")
    for remark, style in _remarks(span, facts):
        line.append(f"  {remark}", style)
    return line


def _remarks(span: ReadableSpan, facts: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    if facts.get("guardproxy.terminal_added"):
        yield "guardproxy made the terminal event", "yellow"
    asks = facts.get("http.request.method") == "POST" and facts.get("http.route") != _CHECK
    if span.kind is SpanKind.SERVER and asks and "guardproxy.upstream.seconds" not in facts:
        yield "the provider was not called", "dim"
    if facts.get("guardproxy.parent.unusable"):
        yield "the parent that was named is none", "yellow"


def _result(facts: Mapping[str, object], would: str) -> str:
    names = SETTLED if SETTLED.category in facts else LATEST
    return (
        f"{facts.get(names.category)} ×{facts.get(names.count)} ({would}{facts.get(names.action, 'found')})"
    )


class TreePrinter(SpanProcessor):
    """Draws each exchange when it is over, on `console` (default: standard output)."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(width=_WIDTH)
        self._waiting: dict[int, ReadableSpan] = {}
        self._lock = threading.Lock()

    def on_end(self, span: ReadableSpan) -> None:
        """Keep an inner span for its tree; draw the tree of one that begins here."""
        with self._lock:
            self._waiting[_id(span)] = span
            if span.parent is not None and not span.parent.is_remote:
                if len(self._waiting) > MOST_WAITING:
                    del self._waiting[next(iter(self._waiting))]
                return
            below = self._below(span)
        for tree in trees(below):
            self._console.print(tree)

    def _below(self, root: ReadableSpan) -> list[ReadableSpan]:
        """The spans of one tree, which wait no longer. Inner ones ended before outer ones."""
        found = {_id(root)}
        for span_id, span in reversed(list(self._waiting.items())):
            if span.parent is not None and span.parent.span_id in found:
                found.add(span_id)
        return [self._waiting.pop(span_id) for span_id in list(self._waiting) if span_id in found]
