"""Values that are split over neighbouring content parts: the texts around their seams, put together. Pure.

Neighbours are the texts of objects that follow each other in one list inside of an item:
`("input", 0, "content", 0, "text")` and `("input", 0, "content", 1, "text")`. What has no text, an
empty part or an image, parts nobody.
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from guardproxy.types import Match, Path, PathMark, TextPart

SIDE = 256  # characters on each side of a seam
_JOINTS = ("", " ")


@dataclass(slots=True)
class Chain:
    """Neighbouring texts, joined; of the first and the last no more than is near a seam."""

    pieces: list[str] = field(default_factory=list)
    length: int = 0
    parts: list[int] = field(default_factory=list)  # which part each piece came from
    offsets: list[int] = field(default_factory=list)  # where the piece begins in the part
    starts: list[int] = field(default_factory=list)  # and in `text`
    ends: list[int] = field(default_factory=list)

    def add(self, part: int, offset: int, piece: str, joint: str) -> None:
        """Put the next piece behind the others."""
        self.pieces += (joint if self.parts else "", piece)
        self.parts.append(part)
        self.offsets.append(offset)
        self.starts.append(self.length + len(self.pieces[-2]))
        self.length = self.starts[-1] + len(piece)
        self.ends.append(self.length)

    @property
    def text(self) -> str:
        """All pieces, joined."""
        return "".join(self.pieces)

    def split(self, match: Match) -> list[tuple[int, Match]]:
        """`match` as ranges of the parts that it reaches into; empty when that is one part alone."""
        low = bisect.bisect_right(self.ends, match.start)
        high = bisect.bisect_left(self.starts, match.end)
        if high - low < 2:
            return []
        found = []
        for index in range(low, high):
            moved = self.offsets[index] - self.starts[index]
            start = max(match.start, self.starts[index]) + moved
            end = min(match.end, self.ends[index]) + moved
            found.append((self.parts[index], Match(start, end, match.category, match.score, match.validated)))
        return found


def chains(parts: Sequence[TextPart]) -> list[Chain]:
    """The chains of neighbours among `parts`, once for each way to join them."""
    groups: dict[Path, list[tuple[int, int]]] = {}
    ranks: dict[Path, dict[int, int]] = {}  # of the objects that have a text, by list
    for index, part in enumerate(parts):
        path = part.path
        if len(path) < 4 or part.structural or not part.text or PathMark.PARSED in path:
            continue
        step, name = path[-2:]
        if type(step) is int and isinstance(name, str):
            of_list = ranks.setdefault(path[:-2], {})
            rank = of_list.setdefault(step, len(of_list))
            groups.setdefault((*path[:-2], name), []).append((rank, index))
    return [chain for group in groups.values() for joint in _JOINTS for chain in _of(parts, group, joint)]


def _of(parts: Sequence[TextPart], group: Sequence[tuple[int, int]], joint: str) -> Iterator[Chain]:
    chain = Chain()
    before: int | None = None
    for rank, index in group:
        text = parts[index].text
        if before is not None and rank != before + 1:
            if len(chain.parts) > 1:
                yield chain
            chain = Chain()
        if len(text) <= 2 * SIDE:
            chain.add(index, 0, text, joint)
        else:
            if chain.parts:
                chain.add(index, 0, text[:SIDE], joint)
                yield chain
            chain = Chain()
            chain.add(index, len(text) - SIDE, text[-SIDE:], joint)
        before = rank
    if len(chain.parts) > 1:
        yield chain
