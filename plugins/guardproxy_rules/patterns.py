"""Patterns and words, compiled to google-re2: linear in the text, whatever the pattern."""

import bisect
import importlib
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from guardproxy import Detector, Match

LONGEST = 400  # characters of a match that is still looked for at each place, and held in a stream
SURE = 8  # characters from which on chance hardly makes a match where base64 or escapes are undone
SURE_WORD = 5
MOST_AT_ONCE = 20_000  # characters of words in one pattern: re2 has its limits


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
    least, longest = _widths(flagged)
    if found.search("") or least == 0:  # `\\b` fits an empty place that only other texts have
        raise BadPattern(f"the pattern {source!r} fits the empty text; it must need a character.")
    return Compiled(name, flagged, longest, longest is not None and (least or 0) >= SURE)


def words(name: str, listed: Iterable[str]) -> list[Compiled]:
    """A rule of whole words and phrases; one to three blanks between the words of a phrase.

    re2 tells one match at a place: `red` is there, too, where `red fox` goes on as `red foxes`. So a word
    that begins another is in another part.
    """
    every = sorted({" ".join(word.split()) for word in listed}, key=lambda word: (len(word), word))
    sure = len(every[0]) >= SURE_WORD
    depths: dict[str, int] = {}
    parts: dict[tuple[int, int], list[str]] = defaultdict(list)
    size = 0
    for word in every:
        folded = word.casefold()
        beginnings = (depths.get(folded[:end], -1) for end in range(1, len(folded)))
        depth = depths[folded] = 1 + max(beginnings, default=-1)
        parts[depth, size // MOST_AT_ONCE].append(word)
        size += len(word)
    return [_part(name, part, sure) for part in parts.values()]


def _part(name: str, listed: Sequence[str], sure: bool) -> Compiled:
    alternatives = "|".join(r"\s{1,3}".join(map(re2.escape, word.split(" "))) for word in listed)
    longest = max(len(word) + 2 * word.count(" ") for word in listed)
    return Compiled(name, f"(?i)(?:{alternatives})", longest, sure, whole_words=True)


def _why(source: str, error: re2.error) -> str:
    """What is wrong with a pattern, and where, as far as re2 tells."""
    reason = error.args[0] if error.args else "it does not compile"
    reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    piece = reason.rpartition(": ")[2]
    reason = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)
    # A piece that is the whole pattern, or comes twice, tells no place.
    at = source.find(piece) if source.count(piece) == 1 and piece != source and source.isprintable() else -1
    if "perl operator" in reason or "escape sequence" in reason:
        reason += " (re2 has no lookaround and no back-references)"
    if at < 0:
        return f"the pattern {source!r} does not compile: {reason}."
    return f"the pattern does not compile: {reason}, at character {at}:\n  {source}\n  {' ' * at}^"


def _widths(source: str) -> tuple[int | None, int | None]:
    """The fewest and the most characters of a match; None where those are too many, or not known."""
    if "{," in source:  # literal in re2
        return None, None
    try:
        # The standard library's parser knows most of re2's syntax; what it does not has no known width.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            least, most = importlib.import_module("re._parser").parse(source).getwidth()
    except (re.error, RecursionError, OverflowError, Warning):
        return None, None
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
    # Over bytes: of a string, re2 would encode and count the whole again for each search.
    data = text.encode()
    starts = None if len(data) == len(text) else _starts(data)
    position = 0
    while found := search.search(data, position):
        start, end = found.span()
        position = start + 1
        if starts is not None:
            start, end = bisect.bisect_left(starts, start), bisect.bisect_left(starts, end)
            position = starts[start + 1]
        if end > start and not (rule.whole_words and _in_a_word(text, start, end)):
            yield Match(start, end, rule.name, 1.0, validated=rule.validated)


def _starts(data: bytes) -> list[int]:
    """Where each character of UTF-8 begins, and where the last ends."""
    return [*(index for index, byte in enumerate(data) if byte & 0xC0 != 0x80), len(data)]


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
