"""What the store gives back. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from guardproxy.document import dumps, quote, with_members


class Item(NamedTuple):
    """An input item: its id, and its JSON as it was sent on. An id of our `own` is not in it."""

    id: str
    body: str
    own: bool

    @property
    def listed(self) -> str:
        """Its JSON as the API lists it: with an id and a type, a message's text as a part of its content."""
        item = json.loads(self.body, parse_int=float)  # no int has more than 4,300 digits
        members = {"id": quote(self.id)} if self.own else {}
        if item.get("type", "message") == "message":
            if "type" not in item:
                members["type"] = quote("message")
            if isinstance(text := item.get("content"), str):
                kind = "output_text" if item.get("role") == "assistant" else "input_text"
                rest: dict[str, Any] = {"annotations": []} if kind == "output_text" else {}
                members["content"] = dumps([{"type": kind, "text": text, **rest}])
        return with_members(self.body, members) if members else self.body


@dataclass(frozen=True, slots=True)
class Stored:
    """A response: its JSON, and the policy that it was made under."""

    body: str
    policy: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the input items of a response, and whether there are more behind them."""

    items: tuple[Item, ...]
    has_more: bool

    def json(self) -> str:
        """The list object that a client gets."""
        first, last = (self.items[0].id, self.items[-1].id) if self.items else (None, None)
        rest = dumps({"first_id": first, "last_id": last, "has_more": self.has_more})
        return f'{{"object":"list","data":[{",".join(item.listed for item in self.items)}],{rest[1:]}'


class Pruned(NamedTuple):
    """How much was removed."""

    responses: int
    turns: int
