"""What a front door asks of a request, as data: rules that refuse it, and rules that give it its form. Pure.

A rule is called with a `Draft`. One that refuses raises `InvalidRequest`, whose message and `param` say
what is wrong, where (`tools[0].type`), and what would be right; never with the value, which no guard has
seen. A member that is null is taken for one that is not there.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from guardproxy.errors import InvalidRequest
from guardproxy.types import Path, is_text

_WORDS: Mapping[str, Callable[[Any], bool]] = {
    "a string": is_text,
    "a string that is not empty": lambda value: is_text(value) and value != "",
    "an object": lambda value: isinstance(value, dict),
    "a list of objects": lambda value: isinstance(value, list) and all(isinstance(v, dict) for v in value),
    "true or false": lambda value: isinstance(value, bool),
    "a list of strings": lambda value: isinstance(value, list) and all(map(is_text, value)),
}


@dataclass(slots=True)
class Draft:
    """A parsed request that rules may change. `moved` says where a part was as it came, by its path now.

    `added` are members that it lacked, which are no change of what came.
    """

    value: dict[str, Any]
    changed: bool = False
    added: dict[str, Any] = field(default_factory=dict)
    moved: dict[Path, Path] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """The member `name`; None where there is none."""
        return self.value.get(name)

    def put(self, name: str, value: Any) -> None:
        """Give the request the member `name`."""
        self.value[name] = value
        self.changed = True

    def add(self, name: str, value: Any) -> None:
        """Give the request the member `name`, which it may lack."""
        if name in self.value:
            self.put(name, value)
        else:
            self.value[name] = self.added[name] = value

    def drop(self, name: str) -> None:
        """Take the member `name` away."""
        if name in self.value:
            del self.value[name]
            self.changed = True


Rule: TypeAlias = Callable[[Draft], None]


def refusal(message: str, param: str) -> InvalidRequest:
    """The error of a rule."""
    return InvalidRequest(message, param=param)


@dataclass(frozen=True, slots=True)
class Required:
    """The member must be there."""

    name: str

    def __call__(self, draft: Draft) -> None:
        """Refuse a request without it."""
        if draft.get(self.name) is None:
            raise refusal(f"'{self.name}' is missing; send it.", self.name)


@dataclass(frozen=True, slots=True)
class OneOf:
    """Exactly one of the members must be there."""

    names: tuple[str, ...]

    def __call__(self, draft: Draft) -> None:
        """Refuse a request with none of them, or with several."""
        found = [name for name in self.names if draft.get(name) is not None]
        shown = [f"'{name}'" for name in self.names]
        if not found:
            raise refusal(f"The request has neither {' nor '.join(shown)}; send one.", self.names[0])
        if len(found) > 1:
            raise refusal(
                f"The request has more than one of {' and '.join(shown)}; send only one.", found[-1]
            )


@dataclass(frozen=True, slots=True)
class OfType:
    """The member, where it is there, must be one of what `types` name."""

    name: str
    types: tuple[str, ...]

    def __call__(self, draft: Draft) -> None:
        """Refuse another type."""
        value = draft.get(self.name)
        if value is not None and not any(_WORDS[word](value) for word in self.types):
            raise refusal(f"'{self.name}' must be {' or '.join(self.types)}.", self.name)


@dataclass(frozen=True, slots=True)
class AtMost:
    """The member must be a string of at most `most` characters."""

    name: str
    most: int

    def __call__(self, draft: Draft) -> None:
        """Refuse a longer one."""
        value = draft.get(self.name)
        if value is not None and not (is_text(value) and len(value) <= self.most):
            raise refusal(f"'{self.name}' must be a string of at most {self.most} characters.", self.name)


@dataclass(frozen=True, slots=True)
class Few:
    """The member, where it is a list, must have at most `most` elements."""

    name: str
    most: int

    def __call__(self, draft: Draft) -> None:
        """Refuse a longer one."""
        value = draft.get(self.name)
        if isinstance(value, list) and len(value) > self.most:
            raise refusal(f"'{self.name}' must have at most {self.most} elements.", self.name)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The member must be an object of at most `most` strings, whose keys and values have their limits."""

    name: str
    most: int
    key: int
    value: int
    without: str = "[]"  # characters that no key may have

    def __call__(self, draft: Draft) -> None:
        """Refuse other members and longer ones."""
        pairs = draft.get(self.name)
        if pairs is None:
            return
        if not isinstance(pairs, dict):
            raise refusal(f"'{self.name}' must be an object of strings.", self.name)
        if len(pairs) > self.most:
            raise refusal(f"'{self.name}' must have at most {self.most} pairs.", self.name)
        for key, value in pairs.items():
            if len(key) > self.key:
                raise refusal(
                    f"The keys of '{self.name}' must have at most {self.key} characters.", self.name
                )
            if any(sign in key for sign in self.without):
                raise refusal(f"The keys of '{self.name}' must have no brackets.", self.name)
            if not (is_text(value) and len(value) <= self.value):
                raise refusal(
                    f"The values of '{self.name}' must be strings of at most {self.value} characters.",
                    self.name,
                )


@dataclass(frozen=True, slots=True)
class OnlyFalse:
    """The member must be false, or not there."""

    name: str

    def __call__(self, draft: Draft) -> None:
        """Refuse all else."""
        if draft.get(self.name) not in (None, False):
            raise refusal(f"'{self.name}' must be false here, or left out.", self.name)


@dataclass(frozen=True, slots=True)
class Default:
    """The member that is left out has another value here than upstream: it is sent."""

    name: str
    value: bool

    def __call__(self, draft: Draft) -> None:
        """Put it in."""
        if draft.get(self.name) is None:
            draft.add(self.name, self.value)


@dataclass(frozen=True, slots=True)
class Refused:
    """The member is not supported. `instead` says what would be right."""

    name: str
    instead: str

    def __call__(self, draft: Draft) -> None:
        """Refuse a request with it."""
        if draft.get(self.name) is not None:
            raise refusal(f"'{self.name}' is not supported here; {self.instead}.", self.name)


@dataclass(frozen=True, slots=True)
class Each:
    """The member must be a list of the `words`."""

    name: str
    words: tuple[str, ...]

    def __call__(self, draft: Draft) -> None:
        """Refuse a word that is none of them."""
        values = draft.get(self.name)
        if values is None:
            return
        known = ", ".join(self.words)
        if not isinstance(values, list):
            raise refusal(f"'{self.name}' must be a list of: {known}.", self.name)
        for index, value in enumerate(values):
            if value not in self.words:
                raise refusal(
                    f"'{self.name}' has a value that is not known. Known: {known}.", f"{self.name}[{index}]"
                )


@dataclass(frozen=True, slots=True)
class Dropped:
    """The members are taken away before the request goes on."""

    names: tuple[str, ...]

    def __call__(self, draft: Draft) -> None:
        """Take them away."""
        for name in self.names:
            draft.drop(name)


@dataclass(frozen=True, slots=True)
class ToolTypes:
    """Tools must be of the types in `known`; one with another name by `renamed` gets that.

    Where `tool_choice` is an object that names a type, it follows.
    """

    known: tuple[str, ...]
    renamed: Mapping[str, str]

    def __call__(self, draft: Draft) -> None:
        """Refuse the others."""
        for place, tool in _tools(draft):
            kind = tool.get("type")
            if kind not in (*self.known, *self.renamed):
                supported = ", ".join((*self.known, *self.renamed))
                raise refusal(
                    f"This type of tool is not supported here. Supported: {supported}.", f"{place}.type"
                )
            if kind in self.renamed:
                tool["type"] = self.renamed[kind]
                draft.changed = True
        choice = draft.get("tool_choice")
        if isinstance(choice, dict) and is_text(kind := choice.get("type")) and kind in self.renamed:
            choice["type"] = self.renamed[kind]
            draft.changed = True


def nested_tools(draft: Draft) -> None:
    """Bring functions from the form of chat completions into that of Responses, which has no `function`."""
    if isinstance(draft.get("tools"), list):
        for index, tool in enumerate(draft.value["tools"]):
            if isinstance(tool, dict):
                _flatten(draft, ("tools", index), tool)
    if isinstance(choice := draft.get("tool_choice"), dict):
        _flatten(draft, ("tool_choice",), choice)


def _flatten(draft: Draft, path: Path, tool: dict[str, Any]) -> None:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        return
    if not function.keys().isdisjoint(tool):
        place = f"{path[0]}[{path[1]}]" if len(path) > 1 else str(path[0])
        raise refusal(
            "A function is described both in 'function' and beside it; send one of the two forms.", place
        )
    del tool["function"]
    for name, value in function.items():
        tool[name] = value
        draft.moved[*path, name] = (*path, "function", name)
    draft.changed = True


def _tools(draft: Draft) -> Iterator[tuple[str, dict[str, Any]]]:
    tools = draft.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        raise refusal("'tools' must be a list of objects.", "tools")
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise refusal("'tools' must be a list of objects.", f"tools[{index}]")
        yield f"tools[{index}]", tool
