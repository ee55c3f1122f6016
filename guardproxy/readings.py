"""Normalised readings of a text, with offsets back to it. Pure.

One reading today: every character in its compatibility form (NFKC, character by character) and
without the invisible ones. It is a mapping of single characters, so the reading of a slice is a
slice of the reading: a stream and a whole text are read alike. Detectors see the text itself too:
a footnote mark behind a card number must not turn it into a longer number.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from guardproxy.types import Match

# Characters without a picture of their own: format characters (zero width, bidi, soft hyphen, tags),
# variation selectors, combining grapheme joiner, Hangul fillers.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Reading:
    """Another form of a text of `length`; `starts[i]` is where its character i stands in the text."""

    text: str
    starts: tuple[int, ...]
    length: int

    def back(self, match: Match) -> Match:
        """`match` with the offsets of the text that was read."""
        start, end = self.starts[match.start], self.starts[match.end - 1] + 1
        if match.open and match.end == len(self.text):
            end = self.length  # invisible characters at the end must not seem to close it
        return Match(start, end, match.category, match.score, match.validated, match.open)


def clean(text: str) -> str:
    """`text` as detectors see it: lone surrogates become U+FFFD, one for one."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


@lru_cache(maxsize=4096)
def _fold(character: str) -> str:
    return "" if INVISIBLE.match(character) else unicodedata.normalize("NFKC", character)


def fold(text: str) -> Reading | None:
    """The reading of `text` in compatibility form without invisible characters; None when it is `text`."""
    if text.isascii():
        return None
    if unicodedata.is_normalized("NFKC", text) and not INVISIBLE.search(text):
        return None
    pieces: list[str] = []
    starts: list[int] = []
    for index, character in enumerate(text):
        piece = character if character < "\x80" else _fold(character)
        pieces.append(piece)
        starts.extend([index] * len(piece))
    folded = "".join(pieces)
    return None if folded == text else Reading(folded, tuple(starts), len(text))


def back_from(text: str, position: int, count: int) -> int:
    """The position that has `count` visible characters between itself and `position`, or 0."""
    start = max(0, position - count)
    if text.isascii() or not (hidden := len(INVISIBLE.findall(text, start, position))):
        return start
    while hidden and start:
        earlier = max(0, start - hidden)
        hidden = len(INVISIBLE.findall(text, earlier, start))
        start = earlier
    return start


def on_from(text: str, position: int, count: int) -> int:
    """The position that is `count` visible characters after `position`, or the end of `text`."""
    end = min(len(text), position + count)
    if text.isascii() or not (hidden := len(INVISIBLE.findall(text, position, end))):
        return end
    while hidden and end < len(text):
        later = min(len(text), end + hidden)
        hidden = len(INVISIBLE.findall(text, end, later))
        end = later
    return end
