"""Keeps the spans of one serving process: opens, changes and ends them, and ends those that nobody does."""

import threading
import time
from collections import Counter

import structlog

from guardproxy_spans.export import export
from guardproxy_spans.records import Record
from guardproxy_spans.table import Change, Table

_log = structlog.stdlib.get_logger("guardproxy.spans")
_SWEEP = 30.0  # seconds between two looks for spans that are over their time
TIME_LIMIT, TABLE_FULL, SHUTDOWN, DELETED = "time_limit", "table_full", "shutdown", "deleted"


class Keeper:
    """What a client asks for, done to the table and to the exporters. From any thread."""

    def __init__(self, table: Table, time_limit: float) -> None:
        self._table = table
        self._limit = time_limit
        self._stop = threading.Event()
        self._sweeper = threading.Thread(
            target=self._sweep_until_stopped, name="guardproxy-spans", daemon=True
        )
        self._started = False
        self._lock = threading.Lock()
        self._early: Counter[str] = Counter()  # spans that we ended, by why, since that was last logged

    def open(self, record: Record) -> None:
        """Keep a new span, or export it where its end is known already."""
        left = self._table.add(record, time.time())
        if left is not None:
            self._end_early([left.ended(time.time_ns(), TABLE_FULL)])
        if record.end is not None:
            export(record)
        with self._lock:
            if not self._started:  # nobody who opens no span has a thread for it
                self._started = True
                self._sweeper.start()

    def change(self, uuid: str, owner: str, change: Change) -> bool:
        """Change a client's span, and export it when that ends it; whether the client has such a span.

        One that has ended stays as it was: it has left.
        """
        record, ended = self._table.change(uuid, owner, change, time.time())
        if record is not None and ended:
            export(record)
        return record is not None

    def find(self, uuid: str, owner: str) -> Record | None:
        """A client's span."""
        return self._table.find(uuid, owner)

    def of_client(self, owner: str, trace: str | None = None) -> list[Record]:
        """A client's spans, those of one trace or all, the oldest first."""
        return self._table.of_client(owner, trace)

    def forget(self, owner: str, *, uuid: str | None = None, trace: str | None = None) -> bool:
        """Forget a client's span, or its spans of one trace; whether there were any.

        Those that are open end here, for what was opened below them has them as its parent.
        """
        found = self._table.remove(owner, uuid=uuid, trace=trace)
        for record in found:
            if record.end is None:
                export(record.ended(time.time_ns(), DELETED))
        return bool(found)

    def sweep(self) -> None:
        """End the spans that are over their time, and log how many of them and of others were ended early."""
        now = time.time_ns()
        self._end_early(
            self._table.expire(self._limit, time.time(), lambda record: record.ended(now, TIME_LIMIT))
        )
        with self._lock:
            early, self._early = self._early, Counter()
        if early:
            _log.warning("spans_ended_early", **early)

    def close(self) -> None:
        """End the spans that are open, unless another process goes on with them."""
        self._stop.set()
        if self._started:
            self._sweeper.join()
        now = time.time_ns()
        self._end_early([record.ended(now, SHUTDOWN) for record in self._table.close()])
        if self._early:
            _log.warning("spans_ended_early", **self._early)

    def _end_early(self, records: list[Record]) -> None:
        for record in records:
            export(record)
        with self._lock:
            self._early.update(record.unfinished for record in records if record.unfinished)

    def _sweep_until_stopped(self) -> None:
        while not self._stop.wait(min(_SWEEP, self._limit / 4)):
            try:
                self.sweep()
            except Exception:  # of the table: the next look may do better
                _log.exception("spans_not_swept")
