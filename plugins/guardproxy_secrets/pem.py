"""Private keys in PEM form (RFC 7468) and PGP armour, from the BEGIN line to the END line, and PuTTY's."""

import re
from collections.abc import Iterator, Sequence

from guardproxy import Detector, Match

_BEGIN = re.compile(r"-----BEGIN ?[A-Z0-9 ]{0,32}PRIVATE ?KEY(?: ?BLOCK)?-----")
_END = re.compile(r"-----END ?[A-Z0-9 ]{0,32}PRIVATE ?KEY(?: ?BLOCK)?-----")
# The header lines of old PEM and PGP; then base64, in lines that may be joined by anything a language
# writes there (an escape, quotes, a comma). Blanks alone join long pieces: a short word behind one is prose.
_ESCAPE = r"\\[nr\\\s\"']"
_EOL = rf"[ \t]{{0,8}}(?:[\r\n\"',]|{_ESCAPE})(?:[\s\"',+.>#*|();=]|{_ESCAPE}|-(?=[ \t])){{0,24}}"
_HEADERS = rf"(?:{_EOL}[A-Za-z-]{{2,20}}: [^\n\\]{{0,120}})*"
_PIECE = r"(?:[A-Za-z0-9+/=]|\\/)"
_BLANKS = rf"(?<=[A-Za-z0-9+/=]{{16}})[ \t]{{1,8}}(?={_PIECE}{{16}}|{_PIECE}*\Z)|[ \t]+(?=-|\Z)"
_BODY = re.compile(rf"{_HEADERS}(?:{_PIECE}+|{_EOL}|{_BLANKS})*+")
# PuTTY's file: how many lines, and these lines; `Private-MAC:` or anything else ends them.
_PUTTY = re.compile(r"Private-Lines: [0-9]{1,3}(?![0-9])")
_NEW_LINE = r"(?:\r?\n|(?:\\r)?\\n)"
_LINES = re.compile(rf"(?:{_NEW_LINE}[A-Za-z0-9+/=]{{1,64}}(?=[\r\n\\]|\Z))*+")
_CUT = re.compile(r"(?:\r?\n?|\\(?:r\\?)?n?)\Z")
LEAST = 40  # characters behind the BEGIN line; a sentence that only names it has none


class PrivateKeys(Detector):
    """PEM private keys. A key whose end has not come yet is open."""

    name = "private-keys"
    reach = 112
    inline_below = 40_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The private keys in each text."""
        return [[*_matches(text), *_putty(text)] for text in texts]


def _matches(text: str) -> Iterator[Match]:
    if "PRIVATE" not in text:
        return
    for begin in _BEGIN.finditer(text):
        body = _BODY.match(text, begin.end())
        stop = body.end() if body else begin.end()
        closing = _END.match(text, stop)
        end = closing.end() if closing else stop
        # What follows may still be more of the body, or the END line.
        rest = text[stop : stop + 64]
        is_open = not closing and len(rest) < 64 and ("-----END".startswith(rest) or rest[:8] == "-----END")
        if is_open:
            end = len(text)
        if is_open or stop - begin.end() >= LEAST:
            yield Match(begin.start(), end, "PRIVATE_KEY", 1.0, validated=True, open=is_open)


def _putty(text: str) -> Iterator[Match]:
    if "Private-Lines" not in text:
        return
    for begin in _PUTTY.finditer(text):
        lines = _LINES.match(text, begin.end())
        stop = lines.end() if lines else begin.end()
        is_open = _CUT.match(text, stop) is not None
        if is_open or stop - begin.end() >= LEAST:
            end = len(text) if is_open else stop
            yield Match(begin.start(), end, "PRIVATE_KEY", 1.0, validated=True, open=is_open)
