"""Social security numbers of the United States."""

import re
from collections.abc import Iterator

from guardproxy import Match
from guardproxy_pii.local import SEPARATORS, WORD, LocalDetector

# Areas 000, 666 and 900 to 999, group 00 and serial 0000 were never given out.
_NUMBER = re.compile(
    rf"(?!000|666|9)[0-9]{{3}}([.{SEPARATORS}]?)(?!00)[0-9]{{2}}\1(?!0000)[0-9]{{4}}(?![{WORD}]|[.-][{WORD}])"
)
_CONTEXT = re.compile(
    r"(?i)(?<![a-z])ssns?(?![a-z])|social.?sec|\bss ?#|\btax ?(?:payer)? ?id|\bss.?n(?:umber)?\b"
)
DASHES = frozenset("-\u2010\u2011\u2012\u2013")


class SocialSecurity(LocalDetector):
    """US_SSN: 3-2-4 digits with dashes; with other separators, or none, only where a word announces it."""

    name = "ssn"
    anchor = re.compile(
        rf"[0-8](?<![{WORD}][0-8])(?<![0-9][.-][0-8])(?=[0-9]{{2}}[.{SEPARATORS}]?[0-9]{{2}}[.{SEPARATORS}]?[0-9]{{4}})"
    )
    before = 60
    after = 20

    def at(self, window: str, position: int) -> Iterator[Match]:
        """The number that begins at `position`."""
        number = _NUMBER.match(window, position)
        if number is None:
            return
        announced = _CONTEXT.search(window, 0, position) is not None
        if announced or number[1] in DASHES:
            yield Match(position, number.end(), "US_SSN", 1.0 if announced else 0.8)
