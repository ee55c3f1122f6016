"""E-mail addresses, by the syntax of RFC 5321 and 6531; nothing is looked up."""

import re
from collections.abc import Iterator

from guardproxy import Match
from guardproxy_pii.local import LocalDetector

_QUOTED = re.compile(r'"[^"\\\s]{1,62}"\Z')
_DOMAIN = re.compile(
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?:xn--[a-z0-9-]{2,59}|[^\W\d_]{2,24})(?![-_]?[^\W_])"
)
_LITERAL = re.compile(r"\[(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|IPv6:[0-9a-fA-F:.]{2,45})\]")
LONGEST_LOCAL = 64
# No top-level domains: `icon@2x.png` is the name of a file.
_FILES = re.compile(
    r"(?i)\.(?:avif|bmp|class|conf|cpp|css|csv|dll|exe|gif|gz|html?|ico|ini|jar|java|jpe?g|json|jsx?|lock|log|map|mjs"
    r"|pdf|php|png|properties|rb|sql|svg|tar|tgz|toml|tsx?|txt|vue|webp|woff|xml|ya?ml)\Z"
)
# What opens a quotation or an option before an address, and is no part of it.
_OPENING = "'`{|/=?&#$%!*^"
_ESCAPES = "bfnrt"  # the letters that a backslash makes a control of


class Mail(LocalDetector):
    """EMAIL_ADDRESS: a local part of up to 64 characters, and a domain with a top level of letters."""

    name = "mail"
    anchor = re.compile("@")
    before = LONGEST_LOCAL + 3
    after = 90

    def at(self, window: str, position: int) -> Iterator[Match]:
        """The address around the `@` at `position`."""
        domain = _DOMAIN.match(window, position + 1) or _LITERAL.match(window, position + 1)
        if domain is None or _FILES.search(domain[0]):
            return
        start = _start(window, position)
        if start is None:
            return
        if window[start:position] == "git" and window[domain.end() : domain.end() + 1] == ":":
            return  # the remote of a repository, not a mailbox
        yield Match(start, domain.end(), "EMAIL_ADDRESS", validated=True)


def _start(window: str, at: int) -> int | None:
    """Where the local part before the `@` begins; None when there is none, or it is too long."""
    if quoted := _QUOTED.search(window, 0, at):
        return quoted.start()
    start = at
    while start and (window[start - 1].isalnum() or window[start - 1] in "!#$%&'*+/=?^_`{|}~-."):
        start -= 1
    if 0 < start < at - 1 and window[start - 1] == "\\" and window[start] in _ESCAPES:
        start += 1  # in a text that is JSON or code, the letter belongs to the escape
    while start < at and window[start] in _OPENING + ".":
        start += 1
    local = window[start:at]
    if not local or len(local) > LONGEST_LOCAL or local.endswith(".") or ".." in local:
        return None
    return start
