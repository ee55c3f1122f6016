"""Telephone numbers: international, North American, and national ones where a word announces them."""

import re
from collections.abc import Iterator

import phonenumbers

from guardproxy import Match
from guardproxy_pii.local import SEPARATORS, WORD, LocalDetector

FEWEST, MOST = 7, 15
_TOLD = 3  # digits before the zeros at the end: with fewer it is a round number, and counts something
_NO_DIGIT = re.compile("[^0-9]")
_LONGEST = 46  # characters of a number with its separators
_RUN = re.compile(rf"\+?\s?\(?[0-9]+(?:[./(){SEPARATORS}]{{1,2}}[0-9]+)*")
_NORTH_AMERICAN = re.compile(
    rf"(?:\+?1[.{SEPARATORS}])?(?:\([2-9][0-9]{{2}}\)[{SEPARATORS}]?|[2-9][0-9]{{2}}[.{SEPARATORS}])"
    rf"[0-9]{{3}}[.{SEPARATORS}][0-9]{{4}}(?![0-9])"
)
# An extension, and then an end: no word, no decimals, no groups go on.
_TAIL = re.compile(rf"(?:\s?(?:x|ext\.?|extension)\s?[0-9]{{1,6}})?(?![{WORD}])(?![.-][0-9])")
_GROUP_END = re.compile(r"[0-9](?![0-9])")
_INSIDE = re.compile(rf"[0-9][./){SEPARATORS}]{{1,2}}\(?\Z")
_ANNOUNCED = re.compile(
    r"(?i)(?<![^\W_])(?:(?:(?:tele|cell ?)?phones?|telefo(?:o?n|ne|on)|mobile?|mobiltelefon|handy|fax|ruf)"
    r"(?:[ _-]?(?:numbers?|nummer|nr|no))?|t[eé]l(?:[eé]ph?on[eo]?|[eé]fono)?|whats ?app|sms|hotline|m[oó]vil"
    r"|celular|cellulare|тел|телефон[а-я]{0,2})(?![^\W_])|电话|電話|手机|手機|携帯|전화|휴대폰"
)
# Words with other meanings: they announce a number only when no more than such words stand between.
_CALLED = re.compile(
    r"(?i)\b(?:call(?:ed|ing)?|dial(?:led|ed)?|ring|reach(?:ed)?|contact(?:ed)?|text|cell|handy|answering)\b\W{0,3}"
    r"(?:(?:me|us|him|her|them|you|it|someone|back|on|at|via|under|by|the|my|our|your|his|this|number|no|is)\b"
    r"\W{1,3}){0,6}\Z"
)
# `my German number is`, `our new number:`; not a number of anything else.
_OWN_NUMBER = re.compile(
    r"\b(?i:my|his|her|our|their|your) "
    r"(?:(?i:new|old|other|own|private|personal|work|office|home|direct|second)"
    r"|[A-Z][a-z]{2,14}(?:an|sh|ch|ese|se)){0,1} ?(?i:number)(?i:\s(?:is|was)|:)\W{1,3}\Z"
)
# A number that one of these announces, nearer than a telephone, is something else.
_OTHER = re.compile(
    r"(?i)\b(?:card|account|iban|order|invoice|ssn|social security|zip|id|isbn|version|port)\b"
)
_NOT_A_PHONE = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}"  # a UUID
    r"|(?:[12][0-9]{3}[-./][01]?[0-9][-./][0-3]?[0-9]"  # a date, the year first
    r"|(?:19|20)[0-9]{2} [01][0-9] [0-3][0-9]"
    r"|[0-3]?[0-9][-./][01]?[0-9][-./](?:[12][0-9])?[0-9]{2}"  # a date, the year last
    r"|[0-9]{3}-[0-9]{2}-[0-9]{4}"  # a social security number
    r"|[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?![-./]?[0-9])"  # an internet address
)


class Phones(LocalDetector):
    """PHONE_NUMBER."""

    name = "phone"
    anchor = re.compile(rf"[+(0-9](?<![{WORD}+][+(0-9])(?=(?:[^0-9A-Za-z]{{0,3}}[0-9]){{6}})")
    before = 60
    after = 64

    def load(self) -> None:
        """Read the metadata of the commonest regions before the first text."""
        for number in ("+12015550123", "+442079460958", "+4930901820", "+33612457898"):
            international(number)

    def at(self, window: str, position: int) -> Iterator[Match]:
        """The number that begins at `position`, as long as it can be."""
        if _NOT_A_PHONE.match(window, position):
            return
        north = _NORTH_AMERICAN.match(window, position)
        if north and (tail := _TAIL.match(window, north.end())):
            yield Match(position, tail.end(), "PHONE_NUMBER", 0.8)
            return
        run = _RUN.match(window, position, position + _LONGEST)
        if run is None or sum(map(str.isdigit, run[0])) < FEWEST:
            return
        inside = _INSIDE.search(window, max(0, position - 4), position) is not None
        abroad = window.startswith("+", position) or (window.startswith("00", position) and not inside)
        if not abroad and (inside or not _announced(window, position)):
            return
        for end in reversed([found.end() for found in _GROUP_END.finditer(window, position, run.end())]):
            tail = _TAIL.match(window, end)
            if tail and _is_number(window[position:end], abroad):
                yield Match(position, tail.end(), "PHONE_NUMBER", 0.9 if abroad else 0.7)
                return


def _is_number(number: str, abroad: bool) -> bool:
    digits = sum(map(str.isdigit, number))
    if len(_NO_DIGIT.sub("", number).rstrip("0")) < _TOLD:
        return False
    # Two more than the most: the 00 of some, the (0) of others.
    return FEWEST <= digits <= MOST + 2 and (not abroad or international(number))


def _announced(window: str, position: int) -> bool:
    """Whether the last word before `position` that announces a number announces a telephone."""
    if _CALLED.search(window, 0, position) or _OWN_NUMBER.search(window, 0, position):
        return True
    words = [word.end() for word in _ANNOUNCED.finditer(window, 0, position)]
    return bool(words) and not _OTHER.search(window, words[-1], position)


def international(number: str) -> bool:
    """Whether `number`, with + or 00 before the country code, has a length that the country uses."""
    digits = re.sub(r"\(0\)|[^0-9+]", "", number)
    try:
        parsed = phonenumbers.parse("+" + digits[2:] if digits.startswith("00") else digits)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_possible_number(parsed))
