"""International bank account numbers: a country, its length and form, and the check digits of ISO 13616."""

import re
from collections.abc import Iterator

from guardproxy import Match
from guardproxy_pii.local import SEPARATORS, WORD, LocalDetector

# What follows country and check digits: n digits, a letters, c either, with their counts. From the SWIFT
# registry; c alone for the countries that use the form without being in it (DZ, MA, MZ, IR and others).
_FORMS = """
AD 8n12c, AE 19n, AL 8n16c, AO 21n, AT 16n, AZ 4a20c, BA 16n, BE 12n, BF 24c, BG 4a6n8c, BH 4a14c, BI 23n,
BJ 24c, BR 23n1a1c, BY 4c4n16c, CF 23c, CG 23c, CH 5n12c, CI 24c, CM 23c, CR 18n, CV 21c, CY 8n16c, CZ
20n, DE 18n, DJ 23n, DK 14n, DO 4c20n, DZ 22n, EE 16n, EG 25n, ES 20n, FI 14n, FK 2a12n, FO 14n, FR
10n11c2n, GA 23c, GB 4a14n, GE 2a16n, GI 4a15c, GL 14n, GQ 23c, GR 7n16c, GT 24c, GW 21c, HN 4a20n, HR
17n, HU 24n, IE 4a14n, IL 19n, IQ 4a15n, IR 22n, IS 22n, IT 1a10n12c, JO 4a4n18c, KM 23c, KW 4a22c, KZ
3n13c, LB 4n20c, LC 4a24c, LI 5n12c, LT 16n, LU 3n13c, LV 4a13c, LY 21n, MA 24n, MC 10n11c2n, MD 20c, ME
18n, MG 23n, MK 3n10c2n, ML 24c, MN 16n, MR 23n, MT 4a5n18c, MU 4a19n3a, MZ 21n, NE 24c, NI 4a20n, NL
4a10n, NO 11n, OM 3n16c, PK 4a16c, PL 24n, PS 4a21c, PT 21n, QA 4a21c, RO 4a16c, RS 18n, RU 14n15c, SA
2n18c, SC 4a20n3a, SD 14n, SE 20n, SI 15n, SK 20n, SM 1a10n12c, SN 24c, SO 19n, ST 21n, SV 4a20n, TD 23c,
TG 24c, TL 19n, TN 20n, TR 6n16c, UA 6n19c, VA 18n, VG 4a16n, XK 16n, YE 4a4n18c
"""
_CLASSES = {"n": "[0-9]", "a": "[A-Z]", "c": "[0-9A-Z]"}
FORMS: dict[str, re.Pattern[str]] = {}
LENGTHS: dict[str, int] = {}
for _entry in _FORMS.split(","):
    _country, _form = _entry.split()
    _parts = [(int(count), kind) for count, kind in re.findall(r"([0-9]+)([nac])", _form)]
    LENGTHS[_country] = 4 + sum(count for count, _ in _parts)
    FORMS[_country] = re.compile(
        _country + "[0-9]{2}" + "".join(f"{_CLASSES[kind]}{{{count}}}" for count, kind in _parts)
    )
LONGEST = max(LENGTHS.values())
_GOES_ON = re.compile(f"[{WORD}@]")
_SEPARATOR = re.compile(f"[{SEPARATORS}]")


def checks(iban: str) -> bool:
    """Whether form and check digits (ISO 7064, mod 97-10) are right; `iban` is upper case, without blanks."""
    form = FORMS.get(iban[:2])
    if form is None or not form.fullmatch(iban):
        return False
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


class Ibans(LocalDetector):
    """IBAN_CODE: in one piece, or in groups with a blank or a dash between them."""

    name = "iban"
    anchor = re.compile(
        rf"[0-9](?<=[A-Za-z]{{2}}[0-9])(?<![{WORD}][A-Za-z]{{2}}[0-9])(?=[0-9][{SEPARATORS}]?[A-Za-z0-9])"
    )
    lead = 2
    before = 2
    after = 2 * LONGEST

    def at(self, window: str, position: int) -> Iterator[Match]:
        """The account number that begins at `position`: its country says where it ends."""
        length = LENGTHS.get(window[position : position + 2].upper())
        if length is None:
            return
        characters: list[str] = []
        end = position
        while len(characters) < length and end < len(window):
            character = window[end]
            if character.isascii() and character.isalnum():
                characters.append(character)
            elif not _SEPARATOR.match(character) or _SEPARATOR.match(window[end - 1]):
                return
            end += 1
        if not _goes_on(window, end) and checks("".join(characters).upper()):
            yield Match(position, end, "IBAN_CODE", validated=True)


def _goes_on(window: str, end: int) -> bool:
    """A word goes on at `end`; before an `@` it is someone's handle."""
    return _GOES_ON.match(window, end) is not None
