"""Allow-lists: what a guard finds, and its deployment lets be. Pure."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import re2

from guardproxy.entries import ordinal

PATTERN = "re:"
_DOMAIN = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
# Names below a domain, and addresses at them; a URL, or prose that ends in a domain, is neither.
_AT_DOMAIN = re.compile(r"(?:[\w.!#$%&'*+/=?^`{|}~-]{1,64}@)?(?P<host>[\w-]+(?:\.[\w-]+)+)")
_GROUPED = re.compile(r"[0-9][0-9 \u00a0\u2010-\u2015-]*")  # not with dots: those of addresses count


class AllowList:
    """Values, domains and patterns.

    A value is the whole of a match, in upper or lower case; of a number the digits count. A domain stands
    for itself, its subdomains, and addresses at both. `re:` begins a pattern (google-re2: linear
    time) that must fit the whole of a match.

    Raises:
        ValueError: says which entry is wrong, by its number, and what would be right.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self.entries = tuple(entries)
        self._values: set[str] = set()
        self._domains: set[str] = set()
        self._patterns: list[Any] = []
        for number, entry in enumerate(self.entries):
            if entry.startswith(PATTERN):
                self._patterns.append(_compiled(entry.removeprefix(PATTERN), number))
            elif not (value := _value(entry)):
                raise ValueError(
                    f"the {ordinal(number)} is empty. Write a value, a domain, or a pattern behind 're:'."
                )
            else:
                self._values.add(value)
                if _DOMAIN.fullmatch(value):
                    self._domains.add(value)

    def allows(self, text: str) -> bool:
        """Whether `text`, the whole of a match, is on the list."""
        value = _value(text)
        if value in self._values or any(pattern.fullmatch(text) for pattern in self._patterns):
            return True
        found = _AT_DOMAIN.fullmatch(value) if self._domains else None
        if found is None:
            return False
        labels = found["host"].split(".")
        return any(".".join(labels[first:]) in self._domains for first in range(len(labels) - 1))


def _value(text: str) -> str:
    # `casefold` would make one name of two: stra\u00dfe.example is not strasse.example.
    text = unicodedata.normalize("NFC", text.strip()).lower()
    return re.sub("[^0-9]", "", text) if _GROUPED.fullmatch(text) else text


def _compiled(pattern: str, number: int) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it does not compile"
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        # The piece that it names is of the pattern, which may be what nobody else is to see.
        raise ValueError(
            f"the {ordinal(number)} is no pattern of google-re2: {reason.partition(':')[0]}."
        ) from None
