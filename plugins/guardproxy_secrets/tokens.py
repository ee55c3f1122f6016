"""Keys with a provider's format: a prefilter over all keywords, then the rules whose keyword occurs."""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import re2

from guardproxy import Detector, Match
from guardproxy_secrets.checks import DOUBTFUL, HOLDS
from guardproxy_secrets.judge import JUDGED, behind, is_random, options, single_bytes
from guardproxy_secrets.rule import Rule
from guardproxy_secrets.rules import RULES

CHECKED = 90  # characters of a key that a check sees
# A letter of an escape in a JSON or C string (`\nAKIA`) does not belong to the key behind it.
_ESCAPES = frozenset("nrtbf")


_INSIDE = re.compile("[A-Za-z0-9_+]")


def begins(text: str, start: int) -> bool:
    """Whether a key may begin at `start`: no letter or digit of ASCII runs into it.

    Letters of other scripts may: Chinese and Japanese have no blanks between words.
    """
    if start == 0 or not (_INSIDE.match(text, start - 1) and _INSIDE.match(text, start)):
        return True
    return start > 1 and text[start - 2] == "\\" and text[start - 1] in _ESCAPES


class Runs:
    """Where runs of one class of characters end: each is read once, however many keys begin in it."""

    def __init__(self, pattern: "re.Pattern[bytes]") -> None:
        self._pattern = pattern
        self._start = self._end = -1

    def end(self, data: bytes, position: int) -> int:
        """Where the run that `position` is in ends."""
        if not self._start <= position <= self._end:
            found = self._pattern.match(data, position)
            self._start, self._end = position, found.end() if found else position
        return self._end


class _Compiled:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        most = rule.least if rule.most is None else rule.most
        body = f"({rule.alphabet}{{{rule.least},{most}}})" if most else "()"
        # No pattern is longer than what decides: where a run ends is found once for all keys in it.
        self.pattern = re2.compile(rule.prefix + body, options())
        self.run = re.compile(f"{rule.alphabet}*+".encode())
        self.more = re.compile(f"{rule.alphabet}|[A-Za-z0-9]")

    def matches(self, text: str, data: bytes) -> Iterator[Match]:
        position, runs = 0, Runs(self.run)
        while found := self.pattern.search(data, position):
            start, end = found.span()
            position = start + 1
            if not begins(text, start):
                continue
            if self.rule.most is None:
                end = runs.end(data, end)
            elif end < len(text) and text[end] != "." and self.more.match(text, end):
                continue
            score = self._score(text, start, found.start(1), end)
            if not score:
                continue
            is_open = self.rule.most is None and end == len(text)
            if self.rule.most is None and not is_open:
                end -= behind(text, start, end, ".-,")
            yield Match(start, end, self.rule.category, score, validated=score >= DOUBTFUL, open=is_open)

    def _score(self, text: str, start: int, body: int, end: int) -> float:
        rule = self.rule
        if rule.entropy:
            judged = text[body : min(end, body + JUDGED)]
            if not (any(map(str.isalpha, judged)) and is_random(judged, rule.entropy)):
                return 0.0
        return rule.check(text[start : min(end, start + CHECKED)]) if rule.check else HOLDS


class KnownKeys:
    """All rules, compiled."""

    def __init__(self) -> None:
        self._rules = [_Compiled(rule) for rule in RULES]
        self._keywords: Any = re2.Set.SearchSet(options())
        for rule in RULES:
            self._keywords.Add(re.escape(rule.keyword))
        self._keywords.Compile()

    def matches(self, text: str) -> list[Match]:
        """The keys in `text`, overlapping ones too."""
        data = single_bytes(text)
        return [m for i in self._keywords.Match(data) or () for m in self._rules[i].matches(text, data)]


@functools.cache
def known_keys() -> KnownKeys:
    """The rules, compiled once in each process."""
    return KnownKeys()


class Tokens(Detector):
    """The rules of `rules.py`."""

    name = "tokens"
    reach = 112
    inline_below = 40_000

    def load(self) -> None:
        """Compile the rules."""
        known_keys()

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The keys in each text."""
        known = known_keys()
        return [known.matches(text) for text in texts]
