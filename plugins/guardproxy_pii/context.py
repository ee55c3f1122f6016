"""Words near a value that say what it is, weighed as Presidio weighs them."""

import re
from collections.abc import Iterable

BOOST, LEAST = 0.35, 0.4  # what a word adds to a score, and the least that the score is then


def raised(score: float) -> float:
    """`score` with a word near by."""
    return round(min(1.0, max(score + BOOST, LEAST)), 2)


def near(words: Iterable[str]) -> re.Pattern[str] | None:
    """What finds one of `words`, in any case; None when there are none."""
    choices = "|".join(re.escape(word) for word in sorted({word.strip() for word in words if word.strip()}))
    return re.compile(rf"(?i)(?<![^\W_])(?:{choices})(?![a-zA-Z])") if choices else None
