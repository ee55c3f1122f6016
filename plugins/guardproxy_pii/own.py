"""Values of one's own: the recognizers of the settings, by google-re2, as local detectors."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import re2

from guardproxy import Detector, Match
from guardproxy_pii.context import near, raised

if TYPE_CHECKING:
    from guardproxy_pii.config import Recognizer

LONGEST = 200  # characters of a match
_BEFORE = 60  # characters in which a word of the context counts
_BLANKS = 3  # between two words of a value
_PIECE = 512  # characters at which the pattern is tried at a time


def re2_options() -> Any:
    """Case does not matter; no pattern or text on standard error."""
    made = re2.Options()
    made.log_errors = False
    made.case_sensitive = False
    return made


class OwnValues(Detector):
    """What one recognizer of the settings finds: at every place where its pattern matches."""

    reach = LONGEST + _BEFORE
    inline_below = 4000

    def __init__(self, recognizer: "Recognizer", least: float = 0.0) -> None:
        """`least`: the least score that counts."""
        self.name = f"own:{recognizer.name}"
        self._recognizer = recognizer
        self._least = least
        self._pattern: Any = None
        self._context: re.Pattern[str] | None = None

    def load(self) -> None:
        """Compile the pattern."""
        self._pattern = re2.compile(
            self._recognizer.regex or denied(self._recognizer.deny_list), re2_options()
        )
        self._context = near(self._recognizer.context)

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The matches of each text."""
        if self._pattern is None:
            self.load()
        return [self._find(text) for text in texts]

    def _find(self, text: str) -> list[Match]:
        found = []
        position = 0
        while position < len(text):
            # A slice with one character before it: enough for \b and ^, and re2 copies what it searches.
            low = max(0, position - 1)
            end = min(len(text), position + _PIECE)
            match = self._pattern.search(text[low : end + LONGEST + 1], position - low)
            start = end if match is None else match.start() + low
            if match is None or start >= end:
                position = end
                continue
            stop = match.end() + low
            if stop > start and self._whole(text, start, stop):
                found.append(self._match(text, start, stop))
            position = start + 1
        return [match for match in found if match.score >= self._least]

    def _whole(self, text: str, start: int, end: int) -> bool:
        """Whether no word goes on around a value of a deny list."""
        if self._recognizer.regex:
            return True
        before, behind = text[max(0, start - 1) : start], text[end : end + 1]
        return not (
            (_in_word(before) and _in_word(text[start])) or (_in_word(behind) and _in_word(text[end - 1]))
        )

    def _match(self, text: str, start: int, end: int) -> Match:
        score = self._recognizer.score
        if self._context and self._context.search(text, max(0, start - _BEFORE), start):
            score = raised(score)
        listed = not self._recognizer.regex
        return Match(start, end, self._recognizer.entity, score, validated=listed)


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def denied(values: Sequence[str]) -> str:
    """A pattern for `values`, the longest first; any blanks between the words of one."""
    longest_first = sorted(
        {" ".join(value.split()) for value in values}, key=lambda value: (-len(value), value)
    )
    return "|".join(rf"\s{{1,{_BLANKS}}}".join(map(re2.escape, value.split(" "))) for value in longest_first)


def room(value: str) -> int:
    """How many characters a `value` of a deny list can take up in a text."""
    words = value.split()
    return len(" ".join(words)) + (_BLANKS - 1) * max(0, len(words) - 1)
