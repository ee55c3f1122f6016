"""How many spans of this process were exported, refused by a backend, or dropped from a full queue."""

import threading
from collections.abc import Callable, Mapping


class SpanCounts:
    """Sums since the process began, over all its exporters. Any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums = {"exported": 0, "failed": 0, "dropped": 0}

    def add(self, result: str, number: int) -> None:
        """Count spans by what became of them: `exported`, `failed` or `dropped`."""
        with self._lock:
            self._sums[result] += number

    def sums(self) -> Mapping[str, int]:
        """The sums by result."""
        with self._lock:
            return dict(self._sums)

    # What the SDK calls to measure its own batches (opentelemetry.sdk._shared_internal).

    def drop_items(self, count: int, error_type: str = "queue_full") -> None:
        """Spans were dropped: the queue is full, or closed already."""
        self.add("dropped", count)

    def finish_items(self, count: int) -> None:
        """Spans went to the exporter, which knows better how that ended."""

    def register_queue_size(self, get_queue_size: Callable[[], int]) -> None:
        """The queue's length is of no interest here."""


SPANS = SpanCounts()
