"""Secrets that only their surroundings give away: assignments, URLs with a password, bearer headers."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import re2

from guardproxy import Detector, Match
from guardproxy_secrets.tokens import Runs, behind, is_random, options

JUDGED = 64  # characters of a value that it is judged by
_PASSWORDS = "passwo?r?d|passwd|passphrase|pwd"
_KEYS = (
    f"{_PASSWORDS}|secret|token|api[_.-]?key|auth[_.-]?key|access|private|encryption[_.-]?key|signing[_.-]?key|"
    "credential|account[_.-]?key|license[_.-]?key|webhook|client[_.-]?id|app[_.-]?id|key"
)
_MARKS = ".,?!:;"  # what ends a sentence, and is no part of a value before it
_VALUE = r"[A-Za-z0-9_+/=.~!@#%^&*$?:-]"
_QUOTES = r"(?:\\?[\"'`]){0,3}"
# name = "value", "name": "value", name := value, String name = value, set("NAME", "value"), <name>value
_GAP = r"[ \t]{0,8}"
_SIGN = rf"(?:[ \t]{{1,2}}(?i:string|str|char\*?))?{_GAP}(?:=>|[:.?|+~]{{0,2}}=|\|\|:|:|,|>){_GAP}\n?{_GAP}"
_ASSIGNED = rf"(?i:{_KEYS})[A-Za-z0-9_.-]{{0,20}}[\"'\]`]{{0,2}}{_SIGN}{_QUOTES}({_VALUE}{{8,}})"
# A name with nothing but a blank or a dash: TOKEN 5us4r..., secret-123e...
_BESIDE = rf"(?i:{_KEYS})[A-Za-z_]{{0,8}}[ \t_-]{{1,2}}{_QUOTES}([A-Za-z0-9_=-]{{16,}})"
_URL = r"[a-z][a-z0-9+.-]{1,16}://[^\s:/@\"'<>]{0,40}:([^\s/\"'<>]{4,64})@[A-Za-z0-9\[]"
_HEADER = r"(?i:bearer|basic|authorization:[ \t]{0,4}(?:token)?)[ \t]{1,4}([A-Za-z0-9._~+/=-]{16,})"
_USER = r"(?:-u|--user)[ \t=]{0,2}[\"']?[A-Za-z0-9_.@-]{1,48}:([^\s\"':$]{4,64})"

# References and calls to where a secret is kept are no secrets.
_REFERENCE = re.compile(
    r"^[$%@&*#]|\$\{|\{\{|^(?:true|false|null|none|undefined|string|required|optional)$|^[/.]|^https?:|^arn:|"
    r"^sha(?:1|256|384|512)-|^[A-Za-z_][A-Za-z0-9_]*(?:(?:\.|::|->)[A-Za-z_]+)+$|\.(?:com|net|org|io|pem|json|txt|md)$",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[A-Za-z]+(?:[_./:-][A-Za-z]+)*\d{0,2}")
_WEAK = re.compile("(?:key|access|private|app|client)", re.IGNORECASE)
# What a name says of its value: not the secret itself, or one for everybody.
_OTHER_THING = re.compile(
    r"(?:length|name|type|path|file|url|uri|endpoint|ttl|count|size|credentials?[_-]?id|expir[a-z]*|version|hash|sum)s?"
    r"[\"'\]` \t:=>|,]*$",
    re.IGNORECASE,
)
_FOR_EVERYBODY = re.compile(r"(?:public|csrf|xsrf|cache|primary|foreign|sort|partition)[_-]?$", re.IGNORECASE)


class _Compiled:
    def __init__(self, category: str, keyword: str, pattern: str, least: float, strict: bool) -> None:
        self.category = category
        self.keyword = keyword
        # Of a run enough is sought to judge it; `Runs` tell its end.
        judged = pattern.removesuffix(",})")
        self.is_run = judged != pattern
        alphabet = judged[judged.rindex("(") + 1 : judged.rindex("{")] if self.is_run else "."
        self.run = re.compile(f"{alphabet}*+")
        self.pattern = re2.compile(f"{judged},{JUDGED}}})" if self.is_run else pattern, options())
        self.least = least
        self.strict = strict

    def matches(self, text: str) -> Iterator[Match]:
        position = 0
        runs = Runs(self.run, text)
        while found := self.pattern.search(text, position):
            start, end = found.span(1)
            position = found.start() + 1
            value = found[1]
            is_open = False
            if self.is_run:
                end = runs.end(end)
                is_open = end == len(text)
                if not is_open:
                    value = value.rstrip(_MARKS)
                    end -= behind(text, start, end, _MARKS)
            before = text[max(0, found.start() - 12) : found.start()]
            if self._is_secret(value[:JUDGED], text[found.start() : start], before):
                yield Match(start, end, self.category, 0.8, open=is_open)

    def _is_secret(self, value: str, name: str, before: str) -> bool:
        if len(value) < 4 or _REFERENCE.search(value) or not is_random(value, self.least):
            return False
        if self.category == "URL_PASSWORD":
            return True
        if _WORDS.fullmatch(value) or _OTHER_THING.search(name) or _FOR_EVERYBODY.search(before):
            return False
        digits, letters = sum(map(str.isdigit, value)), sum(map(str.isalpha, value))
        if self.strict or _WEAK.match(name):
            return digits >= 4 and letters >= 4 and not value.endswith("-")
        if digits and letters:
            return len(value) >= 10 or re.match(_PASSWORDS, name, re.IGNORECASE) is not None
        return digits >= 16


_CONTEXTS: tuple[tuple[str, str, str, float, bool], ...] = (
    ("GENERIC_SECRET", f"(?i){_KEYS}", _ASSIGNED, 2.9, False),
    ("GENERIC_SECRET", f"(?i){_KEYS}", _BESIDE, 3.0, True),
    ("URL_PASSWORD", "://", _URL, 1.5, False),
    ("BEARER_TOKEN", "(?i)bearer|basic |authorization:", _HEADER, 3.0, False),
    ("URL_PASSWORD", "-u|--user", _USER, 2.0, False),
)


class Contexts(Detector):
    """Assignments, URLs and headers."""

    name = "contexts"
    reach = 112
    inline_below = 40_000

    def load(self) -> None:
        """Compile the patterns."""
        self._rules = [_Compiled(*context) for context in _CONTEXTS]
        self._keywords: Any = re2.Set.SearchSet(options())
        for rule in self._rules:
            self._keywords.Add(rule.keyword)
        self._keywords.Compile()

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The secrets in each text."""
        return [
            [m for i in self._keywords.Match(text) or () for m in self._rules[i].matches(text)]
            for text in texts
        ]
