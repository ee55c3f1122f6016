"""Texts that stand inside of a string in another form: files, data: URLs, arguments that are no JSON. Pure.

Whoever reads such a string may be lenient: pass over blanks and stray characters, and take an odd head of
a data: URL. So what is not spelled as usual is looked at as it stands and as a lenient reader decodes it.
"""

import base64
import binascii
import re
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes

SHORT_LINE = 60  # characters; base64 is wrapped into longer lines, and words are shorter
_URL_SAFE = str.maketrans("-_", "+/")
_NOISE = re.compile(r"[^A-Za-z0-9+/]")
# What a URL parser takes for `data:`: it drops blanks around a URL, and tabs and line ends within.
_DATA_URL = re.compile(r"[\x00-\x20]*d[\t\n\r]*a[\t\n\r]*t[\t\n\r]*a[\t\n\r]*:", re.IGNORECASE)
_DROPPED = re.compile(r"[\t\n\r]")
_BASE64 = re.compile(r"[;:]\s*base64\s*(?=;|\Z)", re.IGNORECASE)
_TYPE = re.compile(r"data:(?:text|image|audio|video|application)/[\w.+-]+", re.IGNORECASE)
_USUAL = re.compile(rf"(?:{_TYPE.pattern}|data:)(?:;charset=[\w-]+)?(?:;base64)?", re.IGNORECASE)


class Embedded(NamedTuple):
    """What a string that may hold a file has for guards."""

    inside: str = ""  # the text of the file
    stands: bool = False  # the string is a text as it stands, too
    head: str = ""  # what a data: URL says about itself, where the string does not stand
    opaque: str = ""  # what the bytes are called that cannot be read


def is_data_url(value: str) -> bool:
    """Whether anybody would read `value` as a data: URL."""
    return _DATA_URL.match(value) is not None


def is_usual(head: str) -> bool:
    """Whether the head of a data: URL names a type of media, as heads do, and nothing else."""
    return _USUAL.fullmatch(head) is not None


def of_url(value: str) -> Embedded:
    """What is inside of a data: URL."""
    head, _, data = value.partition(",")
    plain = _DROPPED.sub("", head)
    packed = _BASE64.search(plain)
    if packed is None:
        found = _of_bytes(unquote_to_bytes(data.encode("utf-8", "replace")), "file", text=True)
    else:
        kind = plain.partition(":")[2].strip().lower().partition("/")[0]
        # A text is one whatever it is called: an image of words would hide them.
        reason = kind if kind in ("image", "audio", "video") else "file"
        found = of_base64(unquote(data), reason, text=kind == "text")
        if packed[0][0] == ":" or packed.end() < len(plain):
            found = found._replace(stands=True)  # for a strict reader this is no base64
    return found if found.stands else found._replace(head=head)


def of_base64(value: str, reason: str = "file", *, text: bool = False) -> Embedded:
    """What is inside of base64 (`text`: a text for sure)."""
    packed = "".join(value.split()).translate(_URL_SAFE).rstrip("=")
    data = _unpacked(packed)
    if data is not None:
        found = _of_bytes(data, reason, text=text)
        return found if found.inside or not has_words(value) else found._replace(stands=True)
    packed = _NOISE.sub("", unquote(packed))
    data = _unpacked(packed[: len(packed) - (len(packed) % 4 == 1)])
    return Embedded(_of_bytes(data or b"", reason, text=text).inside, stands=True)


def _of_bytes(data: bytes, reason: str, *, text: bool) -> Embedded:
    try:
        inside = data.decode("utf-8", "replace" if text else "strict")
    except UnicodeDecodeError:
        return Embedded(opaque=reason)
    # With a NUL it is more than a text; what is text in it is looked at all the same.
    return Embedded(inside, opaque=reason if "\0" in inside else "")


def _unpacked(packed: str) -> bytes | None:
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def has_words(value: str) -> bool:
    """Whether blanks part `value` into more than the lines of base64: a sentence is no bytes."""
    return any(len(line) < SHORT_LINE for line in value.split()[:-1])


def rewritten(old: str, inside: str | None, told: str | None) -> str:
    """The data: URL or base64 `old` with the text `inside` in it (None: as it was).

    `told` is the new text of its head, or of all of it, if that changes: then only the type of media stays.
    """
    data = None if inside is None else base64.b64encode(inside.encode("utf-8", "replace")).decode("ascii")
    if not is_data_url(old):
        return old if data is None else data
    head, _, packed = old.partition(",")
    in_base64 = _BASE64.search(_DROPPED.sub("", head)) is not None
    if told is not None:
        usual = _TYPE.match(told)
        head = (usual[0] if usual else "data:text/plain") + (";base64" if in_base64 else "")
    if data is not None and not in_base64:
        head += ";base64"
    return f"{head},{packed if data is None else data}"


# What stands between the quotes of JSON that may be broken or cut off.
_RUN = re.compile(r'(?:[^"\\]++|\\.|\\$)++', re.DOTALL)
_ESCAPE = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))')
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def pieces_of(value: str) -> list[str]:
    """The pieces of what is no JSON; every second one is a run between quotes that has escapes in it."""
    pieces = [""]
    done = 0
    for run in _RUN.finditer(value) if "\\" in value else ():
        if "\\" in run[0]:
            pieces[-1] = value[done : run.start()]
            pieces += (run[0], "")
            done = run.end()
    pieces[-1] = value[done:]
    return pieces


def unescaped(run: str) -> str:
    """A run between quotes, its escapes undone as far as they are some."""
    text = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _CONTROLS.get(m[2], m[2]), run)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
