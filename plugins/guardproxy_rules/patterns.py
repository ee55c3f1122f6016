"""Patterns and words, compiled to google-re2: linear in the text, whatever the pattern."""

import importlib
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from guardproxy import Detector, Match

LONGEST = 400  # characters of a match that is still looked for at each place, and held in a stream
SURE = 8  # characters from which on chance hardly makes a match where base64 or escapes are undone
SURE_WORD = 5


class BadPattern(Exception):
    """Why a pattern does not compile."""


@dataclass(frozen=True)
class Compiled:
    """One rule, ready to search; `longest` is None where a match may be longer than `LONGEST`."""

    name: str
    source: str
    longest: int | None
    validated: bool
    whole_words: bool = False

    def search(self) -> Any:
        """The compiled pattern: made anew in each process."""
        return re2.compile(self.source, _options())


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def pattern(name: str, source: str, flags: str) -> Compiled:
    """A rule of one pattern.

    Raises:
        BadPattern: it does not compile, or it fits the empty text.
    """
    flagged = f"(?{''.join(dict.fromkeys(flags))}){source}" if flags else source
    try:
        found = re2.compile(flagged, _options())
    except re2.error as error:
        raise BadPattern(_why(source, error)) from None
    if found.search("") or found.fullmatch(""):
        raise BadPattern(f"the pattern {source!r} fits the empty text; it must need a character.")
    least, longest = _widths(flagged)
    return Compiled(name, flagged, longest, longest is not None and least >= SURE)


def words(name: str, listed: Iterable[str]) -> Compiled:
    """A rule of whole words and phrases; any blanks between the words of a phrase."""
    longest_first = sorted({" ".join(word.split()) for word in listed}, key=lambda word: (-len(word), word))
    alternatives = "|".join(r"\s{1,3}".join(map(re2.escape, word.split(" "))) for word in longest_first)
    longest = max(len(word) + 2 * word.count(" ") for word in longest_first)
    sure = min(len(word) for word in longest_first) >= SURE_WORD
    return Compiled(name, f"(?i)(?:{alternatives})", longest, sure, whole_words=True)


def _why(source: str, error: re2.error) -> str:
    """What is wrong with a pattern, and where, as far as re2 tells."""
    reason = error.args[0] if error.args else "it does not compile"
    reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    piece = reason.rpartition(": ")[2]
    at = source.find(piece) if piece != reason else -1
    if "perl operator" in reason or "escape sequence" in reason:
        reason += " (re2 has no lookaround and no back-references)"
    if at < 0:
        return f"the pattern {source!r} does not compile: {reason}."
    return f"the pattern does not compile: {reason}, at character {at}:\n  {source}\n  {' ' * at}^"


def _widths(source: str) -> tuple[int, int | None]:
    """The fewest and the most characters of a match; None where those are too many, or not known."""
    if "{," in source:  # literal in re2
        return 0, None
    try:
        # The standard library's parser knows most of re2's syntax; what it does not has no known width.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            least, most = importlib.import_module("re._parser").parse(source).getwidth()
    except (re.error, RecursionError, OverflowError, Warning):
        return 0, None
    return int(least), int(most) if most <= LONGEST else None


class Patterns(Detector):
    """Rules whose matches have a longest length: found at every place, overlapping ones too."""

    name = "patterns"
    inline_below = 20_000

    def __init__(self, rules: Sequence[Compiled]) -> None:
        self.rules = tuple(rules)
        self.reach = max(rule.longest or 0 for rule in rules) + 2
        self._searches: list[tuple[Compiled, Any]] = []

    def load(self) -> None:
        """Compile the rules."""
        self._searches = [(rule, rule.search()) for rule in self.rules]

    def __getstate__(self) -> dict[str, Any]:
        return {"rules": self.rules, "reach": self.reach, "_searches": []}

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The matches in each text."""
        return [
            [m for rule, search in self._searches for m in _matches(rule, search, text)] for text in texts
        ]


def _matches(rule: Compiled, search: Any, text: str) -> Iterator[Match]:
    position = 0
    while found := search.search(text, position):
        start, end = found.span()
        position = start + 1
        if end > start and not (rule.whole_words and _in_a_word(text, start, end)):
            yield Match(start, end, rule.name, 1.0, validated=rule.validated)


def _in_a_word(text: str, start: int, end: int) -> bool:
    before = start > 0 and text[start].isalnum() and text[start - 1].isalnum()
    return before or (end < len(text) and text[end - 1].isalnum() and text[end].isalnum())


class LongPatterns(Detector):
    """Rules whose matches may be of any length: found in blocks of up to 2,200 characters."""

    name = "long-patterns"
    reach = None
    inline_below = 20_000

    def __init__(self, rules: Sequence[Compiled]) -> None:
        self.rules = tuple(rules)
        self._searches: list[tuple[Compiled, Any]] = []

    def load(self) -> None:
        """Compile the rules."""
        self._searches = [(rule, rule.search()) for rule in self.rules]

    def __getstate__(self) -> dict[str, Any]:
        return {"rules": self.rules, "_searches": []}

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The matches in each text, none overlapping another of its rule."""
        return [
            [
                Match(found.start(), found.end(), rule.name)
                for rule, search in self._searches
                for found in search.finditer(text)
                if found.end() > found.start()
            ]
            for text in texts
        ]
