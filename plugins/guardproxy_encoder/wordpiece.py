"""Word pieces of a plain text, as BERT cuts them: the longest known piece first. Pure."""

import re
from collections.abc import Iterable

UNKNOWN, START, END = 0, 1, 2
SPECIAL = ("[UNK]", "[CLS]", "[SEP]")
LONGEST = 24

_WORD = re.compile(r"[^\W_]+|[^\w\s]|_")


class WordPieces:
    """The vocabulary: `pieces` in the order of their ids, the three special ones first."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        self._lettered = {number for piece, number in self._ids.items() if piece.removeprefix("##").isalpha()}

    def ids(self, text: str) -> list[int]:
        """The pieces of `text`; a character that no piece spells is unknown, and hides no other."""
        found: list[int] = []
        for word in _WORD.findall(text):
            whole = self._ids.get(word)
            if whole is not None:
                found.append(whole)
            else:
                self._cut(word, found)
        return found

    def any_letters(self, ids: Iterable[int]) -> bool:
        """Whether one of `ids` is made of letters."""
        return not self._lettered.isdisjoint(ids)

    def _cut(self, word: str, found: list[int]) -> None:
        start, mark = 0, ""
        while start < len(word):
            for end in range(min(len(word), start + LONGEST), start, -1):
                piece = self._ids.get(mark + word[start:end])
                if piece is not None:
                    found.append(piece)
                    start, mark = end, "##"
                    break
            else:
                if not found or found[-1] != UNKNOWN:
                    found.append(UNKNOWN)
                start, mark = start + 1, ""  # what follows is read as if it began here


def windows(ids: list[int], size: int, overlap: int) -> list[list[int]]:
    """`ids` between the two marks, in pieces of at most `size` that overlap by at least `overlap`."""
    room = size - 2
    count = max(1, -(-(len(ids) - overlap) // (room - overlap)))
    length = overlap - (overlap - len(ids)) // count  # overlap + ceil((len(ids) - overlap) / count)
    starts = [number * (length - overlap) for number in range(count)]
    return [[START, *ids[start : start + length], END] for start in starts]
