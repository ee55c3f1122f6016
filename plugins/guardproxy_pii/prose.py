"""Tells prose from code, data and lock files: a model of names finds persons in all of them."""

import enum
import re
from collections.abc import Sequence
from typing import TypeAlias

# A word as people write it: letters, an apostrophe or a hyphen inside, punctuation around.
_WORD = re.compile(r"[\"'“‘(\[*_>-]*[^\W\d_]+(?:['’-][^\W\d_]+)*[\"'”’)\]*_]*[.,;:!?…]*")
_CAMEL = re.compile(r"[a-z][A-Z]")
_CODE = re.compile(
    r"[{};]\s*$|^\s*(?:[@<}\])]|//|/?\*/|/\*|#[^\s#])|\w\(|\)\s*[:{]|[=!<>+:-]=|=>|->|::|\\\w|\w\[|</|\"\s*:"
    r"|^\s*[\w.-]+\s*="
    r"|\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{12,}\b"  # a hash
    r"|^\s*(?:from\s+[\w.]+\s+)?import\s+[\w.]+"
    r"|^\s*(?:import|from|def|class|return|if|elif|else|for|while|try|except|raise|const|let|var|func|fn|pub"
    r"|use|package|async|await)\b[^.!?]*[:,)]?\s*$|^\s*[\w-]+:\s*['\"]"
)
# Headings, comments, entries of lists and tables, parameters: fragments, with capitals that name nobody.
_FRAGMENT = re.compile(
    r"\s*(?:#{1,6}\s|[-*+•·|]\s|[0-9]{1,3}[.)]\s|:\w+|>?\s*\*\*)"
    r"|\s*[A-Za-z][\w-]{0,24}(?: [\w-]{1,24})?:\s+\S"
    r"|.*[`|]|.*\]\(|\s*(?:participant|note|todo|fixme|@\w+)\b"
)
_FENCE = re.compile(r"\s{0,3}(?:```|~~~)")
# Half of a line's pieces have to be words, and four make a sentence.
_SHARE = 0.5
_SENTENCE = 4


class Line(enum.Enum):
    """What a line reads like."""

    CODE = "code"  # and data: nobody's name is looked for
    FRAGMENT = "fragment"  # a heading, an entry of a list, a line of few words
    SENTENCE = "sentence"


Prose: TypeAlias = Sequence[tuple[int, int, Line]]


def kind(line: str) -> Line:
    """What `line` reads like. Linear in its length."""
    pieces = line.split()
    if not pieces or _CODE.search(line):
        return Line.CODE
    words = sum(1 for piece in pieces if _WORD.fullmatch(piece) and not _CAMEL.search(piece))
    if words < _SHARE * len(pieces):
        return Line.CODE
    return Line.FRAGMENT if words < _SENTENCE or _FRAGMENT.match(line) else Line.SENTENCE


def prose_ranges(text: str) -> Prose:
    """Where the lines of `text` that are prose start and end, in order. Fenced code is none."""
    ranges: list[tuple[int, int, Line]] = []
    start = 0
    fenced = False
    for line in text.splitlines(keepends=True):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and (found := kind(line)) is not Line.CODE:
            ranges.append((start, start + len(line), found))
        start += len(line)
    return ranges
