"""The content of an exchange for traces: what guards inspected, less everything that they found. Pure.

What a guard only flags is found, too, so it is taken out here whatever the action. Nothing else of a
document is told: no place that guards do not look at, and no document in whose keys they found something.
The form is that of OpenTelemetry's `gen_ai.input.messages`, `gen_ai.output.messages` and
`gen_ai.system_instructions` (semantic conventions for generative AI).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardproxy import document
from guardproxy.document import Edits, dumps
from guardproxy.redaction import Placeholder, merge, splice
from guardproxy.types import Content, Match, Path, PathMark, Stage, TextPart

MOST = 64 * 1024  # characters of the messages of one stage; the oldest are left out beyond it
LONGEST = 16 * 1024  # characters of one text; it is cut there
_ROLES = frozenset(("user", "assistant", "system", "developer", "tool"))
_TEXTS = ("text", "refusal", "transcript")


@dataclass(frozen=True, slots=True)
class Captured:
    """A document as it was inspected: `parts` are its texts, `place` gives the path that findings name.

    `within` is the path of the request or response in it.
    """

    stage: Stage
    text: str
    parts: Sequence[TextPart]
    place: Callable[[Path], Path] = lambda path: path
    within: Path = ()

    def content(self, found: Callable[[Path], Iterable[Match]], placeholder: Placeholder) -> Content | None:
        """The content less what was `found` at the paths that findings name; None where it cannot be told."""
        edits = Edits()
        for part in self.parts:
            if ranges := merge(found(self.place(part.path))):
                if part.path[-1:] == (PathMark.KEY,):
                    return None
                edits.texts[part.path] = splice(part.text, ranges, placeholder)
        value = document.parse(edits.apply(self.text))
        for step in self.within:
            value = value.get(step) if isinstance(value, dict) else None
        if not isinstance(value, dict):
            return None
        if self.stage is Stage.OUTPUT:
            return _content(value.get("output"), "assistant", None)
        return _content(value.get("input", value.get("messages")), "user", value.get("instructions"))


def _content(given: Any, role: str, told: Any) -> Content | None:
    if isinstance(given, str):
        messages = [_message(role, _text(given))]
    else:
        items = given if isinstance(given, list) else []
        messages = [message for item in items if isinstance(item, dict) for message in _messages(item)]
    instructions = dumps([_text(told)]) if isinstance(told, str) else None
    if not messages and instructions is None:
        return None
    kept: list[str] = []
    size = 0
    for message in reversed(messages):
        shown = dumps(message)
        if (size := size + len(shown)) > MOST:
            break
        kept.insert(0, shown)
    return Content(f"[{','.join(kept)}]", instructions)


def _messages(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = item.get("type")
    kind = kind if isinstance(kind, str) else "message"
    if kind == "message":
        role = item.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            role = "user"
        yield _message(role, *_texts(item.get("content")))
    elif kind == "reasoning":
        texts = [*_texts(item.get("summary")), *_texts(item.get("content"))]
        yield _message("assistant", *({**text, "type": "reasoning"} for text in texts))
    elif kind.endswith("_call_output"):
        results = (text["content"] for text in _texts(item.get("output")))
        yield _message("tool", *({"type": "tool_call_response", "result": result} for result in results))
    elif kind.endswith("_call"):
        call: dict[str, Any] = {"type": "tool_call"}
        for theirs, ours in (("name", "name"), ("arguments", "arguments"), ("input", "arguments")):
            if isinstance(text := item.get(theirs), str):
                call[ours] = _cut(text)
        yield _message("assistant", call)


def _message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "content": _cut(text)}


def _texts(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, str):
        yield _text(content)
    for part in content if isinstance(content, list) else ():
        for key in _TEXTS:
            if isinstance(part, dict) and isinstance(text := part.get(key), str):
                yield _text(text)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
