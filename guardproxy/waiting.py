"""A stream's events on their way: what each came as, what changes, and what is kept of it while it waits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from guardproxy import document
from guardproxy.channels import Channel
from guardproxy.document import Edits
from guardproxy.places import Located, is_known
from guardproxy.shapes import EVENT, FREE, VOCABULARY, Opaque
from guardproxy.sse import Frame
from guardproxy.types import Number, Path, PathMark, is_text

_DELTAS = (("delta",), ("arguments",))

Leaf = tuple[Channel, Path, int, int]  # a delta's text: its channel, its place in the event, its range


@dataclass(slots=True)
class Event:
    """One event on its way: what it came as, and what changes."""

    frame: Frame
    text: str
    kind: str
    value: dict[str, Any]
    located: Located
    edits: Edits = field(default_factory=Edits)
    leaves: tuple[Leaf, ...] = ()


@lru_cache(maxsize=256)
def _shared(kind: str) -> str:
    """One string for all events of a kind."""
    return kind


@dataclass(slots=True)
class Waiting:
    """An event in the queue. Of a delta no more is kept than its delivery needs: there may be many."""

    kind: str
    named: bool
    data: bytes
    raw: bytes | None  # its bytes, where a frame of its data would not be the same
    sequence: int | None  # its number, where it has a proper one
    numbered: bool  # whether it has any
    logprobs: bool
    leaves: tuple[Leaf, ...]
    edits: Edits | None
    whole: Event | None
    arrived: float

    @classmethod
    def of(cls, event: Event, arrived: float) -> "Waiting":
        """What must be kept of `event`, which arrived at that time of `clock`."""
        frame, kind = event.frame, _shared(event.kind)
        plain = frame.plain(kind)
        # The name is a copy of the type: where that was redacted, the event has none.
        name = b"" if ("type",) in event.edits.texts else frame.name(kind)
        same = Frame(b"", b"", name).with_data(frame.data).raw == plain
        given = event.value.get("sequence_number")
        if not (isinstance(given, Number) and given.isascii() and given.isdecimal() and len(given) < 16):
            given = None
        return cls(
            kind,
            bool(name),
            frame.data,
            None if same else plain,
            None if given is None else int(given),
            "sequence_number" in event.value,
            bool(event.value.get("logprobs")),
            event.leaves,
            event.edits or None,
            None if event.leaves else event,
            arrived,
        )

    @property
    def size(self) -> int:
        """About the bytes that it takes."""
        return len(self.data) + 200

    @property
    def safe(self) -> bool:
        """Whether all of its text may be delivered."""
        return all(channel.safe >= end for channel, _, _, end in self.leaves)

    def render(self, edits: Edits, finish: Callable[[str, str], str] | None = None) -> tuple[bytes, bytes]:
        """Its data with `edits`, and what `finish` makes of that and its kind; and its bytes."""
        data = edits.apply(self.data.decode()).encode() if edits else self.data
        if finish is not None:
            text = data.decode()
            finished = finish(text, self.kind)
            data = data if finished is text else finished.encode()
        if data is self.data and self.raw is not None:
            return data, self.raw
        return data, Frame(b"", b"", self.kind.encode() if self.named else b"").with_data(data).raw


def kind_of(frame: Frame, event: Mapping[str, Any]) -> str:
    """The event's type; where it has none, its name, as far as that is a word of the API's."""
    if "type" not in event:
        kind = frame.event.decode("utf-8", "replace")
        return kind if VOCABULARY.fullmatch(kind) else ""
    kind = event["type"]
    return kind if is_text(kind) else ""


def leaves_of(kind: str, event: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """The texts of a delta event that join those before them.

    A number is one where the API has a text: whoever appends it makes one of it.
    """
    if not kind.endswith(".delta") and event.get("delta") is None:
        return []
    found: list[tuple[Path, str]] = []
    for path in _DELTAS:
        (key,) = path
        value = event.get(key)
        if isinstance(value, str) and (is_known(kind) or not isinstance(value, Number)):
            if not isinstance(EVENT.by_type.get(kind, {}).get(key), Opaque):
                found.append((path, value))  # the path itself: thousands may wait
        elif isinstance(value, dict | list):
            found += [
                ((*path, *part.path), part.text)
                for part in document.walk(value, FREE).parts
                if part.path[-1] is not PathMark.KEY and not part.structural
            ]
    if not found and event.get("delta") is None:  # a dialect of its own: whatever text it has is the delta
        return [
            ((key,), value) for key, value in event.items() if key not in EVENT.entries and is_text(value)
        ]
    return found
