"""What a text is called: the key that it stands at in JSON, written before it as prose would have it. Pure.

`{"password": "…"}` is a password by its key alone, and in arguments and results of tools only the value is
a text. So local detectors see `password: …` too, and `DB_PASSWORD: …` for `{"name": "DB_PASSWORD",
"value": "…"}`. A match counts as far as it lies in the value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from guardproxy.shapes import VOCABULARY
from guardproxy.types import Match, Path, TextPart

LONGEST = 512  # characters of a value; a longer one is a text that speaks for itself
LONGEST_LABEL = 64
# What the API calls texts, also those that come in deltas: it says nothing about them.
_SILENT = frozenset(
    (
        *("text", "content", "input", "output", "instructions", "arguments", "description", "title"),
        *("refusal", "type", "summary", "code", "command", "commands", "delta", "logs"),
    )
)
_NAMES, _VALUES = ("name", "key"), ("value", "default")
_QUOTES = ('"', "'", "`")


@dataclass(frozen=True, slots=True)
class Labelled:
    """The text of the part `index` behind its label: the value stands at [start, end)."""

    index: int
    text: str
    start: int
    end: int

    def own(self, match: Match) -> Match | None:
        """`match` in the text of the part; None when it is in the label alone."""
        start, end = max(match.start, self.start), min(match.end, self.end)
        if start >= end:
            return None
        return replace(match, start=start - self.start, end=end - self.start, open=False)


def labelled(parts: Sequence[TextPart]) -> Iterator[Labelled]:
    """The texts among `parts` that have a label."""
    names = {
        part.path[:-1]: part.text for part in parts if part.path and part.path[-1] in _NAMES and part.text
    }
    for index, part in enumerate(parts):
        value = part.text
        if part.structural or not 0 < len(value) <= LONGEST or VOCABULARY.fullmatch(value):
            continue
        label = _label(part.path, names)
        if not 0 < len(label) <= LONGEST_LABEL:
            continue
        free = (quote for quote in _QUOTES if quote not in value)
        quote = next(free, "") if any(map(str.isspace, value)) else ""
        head = f"{label}: {quote}"
        yield Labelled(index, f"{head}{value}{quote}", len(head), len(head) + len(value))


def _label(path: Path, names: dict[Path, str]) -> str:
    end = len(path)
    while end and type(path[end - 1]) is int:
        end -= 1  # an element of a list is called as the list is
    key = path[end - 1] if end else ""
    if not isinstance(key, str) or key in _SILENT:
        return ""
    if key in _VALUES and end == len(path):
        return names.get(path[:-1], key)
    return key
