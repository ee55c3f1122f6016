"""What we say ourselves in a stream: numbers, the guards report, and an end when the upstream gave none."""

import time
from typing import Any

from guardproxy.document import Edits, dumps, member, with_members
from guardproxy.errors import GuardProxyError
from guardproxy.report import Reporter, own_id
from guardproxy.shapes import TERMINAL
from guardproxy.sse import frame


class Ending:
    """Remembers as much of a stream as its own events need."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._renumber: bool | None = None
        self._number = 0  # of the next event
        self._response: bytes | None = None  # the event that last carried the response
        self._items: dict[int, bytes] = {}  # output_item.done events by index
        self.last: bytes | None = None  # the event that ended the response
        self.begun = False

    def number(self, given: int | None, present: bool, edits: Edits) -> None:
        """Number an event where its upstream did not (`given`), or where events of ours come between.

        `present`: the event has the member, whatever its value.
        """
        if self._renumber is None:
            self._renumber = self._reporter.reserved > 0 or given is None
            self._number = given or 0  # a stream that goes on behind `starting_after` begins there
        if self._renumber or given is None:
            edits.put((), "sequence_number", str(self._number), present)
        else:
            self._number = given
        self._number += 1

    def saw(self, kind: str, data: bytes, item: int | None) -> None:
        """Note a delivered event; `item` is the index of its output item."""
        self.begun = True
        if kind in ("response.created", "response.in_progress", "response.queued"):
            self._response = data
        elif kind == "response.output_item.done" and item is not None:
            self._items[item] = data
        elif kind in TERMINAL:
            self.last = data

    def reported(self, kind: str, event: dict[str, Any], edits: Edits) -> list[bytes]:
        """Put the report into the terminal `event`, or the response that it lacks; the events before it."""
        response = event.get("response")
        if not isinstance(response, dict):
            edits.put((), "response", self._final(kind.rpartition(".")[2]), "response" in event)
            return self._items_told()
        output = response.get("output")
        if (report := self._reporter.field(items_fit=isinstance(output, list | None))) is not None:
            edits.put(("response",), "guards", dumps(report), "guards" in response)
        told = ",".join(dumps(item) for item in self._reporter.items())
        if output is None:
            edits.put(("response",), "output", self._output(), "output" in response)
        elif told and isinstance(output, list):
            edits.add(("response", "output"), told)
        return self._items_told()

    def completed(self) -> list[bytes]:
        """The terminal event that the upstream left out."""
        before = self._items_told()
        return [*before, self._event("response.completed", {"response": self._final("completed")})]

    def _items_told(self) -> list[bytes]:
        return [
            self._event(kind, {"output_index": str(index), "item": dumps(item)})
            for index, item in enumerate(self._reporter.items())
            for kind in ("response.output_item.added", "response.output_item.done")
        ]

    def failed(self, error: GuardProxyError) -> list[bytes]:
        """An error event (nested: every SDK raises on it) and `response.failed`."""
        envelope = error.envelope["error"]
        told = {"code": error.error_code, "message": error.message}
        final = self._final("failed", error=dumps(told))
        return [
            self._event("error", {"error": dumps(envelope)}),
            self._event("response.failed", {"response": final}),
        ]

    def _final(self, status: str, **members: str) -> str:
        """The last state of the response, as far as it was delivered."""
        base = member(self._response.decode(), ("response",)) if self._response else None
        members = {"status": dumps(status), "output": self._output(), **members}
        if (completer := self._reporter.completer) is not None:
            members |= completer.at_the_end(status)
        if (report := self._reporter.field()) is not None:
            members["guards"] = dumps(report)
        return with_members(base or self._bare(), members)

    def _output(self) -> str:
        """Our items, and those that were delivered."""
        items = [dumps(item) for item in self._reporter.items()]
        items += [member(data.decode(), ("item",)) or "{}" for _, data in sorted(self._items.items())]
        return f"[{','.join(items)}]"

    def _bare(self) -> str:
        exchange = self._reporter.exchange
        if self._reporter.completer is not None:
            return f'{{"id":{dumps(exchange.response_id)}}}' if exchange.response_id else "{}"
        return dumps(
            {
                "id": exchange.response_id or own_id(exchange),
                "object": "response",
                "created_at": int(time.time()),
                "model": exchange.model,
            }
        )

    def _event(self, kind: str, members: dict[str, str]) -> bytes:
        whole = {"type": dumps(kind), "sequence_number": str(self._number), **members}
        self._number += 1
        text = "{" + ",".join(f"{dumps(key)}:{value}" for key, value in whole.items()) + "}"
        if kind in TERMINAL:
            text = self._reporter.finished(text, kind)
            self.last = text.encode()
        return frame(text.encode(), kind).raw
