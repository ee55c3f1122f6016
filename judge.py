"""What tells a secret from other text: its looks, words for placeholders, references, and published examples."""

import hashlib
import math
import re
from collections import Counter
from typing import Any

import re2

JUDGED = 64  # characters of a key that its randomness is judged by

# SHA-256 (its first 16 digits) of keys that their owners publish as examples and that open nothing: the
# keys in the samples and tests of Google's firebase-android-sdk. Other Google keys are found, also those
# that a web page shows to everybody: which these are cannot be told, and such a key costs its owner money.
_PUBLISHED = frozenset(
    """
    """.split()
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
    length = len(text)
    return math.log2(length) - sum(n * math.log2(n) for n in Counter(text).values()) / length


def is_random(text: str, least: float = 3.0) -> bool:
    """Whether `text` looks like made by chance, not by a person: neither words nor a placeholder."""
    judged = text[:JUDGED]
    if len(judged) < 2:
        return True
    # A short text cannot reach the entropy of a long one.
    return entropy(judged) >= min(least, 0.75 * math.log2(len(judged))) and not is_placeholder(judged)


def is_placeholder(text: str) -> bool:
    """Whether `text` says that a value belongs in its place."""
    return _PLACEHOLDER.search(text) is not None or _repeats(text)


def _repeats(text: str) -> bool:
    """A piece of three characters or more, and the same again: 1234-1234-1234."""
    pieces = _PIECES.split(text)
    return any(a == b and len(a) >= 3 for a, b in zip(pieces, pieces[1:], strict=False))


def is_published(key: str) -> bool:
    """Whether `key` is an example that its owner published."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:16] in _PUBLISHED


def single_bytes(text: str) -> bytes:
    """`text` with one byte for each character, for patterns over ASCII: all others are NUL."""
    return text.encode() if text.isascii() else text.encode("ascii", "guardproxy_secrets.nul")
