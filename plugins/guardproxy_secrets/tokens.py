"""Keys with a provider's format: a prefilter over all keywords, then the rules whose keyword occurs."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import re2

from guardproxy import Detector, Match
from guardproxy_secrets.rules import RULES, Rule

JUDGED = 64  # characters of a key that its randomness is judged by
LONGEST_END = (
    32  # of marks behind a key: of more it cannot be told from a piece of the text what is before them
)
_PLACEHOLDER = re.compile(
    r"example|sample|placeholder|your[_-]?|xxxx|\*\*\*|\.\.\.|####|1234567890?|0123456|abcdefgh|changeme|dummy|"
    r"redacted|fake|test[_-]?key|aaaaaa|000000",
    re.IGNORECASE,
)
# A letter of an escape in a JSON or C string (`\nAKIA`) does not belong to the key behind it.
_ESCAPES = frozenset("nrtbf")


def options() -> Any:
    """re2's options: linear time, and no pattern or text on standard error."""
    made = re2.Options()
    made.log_errors = False
    return made


def entropy(text: str) -> float:
    """Shannon's entropy of the characters of `text`, in bits a character."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def is_random(text: str, least: float = 3.0) -> bool:
    """Whether `text` looks like made by chance, not by a person: neither words nor a placeholder."""
    judged = text[:JUDGED]
    # A short text cannot reach the entropy of a long one.
    needed = min(least, 0.75 * math.log2(len(judged))) if len(judged) > 1 else 0
    return not _PLACEHOLDER.search(judged) and entropy(judged) >= needed


def behind(text: str, start: int, end: int, marks: str) -> int:
    """How many of `marks` are at the end of [start, end), up to `LONGEST_END`."""
    last = text[max(start, end - LONGEST_END) : end]
    return len(last) - len(last.rstrip(marks))


def begins(text: str, start: int) -> bool:
    """Whether a key may begin at `start`: no letter or digit runs into it."""
    if start == 0 or not (text[start - 1].isalnum() or text[start - 1] in "_+"):
        return True
    return start > 1 and text[start - 2] == "\\" and text[start - 1] in _ESCAPES


class Runs:
    """Where the runs of an alphabet end in a text: each is gone along once, however many keys begin in it."""

    def __init__(self, run: re.Pattern[str], text: str) -> None:
        self._run = run
        self._text = text
        self._seen = (0, -1)

    def end(self, position: int) -> int:
        """Where the run ends that has come up to `position`."""
        start, end = self._seen
        if not start <= position <= end:
            end = self._run.match(self._text, position).end()  # type: ignore[union-attr]  # it may be empty
            self._seen = (position, end)
        return end


class _Compiled:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        # Of a run enough is sought to judge it; `Runs` tell its end.
        counts = f"{{{rule.least},{rule.most or max(rule.least, JUDGED)}}}"
        body = f"({rule.alphabet}{counts})" if rule.most != 0 else "()"
        self.pattern = re2.compile(f"{rule.prefix}{body}", options())
        self.run = re.compile(f"{rule.alphabet}*+")
        self.more = re.compile(rule.alphabet if rule.most != 0 else "[A-Za-z0-9]")

    def matches(self, text: str) -> Iterator[Match]:
        rule, position = self.rule, 0
        runs = Runs(self.run, text)
        while found := self.pattern.search(text, position):
            start, end = found.span()
            position = start + 1
            at_end = end == len(text)
            if rule.most is not None and not at_end and text[end] != "." and self.more.match(text, end):
                continue
            if not begins(text, start):
                continue
            if rule.random and not (is_random(found[1]) and any(map(str.isalpha, found[1][:JUDGED]))):
                continue
            if rule.most is not None:
                yield Match(start, end, rule.category, 1.0, validated=True)
                continue
            end = runs.end(end)
            is_open = end == len(text)
            if not is_open:
                end -= behind(text, found.start(1), end, ".-,")  # a sentence's end, not the key's
            yield Match(start, end, rule.category, 1.0, validated=True, open=is_open)


class Tokens(Detector):
    """The rules of `rules.py`."""

    name = "tokens"
    reach = 112
    inline_below = 40_000

    def load(self) -> None:
        """Compile the rules."""
        self._rules = [_Compiled(rule) for rule in RULES]
        self._keywords = re2.Set.SearchSet(options())
        for rule in RULES:
            self._keywords.Add(re.escape(rule.keyword))
        self._keywords.Compile()

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The keys in each text."""
        return [
            [m for i in self._keywords.Match(text) or () for m in self._rules[i].matches(text)]
            for text in texts
        ]
