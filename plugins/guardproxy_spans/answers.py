"""What GET tells of spans and traces, in the words that Opper's SDK reads: facts, and no text."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from guardproxy_spans.records import Record, ids_of, trace_uuid

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def of_span(record: Record) -> dict[str, Any]:
    """A span."""
    return {
        "id": record.id,
        "trace_id": record.trace,
        "name": record.name,
        "parent_id": record.parent,
        "type": record.type,
        "start_time": _iso(record.start),
        "end_time": None if record.end is None else _iso(record.end),
        "created_at": _iso(int(record.opened * 1_000_000) * 1000),
        "status": _status([record]),
    }


def of_unknown(uuid: str) -> dict[str, Any]:
    """A span of which only the id is known."""
    return {"id": uuid, "trace_id": trace_uuid(ids_of(uuid)[0]), "name": "span"}


def of_traces(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The traces of spans (the oldest first), the newest first. A trace is called as its first span is."""
    by_trace: dict[str, list[Record]] = {}
    for record in records:
        by_trace.setdefault(record.trace, []).append(record)
    return [_trace(uuid, spans) for uuid, spans in reversed(by_trace.items())]


def _trace(uuid: str, spans: list[Record]) -> dict[str, Any]:
    start = min(span.start for span in spans)
    ends = [span.end for span in spans if span.end is not None]
    end = max(ends) if len(ends) == len(spans) else None
    return {
        "id": uuid,
        "name": spans[0].name,
        "span_count": len(spans),
        "start_time": _iso(start),
        "end_time": None if end is None else _iso(end),
        "duration_ms": None if end is None else (end - start) // 1_000_000,
        "status": _status(spans),
    }


def _status(spans: list[Record]) -> str:
    if any(span.failed for span in spans):
        return "error"
    return "in_progress" if any(span.end is None for span in spans) else "completed"


def _iso(nanoseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=nanoseconds // 1000)).isoformat()
