"""The readings of a text: other forms in which it says something, with offsets back to it. Pure.

Detectors see a text as it is, and its compatibility form: NFKC, character by character, without the
invisible ones. Local detectors also see *derived* readings, in which only validated matches count: look-alike
letters as ASCII, escapes undone, base64 and hex unpacked, characters set apart joined; nested to a
depth of three.

Each reading depends on a few characters at a time, so a slice of a text reads as the text itself
does, and a stream as the whole: `back_from` and `on_from` say how far a slice must reach.
"""

import bisect
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from guardproxy.decodings import (
    Change,
    complete,
    escapes,
    may_be_apart,
    may_be_escaped,
    packed,
    packing_end,
    run_end,
    run_start,
    set_apart,
)
from guardproxy.lookalikes import MARKS, lookalike, marks
from guardproxy.types import Match

# Characters without a picture of their own: format characters (zero width, bidi, soft hyphen, tags),
# variation selectors, combining grapheme joiner, Hangul fillers, blank patterns, controls.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_FOLDABLE = re.compile("[^\t-\r -~\x85]")
_UNSEEN = f"[{INVISIBLE.pattern[1:-1]}{MARKS.pattern[1:-2]}]"
_FLOOD = re.compile(f"(?<={_UNSEEN}{{64}}){_UNSEEN}+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_HIDING = re.compile("[^\t\n\r -~]|[%\\\\;}]")  # what may stand for a packing character, or ends its escape
DEPTH = 3  # decodings inside of each other
# A character of a reading may take eight of a packing text (hex in hex in hex).
_WIDEST = 8
SLACK = 48  # characters of an escape that a slice's beginning may have cut

Span = Callable[[int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Reading:
    """One form of a text of `length` characters; `span` tells where a character of it stands there."""

    text: str
    length: int
    span: Span | None = None  # None: the text as it is
    derived: bool = False  # only validated matches count
    grows: bool = True  # it goes on when the text does
    packed: bool = False  # it was unpacked from base64 or hex

    def back(self, match: Match) -> Match:
        """`match` with the offsets of the text that was read."""
        if self.span is None:
            return match
        start, end = self.span(match.start)[0], self.span(match.end - 1)[1]
        if match.open and self.grows and match.end == len(self.text):
            end = self.length  # invisible characters at the end must not seem to close it
        opened, packed = match.open and self.grows, match.packed or self.packed
        return Match(start, end, match.category, match.score, match.validated, opened, packed)


@dataclass(frozen=True, slots=True)
class _Changed:
    """Where the characters of a changed text stood before."""

    at: list[int]  # where each change begins in the new text
    end: list[int]  # and ends there
    source: list[tuple[int, int]]  # the range that it replaced

    def __call__(self, index: int) -> tuple[int, int]:
        number = bisect.bisect_right(self.at, index) - 1
        if number < 0:
            return index, index + 1
        if index < self.end[number]:
            return self.source[number]
        start = self.source[number][1] + index - self.end[number]
        return start, start + 1


def _changed(text: str, changes: Iterable[Change]) -> tuple[str, Span] | None:
    """`text` with `changes`, and where its characters stood; None when nothing changes."""
    span = _Changed([], [], [])
    pieces: list[str] = []
    done = length = 0
    for start, end, new in changes:
        pieces += (text[done:start], new)
        length += start - done
        span.at.append(length)
        length += len(new)
        span.end.append(length)
        span.source.append((start, end))
        done = end
    if not pieces:
        return None
    return "".join((*pieces, text[done:])), span


def clean(text: str) -> str:
    """`text` as detectors see it: lone surrogates become U+FFFD, one for one."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


@lru_cache(maxsize=4096)
def _fold(character: str) -> str:
    return "" if INVISIBLE.match(character) else unicodedata.normalize("NFKC", character)


def _folds(text: str) -> Iterator[Change]:
    for found in _FOLDABLE.finditer(text):
        character = found[0]
        if (new := _fold(character)) != character:
            yield found.start(), found.end(), new


def fold(text: str) -> Reading | None:
    """The reading of `text` in compatibility form without invisible characters; None when it is `text`."""
    if text.isascii():
        if not _CONTROL.search(text):
            return None
    elif unicodedata.is_normalized("NFKC", text) and not INVISIBLE.search(text):
        return None
    made = _changed(text, _folds(text))
    return None if made is None else Reading(made[0], len(text), made[1])


def squeezed(text: str) -> Reading:
    """`text` with its floods of invisible characters cut down to what a slice may have around it."""
    made = None
    if not text.isascii() or _CONTROL.search(text):
        made = _changed(text, ((m.start(), m.end(), "") for m in _FLOOD.finditer(text)))
    return Reading(text, len(text)) if made is None else Reading(made[0], len(text), made[1])


def plain(text: str) -> list[Reading]:
    """The readings for blockwise detectors: `text` itself, and its compatibility form if that is another."""
    folded = fold(text)
    whole = Reading(text, len(text))
    return [whole] if folded is None else [whole, folded]


def readings(text: str) -> list[Reading]:
    """All readings of `text`, for local detectors; itself first."""
    found = plain(text)
    _derive(found[-1], DEPTH, found)
    return found


def _derive(reading: Reading, depth: int, found: list[Reading]) -> None:
    forms = [reading]
    if not reading.text.isascii():
        forms += _rewritten(reading, marks(reading.text))
        if (ascii_form := lookalike(forms[-1].text)) is not None:
            last = forms[-1]
            forms.append(replace(last, text=ascii_form, span=last.span or _same, derived=True))
        found += forms[1:]
    for form in forms:
        for changes in set_apart(form.text):
            found += _rewritten(form, changes)
    if not depth:
        return
    inner: list[Reading] = []
    for form in forms:
        inner += _unpacked(form)
    if may_be_escaped(forms[-1].text):
        for form in (forms[0], forms[-1]) if len(forms) > 1 else forms:
            inner += _rewritten(form, escapes(form.text))
    for new in inner:
        found.append(new)
        folded = _rewritten(new, _folds(new.text))
        found += folded
        _derive((folded or [new])[0], depth - 1, found)


def _rewritten(reading: Reading, changes: Iterable[Change]) -> list[Reading]:
    made = _changed(reading.text, changes)
    if made is None:
        return []
    return [replace(reading, text=made[0], span=_through(made[1], reading.span), derived=True)]


def _unpacked(reading: Reading) -> list[Reading]:
    return [
        Reading(
            inner.text,
            reading.length,
            _through(inner.span, reading.span),
            derived=True,
            grows=reading.grows and inner.ends,
            packed=True,
        )
        for inner in packed(reading.text)
    ]


def _same(index: int) -> tuple[int, int]:
    return index, index + 1


def _through(inner: Span, outer: Span | None) -> Span:
    """Where a character stands in the outermost text, when `inner` tells it for the text in between."""
    if outer is None:
        return inner

    def span(index: int) -> tuple[int, int]:
        start, end = inner(index)
        return outer(start)[0], outer(end - 1)[1]

    return span


def _along(text: str) -> Iterator[Reading]:
    """The readings of `text` that go along with it, character by character, each from the one before."""
    whole = Reading(text, len(text))
    yield whole
    yield from _along_with(whole, DEPTH)


def _along_with(reading: Reading, depth: int) -> Iterator[Reading]:
    for change in (_folds, marks):
        for made in _rewritten(reading, change(reading.text)):
            reading = made
            yield reading
    forms = [reading]
    if (ascii_form := lookalike(reading.text)) is not None:
        forms.append(replace(reading, text=ascii_form, span=reading.span or _same))
        yield forms[1]
    for form in forms if depth else ():
        for inner in _rewritten(form, escapes(form.text)):
            yield inner
            yield from _along_with(inner, depth - 1)


def spelled_out(text: str) -> list[str]:
    """`text` as it is, in compatibility form, and with its escapes undone; look-alikes stay what they are."""
    forms = [text]
    for change in (_folds, *[escapes] * DEPTH):
        made = _changed(forms[-1], change(forms[-1]))
        if made:
            forms.append(made[0])
    return forms


def _least(text: str) -> int:
    """The number of characters in the shortest of the readings of `text` that go along with it."""
    least, last = len(text), text
    for reading in _along(text):
        least, last = min(least, len(reading.text)), reading.text
    for changes in set_apart(last):
        least = min(least, len(last) - sum(end - start - len(new) for start, end, new in changes))
    return least


def may_differ(text: str) -> bool:
    """Whether a reading of `text` may have fewer characters than it has."""
    return bool(not text.isascii() or _CONTROL.search(text) or may_be_escaped(text) or may_be_apart(text))


def back_from(text: str, position: int, count: int) -> int:
    """The position that has `count` characters of every reading between itself and `position`, or 0.

    At the end of a `text` that goes on, matches which begin before that position are certain.
    """
    position = complete(text, position)
    start = max(0, position - count)
    odd = start and may_differ(text[start:position])
    if odd:
        needed = count + (SLACK if may_be_escaped(text[start:position]) else 0)
        while start and (have := _least(text[start:position])) < needed:
            start = max(0, start - max(needed - have, (position - start) // 2))
    most = _WIDEST * (count + SLACK)
    run = run_start(text, position, most)
    start = min(start, run)
    # A run of packing characters may go on before what only looks like its beginning.
    if odd or (run and _HIDING.match(text, run - 1)):
        start = min(start, _hidden_run(text, position, most))
    return start


def _hidden_run(text: str, position: int, most: int) -> int:
    """Where the run begins that a reading shows to be base64 or hex, and that goes up to `position`.

    At most `most` characters of the reading back; what hides them may be many more of the text.
    """
    begin = position
    width = 64
    while True:
        low = max(0, position - width)
        starts = []
        for reading in _along(text[low:position]):
            end = len(reading.text)
            run = run_start(reading.text, end, most)
            if run < end:
                starts.append(low + (reading.span or _same)(run)[0])
        begin = min(starts, default=position)
        # A run that begins where the window does may go on before it.
        if begin > low + SLACK or low == 0 or width > _WIDEST * most:
            return begin
        width *= 4


def packed_to(text: str, position: int) -> int:
    """Up to where base64 or hex goes on in a reading of `text` that is so from `position` on."""
    end = packing_end(text, position)
    for reading in _along(text):
        span = reading.span or _same
        first = next((i for i in range(len(reading.text)) if span(i)[0] >= position), len(reading.text))
        last = packing_end(reading.text, first)
        end = max(end, span(last - 1)[1] if last > first else 0)
    return end


def on_from(text: str, position: int, count: int) -> int:
    """The position that has `count` characters of every reading between `position` and itself, or the end."""
    end = min(len(text), position + count)
    most = _WIDEST * (count + SLACK)
    if end < len(text) and may_differ(text[position:end]):
        hidden = _hidden_run(text, position, SLACK) < position
        needed = most if hidden else count + SLACK
        while end < len(text) and (have := _least(text[position:end])) < needed:
            end = min(len(text), end + max(needed - have, (end - position) // 2))
    return max(end, run_end(text, position, most))
