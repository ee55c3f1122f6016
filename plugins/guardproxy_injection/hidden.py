"""Text that is there for the model and not for the reader: invisible characters that spell something."""

import re
from collections.abc import Sequence

from guardproxy import Detector, Match

# Unicode's copy of ASCII, which shows nothing. A flag of a region (England, Texas) is a black flag, at
# most six of them, and the tag that closes it.
_TAGS = re.compile("(?<![\U000e0020-\U000e007f])[\U000e0020-\U000e007f]{3,}+")
_FLAG, _CLOSE, _REGION = "\U0001f3f4", "\U000e007f", 7
# One of these belongs to an emoji or a script; in a row they are digits of a code.
_SELECTORS = re.compile("(?<![\ufe00-\ufe0f\U000e0100-\U000e01ef])[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}+")
_BLANK = "\u180e\u200b-\u200f\u2060-\u2064\ufeff\u034f\u00ad\u115f\u1160\u3164"
_BLANKS = re.compile(f"(?<![{_BLANK}])[{_BLANK}]{{16,}}+")
_CODE, _LONG = 16, 64


class HiddenText(Detector):
    """Runs of tag characters, of variation selectors, and of blanks without width that are a code."""

    name = "hidden"
    # Whether a run counts is seen in its first 64 characters and the one before it.
    reach = _LONG + 1
    inline_below = 50_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The runs, from their first character to their last."""
        return [list(_runs(text)) if not text.isascii() else [] for text in texts]


def _runs(text: str) -> list[Match]:
    found = [match for match in _TAGS.finditer(text) if not _is_flag(text, *match.span())]
    found += _SELECTORS.finditer(text)
    found += [match for match in _BLANKS.finditer(text) if _is_code(match[0])]
    return [Match(*match.span(), "HIDDEN_TEXT", validated=True) for match in found]


def _is_flag(text: str, start: int, end: int) -> bool:
    return start > 0 and text[start - 1] == _FLAG and end - start <= _REGION and text[end - 1] == _CLOSE


def _is_code(run: str) -> bool:
    """Whether the run has two kinds of blanks, as zeros and ones, or is too long to be padding."""
    return len(set(run[:_CODE])) > 1 or len(run) >= _LONG
