"""Merge the ranges of matches, and put placeholders in their place. Pure."""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from guardproxy.types import Match


@dataclass(frozen=True, slots=True)
class Range:
    """A run of characters that one placeholder replaces."""

    start: int
    end: int
    category: str


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What stands in the place of redacted text: the template, in which `{category}` is the range's category.

    `own` are the texts of categories that have one of their own.
    """

    template: str
    own: Mapping[str, str] = field(default_factory=dict)

    def of(self, category: str) -> str:
        """The text for one range."""
        return self.own.get(category) or self.template.replace("{category}", category)


def order(match: Match) -> tuple[int, int, float, str]:
    """The sort key of matches: the earliest, then the longest, then the surest.

    The first of overlapping matches names the placeholder: in a stream it is known first.
    """
    return (match.start, -match.end, -match.score, match.category)


def merge(matches: Iterable[Match]) -> list[Range]:
    """The union of overlapping matches, in order; ranges that only touch stay apart."""
    merged: list[Range] = []
    for match in sorted(matches, key=order):
        if merged and match.start < merged[-1].end:
            last = merged[-1]
            if match.end > last.end:
                merged[-1] = Range(last.start, match.end, last.category)
        else:
            merged.append(Range(match.start, match.end, match.category))
    return merged


def splice(text: str, ranges: Sequence[Range], placeholder: Placeholder) -> str:
    """`text` with each range replaced by `placeholder`."""
    pieces: list[str] = []
    done = 0
    for found in ranges:
        pieces += (text[done : found.start], placeholder.of(found.category))
        done = found.end
    return "".join((*pieces, text[done:]))


def delivered(ranges: Sequence[Range], placeholder: Placeholder) -> list[tuple[int, int]]:
    """Where each range's placeholder stands in the spliced text."""
    out: list[tuple[int, int]] = []
    shift = 0
    for found in ranges:
        length = len(placeholder.of(found.category))
        start = found.start + shift
        out.append((start, start + length))
        shift += length - (found.end - found.start)
    return out


class Moves:
    """Where ranges of a text stand in the spliced text."""

    def __init__(self, ranges: Sequence[Range], placeholder: Placeholder) -> None:
        self._ranges = ranges
        self._ends = [found.end for found in ranges]
        self._delivered = delivered(ranges, placeholder)

    def of(self, start: int, end: int) -> tuple[int, int]:
        """Where [start, end) stands: at its placeholder, or moved by those before it."""
        after = bisect.bisect_right(self._ends, start)
        if after < len(self._ranges) and self._ranges[after].start < end:
            return self._delivered[after]
        shift = self._delivered[after - 1][1] - self._ends[after - 1] if after else 0
        return start + shift, end + shift


def moved(start: int, end: int, ranges: Sequence[Range], placeholder: Placeholder) -> tuple[int, int]:
    """Where [start, end) stands in the spliced text; for many, `Moves` is made once."""
    return Moves(ranges, placeholder).of(start, end)
