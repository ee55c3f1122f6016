"""What the store gives back. Pure."""

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
        """Its JSON with its id."""
        return with_members(self.body, {"id": quote(self.id)}) if self.own else self.body


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
