"""The names of an object's keys when some of them are redacted: shown in paths, and kept apart. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from guardproxy.redaction import Placeholder, merge, splice
from guardproxy.types import Match


@dataclass(slots=True)
class Key:
    """An object's key in which something was found."""

    text: str
    matches: set[Match] = field(default_factory=set)
    suffix: str = ""

    def shown(self, placeholder: Placeholder) -> str:
        """The key as a path may show it, whatever the action."""
        return splice(self.text, merge(self.matches), placeholder)


class Names:
    """The names of one object's keys, and those that its redacted keys get."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._next: dict[str, int] = {}  # by name: thousands of keys can become the same one

    def suffix(self, names: Iterable[str]) -> str:
        """What makes new ones of all of `names`; they are taken from then on."""
        count = max(self._next.get(name, 1) for name in names)
        while any(name + _suffix(count) in self._taken for name in names):
            count += 1
        for name in names:
            self._next[name] = count + 1
            self._taken.add(name + _suffix(count))
        return _suffix(count)


def _suffix(count: int) -> str:
    return f"_{count}" if count > 1 else ""
