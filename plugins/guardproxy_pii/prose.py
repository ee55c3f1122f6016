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
# A comment: its names are those of authors and licences.
_NOTE = re.compile(r"\s*(?://|/?\*|#|<!--|--)")
# Without it a line with code has no name: two words in a row, one with a capital; `name`.
_HINT = re.compile(
    r"(?<!\w)[^\W\d_a-z]\w+ {1,2}[^\W\d_]|[^\W\d_] {1,2}[^\W\d_a-z]\w|[Nn](?:ame|AME)['\" ]{0,2}[:=]"
)
# What code and data look like amid words: a span of Markdown, a call, a tag, an index.
_SNIPPET = re.compile(
    r"`[^`\n]{1,400}`|(?<![\w.])[\w.]{1,60}\([^()\n]{0,200}\)|</?[A-Za-z][^<>\n]{0,200}>"
    r"|\w\[[^\[\]\n]{0,80}\]"
)
_BRACKET = re.compile(r"[{}]")
# Where one sentence or statement ends and another begins.
_STATEMENT_END = re.compile(
    r"(?<=[^\WA-Z_][.!?;])[ \t]+|(?<=[)\]\"'”;][.!?;])[ \t]+|(?<=\);)[ \t]+|[ \t]+[|&][ \t]+|\t"
)
# A string in quotation marks, and whether it is the value of a key that says that a name follows.
_STRING = re.compile(r"\"[^\"\\\n]{2,400}\"|(?<!\w)'[^'\\\n]{2,400}'(?!\w)")
_NAMED_BEFORE = re.compile(r"(?i)name['\"]?\s{0,2}[:=]\s{0,2}\Z")
_FENCE = re.compile(r"\s{0,3}(?:```|~~~)")
# Half of a line's pieces have to be words, and four make a sentence.
_SHARE = 0.5
_SENTENCE = 4


class Line(enum.Enum):
    """What a line reads like."""

    CODE = "code"  # and data: nobody's name is looked for
    FRAGMENT = "fragment"  # a heading, an entry of a list, a line of few words
    SENTENCE = "sentence"
    MIXED = (
        "mixed"  # words on a line with code or data: only announced names, and known first names with another
    )


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


def mixed(line: str) -> Sequence[tuple[int, int]]:
    """Where words start and end in a `line` that also holds code or data, in order. Linear in its length.

    These are the sentences between snippets, strings of at least two words, and the values of names.
    """
    pieces = [
        (low, high)
        for start, end in _between(line, [found.span() for found in _SNIPPET.finditer(line)] + _braces(line))
        for low, high in _between(
            line[start:end], [f.span() for f in _STATEMENT_END.finditer(line[start:end])], start
        )
        if _worded(line[low:high])
    ]
    for found in _STRING.finditer(line):
        low, high = found.start() + 1, found.end() - 1
        named = _NAMED_BEFORE.search(line, max(0, low - 20), low - 1)
        if named or _worded(line[low:high]):
            pieces.append((low, high))
    out: list[tuple[int, int]] = []
    for low, high in sorted(pieces):
        if not out or low >= out[-1][1]:
            out.append((low, high))
    return out


def _worded(piece: str) -> bool:
    """Whether `piece` of a line with code is of words, two at least."""
    piece = piece.rstrip(" ;")
    return kind(piece) is not Line.CODE and sum(map(bool, map(_WORD.fullmatch, piece.split()))) > 1


def _braces(line: str) -> list[tuple[int, int]]:
    """The outermost braces of `line`, with all that is in them; one that stays open goes on to its end."""
    spans, depth, start = [], 0, 0
    for brace in _BRACKET.finditer(line):
        if brace[0] == "{":
            start = brace.start() if depth == 0 else start
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                spans.append((start, brace.end()))
    return [*spans, (start, len(line))] if depth else spans


def _between(text: str, holes: Sequence[tuple[int, int]], shift: int = 0) -> Sequence[tuple[int, int]]:
    """What is left of `text` beside `holes`, moved by `shift`."""
    out, position = [], 0
    for low, high in [*sorted(holes), (len(text), len(text))]:
        if low > position:
            out.append((position + shift, low + shift))
        position = max(position, high)
    return out


def prose_ranges(text: str) -> Prose:
    """Where the lines of `text` that are prose start and end, in order. Fenced code is none."""
    ranges: list[tuple[int, int, Line]] = []
    start = 0
    fenced = False
    for line in text.splitlines(keepends=True):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            found = kind(line)
            if found is not Line.CODE:
                ranges.append((start, start + len(line), found))
            elif _HINT.search(line) and not _NOTE.match(line):
                ranges += [(start + low, start + high, Line.MIXED) for low, high in mixed(line)]
        start += len(line)
    return ranges
