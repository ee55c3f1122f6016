"""Private keys in PEM form (RFC 7468) and PGP armour: from the BEGIN line to the END line."""

import re
from collections.abc import Iterator, Sequence

from guardproxy import Detector, Match

_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----")
# Base64, the header lines of old PEM and PGP, and line ends that are written as an escape or in a list.
_BODY = re.compile(r"[A-Za-z0-9+/=:.,() \s\\\"'-]*")
LEAST = 40  # characters behind the BEGIN line; a sentence that only names it has none


class PrivateKeys(Detector):
    """PEM private keys. A key whose end has not come yet is open."""

    name = "private-keys"
    reach = 112
    inline_below = 40_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The private keys in each text."""
        return [list(_matches(text)) if "PRIVATE KEY" in text else [] for text in texts]


def _matches(text: str) -> Iterator[Match]:
    for begin in _BEGIN.finditer(text):
        start = begin.end()
        dashes = text.find("-----", start)
        limit = len(text) if dashes < 0 else dashes
        body = _BODY.match(text, start, limit)
        stop = body.end() if body else start
        closing = _END.match(text, stop)
        end = closing.end() if closing else stop
        # What follows may still be the END line, or more of the body.
        is_open = not closing and (stop == len(text) or (stop == dashes and len(text) - stop < 64))
        if is_open:
            end = len(text)
        if is_open or stop - start >= LEAST:
            yield Match(begin.start(), end, "PRIVATE_KEY", 1.0, validated=True, open=is_open)
