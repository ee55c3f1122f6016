"""A text as the encoder reads it: lower case, without accents, cheap disguises undone. Pure, linear time."""

import re
import unicodedata

_LEET = str.maketrans("013457@$!|", "oieastasil")
# From the first of a run of letters and marks, and never back: linear in a text that is one such run.
DISGUISED = re.compile(
    r"(?<![^\W\d_])(?<![013457@$!|])[^\W\d_]*+[013457@$!|]++(?:[^\W\d_]++[013457@$!|]*+)++"
)
_SPACED = re.compile(r"(?<![^\W_])[^\W\d_](?:[ .*_-]{1,2}[^\W\d_]){2,}(?![^\W_])")
_SEPARATOR = re.compile(r"[ .*_-]+")
_LINE = re.compile(r"([^\w\s])\1{3,}")
_LENGTHENED = re.compile(r"([^\W\d_])\1{2,}")
# Runs that spell nothing: hex with a digit, and base64 (both cases and a digit). One mark stands for them.
_HEX = re.compile(r"(?<![A-Za-z0-9])(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{16,}(?![A-Za-z0-9])")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{40,}+=*")
_JOIN = re.compile(r"[+/_-]")
_ENTITY = re.compile(r"&#?\w{1,10};|https?://(?:www\.)?")
BLOB = " \x1a "


def plain(text: str) -> str:
    """`text` in lower case with leetspeak, spaced and lengthened letters undone.

    >>> plain("You are an 1d10t, a real l o s e r, sooooo DÚMB")
    'you are an idiot, a real loser, soo dumb'
    """
    text = _BASE64.sub(_blob, text)
    text = _HEX.sub(BLOB, text)
    text = _ENTITY.sub(" ", text)
    if not text.isascii():
        text = "".join(
            c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) not in _DROPPED
        )
    text = text.lower()
    text = _SPACED.sub(lambda found: _SEPARATOR.sub("", found[0]), text)
    text = DISGUISED.sub(_undisguise, text)
    return _LINE.sub(r"\1\1\1", _LENGTHENED.sub(r"\1\1", text))


_DROPPED = frozenset(("Mn", "Cf"))


def _blob(found: re.Match[str]) -> str:
    # Words joined by such marks are a path, a slug or a form's text, and are read.
    parts = _JOIN.split(found[0])
    return BLOB if any(len(part) >= 24 and _is_mixed(part) for part in parts) else found[0]


def _is_mixed(part: str) -> bool:
    return part.lower() != part != part.upper() and any(c.isdigit() for c in part)


def _undisguise(found: re.Match[str]) -> str:
    word = found[0]
    tail = len(word) - len(word.rstrip("!|"))  # `stop!` ends in a mark, not in a letter
    head = word[: len(word) - tail]
    return head.translate(_LEET) + word[len(head) :]
