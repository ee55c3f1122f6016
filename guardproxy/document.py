"""Where text lives in a JSON document, and how to put text back without touching any other byte. Pure."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from guardproxy import embedded
from guardproxy.embedded import Embedded
from guardproxy.errors import Uninspectable
from guardproxy.shapes import FREE, GRAMMAR, UNKNOWN, VOCABULARY, Mark, Name, Opaque, Place, Shape
from guardproxy.types import Number, Path, PathMark, TextPart

MAX_DEPTH = 500
LARGE = 128 * 1024  # characters; whoever parses more on the event loop holds up everybody else
LONG_NUMBER = 7  # digits; a shorter number is no card, phone or id
_JSON = re.compile(r"\s*[\[{]")
_HEAD = "head"  # the step to what a data: URL says about itself


class Walked(NamedTuple):
    """The text parts of a document in document order, and the opaque places by reason."""

    parts: list[TextPart]
    skipped: dict[str, int]


def parse(text: str, what: str = "The body") -> Any:
    """The value of a JSON text; numbers are `Number`. `what` it is called in an error.

    Raises:
        Uninspectable: not JSON, NaN or Infinity, a key that occurs twice, or depth over 500.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise Uninspectable(
            f"{what} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None


def decode(body: bytes) -> str:
    """The text of a JSON body.

    Raises:
        Uninspectable: not UTF-8, with the byte offset.
    """
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Uninspectable(f"The body is not valid UTF-8: byte {error.start}.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Which of the two the upstream would take is anybody's guess, so one of them would go unseen.
        raise Uninspectable("The JSON has an object in which a key occurs twice; send each key once.")
    return found


def _no_constant(word: str) -> Any:
    raise Uninspectable(f"{word} is not JSON; send null or a number.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=Number, parse_float=Number, parse_constant=_no_constant
)


def walk(document: Any, shape: Shape) -> Walked:
    """Every text part of `document`, and the places that cannot be inspected.

    Raises:
        Uninspectable: depth over 500.
    """
    walker = _Walker()
    walker.walk(document, shape)
    return Walked(walker.parts, walker.skipped)


_Inside: TypeAlias = Iterator[tuple[Any, Path, Place]]


@dataclass(slots=True)
class _Walker:
    parts: list[TextPart] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)

    def walk(self, document: Any, shape: Shape) -> None:
        # No recursion: how deep a document may be must not depend on how deep the caller is.
        stack: list[_Inside] = [iter([(document, (), shape)])]
        while stack:
            for value, path, place in stack[-1]:
                if (inside := self.value(value, path, place)) is not None:
                    if len(stack) > MAX_DEPTH:
                        raise _too_deep()
                    stack.append(inside)
                    break
            else:
                stack.pop()

    def value(self, value: Any, path: Path, place: Place) -> _Inside | None:
        """Note the texts of `value` itself; what is inside of it."""
        if isinstance(value, str):
            return self.string(value, path, place)
        if isinstance(value, list):
            return ((element, (*path, index), place) for index, element in enumerate(value))
        if isinstance(value, dict):
            # Only strings can be opaque: an object in such a place is none the API knows.
            return self.members(value, path, place if isinstance(place, Shape) else FREE)
        return None

    def members(self, value: dict[str, Any], path: Path, shape: Shape) -> _Inside:
        kind = value.get("type")
        entries = shape.entries
        if isinstance(kind, str):
            if shape.known_types is not None and kind not in shape.known_types:
                entries = UNKNOWN.entries
            elif kind in shape.by_type:
                entries = {**entries, **shape.by_type[kind]}
        for key, member in value.items():
            place = entries.get(key)
            if place is None:
                self.key(key, path)
                place = shape.other or FREE
            yield member, (*path, key), place

    def key(self, key: str, path: Path) -> None:
        # An ordinary word as a key is structure; a card number or a sentence is not.
        if len(key) >= LONG_NUMBER and not VOCABULARY.fullmatch(key):
            self.parts.append(TextPart((*path, key, PathMark.KEY), key, bool(GRAMMAR.fullmatch(key))))

    def string(self, value: str, path: Path, place: Place) -> _Inside | None:
        if isinstance(place, Shape):
            place = place.string
        if isinstance(value, Number):
            if len(value) >= LONG_NUMBER and not (isinstance(place, Opaque) and not place.reason):
                integer = value.lstrip("-").isdigit()
                self.parts.append(TextPart(path, str(value), isinstance(place, Name) or not integer))
        elif not value:
            return None
        elif isinstance(place, Opaque) and place.form.fullmatch(value) and not embedded.has_words(value):
            if place.reason:
                self.skip(place.reason)
                self.name(value, path)
        elif isinstance(place, Name) and GRAMMAR.fullmatch(value):
            self.name(value, path)
        elif place is Mark.PARSED or place is Mark.RESULT:
            return self.parsed(value, path, place)
        elif place in (Mark.MEDIA, Mark.FILE_DATA) and embedded.is_data_url(value):
            self.file(value, path, embedded.of_url(value))
        elif place is Mark.FILE_DATA:
            self.file(value, path, embedded.of_base64(value))
        else:
            self.parts.append(TextPart(path, value))
        return None

    def name(self, value: str, path: Path) -> None:
        """Look for validated matches in what is no text: a key in an id is a key."""
        if len(value) >= LONG_NUMBER and GRAMMAR.fullmatch(value) and not VOCABULARY.fullmatch(value):
            self.parts.append(TextPart(path, value, structural=True))

    def parsed(self, value: str, path: Path, place: Mark) -> _Inside | None:
        try:
            if place is Mark.PARSED or _JSON.match(value):
                return self.value(parse(value), (*path, PathMark.PARSED), FREE)
        except Uninspectable:
            pass
        if place is Mark.PARSED:
            self.loose(value, path)
        else:
            self.parts.append(TextPart(path, value))
        return None

    def loose(self, value: str, path: Path) -> None:
        """Arguments that are no JSON, or not quite: a lenient reader undoes their escapes all the same."""
        pieces = embedded.pieces_of(value)
        if len(pieces) == 1:
            self.parts.append(TextPart(path, value))  # nothing escaped: a text like any other
            return
        for index, piece in enumerate(pieces):
            if text := embedded.unescaped(piece) if index % 2 else piece:
                self.parts.append(TextPart((*path, PathMark.DATA, index), text))

    def file(self, value: str, path: Path, found: Embedded) -> None:
        if found.opaque:
            self.skip(found.opaque)
        if found.stands:
            self.parts.append(TextPart(path, value))
        elif found.head:
            usual = embedded.is_usual(found.head)
            self.parts.append(TextPart((*path, PathMark.DATA, _HEAD), found.head, structural=usual))
        elif not found.inside:
            self.name(value, path)
        if found.inside:
            self.parts.append(TextPart((*path, PathMark.DATA), found.inside))

    def skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def _too_deep() -> Uninspectable:
    return Uninspectable(f"The JSON is nested deeper than {MAX_DEPTH} levels.")


# One token of a JSON text: a string, a bracket, a separator or a scalar. Possessive: linear time.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{},:]|[^\s\[\]{},:"]++', re.DOTALL)
# All up to the next bracket that is in no string.
_BRACKET = re.compile(r'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{}])', re.DOTALL)


def spans(text: str, wanted: Collection[Path] | None = None) -> Iterator[tuple[Path, int, int]]:
    """The path, start and end of values and keys (marked KEY) of a valid JSON text.

    Those of the `wanted` paths are among them, and of None all; what leads to none of them is passed over. An
    object's or array's span is that of its opening bracket: enough to insert after it.
    """
    leads = None if wanted is None else {path[:length] for path in wanted for length in range(len(path) + 1)}
    keys = wanted is None or any(path[-1:] == (PathMark.KEY,) for path in wanted)
    stack: list[list[Any]] = []  # [is object, its path, current key or index, awaiting a key]
    at = 0
    while (token := _TOKEN.search(text, at)) is not None:
        start, at = token.span()
        first = text[start]
        if first in "]}":
            stack.pop()
            continue
        if first == ",":
            frame = stack[-1]
            if frame[0]:
                frame[3] = True
            else:
                frame[2] += 1
            continue
        if first == ":":
            continue
        if stack and stack[-1][3]:
            frame, key = stack[-1], token[0]
            frame[2], frame[3] = json.loads(key) if "\\" in key else key[1:-1], False
            if keys:
                yield (*frame[1], frame[2], PathMark.KEY), start, at
            continue
        path: Path = (*stack[-1][1], stack[-1][2]) if stack else ()
        if leads is not None and path not in leads:
            at = _end(text, start, at)
            continue
        yield path, start, at
        if first == "{":
            stack.append([True, path, None, True])
        elif first == "[":
            stack.append([False, path, 0, False])


def _end(text: str, start: int, end: int) -> int:
    """Where the value ends whose first token is [start, end)."""
    if text[start] not in "[{":
        return end
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[1] in "[{" else -1
        if depth == 0:
            return bracket.end()
    return len(text)


def member(text: str, path: Path) -> str | None:
    """The JSON of the value at `path` as it stands in `text`; None when there is none."""
    for found, start, end in spans(text, (path,)):
        if found == path:
            return text[start : _end(text, start, end)]
    return None


def members(text: str, names: Collection[str]) -> dict[str, str]:
    """The JSON of those members of the object `text` that have one of these names, without blanks between."""
    return {
        str(path[0]): "".join(token[0] for token in _TOKEN.finditer(text[start : _end(text, start, end)]))
        for path, start, end in spans(text, {(name,) for name in names})
        if path
    }


def without(text: str, parent: Path, indexes: Collection[int]) -> str:
    """`text` less some elements of the array at `parent`; every other character stays."""
    array = next((start for path, start, _ in spans(text, (parent,)) if path == parent), None)
    elements = [] if array is None or text[array] != "[" else list(_elements(text, array + 1))
    if not elements:
        return text
    inside = ",".join(text[start:end] for index, (start, end) in enumerate(elements) if index not in indexes)
    return text[: elements[0][0]] + inside + text[elements[-1][1] :]


def _elements(text: str, at: int) -> Iterator[tuple[int, int]]:
    """The spans of the elements of the array that is open at `at`."""
    while (token := _TOKEN.search(text, at)) is not None and token[0] != "]":
        start, at = token.span()
        if token[0] != ",":
            at = _end(text, start, at)
            yield start, at


def with_members(text: str, members: Mapping[str, str]) -> str:
    """The object `text` with top-level members (JSON by key) replaced, or put first where it lacks them."""
    present = {str(path[0]) for path, _, _ in spans(text, {(name,) for name in members}) if path}
    return _with(text, members, present)


def with_first(text: str, members: Mapping[str, str]) -> str:
    """The object `text` with top-level members (JSON by key), which it lacks, put first."""
    return _with(text, members, ())


def _with(text: str, members: Mapping[str, str], present: Collection[str]) -> str:
    edits = Edits()
    for key, new in members.items():
        edits.put((), key, new, key in present)
    return edits.apply(text)


@dataclass(slots=True)
class Edits:
    """The changes to one JSON text: new texts, raw replacements, and members to insert."""

    texts: dict[Path, str] = field(default_factory=dict)
    raw: dict[Path, str] = field(default_factory=dict)  # a value's new JSON
    insert: dict[Path, str] = field(default_factory=dict)  # JSON to put behind an opening bracket

    def __bool__(self) -> bool:
        return bool(self.texts or self.raw or self.insert)

    def put(self, path: Path, key: str, value: str, present: bool) -> None:
        """Give the object at `path` the member `key` with the JSON `value`."""
        if present:
            self.raw[(*path, key)] = value
        else:
            self.add(path, f"{quote(key)}:{value}")

    def add(self, path: Path, value: str) -> None:
        """Put JSON behind the opening bracket at `path`."""
        self.insert[path] = f"{self.insert[path]},{value}" if path in self.insert else value

    def apply(self, text: str) -> str:
        """`text` with the changes spliced in; every other character stays as it is."""
        if not self:
            return text
        within = self._within()
        wanted = {*within, *self.raw, *self.insert}
        pieces: list[str] = []
        done, left = 0, len(wanted)
        for path, start, end in spans(text, wanted):
            if path not in wanted or start < done:
                continue
            if path in self.insert:
                closing = re.compile(r"\s*[\]}]").match(text, end)
                new = text[start:end] + self.insert[path] + ("" if closing else ",")
            elif path in self.raw:
                new, end = self.raw[path], _end(text, start, end)
            else:
                new = quote(_put_back(_DECODER.decode(text[start:end]), within[path]))
            pieces += (text[done:start], new)
            done = end
            left -= 1
            if not left:  # no object has a key twice (`parse`)
                break
        return "".join((*pieces, text[done:]))

    def _within(self) -> dict[Path, dict[Path, str]]:
        """The new texts by the string literal that they are in, and then by their place in it."""
        found: dict[Path, dict[Path, str]] = {}
        for path, new in self.texts.items():
            literal = outer(path)
            found.setdefault(literal, {})[path[len(literal) :]] = new
        return found

    def text(self, path: Path, old: str) -> str:
        """The new text of the string `old` at `path`; texts inside of arguments or files are put back."""
        return _put_back(old, self._within()[path])


def _put_back(old: str, inside: Mapping[Path, str]) -> str:
    """The string `old` with the texts at places inside of it replaced; () is the string itself."""
    whole, data = inside.get(()), inside.get((PathMark.DATA,))
    head = inside.get((PathMark.DATA, _HEAD))
    if data is not None or head is not None:
        return embedded.rewritten(old, data, head if whole is None else whole)
    if whole is not None:
        return whole
    if any(p[0] is PathMark.DATA for p in inside):
        return _reescaped(old, {p[1]: new for p, new in inside.items()})
    return Edits({p[1:]: new for p, new in inside.items()}).apply(old)


def outer(path: Path) -> Path:
    """The path of the string literal that holds the text at `path`."""
    for index, step in enumerate(path):
        if step is PathMark.PARSED or step is PathMark.DATA:
            return path[:index]
    return path


def _reescaped(old: str, texts: Mapping[Any, str]) -> str:
    pieces = embedded.pieces_of(old)
    for index, text in texts.items():
        pieces[index] = quote(text)[1:-1] if index % 2 else text
    return "".join(pieces)


_SURROGATE = re.compile("[\ud800-\udfff]")


def quote(text: str) -> str:
    """`text` as a JSON string that can be encoded as UTF-8 (lone surrogates stay escaped)."""
    return dumps(text)


def rendered(value: Any) -> str:
    """A parsed document as JSON on one line; numbers as they were written."""
    out: list[str] = []
    # No recursion: whatever could be parsed can be written down. What is text here is JSON already.
    stack: list[tuple[bool, Any]] = [(False, value)]
    while stack:
        is_json, found = stack.pop()
        if is_json:
            out.append(found)
        elif isinstance(found, dict):
            stack.append((True, "}"))
            for index, (key, member) in reversed(list(enumerate(found.items()))):
                stack += ((False, member), (True, f"{',' if index else ''}{quote(key)}:"))
            stack.append((True, "{"))
        elif isinstance(found, list):
            stack.append((True, "]"))
            for index in range(len(found) - 1, -1, -1):
                stack += ((False, found[index]), (True, "," if index else ""))
            stack.append((True, "["))
        else:
            out.append(str(found) if isinstance(found, Number) else dumps(found))
    return "".join(out)


def dumps(value: Any) -> str:
    """`value` as JSON on one line that can be encoded as UTF-8."""
    return escaped(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def escaped(text: str) -> str:
    """A JSON text that can be encoded as UTF-8: lone surrogates, which stand in strings, as escapes."""
    return _SURROGATE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def keys_at(document: Any, path: Path, parsed: dict[Path, Any]) -> set[str]:
    """The keys of the object at `path` of a parsed document; none where there is no object.

    `parsed` keeps the values of strings that hold JSON from one call to the next.
    """
    value = document
    for depth, step in enumerate(path):
        if step is PathMark.PARSED:
            place = path[:depth]
            if place not in parsed:
                parsed[place] = parse(value)
            value = parsed[place]
        elif isinstance(value, dict | list) and not isinstance(step, PathMark):
            value = value[step]  # type: ignore[index]
        else:
            return set()
    return set(value) if isinstance(value, dict) else set()
