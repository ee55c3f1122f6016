"""Payment card numbers: an issuer's range, a length that it uses, and the Luhn check digit."""

import re
from collections.abc import Iterator

from guardproxy import Match
from guardproxy_pii.local import SEPARATORS, WORD, LocalDetector

SHORTEST, LONGEST = 12, 19

# First and last prefix of a range, and the lengths in use there. From the networks' public ranges.
RANGES: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),  # Mastercard, second range
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("300", "305", frozenset(range(14, 20))),  # Diners Club
    ("3095", "3095", frozenset(range(14, 20))),
    ("36", "36", frozenset(range(14, 20))),
    ("38", "39", frozenset(range(14, 20))),
    ("3528", "3589", frozenset(range(16, 20))),  # JCB
    ("35", "35", frozenset({16})),  # the rest of 35 is not given out, but common in test data, as JCB
    ("1800", "1800", frozenset({15})),  # JCB, its first cards
    ("2131", "2131", frozenset({15})),
    ("2200", "2205", frozenset(range(16, 20))),  # Mir
    ("0604", "0604", frozenset(range(12, 20))),  # Maestro, in test data
    ("50", "50", frozenset(range(12, 20))),  # Maestro, Verve, RuPay, Elo, Dankort
    ("56", "59", frozenset(range(12, 20))),  # Maestro
    ("60", "60", frozenset(range(12, 20))),  # Discover, RuPay, Maestro
    ("61", "61", frozenset(range(12, 20))),  # Maestro
    ("62", "62", frozenset(range(16, 20))),  # UnionPay
    ("63", "64", frozenset(range(12, 20))),  # Maestro, Discover
    ("65", "65", frozenset(range(16, 20))),  # Discover, RuPay, Elo, Troy
    ("66", "69", frozenset(range(12, 20))),  # Maestro
    ("81", "82", frozenset(range(16, 20))),  # UnionPay, RuPay
    ("8600", "8600", frozenset({16})),  # Uzcard
    ("9792", "9792", frozenset({16})),  # Troy
    ("9860", "9860", frozenset({16})),  # Humo
)

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_RUN = re.compile(rf"[0-9]+(?:[{SEPARATORS}][0-9]+){{0,5}}")
_GROUP = re.compile(r"[0-9]+")
_UUID = re.compile(r"(?=[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})")
_UUID_LENGTH = 36
_GOES_ON = re.compile(rf"[{WORD}]|\.[0-9]")


def luhn(digits: str) -> bool:
    """Whether the last of `digits` is the check digit of those before it (ISO/IEC 7812-1)."""
    total = sum(map(int, digits[-1::-2])) + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return total % 10 == 0


def issued(digits: str) -> bool:
    """Whether `digits` begins like a card, and has a length that such cards have."""
    return any(
        len(digits) in lengths and first <= digits[: len(first)] <= last for first, last, lengths in RANGES
    )


def _grouped_like_a_card(groups: list[str]) -> bool:
    sizes = [len(group) for group in groups]
    if len(sizes) == 1:
        return True
    # 4-4-4-4(-3), 4-6-5, 4-6-4, 6-13 and the like; not a row of small numbers.
    return sizes[0] in (4, 6) and min(sizes[:-1]) >= 4 and sizes[-1] >= 1 and max(sizes[:-1]) <= 6


class Cards(LocalDetector):
    """CREDIT_CARD: every run of digit groups that passes, also where two overlap."""

    name = "cards"
    anchor = re.compile(rf"[0-9](?<![{WORD}][0-9])(?<![0-9]\.[0-9])(?=[0-9]{{3}})")
    before = _UUID_LENGTH
    after = LONGEST + 6 + _UUID_LENGTH

    def at(self, window: str, position: int) -> Iterator[Match]:
        """The cards that begin at `position`: one for each number of groups that makes a card."""
        run = _RUN.match(window, position)
        if run is None:
            return
        groups: list[str] = []
        for group in _GROUP.finditer(window, position, run.end()):
            groups.append(group[0])
            digits = "".join(groups)
            if len(digits) > LONGEST:
                return
            if len(digits) < SHORTEST or not _ends(window, group.end()):
                continue
            card = issued(digits) and _grouped_like_a_card(groups) and luhn(digits)
            if card and not _in_uuid(window, position, group.end()):
                yield Match(position, group.end(), "CREDIT_CARD", validated=True)


def _in_uuid(window: str, start: int, end: int) -> bool:
    return any(
        found.start() < end and start < found.start() + _UUID_LENGTH for found in _UUID.finditer(window)
    )


def _ends(window: str, end: int) -> bool:
    """A number ends at `end`: no word goes on there, and no decimals (a comma may be a column's end)."""
    return _GOES_ON.match(window, end) is None
