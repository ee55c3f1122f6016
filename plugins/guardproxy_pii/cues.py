"""Words that announce a person's name: a title, `my name is`, `Name:`."""

import re

_NAME = r"[^\W\d_a-zß-öø-ÿ][^\W\d_]*(?:['’-][^\W\d_]+)*"
TITLE = r"(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Madam|Herr|Frau|Mme|Señora?)\b\.?"
_FULL_NAME = rf"{_NAME}(?: (?:[A-Z]\.|{_NAME}|van|von|der|de|da)){{0,3}}(?<=\w)"
# The name that is announced is the group that took part, with its title.
_ANNOUNCED = re.compile(
    rf"\b((?:{TITLE} ){{1,2}}{_FULL_NAME})|\b(?i:my name is|my name's|name:)[ \t]{{1,4}}({_FULL_NAME})"
)
_TITLE_BEFORE = re.compile(rf"\b{TITLE}[ \t]\Z")
_TITLE_LONGEST = 10


def announced(text: str) -> list[tuple[int, int]]:
    """Where the names start and end that a word before them announces."""
    return [found.span(found.lastindex or 0) for found in _ANNOUNCED.finditer(text)]


def with_title(text: str, start: int) -> int:
    """`start`, or where the title begins that stands right before it."""
    low = max(0, start - _TITLE_LONGEST)
    title = _TITLE_BEFORE.search(text[low:start])
    return start if title is None else low + title.start()
