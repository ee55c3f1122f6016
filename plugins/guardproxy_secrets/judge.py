"""What tells a secret from other text: its looks, words for placeholders, and published examples."""

import codecs
import hashlib
import itertools
import math
import re
from collections import Counter
from typing import Any

import re2

# What ends a sentence, and is no part of a value before it. A `!` may be part of it: many passwords end so.
MARKS = ".,?:;"
MOST_MARKS = 32  # behind a value; from a piece of a text it cannot be told what is before more of them
JUDGED = 64  # characters of a key that its looks are judged by

# Of keys that their owner publishes as examples, the first 16 digits of the SHA-256: the keys in samples and
# tests of Google's firebase-android-sdk. All other Google keys are found, those that a web page shows
# to everybody too: nothing in a key tells which these are, and it may cost its owner money.
_PUBLISHED = frozenset(
    [
        "2037abcaffb2b777",
        "27a9a42931dff7eb",
        "37f8f09bdf12c2f2",
        "3a8b61d0f636b007",
        "3f370c9dd8225c63",
        "49f777db995e8260",
        "4c98242dcadc8b29",
        "8731261cb72d8626",
        "a6c814bc555ae62c",
        "dc0fcf046c61640c",
        "e4a5542bb7fd7b67",
        "e8883fee629474c3",
        "ea9bb1082cf95663",
        "eb540d2b6ee2a0a4",
    ]
)


def options() -> Any:
    """re2's options: linear time, and no pattern or text on standard error."""
    made = re2.Options()
    made.log_errors = False
    return made


_PLACEHOLDER = re2.compile(
    r"(?i)example|sample|placeholder|your|xxxx|\*\*\*|\.\.\.|####|____|1234567890?|0123456|abcdefgh|change_?me|"
    r"dummy|redacted|fake|(?:test|secret|access|api)[_-]?key|aaaaaa|000000|111111|my[_-](?:secret|token|pass|key)|"
    r"insert[_-]|replace|foobar|lorem|<|>|\{\{|\$\{",
    options(),
)
_PIECES = re.compile("[-_.:]")


def entropy(text: str) -> float:
    """Shannon's entropy of the characters of `text`, in bits a character."""
    return math.log2(len(text)) - sum(n * math.log2(n) for n in Counter(text).values()) / len(text)


def behind(text: str, start: int, end: int, marks: str) -> int:
    """How many of `marks` are at the end of [start, end), up to `MOST_MARKS`."""
    last = text[max(start, end - MOST_MARKS) : end]
    return len(last) - len(last.rstrip(marks))


def is_random(text: str, least: float = 3.0) -> bool:
    """Whether `text` looks like made by chance, not by a person: neither words nor a placeholder."""
    judged = text[:JUDGED]
    # A short text cannot reach the entropy of a long one.
    needed = min(least, 0.75 * math.log2(len(judged))) if len(judged) > 1 else 0
    return not judged or (entropy(judged) >= needed and not is_placeholder(judged))


def is_placeholder(text: str) -> bool:
    """Whether `text` only says what belongs in its place."""
    if _PLACEHOLDER.search(text):
        return True
    pieces = _PIECES.split(text)  # 1234-1234-1234: a piece, and the same again
    return any(a == b and len(a) >= 3 for a, b in itertools.pairwise(pieces))


def is_published(key: str) -> bool:
    """Whether `key` is an example that its owner published."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:16] in _PUBLISHED


def single_bytes(text: str) -> bytes:
    """`text`, one byte a character, NUL for what is not ASCII: so that re2 need not count at each search."""
    return text.encode("ascii", "guardproxy_secrets.nul")


def _nul(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "\0" * (error.end - error.start), error.end


codecs.register_error("guardproxy_secrets.nul", _nul)
