"""First names: a list of those that are no other word, and one of those that are."""

from functools import cache
from pathlib import Path

_ALSO_WORDS = "?"


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
    """Whether `word` is a first name, and hardly anything else."""
    return word.lower() in _sure()


def may_be_first_name(word: str) -> bool:
    """Whether `word` is a first name, perhaps among other things (Grace, Paris)."""
    return word.lower() in _sure() or word.lower() in _unsure()
