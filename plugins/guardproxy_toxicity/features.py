"""What the toxicity model sees of a text: hashed words, word pairs and character n-grams. Pure.

Every hash is a fixed arithmetic function of code points (FNV-1a on 32 bits, vectorised), so that
the same text has the same features in every process, whatever PYTHONHASHSEED is.
"""

import re
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Indexes: TypeAlias = NDArray[np.int64]
Codes: TypeAlias = NDArray[np.uint32]

BUCKETS = 1 << 16
GRAMS = range(2, 6)

_OFFSET, _PRIME = np.uint32(2166136261), np.uint32(16777619)
_SPACE = np.uint32(32)

_ADDRESS = re.compile(r"https?://\S+|www\.\S+|@\w+|&#?\w+;|<[a-z]+>")
_LEET = str.maketrans("013457@$!|", "oieastasil")
# From the first of a run of letters and marks, and never back: linear in a text that is one such run.
DISGUISED = re.compile(
    r"(?<![^\W\d_])(?<![013457@$!|])[^\W\d_]*+[013457@$!|]++(?:[^\W\d_]++[013457@$!|]*+)++"
)
_SPACED = re.compile(r"(?<![^\W_])[^\W\d_](?:[ .*_-]{1,2}[^\W\d_]){2,}(?![^\W_])")
_SEPARATOR = re.compile(r"[ .*_-]+")
_LENGTHENED = re.compile(r"([^\W\d_])\1{2,}")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|[!?]+")


def words(text: str) -> list[str]:
    """The lower-case words of `text`, cheap disguises undone: leetspeak, spaced and lengthened letters.

    Digits are dropped, addresses and placeholders too: they say nothing about tone.

    >>> words("You are an 1d10t, a real l o s e r sooooo dumb")
    ['you', 'are', 'an', 'idiot', 'a', 'real', 'loser', 'soo', 'dumb']
    """
    text = _ADDRESS.sub(" ", text.lower())
    text = _SPACED.sub(lambda found: _SEPARATOR.sub("", found[0]), text)
    text = DISGUISED.sub(_undisguise, text)
    text = _LENGTHENED.sub(r"\1\1", text)
    return [_mark(word) for word in _WORD.findall(text)]


def _undisguise(found: re.Match[str]) -> str:
    word = found[0]
    tail = len(word) - len(word.rstrip("!|"))  # `stop!` ends in a mark, not in a letter
    head = word[: len(word) - tail]
    return head.translate(_LEET) + word[len(head) :]


def _mark(word: str) -> str:
    return word[0] if word[0] in "!?" else word.replace("’", "'")


def features(tokens: list[str]) -> tuple[Indexes, Indexes]:
    """The distinct buckets of words with word pairs, and those of character n-grams within words."""
    if not tokens:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty
    codes = _codes(" " + " ".join(tokens) + " ")
    return _word_features(codes), _gram_features(codes)


def _codes(text: str) -> Codes:
    return np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)


def _gram_features(codes: Codes) -> Indexes:
    blank = codes == _SPACE
    hashes = np.full(len(codes), _OFFSET, dtype=np.uint32)
    inside = np.ones(len(codes), dtype=bool)  # no blank strictly within the n-gram so far
    found: list[Codes] = []
    for size in range(1, GRAMS.stop):
        count = len(codes) - size + 1
        if count <= 0:
            break
        hashes = (hashes[:count] ^ codes[size - 1 :]) * _PRIME
        inside = inside[:count]
        if size > 2:
            inside = inside & ~blank[size - 2 : size - 2 + count]
        if size in GRAMS:
            # A lone letter with its blanks around it is a word; the word features have it.
            found.append(hashes[inside] + np.uint32(size))
    return _buckets(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def _word_features(codes: Codes) -> Indexes:
    blanks = np.flatnonzero(codes == _SPACE)
    lengths = np.diff(blanks) - 1
    hashes = np.full(len(lengths), _OFFSET, dtype=np.uint32)
    starts = blanks[:-1] + 1
    for place in range(int(lengths.max(initial=0))):
        long = np.flatnonzero(lengths > place)
        hashes[long] = (hashes[long] ^ codes[starts[long] + place]) * _PRIME
    pairs = (hashes[:-1] * np.uint32(31) ^ hashes[1:]) * _PRIME
    return _buckets(np.concatenate((hashes, pairs)))


def _buckets(hashes: Codes) -> Indexes:
    mixed = hashes ^ (hashes >> np.uint32(15))
    mixed = mixed * np.uint32(0x2C1B3C6D)
    mixed ^= mixed >> np.uint32(12)
    return np.unique(mixed & np.uint32(BUCKETS - 1)).astype(np.int64)
