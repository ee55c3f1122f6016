"""Names on a line of their own above an address, a telephone number or a mail address."""

import re
from collections.abc import Iterator, Sequence

from guardproxy import Match
from guardproxy_pii.given import may_be_first_name
from guardproxy_pii.persons import FULL_NAME, LETTERHEAD, TOKEN, Persons, is_thing
from guardproxy_pii.prose import Line, Prose

_SMALL = r"[a-zß-öø-ÿā-ž]{1,30}(?:['’-][a-zß-öø-ÿā-ž]{1,30})?"
_LINE = re.compile(rf"[> \t]{{0,4}}({FULL_NAME}|{_SMALL}(?: [a-z]\.?)?(?: {_SMALL}){{1,2}})[ \t\r]*(?:\n|\Z)")
_OPENS = re.compile(r"(?:\A|\n[> \t\r]{0,8}\n)[> \t\r\n]{0,8}\Z")
_CONTACT = re.compile(r"(?i)\b(?:phone|tel|fax|mobile|e-?mail|address)\b|\+[0-9]{2}|@")
_STREET_WITHIN, _CONTACT_WITHIN = 120, 160


def letterheads(text: str, prose: Prose, streets: Sequence[Match], persons: Persons) -> Iterator[Match]:
    """The persons that head an address; `streets` are the addresses of `text`."""
    for low, high, line in prose:
        found = _LINE.match(text, low, high) if line is Line.FRAGMENT else None
        if found is None or not _is_name(found[1], persons):
            continue
        start, end = found.span(1)
        near = [street.start for street in streets if end <= street.start <= end + _STREET_WITHIN]
        right_below = any(not text[end:street].strip(" \t\r\n>0123456789") for street in near)
        opens = _OPENS.search(text, max(0, low - 18), low)
        if right_below or (opens and (near or _CONTACT.search(text, end, end + _CONTACT_WITHIN))):
            yield Match(start, end, "PERSON", LETTERHEAD)


def _is_name(name: str, persons: Persons) -> bool:
    tokens = TOKEN.findall(name)
    if is_thing(tokens[-1]):
        return False
    return may_be_first_name(tokens[0]) or not (name.islower() or all(map(persons.common, tokens)))
