"""Where the texts of a stream's events stand in the response, and the indexes that an upstream left out.

Some upstreams (llama.cpp's server) send no `output_index`, `content_index` or `summary_index`; the
OpenAI SDKs' stream helpers need them. They follow from the order of the events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guardproxy.types import Path

# An event's stem (its type without the last word): the list of the item that its text is in, the
# field that holds the index there, and the name of the text. None: the text is the item's own.
_LISTS: Mapping[str, tuple[Path, str] | None] = {
    "response.output_item": None,
    "response.content_part": (("content",), "content_index"),
    "response.output_text": (("content",), "content_index"),
    "response.output_text.annotation": (("content",), "content_index"),
    "response.refusal": (("content",), "content_index"),
    "response.reasoning_text": (("content",), "content_index"),
    "response.reasoning": (("content",), "content_index"),
    "response.reasoning_summary_part": (("summary",), "summary_index"),
    "response.reasoning_summary_text": (("summary",), "summary_index"),
    "response.reasoning_summary": (("summary",), "summary_index"),
    "response.function_call_arguments": None,
    "response.function_call": None,
    "response.mcp_call_arguments": None,
    "response.mcp_call.arguments": None,
    "response.custom_tool_call_input": None,
    "response.code_interpreter_call_code": None,
    "response.shell_call_command": (("action", "commands"), "command_index"),
    "response.shell_call_output_content": (("output",), "command_index"),
}
_NAMES: Mapping[str, str | None] = {  # None: the element of the list is the text
    "response.refusal": "refusal",
    "response.function_call_arguments": "arguments",
    "response.function_call": "arguments",
    "response.mcp_call_arguments": "arguments",
    "response.mcp_call.arguments": "arguments",
    "response.custom_tool_call_input": "input",
    "response.code_interpreter_call_code": "code",
    "response.shell_call_command": None,
    "response.shell_call_output_content": None,
}
_TEXTS = ("delta", "text", "arguments", "refusal", "input", "code", "command")
_NO_ID = "response.shell_call_command."  # these events have no `item_id` by design
# What tells the texts of unknown events apart; no vendor's index, which may count the deltas of one text.
_TELLING = ("item_id", "call_id", "content_index", "summary_index", "command_index")


@dataclass(frozen=True, slots=True)
class Located:
    """An event's place: its output item, its part in that item, and the members that it lacks.

    Of an event that the API does not know, `others` are its indexes and ids.
    """

    stem: str
    item: int | None = None
    part: Path | None = None
    missing: Mapping[str, int | str] = field(default_factory=dict)
    reserved: int = 0
    others: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the text of its deltas is inspected when it is complete: a client acts on tool calls.

        Code of the interpreter and results of calls are only shown.
        """
        return "_call" in self.stem and "_output" not in self.stem and not self.stem.endswith("_call_code")

    def path(self, path: Path) -> Path:
        """The place in the response of the text at `path` of the event."""
        head, rest = path[0], path[1:]
        if head == "response":
            return delivered(rest, self.reserved)
        if self.item is None:
            return path
        base: Path = ("output", self.item + self.reserved)
        if head == "item":
            return (*base, *rest)
        if self.part is not None:
            base = (*base, *self.part)
        if head == "part":
            return (*base, *rest)
        if head in _TEXTS and self.stem in _LISTS:
            name = _NAMES.get(self.stem, "text")
            return (*base, *(() if name is None else (name,)), *rest)
        return (*base, *path)

    @property
    def channel(self) -> Path:
        """What deltas of one text have in common."""
        return (self.stem, -1 if self.item is None else self.item, *(self.part or ()), *self.others)

    def covers(self, channel: Path) -> bool:
        """Whether the end of this event's item or part ends the text of `channel`."""
        if self.stem == "response.output_item":
            return channel[1] == self.item
        if self.stem in ("response.content_part", "response.reasoning_summary_part"):
            return channel[1] == self.item and channel[2:] == self.part
        return channel == self.channel


def is_known(kind: str) -> bool:
    """Whether the API has events of this kind, or of this kind but for the last word."""
    return kind.rpartition(".")[0] in _LISTS


def delivered(path: Path, reserved: int) -> Path:
    """A path of the upstream's response in the delivered one, which begins with `reserved` items of ours."""
    if reserved and len(path) > 1 and path[0] == "output" and isinstance(path[1], int):
        return ("output", path[1] + reserved, *path[2:])
    return path


@dataclass(slots=True)
class _Item:
    index: int
    id: str | None
    parts: dict[Path, int] = field(default_factory=dict)  # parts begun, by list


class Places:
    """Follows a stream's items and parts; `reserved` output items of ours come first."""

    def __init__(self, reserved: int = 0) -> None:
        self._reserved = reserved
        self._items: dict[str, _Item] = {}
        self._last: _Item | None = None
        self._count = 0

    def locate(self, kind: str, event: Mapping[str, Any]) -> Located:
        """Where `event` (its type is `kind`) belongs. Call it for each event, in order."""
        stem = kind.rpartition(".")[0]
        if stem not in _LISTS:
            index = _number(event.get("output_index"))
            others = tuple(f"{key}={value}" for key in _TELLING if isinstance(value := event.get(key), str))
            return Located(stem, index, reserved=self._reserved, others=others)
        missing: dict[str, int | str] = {}
        item = self._item(kind, event, missing)
        part: Path | None = None
        if (place := _LISTS[stem]) is not None:
            holder, key = place
            index = _number(event.get(key))
            if index is None:
                begins = kind.endswith(("part.added", "command.added"))
                index = item.parts.get(holder, 0) - (0 if begins else 1)
                index = missing[key] = max(index, 0)
            item.parts[holder] = max(item.parts.get(holder, 0), index + 1)
            part = (*holder, index)
        return Located(stem, item.index, part, missing, self._reserved)

    def _item(self, kind: str, event: Mapping[str, Any], missing: dict[str, int | str]) -> _Item:
        own = event.get("item")
        item_id = own.get("id") if isinstance(own, dict) else event.get("item_id")
        item_id = item_id if isinstance(item_id, str) else None
        index = _number(event.get("output_index"))
        item = self._items.get(item_id) if item_id is not None else self._last
        if index is None:
            if item is None or (kind == "response.output_item.added" and item_id is None):
                item = _Item(self._count, item_id)
            missing["output_index"] = item.index
        elif item is None or item.index != index:
            item = _Item(index, item_id)
        if item_id is not None:
            self._items[item_id] = item
        elif item.id is not None and own is None and not kind.startswith(_NO_ID):
            missing["item_id"] = item.id
        self._count = max(self._count, item.index + 1)
        self._last = item
        return item


def _number(value: Any) -> int | None:
    """The small whole number that `value` (a number literal) is."""
    return (
        int(value)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 7
        else None
    )
