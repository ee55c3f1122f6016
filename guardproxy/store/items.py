"""The ids of what is stored. Pure."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from typing import Any

from guardproxy.document import escaped
from guardproxy.shapes import GRAMMAR
from guardproxy.store.values import Item

# How ids of an item of this type begin; providers look at that.
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fc", "reasoning": "rs"}


def key(name: str) -> str:
    """What stands for an id that a client or a provider chose: itself, or its digest where it is none."""
    if GRAMMAR.fullmatch(name):
        return name
    return "#" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def with_ids(items: Sequence[str]) -> list[Item]:
    """The items, each with an id of its own: without one that can be listed, or that is new, it gets one.

    Raises:
        ValueError: an item is no JSON object.
    """
    found: list[Item] = []
    seen: set[str] = set()
    for text in items:
        item = json.loads(text, parse_int=float)  # no int has more than 4,300 digits
        if not isinstance(item, dict):
            raise ValueError("an input item is no JSON object")
        given = item.get("id")
        if isinstance(given, str) and GRAMMAR.fullmatch(given) and given not in seen:
            made = Item(given, escaped(text), False)
        else:
            made = Item(_new_id(item), escaped(text), True)
        seen.add(made.id)
        found.append(made)
    return found


def _new_id(item: dict[str, Any]) -> str:
    kind = item.get("type", "message")  # which is what an item without a type is
    prefix = _PREFIXES.get(kind, "item") if isinstance(kind, str) else "item"
    return f"{prefix}_{secrets.token_hex(24)}"
