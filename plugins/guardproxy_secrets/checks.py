"""What a key says of itself: checksums and structure.

Each check gives a score, from a key's first 90 characters. A check that holds gives 1.0. One that fails
rules a key out (0) where the form alone is weak; else it only lowers the score: examples and keys made up
for a test have no right checksum, and whoever wrote them into a text expects them to be found.
"""

import base64
import binascii
import json
import re
import zlib

from guardproxy_secrets.judge import is_published

HOLDS = 1.0
DOUBTFUL = 0.7  # the checksum is wrong, but the provider's prefix and length say it: still validated
BROKEN = 0.5  # only its beginning looks like a key: not validated

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PRINTABLE = re.compile(rb"[\x20-\x7e\t\r\n]+")


def checksum(body: str) -> str:
    """The CRC-32 of `body` as six digits of base 62."""
    rest, digits = zlib.crc32(body.encode("utf-8", "replace")), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = _DIGITS[digit] + digits
    return digits


def crc32(key: str) -> float:
    """Tokens of GitHub and npm end with a prefix, 30 characters, and the checksum of these."""
    return HOLDS if checksum(key[-36:-6]) == key[-6:] else DOUBTFUL


def jwt(key: str) -> float:
    """The header of a JSON Web Token decodes to an object that names an algorithm."""
    header, dot, _ = key[:90].partition(".")
    data = _decoded(header)
    if data is None:
        return BROKEN
    if not dot:  # with a key's id or a certificate it is longer than what is judged
        return HOLDS if len(header) > 60 and _PRINTABLE.fullmatch(data) else BROKEN
    try:
        return HOLDS if "alg" in json.loads(data) else BROKEN
    except (ValueError, TypeError):
        return BROKEN


def json_inside(key: str) -> float:
    """The base64 of an object is in it: what can be read of it is text."""
    found = re.search("eyJ[A-Za-z0-9+/_-]*", key[:64])
    data = _decoded(found[0]) if found else None
    return HOLDS if data is not None and _PRINTABLE.fullmatch(data) else BROKEN


def mixed(key: str) -> float:
    """For weak prefixes: at least two digits, and letters among them."""
    digits = sum(map(str.isdigit, key[-22:]))
    return HOLDS if 2 <= digits <= 18 else 0.0


def numbered(key: str) -> float:
    """Its first part is the base64 of a number."""
    data = _decoded(key.partition(".")[0])
    return HOLDS if data is not None and data.isdigit() else 0.0


def unpublished(key: str) -> float:
    """None of the examples that their owner published."""
    return 0.0 if is_published(key) else HOLDS


def basic(value: str) -> float:
    """Basic credentials (RFC 7617): base64 of a user, a colon and a password."""
    data = _decoded(value.rstrip("="))
    user, _, password = (data or b"").partition(b":")
    return HOLDS if _PRINTABLE.fullmatch(user) and len(password) >= 2 else 0.0


def _decoded(text: str) -> bytes | None:
    """The bytes that the beginning `text` of base64 or base64url stands for, or None."""
    whole = text[: len(text) - len(text) % 4] if len(text) % 4 == 1 else text
    try:
        return base64.b64decode(whole.translate(_URL_SAFE) + "=" * (-len(whole) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


_URL_SAFE = str.maketrans("-_", "+/")
