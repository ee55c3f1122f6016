"""Derive places.txt, the strings that the protocol's objects can hold, from listings of its two schemas.

    python -m tests.protocol.derive FOLDER > tests/protocol/places.txt

FOLDER has `*.schema.txt`: `## Name` or `### Name`, then either a type on the same line, or a line
`   field * : type` for each field, or (a union) a line ` - Variant {'field': 'type', …}`. Long types may be
cut off. A type is `anyOf(A|B)`, `array<T>`, `object{field:T}`, `enum[…]`, `string{…}` or the name of another.

A line of the table is `group type: place kinds, …`. A place is a path (`text.format.name`, `include[]`); its
kinds are `string`, `enum`, `object` (with members of any name), `any` (what the listing names and does not
define), or a group, that is, one of its lines.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

Kinds = dict[str, set[str]]  # by place; "" is the value itself
_SKIPPED = ("integer", "number", "boolean", "null", "None")
_WORD = re.compile(r"[\w.-]+")
# What the listings name and do not define, where it is one of our groups.
_KNOWN = {
    "InputParam": ("string", "item[]"),
    "InputMessageContentList": ("part[]",),
    "SummaryTextContent": ("part",),
    "FunctionAndCustomToolCallOutput": ("part",),
    "ComputerScreenshotImage": ("part",),
    "ToolsArray": ("tool[]",),
    "MCPListToolsTool": ("tool",),
    "ModelIdsResponses": ("string",),
    "Metadata": ("object",),
    "MetadataParam": ("object",),
    "EmptyModelParam": ("object",),
    "ToolChoiceParam": ("choice", "enum"),
}
_UNIONS = {
    **dict.fromkeys(("InputItem", "Item", "OutputItem", "ItemResource", "ItemParam", "ItemField"), "item"),
    **dict.fromkeys(("InputContent", "OutputContent", "OutputMessageContent"), "part"),
    **dict.fromkeys(("Tool", "ResponsesToolParam"), "tool"),
    **dict.fromkeys(("ToolChoiceParam", "SpecificToolChoiceParam"), "choice"),
    "Annotation": "annotation",
    "ResponseStreamEvent": "event",
}
# The groups of objects that stand alone, by the end of their name; the first that fits.
_OBJECTS = (
    (r"(Create\w*ResponseBody|CreateResponse|CompactResponseMethodPublicBody)", "request"),
    (r"(Response|ResponseResource|CompactResource)", "response"),
    (r"\w+(StreamingEvent|ErrorEvent)", "event"),
    (
        r"(\w+Item(Param|Body|Resource)|Message|FunctionCall|FunctionCallOutput|ReasoningBody|CompactionBody)",
        "item",
    ),
    (r"(\w+(Text|Image|File|Video|Refusal)|Text|Refusal)Content(\w*Param)?", "part"),
    (r"Function(Tool|ToolParam)", "tool"),
    (r"(FunctionToolChoice|SpecificFunctionParam|Allowed(ToolChoice|ToolsParam))", "choice"),
    (r"\w+Citation(Body|Param)", "annotation"),
)


class Listing:
    """The definitions of all listings: fields by object, type by name, variants by union."""

    def __init__(self, texts: list[str]) -> None:
        self.objects: dict[str, list[dict[str, str]]] = {}
        self.types: dict[str, str] = {}
        self.variants: dict[str, list[dict[str, str]]] = {}
        for text in texts:
            for section in re.split(r"^###? ", text, flags=re.MULTILINE)[1:]:
                self._section(*section.partition("\n")[::2])

    def _section(self, head: str, body: str) -> None:
        name, _, rest = head.strip().partition(" ")
        if rest:
            self.types.setdefault(name, rest)
        fields = dict(re.findall(r"^   (\w+) (?:\*)? ?: (.*)$", body, re.MULTILINE))
        if fields:
            self.objects.setdefault(name, []).append(fields)
        for variant in re.findall(r"^ - \w+ (\{.*\})$", body, re.MULTILINE):
            self.variants.setdefault(name, []).append(ast.literal_eval(variant))


def group_of(name: str) -> str | None:
    """The group that a defined object or union belongs to."""
    if name in _UNIONS:
        return _UNIONS[name]
    return next((group for pattern, group in _OBJECTS if re.fullmatch(pattern, name)), None)


class Reader:
    """Reads one type; what is cut off ends where the text does."""

    def __init__(self, listing: Listing, text: str) -> None:
        self.listing, self.text, self.at = listing, text, 0

    def took(self, literal: str) -> bool:
        """Step over `literal` if it comes next."""
        if not self.text.startswith(literal, self.at):
            return False
        self.at += len(literal)
        return True

    def type(self) -> Kinds:
        """The strings that a value of the type holds, by place."""
        word = _WORD.match(self.text, self.at)
        if word is None:
            self.at = len(self.text)
            return {}
        self.at = word.end()
        name = word[0]
        if name in ("anyOf", "oneOf", "allOf"):
            return self.alternatives()
        if name == "array":
            self.took("<")
            inner = self.type()
            self.took(">")
            found: Kinds = {}
            merge(found, "[]", inner)
            return found
        if name == "object":
            return self.object()
        if name == "enum":
            self.skip("[", "]")
            return {"": {"enum"}}
        self.skip("{", "}")
        if name in _SKIPPED:
            return {}
        return {"": {"string"}} if name == "string" else reference(self.listing, name)

    def alternatives(self) -> Kinds:
        """A union."""
        found: Kinds = {}
        self.took("(")
        while self.at < len(self.text) and not self.took(")"):
            merge(found, "", self.type())
            if not self.took("|") and not self.text.startswith(")", self.at):
                break
        return found

    def object(self) -> Kinds:
        """An object: its members, or of any name."""
        if not re.match(r"\{\w", self.text[self.at :]):
            self.skip("{", "}")
            return {"": {"object"}}
        found: Kinds = {}
        self.took("{")
        while self.at < len(self.text) and not self.took("}"):
            key, _, _ = self.text[self.at :].partition(":")
            self.at += len(key) + 1
            merge(found, key.strip(), self.type())
            self.took(", ")
        return found

    def skip(self, opening: str, closing: str) -> None:
        """Step over a bracket and all that is in it."""
        if not self.text.startswith(opening, self.at):
            return
        depth = 0
        while self.at < len(self.text):
            depth += {opening: 1, closing: -1}.get(self.text[self.at], 0)
            self.at += 1
            if depth == 0:
                return


def merge(found: Kinds, key: str, inner: Kinds) -> None:
    """Add the places of a member called `key`."""
    for place, kinds in inner.items():
        dot = "." if key and place and not place.startswith("[") else ""
        found.setdefault(f"{key}{dot}{place}", set()).update(kinds)


def reference(listing: Listing, name: str) -> Kinds:
    """What a named type holds; a group is named, not opened."""
    if name in _KNOWN:
        kinds: Kinds = {}
        for known in _KNOWN[name]:
            merge(kinds, "[]" if known.endswith("[]") else "", {"": {known.removesuffix("[]")}})
        return kinds
    if (name in listing.types or name in listing.objects or name in listing.variants) and (
        group := group_of(name)
    ):
        return {"": {group}}
    if name in listing.types:
        return Reader(listing, listing.types[name]).type()
    if name in listing.objects:
        return places(listing, listing.objects[name])
    return {"": {"any"}}


def places(listing: Listing, definitions: list[dict[str, str]]) -> Kinds:
    """The places of an object that is defined once or in several versions."""
    found: Kinds = {}
    for fields in definitions:
        for key, text in fields.items():
            merge(found, key, {"": {"any"}} if text == "None" else Reader(listing, text).type())
    return found


def definitions(listing: Listing) -> Iterator[tuple[str, dict[str, str]]]:
    """Every object of a group, with the group."""
    for union, variants in listing.variants.items():
        for fields in variants:
            if fields:
                yield _UNIONS[union], fields
    for name, versions in listing.objects.items():
        for fields in versions:
            if group := group_of(name):
                yield group, fields


def table(texts: list[str]) -> str:
    """The table of all places."""
    listing = Listing(texts)
    lines: dict[str, Kinds] = {}
    for group, fields in definitions(listing):
        types = (
            re.findall(r'"([^"]+)"', fields.get("type", "")) if group not in ("request", "response") else []
        )
        for kind in types or [""]:
            merge(lines.setdefault(f"{group} {kind}".strip(), {}), "", places(listing, [fields]))
    return "".join(f"{head}: {', '.join(_shown(found))}\n" for head, found in sorted(lines.items()))


def _shown(found: Kinds) -> Iterator[str]:
    for place, kinds in sorted(found.items()):
        yield f"{place} {'|'.join(sorted(kinds))}"


def read(folder: Path) -> list[str]:
    """The listings in `folder`."""
    return [path.read_text("utf-8") for path in sorted(folder.glob("*.schema.txt"))]


if __name__ == "__main__":
    sys.stdout.write(table(read(Path(sys.argv[1]))))
