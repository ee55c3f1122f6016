"""Internet addresses, version 4 and 6."""

import ipaddress
import re
from collections.abc import Iterator

from guardproxy import Match
from guardproxy_pii.local import WORD, LocalDetector

_FOUR = re.compile(
    rf"(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}(?![{WORD}])(?!\.[0-9])(?![-+][A-Za-z])"
)  # `1.2.3.4-beta` is a version
_SIX = re.compile(
    r"(?:[0-9a-fA-F:]{1,30}:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F:]{2,39})(?:%[0-9a-zA-Z]{1,15})?"
)
_COLONS = re.compile(r":(?=[0-9a-fA-F]{0,4}:)")
_GROUP_BEFORE = re.compile(rf"(?<![{WORD}:.])[0-9a-fA-F]{{0,4}}\Z")
# The end of a version 6 address before its version 4 part.
_MAPPED = re.compile(r":[0-9a-fA-F]{0,4}:\Z")
# Four numbers behind one of these are a version.
_VERSION = re.compile(
    r"(?i)(?:version|release|section|chapter|§|\bver|\bv|[=~<>^]=|\^|~)[\"']?\s{0,2}[:=]?\s{0,2}[\"']?\Z"
)
# A release of a program: no machine has such an address, and a network's is written with its length.
_RELEASE = re.compile(r"[1-9][0-9]{0,2}\.0\.0\.0(?!/[0-9])")
_LETTER = re.compile("[A-Za-z0-9]")
_ANNOUNCED = re.compile(r"(?i)(?:\bip|_ip|ipv[46]|address|addr|host|listen|bind)\b.{0,16}\Z")
# What `x[::2]` and `a::b` have too.
_SHORT = re.compile(r"(?!::1\Z)[0-9]{0,3}::[0-9]{0,3}|[^0-9]+")


class IpAddresses(LocalDetector):
    """IP_ADDRESS."""

    name = "ip"
    anchor = re.compile(rf"[0-9](?<![{WORD}.][0-9])(?=[0-9]{{0,2}}\.[0-9]{{1,3}}\.)")
    before = 32
    after = 64

    def positions(self, text: str) -> Iterator[int]:
        """Where four numbers begin, and groups of hexadecimal digits with a second colon behind the first."""
        yield from super().positions(text)
        for colon in _COLONS.finditer(text):
            if groups := _GROUP_BEFORE.search(text, max(0, colon.start() - 4), colon.start()):
                yield groups.start()

    def at(self, window: str, position: int) -> Iterator[Match]:
        """The address that begins at `position`."""
        if four := _FOUR.match(window, position):
            if _octets(four[0]) and not (
                _VERSION.search(window, 0, position)
                or _MAPPED.search(window, 0, position)
                or _RELEASE.match(window, position)
            ):
                yield Match(position, four.end(), "IP_ADDRESS", 0.9)
        elif six := _SIX.match(window, position):
            end = six.end()
            if window[end - 1] == ":" and window[end - 2] != ":":
                end -= 1
            alone = not _LETTER.match(window, end)
            if alone and _six(window[position:end]) and _plain(window, position, end):
                yield Match(position, end, "IP_ADDRESS", 0.9)


def _octets(text: str) -> bool:
    return all(int(octet) < 256 and str(int(octet)) == octet for octet in text.split("."))


def _six(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _plain(window: str, start: int, end: int) -> bool:
    """More than the `::` of a language, or announced by a word."""
    if _ANNOUNCED.search(window, 0, start):
        return True
    return window[end : end + 1] not in ("_", ":", "<") and not _SHORT.fullmatch(window, start, end)
