"""The blocks in which blockwise detectors see a text: a function of the text alone. Pure.

A text is cut behind a blank line once 200 characters are there, else behind the first sentence or
line end after 400, at the latest after 2,000. A block is seen with the characters before it that a
detector asks for (200 where it does not say) and owns the matches that start between half as many before
its own cut and as many before the next, so every match has context on both sides. Of a match that it sees
begin earlier and end in its own text, it owns what lies behind that limit. Every cut depends on the text
before it alone: a stream is cut where the whole text is.
"""

import re
from dataclasses import dataclass

from guardproxy.types import CONTEXT, Match

SHORTEST, SENTENCE, LONGEST = 200, 400, 2000

_BLANK_LINE = re.compile(r"\n[ \t\r]{0,80}\n")
_SENTENCE = re.compile(r"[.!?…。！？][\"')\]]{0,3}\s|\n")


def next_cut(text: str, start: int, end: int | None = None) -> int | None:
    """The first cut behind `start`, or None when `text` (up to `end`) does not reach it yet."""
    end = len(text) if end is None else end
    cuts = [start + LONGEST] if end >= start + LONGEST else []
    limit = min(end, start + LONGEST)
    for pattern, least in ((_BLANK_LINE, SHORTEST), (_SENTENCE, SENTENCE)):
        if found := pattern.search(text, start + least - 1, limit):
            cuts.append(found.end())
    return min(cuts) if cuts else None


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its own text is [start, end), it is seen from `seen` on."""

    start: int
    end: int
    last: bool
    context: int = CONTEXT

    @property
    def margin(self) -> int:
        """How far before a cut the block behind it owns what begins."""
        return self.context // 2

    @property
    def seen(self) -> int:
        """Where the text that the detector sees begins."""
        return max(0, self.start - self.context)

    def own(self, matches: list[Match]) -> list[Match]:
        """The matches that this block owns, with offsets of the whole text."""
        low = self.start - self.margin if self.start else 0
        high = self.end if self.last else self.end - self.margin
        length = self.end - self.seen
        found = []
        for match in matches:
            if match.start == 0 and match.end >= length:
                # A classifier's verdict on the whole block stands for the block's own text.
                found.append(_at(match, self.start, self.end))
            elif low <= (start := match.start + self.seen) < high:
                found.append(_at(match, start, match.end + self.seen))
            elif start < low and match.end + self.seen > self.start:
                # The block before owns it, and did not see it end: the rest is this one's.
                found.append(_at(match, low, match.end + self.seen))
        return found


def _at(match: Match, start: int, end: int) -> Match:
    return Match(start, end, match.category, match.score, match.validated)


def blocks(text: str, context: int = CONTEXT) -> list[Block]:
    """The blocks of a whole text, in order, each seen with `context` characters."""
    out: list[Block] = []
    start = 0
    while (cut := next_cut(text, start)) is not None and cut < len(text):
        out.append(Block(start, cut, False, context))
        start = cut
    if start < len(text):
        out.append(Block(start, len(text), True, context))
    return out
