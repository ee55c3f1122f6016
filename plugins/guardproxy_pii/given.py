"""First names: a list of those that are no other word, and one of those that are."""

import unicodedata
from functools import cache
from pathlib import Path

_ALSO_WORDS = "?"
# Letters that are no other letter with a mark.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ı": "i", "ß": "ss", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}
)


@cache
def _lines() -> list[str]:
    text = Path(__file__).with_name("first_names.txt").read_text("utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


@cache
def _sure() -> frozenset[str]:
    return frozenset(name for line in _lines() if not line.startswith(_ALSO_WORDS) for name in line.split())


@cache
def _unsure() -> frozenset[str]:
    return frozenset(name for line in _lines() if line.startswith(_ALSO_WORDS) for name in line[1:].split())


def words(text: str) -> frozenset[str]:
    """The words of `text`, which blanks part."""
    return frozenset(text.split())


def is_first_name(word: str) -> bool:
    """Whether `word` is a first name, and hardly anything else; marks on its letters do not count."""
    return any(part in _sure() for part in _spellings(word))


def may_be_first_name(word: str) -> bool:
    """Whether `word` is a first name, perhaps among other things (Grace, Paris)."""
    return any(part in _sure() or part in _unsure() for part in _spellings(word))


def _spellings(word: str) -> tuple[str, ...]:
    """How the list may spell `word`: as it is, without marks, and without hyphens (Seo-yeon)."""
    word = word.lower()
    if not word.isascii():
        split = unicodedata.normalize("NFKD", word.translate(_LETTERS))
        plain = "".join(letter for letter in split if not unicodedata.combining(letter))
        return (word, plain, plain.replace("-", ""))
    return (word, word.replace("-", "")) if "-" in word else (word,)
