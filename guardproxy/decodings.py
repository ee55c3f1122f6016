"""What may be packed or spelled out in a text: escapes, base64, hex, and characters set apart. Pure.

Everything here is a function of a few characters, so that a slice of a text is decoded as the text
itself is: escapes stand for themselves, and base64 and hex are read at every alignment.
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.entities import html5

import re2

Change = tuple[int, int, str]  # the range of a text, and what stands there in its reading

# Percent-encoding (RFC 3986), HTML's character references, and the escapes of JSON, JavaScript and C.
_ESCAPE = re.compile(
    r"(?:%[0-9A-Fa-f]{2})+"
    r"|&(?:#0{0,8}[0-9]{1,7}|#[xX]0{0,8}[0-9A-Fa-f]{1,6});?"
    r"|&[A-Za-z][A-Za-z0-9]{1,31};"
    r"|\\{1,8}+(?:u[dD][89abAB][0-9A-Fa-f]{2}\\{1,8}u[dD][c-fC-F][0-9A-Fa-f]{2}"
    r"|u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]{1,6}\}|x[0-9A-Fa-f]{2}|[nrtbf\"'/])"
)
_PARTIAL = re.compile(
    r"(?:(?:%[0-9A-Fa-f]{2}){0,3}%[0-9A-Fa-f]?|(?:%[0-9A-Fa-f]{2}){1,3}"
    r"|&(?:#[0-9]{0,15}|#[xX][0-9A-Fa-f]{0,14}|[A-Za-z][A-Za-z0-9]{0,31})?"
    r"|(?:\\{1,8}u[dD][89abAB][0-9A-Fa-f]{2})?\\{1,8}(?:u[0-9A-Fa-f]{0,3}|u\{[0-9A-Fa-f]{0,6}|x[0-9A-Fa-f]?)?"
    r"|\\{1,8}u[dD][89abAB][0-9A-Fa-f]{2})\Z"
)
_LONGEST_ESCAPE = 48
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}

# Runs of characters that may be base64 (RFC 4648, both alphabets) or hex; wrapped lines go on.
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
SHORTEST_RUN = 12
# Shorter runs are passed over, so that the engine begins anew behind a run alone; the last match has none.
_RUN = re.compile(
    rf"[^A-Za-z0-9+/_-]*+(?:[A-Za-z0-9+/_-]{{1,{SHORTEST_RUN - 1}}}+[^A-Za-z0-9+/_-]++)*+"
    rf"(?P<run>[A-Za-z0-9+/_-]{{{SHORTEST_RUN},}}"
    r"(?:(?<=[A-Za-z0-9+/_-]{40})\r?\n[ \t]{0,8}[A-Za-z0-9+/_-]+)*)?"
)
_WRAPPED = re.compile(r"[A-Za-z0-9+/_-]{40}\r?\n[ \t]{0,8}\Z")
_HEX = re.compile(r"[0-9A-Fa-f]{16,}")
LONG = 18  # characters of a run from which on it is read at every alignment
# A shorter run of small letters alone is a word: of base64 one in a hundred thousand is, of hex none.
LONGEST_WORD = 24
_DENSE = re.compile("[A-Z0-9+]")
READABLE = 12  # characters in a row that chance hardly makes out of other bytes: ten times in a million bytes
_READABLE = re.compile("[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\udc80-\udcff\ufffd]{8,}")
_UTF16 = re.compile(rb"(?:[\t\n\r -~]\x00){%d,}|(?:\x00[\t\n\r -~]){%d,}" % (READABLE, READABLE))
_URL_SAFE = str.maketrans("-_", "+/")

# Single characters, each set apart from the next (`A K I A`, `4-1-1-1`), and the groups of a card.
_BLANK = r"[ \t\u00a0]"
_DASH = r"[-._\u2010-\u2015]"
_AROUND = r"\"'`()\[\]{}<>=:,;.!?"
_APART = re.compile(
    rf"(?<![^\s{_AROUND}])\S(?:{_BLANK}{{1,3}}\S){{7,}}(?![^\s{_AROUND}])"
    r"|(?<!\w)\w(?:(?P<mark>[-._/:])\w)(?:(?P=mark)\w){6,}(?!\w)"
)
_DIGITS_APART = re.compile(rf"(?<!\w)[0-9](?:{_BLANK}{{1,3}}[0-9]){{11,}}(?!\w)")
_GROUPS_APART = re.compile(  # the digit comes first: that is what the engine can look for fast
    r"[0-9](?<!\w[0-9])" + "".join(rf"(?<![0-9.,]{_BLANK}{{{n}}}[0-9])" for n in range(1, 5)) + r"[0-9]{3}"
    rf"(?P<gap>{_BLANK}{{0,2}}{_DASH}{_BLANK}{{0,2}})"
    r"(?:[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{1,7}|[0-9]{6}(?P=gap)[0-9]{4,5})"
    rf"(?!{_BLANK}*[0-9.,]*[0-9])(?!\w)"
)
_GAP = re.compile(rf"{_BLANK}+")
_MAYBE_SINGLES = re.compile(rf"{_BLANK}\S(?:{_BLANK}{{1,3}}\S){{2}}{_BLANK}|[-._/:]\w(?:[-._/:]\w){{2}}\b")
_MAYBE_GROUPS = re.compile(rf"[0-9]{{4}}{_BLANK}{{0,2}}{_DASH}{_BLANK}{{0,2}}[0-9]{{4}}")


def _finder(pattern: str) -> "re2._Regexp[bytes]":
    options = re2.Options()
    options.never_capture = True
    return re2.compile(pattern.encode(), options)


# What any of the three above is part of, and all escapes: most texts have neither, and this engine tells it
# in a fifth of the time. Letters beyond ASCII are all the same to it.
_WORD = r"[0-9A-Za-z_\x{80}-\x{10ffff}]"
_SET_APART = _finder(
    r"\S(?:[ \t\x{a0}]{1,3}\S){7}|"
    + "|".join(rf"{_WORD}(?:{mark}{_WORD}){{7}}" for mark in ("-", r"\.", "_", "/", ":"))
    + r"|[0-9]{4}[ \t\x{a0}]{0,2}[-._\x{2010}-\x{2015}][ \t\x{a0}]{0,2}[0-9]{4}"
)
_ESCAPED = _finder(r"%[0-9A-Fa-f]|&[#A-Za-z]|\\[uxnrtbf\"'/\\]")


def escapes(text: str) -> Iterator[Change]:
    """The escapes of `text`, and the characters that they stand for."""
    for found in _ESCAPE.finditer(text):
        start = found.start()
        if found[0][0] == "%":
            data = bytes.fromhex(found[0].replace("%", ""))
            for character in data.decode("utf-8", "surrogateescape"):
                end = start + 3 * len(character.encode("utf-8", "surrogateescape"))
                yield start, end, "\ufffd" if "\udc80" <= character <= "\udcff" else character
                start = end
        elif (new := _character(found[0])) is not None:
            yield start, found.end(), new


def _character(escape: str) -> str | None:
    if escape[0] == "&":
        name = escape[1:].rstrip(";")
        if name[0] != "#":
            return html5.get(f"{name};")
        digits = name[1:]
        return _of_code(int(digits[1:], 16) if digits[0] in "xX" else int(digits))
    spelled = escape.lstrip("\\")
    if spelled[0] not in "ux":
        return _CONTROLS.get(spelled, spelled)
    code = int(spelled[1:].strip("{}")[:6] if spelled[1] == "{" else spelled[1:5], 16)
    if len(spelled) > 5 and spelled[1] != "{":  # a surrogate pair
        return chr(0x10000 + ((code & 0x3FF) << 10) + (int(spelled[-4:], 16) & 0x3FF))
    return _of_code(code)


def _of_code(code: int) -> str:
    return "\ufffd" if code > 0x10FFFF or 0xD800 <= code < 0xE000 or not code else chr(code)


def may_be_escaped(text: str) -> bool:
    """Whether `text` may have escapes in it."""
    return _ESCAPED.search(text.encode("utf-8", "replace")) is not None


def complete(text: str, position: int) -> int:
    """The last position, up to `position`, at which no escape has begun that goes on behind it."""
    found = _PARTIAL.search(text, max(0, position - _LONGEST_ESCAPE), position)
    return found.start() if found else position


def set_apart(text: str) -> list[list[Change]]:
    """The ways in which characters of `text` are set apart: for each, what to leave out or to narrow."""
    found: list[list[Change]] = []
    if not _SET_APART.search(text.encode("utf-8", "replace")):
        return found
    if _MAYBE_SINGLES.search(text):
        found.append(list(_between_digits(text)))
        # A single letter beside them (`a`, `I`) may be a word of its own.
        runs = list(_between_singles(text))
        found += (
            [gap for gaps in runs for gap in gaps[first : len(gaps) - last]]
            for first in (0, 1)
            for last in (0, 1)
        )
    if _MAYBE_GROUPS.search(text):
        found.append(list(_between_groups(text)))
    return [changes for changes in found if changes]


def _between_singles(text: str) -> Iterator[list[Change]]:
    """The gaps of each run."""
    for found in _APART.finditer(text):
        gaps = _GAP if found["mark"] is None else re.compile(re.escape(found["mark"]))
        every = gaps.finditer(text, found.start() + 1, found.end() - 1)
        yield [(gap.start(), gap.end(), "") for gap in every]


def _between_digits(text: str) -> Iterator[Change]:
    """The same between digits alone, whatever single letters stand beside them."""
    for found in _DIGITS_APART.finditer(text):
        for gap in _GAP.finditer(text, found.start(), found.end()):
            yield gap.start(), gap.end(), ""


def _between_groups(text: str) -> Iterator[Change]:
    for found in _GROUPS_APART.finditer(text):
        for gap in re.finditer("[^0-9]+", found[0]):
            yield found.start() + gap.start(), found.start() + gap.end(), " "


def may_be_apart(text: str) -> bool:
    """Whether characters of `text` may be set apart."""
    return bool(_MAYBE_SINGLES.search(text) or _MAYBE_GROUPS.search(text))


def run_start(text: str, position: int, most: int) -> int:
    """Where the run begins that may be base64 or hex and goes up to `position`; at most `most` back."""
    low = max(0, position - most)
    start = position
    while True:
        start = low + len(text[low:start].rstrip(_ALPHABET))
        wrapped = _WRAPPED.search(text, max(low, start - 52), start)
        if wrapped is None:
            return start
        start = wrapped.start() + 40


def run_end(text: str, position: int, most: int) -> int:
    """Where the run ends that may be base64 or hex and goes on at `position`; at most `most` further."""
    found = _ON.match(text, position, position + most)
    return found.end() if found else position


_ON = re.compile(r"[A-Za-z0-9+/_-]*(?:(?<=[A-Za-z0-9+/_-]{40})\r?\n[ \t]{0,8}[A-Za-z0-9+/_-]+)*")


def packing_end(text: str, position: int) -> int:
    """The first position from `position` on at which no packing goes on, however it is escaped."""
    found = _PACKING.match(text, len(text[:position].rstrip(" \t\r\n")))  # it may be within a wrap
    assert found
    return found.end()


_LINE = r"[A-Za-z0-9+/_%&#;\\-]"
_PACKING = re.compile(rf"(?:{_LINE}+|=+|(?<={_LINE}{{40}})\r?\n[ \t]{{0,8}}(?={_LINE}|\Z))*+")


@dataclass(frozen=True, slots=True)
class Packed:
    """A readable text that was packed in another one."""

    text: str
    encoding: str  # of the packed bytes
    first: int  # the byte at which `text` begins
    places: "range | list[int]"  # where each packing character stands
    bits: int  # of a packing character: 6 in base64, 4 in hex
    ends: bool  # nothing readable follows in its run

    def span(self, index: int) -> tuple[int, int]:
        """Where the character `index` stands in the text that it was packed in."""
        start = self.first + len(self._bytes(self.text[:index]))
        end = start + len(self._bytes(self.text[index]))
        low, high = 8 * start // self.bits, (8 * end + self.bits - 1) // self.bits
        return self.places[low], self.places[min(high, len(self.places)) - 1] + 1

    def _bytes(self, text: str) -> bytes:
        return text.encode(self.encoding, "surrogatepass")


def packed(text: str) -> Iterator[Packed]:
    """The readable texts that are packed in `text` as base64 or hex, at any alignment."""
    for run in _RUN.finditer(text):
        if run["run"] is None:
            continue
        places: range | list[int] = range(run.start("run"), run.end())
        characters = run["run"]
        if "\n" in characters:
            places = [at for at in places if text[at] not in "\r\n \t"]
            characters = "".join(characters.split())
        if len(characters) < LONGEST_WORD and not _DENSE.search(characters):
            continue
        ends = run.end() == len(text)
        long = len(characters) >= LONG
        plain = characters.translate(_URL_SAFE)
        for shift in range(4 if long else 1):
            least = READABLE if long else 3 * len(characters) // 4
            yield from _readable(_base64(plain[shift:]), places[shift:], 6, least, ends)
        for digits in _HEX.finditer(characters):
            least = min(READABLE, len(digits[0]) // 2)
            for start in (digits.start(), digits.start() + 1):
                end = digits.end() - (digits.end() - start) % 2
                data = bytes.fromhex(characters[start:end])
                yield from _readable(data, places[start:], 4, least, ends and end == len(characters))


def _base64(characters: str) -> bytes:
    rest = len(characters) % 4
    if rest == 1:
        characters, rest = characters[:-1], 0
    return binascii.a2b_base64(characters + "=" * (-rest % 4))


def _readable(
    data: bytes, places: "range | list[int]", bits: int, least: int, ends: bool
) -> Iterator[Packed]:
    text = data.decode("utf-8", "surrogateescape")
    for found in _READABLE.finditer(text):
        if len(found[0]) >= least:
            first = len(text[: found.start()].encode("utf-8", "surrogateescape"))
            yield Packed(found[0], "utf-8", first, places, bits, ends and found.end() == len(text))
    for pairs in _UTF16.finditer(data) if b"\0" in data else ():
        little = pairs[0][1] == 0
        read = pairs[0].decode("utf-16-le" if little else "utf-16-be")
        last = ends and pairs.end() >= len(data) - 1
        yield Packed(read, "utf-16-le", pairs.start(), places, bits, last)
