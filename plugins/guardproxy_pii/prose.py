"""Tells prose from code, data and lock files: a model of names finds persons in all of them."""

import re

# A word as people write it: letters, an apostrophe or a hyphen inside, punctuation around.
_WORD = re.compile(r"[\"'“‘(\[*_>-]*[^\W\d_]+(?:['’-][^\W\d_]+)*[\"'”’)\]*_]*[.,;:!?…]*")
_CAMEL = re.compile(r"[a-z][A-Z]")
_CODE = re.compile(
    r"[{};]\s*$|^\s*(?:[@<}\])]|//|/?\*/|/\*|#[^\s#])|\w\(|\)\s*[:{]|[=!<>+:-]=|=>|->|::|\\\w|\w\[|</|\"\s*:|^\s*[\w.-]+\s*="
    r"|\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{12,}\b"  # a hash
    r"|^\s*(?:from\s+[\w.]+\s+)?import\s+[\w.]+"
    r"|^\s*(?:import|from|def|class|return|if|elif|else|for|while|try|except|raise|const|let|var|func|fn|pub|use"
    r"|package|async|await)\b[^.!?]*[:,)]?\s*$|^\s*[\w-]+:\s*['\"]"
)
# Half of a line's pieces have to be words.
_SHARE = 0.5


def is_prose(line: str) -> bool:
    """Whether `line` reads like a sentence, a heading or an entry of a list. Linear in its length."""
    pieces = line.split()
    if not pieces or _CODE.search(line):
        return False
    words = sum(1 for piece in pieces if _WORD.fullmatch(piece) and not _CAMEL.search(piece))
    return words >= _SHARE * len(pieces)


def prose_ranges(text: str) -> list[tuple[int, int]]:
    """Where the lines of `text` that are prose start and end, in order."""
    ranges = []
    start = 0
    for line in text.splitlines(keepends=True):
        if is_prose(line):
            ranges.append((start, start + len(line)))
        start += len(line)
    return ranges
