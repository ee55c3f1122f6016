"""Values that are split over neighbouring text parts: both sides of each seam, put together. Pure.

Neighbours are elements of one list inside of an item (content parts, lines of an output, arguments):
`("input", 0, "content", 0, "text")` and `("input", 0, "content", 1, "text")`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from guardproxy.types import Match, Path, TextPart

SIDE = 256  # characters on each side of a seam
_JOINTS = ("", " ")


@dataclass(frozen=True, slots=True)
class Seam:
    """The text around one seam; `pieces` tell which part each range of it came from, and where."""

    text: str
    pieces: tuple[tuple[int, int, int, int], ...]  # part, offset in the part, start and end in `text`

    def split(self, match: Match) -> list[tuple[int, Match]]:
        """`match` as ranges of the parts; empty when it is within one part."""
        found = [
            (part, max(match.start, start) - start + offset, min(match.end, end) - start + offset)
            for part, offset, start, end in self.pieces
            if match.start < end and start < match.end
        ]
        if len({part for part, _, _ in found}) < 2:
            return []
        return [
            (part, Match(start, end, match.category, match.score, match.validated))
            for part, start, end in found
        ]


def seams(parts: Sequence[TextPart]) -> Iterator[Seam]:
    """The seams between neighbours among `parts`."""
    groups: dict[Path, list[tuple[int, int]]] = {}
    for index, part in enumerate(parts):
        at = next((i for i in range(len(part.path) - 1, 1, -1) if type(part.path[i]) is int), None)
        if at is not None and not part.structural and part.text:
            step = part.path[at]
            assert isinstance(step, int)
            groups.setdefault((*part.path[:at], "*", *part.path[at + 1 :]), []).append((step, index))
    for group in groups.values():
        if len(group) > 1:
            yield from _of_group(parts, sorted(group))


def _of_group(parts: Sequence[TextPart], group: list[tuple[int, int]]) -> Iterator[Seam]:
    for number, ((step, _), (following, _)) in enumerate(pairwise(group)):
        if following != step + 1:
            continue
        before = _side(parts, group[number::-1], -1)
        after = _side(parts, group[number + 1 :], 1)
        for joint in _JOINTS:
            pieces: list[tuple[int, int, int, int]] = []
            text = ""
            for part, start, end in (*reversed(before), *after):
                text += joint if text else ""
                pieces.append((part, start, len(text), len(text) + end - start))
                text += parts[part].text[start:end]
            yield Seam(text, tuple(pieces))


def _side(
    parts: Sequence[TextPart], group: list[tuple[int, int]], direction: int
) -> list[tuple[int, int, int]]:
    """The ranges of parts that stand on one side of a seam, the nearest first."""
    found: list[tuple[int, int, int]] = []
    left, expected = SIDE, group[0][0]
    for step, index in group:
        length = len(parts[index].text)
        if step != expected or left <= 0:
            break
        start, end = (max(0, length - left), length) if direction < 0 else (0, min(length, left))
        found.append((index, start, end))
        left -= end - start
        expected += direction
    return found
