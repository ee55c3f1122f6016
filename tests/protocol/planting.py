"""Build documents of the protocol from places.txt, with a text of the test's in each string."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("places.txt")
VARIANTS = 4  # a place holds at most so many different things
Where = tuple[str | int, ...]
Plant = Callable[[Where], str]


@dataclass
class Node:
    """What one place can hold: kinds of the table, members, and elements."""

    kinds: set[str] = field(default_factory=set)
    members: dict[str, "Node"] = field(default_factory=dict)
    element: "Node | None" = None

    def at(self, place: str) -> "Node":
        """The node at a place of the table."""
        node = self
        for step in place.replace("[]", ".[]").strip(".").split("."):
            if step == "[]":
                node.element = node = node.element or Node()
            else:
                node = node.members.setdefault(step, Node())
        return node

    @property
    def alternatives(self) -> list[str]:
        """The different things that the place can hold."""
        found = {"string" if kind == "enum" else kind for kind in self.kinds}
        if "any" in found:
            found = {*found - {"any"}, "string", "object"}
        return sorted(found) + ["members"] * bool(self.members) + ["elements"] * (self.element is not None)


def table() -> dict[str, dict[str, Node]]:
    """The table: by group and type ("" where the group has none) what the object holds."""
    groups: dict[str, dict[str, Node]] = {}
    for line in TABLE.read_text("utf-8").splitlines():
        head, _, places = line.partition(": ")
        group, _, kind = head.partition(" ")
        root = groups.setdefault(group, {})[kind] = Node()
        for entry in places.split(", "):
            place, _, kinds = entry.partition(" ")
            root.at(place).kinds |= set(kinds.split("|"))
    return groups


GROUPS = table()


@dataclass
class Builder:
    """Builds one object: `variant` chooses what a place holds, `plant` gives the strings.

    An object inside is a `inner` of its group's types in turn, or (`deep`) where a list is, all of them.
    """

    plant: Plant
    variant: int = 0
    inner: int = 0
    deep: bool = False

    def object(self, group: str, kind: str, path: Where, above: tuple[str, ...] = ()) -> Any:
        """The object of a line."""
        members = GROUPS[group][kind].members
        made = {
            key: self.value(node, (*path, key), (*above, group))
            for key, node in members.items()
            if key != "type"
        }
        return {"type": self.plant((*path, "type")) or kind, **made} if kind else made

    def value(self, node: Node, path: Where, above: tuple[str, ...]) -> Any:
        """What the place at `path` holds."""
        alternatives = node.alternatives
        assert len(alternatives) <= VARIANTS
        choice = alternatives[self.variant % len(alternatives)]
        if choice == "string":
            return self.plant(path) or "x"
        if choice == "object":
            return self.free(path)
        if choice == "members":
            return {key: self.value(member, (*path, key), above) for key, member in node.members.items()}
        if choice == "elements":
            assert node.element is not None
            groups = node.element.kinds & GROUPS.keys()
            if self.deep and groups:
                (group,) = groups
                kinds = self.types(group, above)
                return [self.object(group, kind, (*path, i), above) for i, kind in enumerate(kinds)]
            return [self.value(node.element, (*path, 0), above)]
        kinds = self.types(choice, above)
        return self.object(choice, kinds[self.inner % len(kinds)], path, above)

    def free(self, path: Where) -> Any:
        """An object with members of any name."""
        key = self.plant((*path, "~")) or "a_key"
        return {
            "note": self.plant((*path, "note")) or "x",
            "list": [self.plant((*path, "list", 0)) or "x"],
            "deep": {"er": self.plant((*path, "deep", "er")) or "x"},
            key: "x",
        }

    @staticmethod
    def types(group: str, above: tuple[str, ...]) -> list[str]:
        """The types that an object of the group may have there: tools hold tools, but only once."""
        return [kind for kind in GROUPS[group] if group not in above or kind in ("function", "custom")]


def inner_types(group: str, kind: str) -> int:
    """How many objects of different types the single objects inside can be."""

    def counts(node: Node) -> Iterator[int]:
        yield from (len(GROUPS[kind]) for kind in node.kinds & GROUPS.keys() - {"response"})
        for member in node.members.values():
            yield from counts(member)

    return max((1, *counts(GROUPS[group][kind])))
