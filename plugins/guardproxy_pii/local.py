"""Detectors that look at a few characters around an anchor, and so are local by construction."""

import abc
import re
from collections.abc import Iterable, Mapping, Sequence

from guardproxy import Detector, Match

# What people put between groups of digits, for use in a character class: blanks and dashes.
SEPARATORS = r" \u00a0\u2010-\u2013-"
# What belongs to a word that a number could be a part of, for use in a character class. Letters of other
# scripts do not: Chinese and Japanese have no blanks between words.
WORD = "A-Za-z0-9_"


class LocalDetector(Detector):
    """A detector whose matches each depend on a window of fixed size around an anchor.

    `anchor` matches one character of each candidate, `lead` characters behind its begin, with assertions
    that look at fewer than `before` characters back and `after` forward: no candidate consumes another.
    (The character comes first, then what stands before it: `re` skips what cannot match at once then.)
    `at` sees the window alone, so a match cannot depend on more than `before + after` characters.
    """

    inline_below = 4000
    anchor: re.Pattern[str]
    lead = 0
    before: int
    after: int

    def __init__(self, least: Mapping[str, float] | None = None) -> None:
        """`least`: the least score by entity; nothing is left out where none is given."""
        self._least = dict(least or {})

    def __init_subclass__(cls) -> None:
        cls.reach = cls.before + cls.after

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The matches of each text, in any order."""
        found = [self._find(text) for text in texts]
        if self._least:
            found = [[m for m in matches if m.score >= self._least.get(m.category, 0.0)] for matches in found]
        return found

    def _find(self, text: str) -> list[Match]:
        found = []
        for position in self.positions(text):
            low = max(0, position - self.before)
            window = text[low : position + self.after]
            found += [
                Match(m.start + low, m.end + low, m.category, m.score, m.validated)
                for m in self.at(window, position - low)
            ]
        return list(dict.fromkeys(found))

    def positions(self, text: str) -> Iterable[int]:
        """Where candidates may be."""
        return [anchor.start() - self.lead for anchor in self.anchor.finditer(text)]

    @abc.abstractmethod
    def at(self, window: str, position: int) -> Iterable[Match]:
        """The matches of the anchor at `position` of `window`, with offsets of `window`."""
