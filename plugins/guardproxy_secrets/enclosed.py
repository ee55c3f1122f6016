"""Where a value ends that is enclosed: in quotes, in escaped quotes, in a tag.

The patterns read each character in one way, and never go back.
"""

import re

QUOTES = "\"'`"

# In quotes of a language, `\"` and `""` are the quote itself; in a string that is in a string, the quotes
# are `\"`, and `\\\"` is the quote itself. A line's end closes nothing.
_PLAIN = {q: re.compile(rf"(?:[^{q}\\\r\n]|\\[^\r\n]|{q}{q})*+") for q in QUOTES}
_ESCAPED = {q: re.compile(rf"(?:[^{q}\\\r\n]|\\\\(?:\\[^\r\n])?+|\\[^{q}\\\r\n])*+") for q in QUOTES}
_TRIPLE = {q: re.compile(rf"(?:[^{q}\\\r\n]|\\[^\r\n]|{q}(?!{q}{q}))*+") for q in QUOTES}
_TAG = re.compile(r"[^<\r\n]*+")
_TAG_OPENS = re.compile(r"(?<![=-])>[ \t]{0,8}\Z")


def end_of(text: str, head: str, start: int, most: int) -> int | None:
    """Where a value ends that `head` opens and `start` begins; None for one that is not enclosed.

    None, too, if nothing closes it within `most` characters; where the text ends first, it ends there.
    """
    opened = _opened(head)
    if not opened:
        return None
    pattern, closing = opened
    found = pattern.match(text, start, min(len(text), start + most))
    end = found.end() if found else start
    return end if end == len(text) or text.startswith(closing, end) else None


def _opened(head: str) -> tuple["re.Pattern[str]", str] | None:
    """How the value behind `head` is read, and what closes it."""
    quote = head[-1:]
    if not quote or quote not in QUOTES:
        return (_TAG, "</") if _TAG_OPENS.search(head) else None
    if head[-2:-1] == "\\":
        return (_ESCAPED[quote], f"\\{quote}") if head[-4:-2] != f"\\{quote}" else None
    before = len(head) - len(head.rstrip(quote))
    if before == 2:  # an empty string: it is closed already
        return None
    return (_PLAIN[quote], quote) if before == 1 else (_TRIPLE[quote], quote * 3)


# A `;` or a `,` ends a value without quotes, but for one that has more of a password behind it, and no
# next parameter.
_JOINED = re.compile(r"(?:[;,][A-Za-z0-9_+/.~!@#%^*$?-]{2,24}){1,3}(?=[\s\"'`<&]|[;,][A-Za-z ]{2,24}=|\Z)")


def joined(text: str, end: int, most: int) -> int:
    """Where a password ends that is not enclosed, and whose run of characters stops at `end`."""
    last = min(len(text), most)
    found = _JOINED.match(text, end, last)
    if not found or (found.end() == last and last < len(text)):
        return end
    more = found[0]
    return found.end() if any(map(str.isdigit, more)) and any(map(str.isalpha, more)) else end
