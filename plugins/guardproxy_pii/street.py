"""Street addresses: a street with its house number, a post box, a flat; and the town behind them."""

import re
from collections.abc import Iterator

import re2

from guardproxy import Match
from guardproxy_pii.local import LocalDetector

_CAPITAL = r"[A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĞĢĪĮİĶĹĻĽŁŃŅŇŌŐŒŔŘŚŞŠŢŤŪŮŰŲŹŻŽΑ-Ω]"
_NAME = _CAPITAL + r"[\w'’.-]{0,24}"
_WORDS = rf"{_NAME}(?: {_NAME}){{0,2}}"
_ORDINAL = r"[0-9]{1,3}(?:st|nd|rd|th|ST|ND|RD|TH)"
_BEFORE = r"(?:[0-9]{1,5},? )?"
_ENGLISH = (
    rf"{_BEFORE}[0-9]{{1,6}}[A-Za-z]? (?:[NSEW]\.? )?(?:(?:{_NAME}|{_ORDINAL}) ){{1,3}}"
    r"(?:Street|Str|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter"
    r"|Way|Parkway|Pkwy|Highway|Hwy|Circle|Cir|Crescent|Close|Grove|Gardens|Mews|Row|Walk|Trail|Alley|Quay"
    r"|STREET|ST|AVENUE|AVE|ROAD|RD|BOULEVARD|BLVD|LANE|LN|DRIVE|DR|COURT|CT|PLACE|PL|SQUARE|SQ|TERRACE|WAY"
    r"|PARKWAY|PKWY|HIGHWAY|HWY)\b\.?"
    r"(?: (?:NE|NW|SE|SW|[NSEW])\b\.?)?"
)
# One word that ends like a street (Dutch, German, Nordic), and a number.
_ENDED = (
    rf"{_CAPITAL}[\w’'-]{{1,24}}(?:straat|stra[sß]s?e|str\.|gat(?:a|an|e)|gade|vej|v[äe]gen|vei|veien|katu"
    r"|tie|laan|weg|gasse|gass|platz|allee|plein|kade|gracht|polku|kuja|stien|gyden|bakken|haugen|plads"
    r"|torg|parken|-Stra[sß]s?e|-Str\.|-Platz|-Weg|-Allee|-Ring|-Ufer|-Damm)"
)
_COMPOUND = rf"{_BEFORE}{_ENDED} [0-9]{{1,4}}[A-Za-z]?\b"
_NUMBER_BEHIND = re.compile(r"[0-9](?<=[\w.] [0-9])")
_COMPOUND_BEFORE = re.compile(rf"(?<![\w.]){_ENDED} \Z")
_COMPOUND_LONGEST = 36
# A word that opens the name of a street (Romance, Slavic, Greek), with a number before or behind it.
_OPENING = (
    r"(?:[Rr]ue|[Aa]venue|Boulevard|Chemin|Impasse|Via|Viale|Piazza|Corso|Strada|Calle|C/|Avenida|Avda?\.|Paseo"
    r"|Plaza|Rua|R[uú]a|Travessa|Largo|Pra[cç]a|[Uu]l\.|[Uu]lica|Aleja|Λεωφ\.|Οδός)"
)
_OPENED = rf"{_OPENING}(?: (?:de|du|des|del|della|di|do|da|dos|la|le|les|el|al|van|y|{_NAME},?)){{1,6}}"
_NUMBERED = rf"(?:[0-9]{{1,5}},? ){{1,2}}{_OPENED}(?: [0-9]{{1,5}}\b)?|{_OPENED} [0-9]{{1,5}}\b"
_BOX = r"(?i:p\.? ?o\.? ?box|postbox|postfach|postboks|bo[iî]te postale) [0-9]{1,6}\b"
_UNIT = r"(?:Apt|Apartment|Suite|Ste|Unit|Flat)\.? #?[0-9]{1,5}[A-Za-z]?\b"
_POSTCODE = r"(?i:zip|zip code|post ?code|postal code):? (?:[A-Z]{1,2}-)?[0-9]{4,6}(?:-[0-9]{3,4})?\b"
# The words that open an address without a number before it: their first letters, and what follows.
_REST = (
    r"ue |venue |oulevard |hemin |mpasse |ia |iale |iazza |orso |trada "
    r"|alle |/ |venida |vda?\. |aseo |laza |ua |úa |ravessa |argo |ra[cç]a |leja |l\. |lica |εωφ\. |δός "
    r"|(?i:ost|\.? ?o\.? ?b|o[iî]te |ip)|(?:pt|partment|uite|te|nit|lat)\.? #?[0-9]"
)
_INITIAL = "[AaBbCFILPpRrSTUuVZzΛΟ]"
_FIRST = re.compile(rf"{_INITIAL}(?<![\w.]\w)(?={_REST})")
# Most texts have none, and this engine tells it at once. It takes a letter beyond ASCII for no letter.
_ANY_FIRST = re2.compile(rf"(?:^|[^0-9A-Za-z_.]){_INITIAL}(?:{_REST})".encode())
_CORE = re.compile("|".join((_ENGLISH, _COMPOUND, _NUMBERED, _BOX, _UNIT, _POSTCODE)))
_CORE_LONGEST = 90
# Post codes: 10115, SE-10115, 111 43, 1012 AB, 00-950, 1000-001; SW1A 2AA, K1A 0B1.
_CODE_BEFORE = (
    r"(?:[A-Z]{1,2}-)?"
    r"(?:[0-9]{4}-[0-9]{3}|[0-9]{2}-[0-9]{3}|[0-9]{3} [0-9]{2}|[0-9]{4} ?[A-Z]{2}|[0-9]{4,5})\b"
)
_CODE_BEHIND = r"[A-Z]{1,2}[0-9][0-9A-Z]? [0-9][A-Z0-9]{2}\b"
_BREAK = r"[,.]?(?: |[ ,]{0,2}\n[> ]{0,3})"
_MORE = re.compile(
    rf"{_BREAK}(?:{_UNIT}|{_BOX})"
    rf"|{_BREAK}{_CODE_BEFORE} {_WORDS}"  # post code and town
    rf"|{_BREAK}{_WORDS}{_BREAK}{_CODE_BEHIND}"  # town and post code
    # town, state, post code
    rf"|{_BREAK}{_WORDS}{_BREAK}(?:[A-Z]{{2}}{_BREAK})?[0-9]{{4,5}}(?:-[0-9]{{4}})?\b"
    rf"|\s{{0,2}}\n[> ]{{0,3}}{_WORDS}(?=\s{{0,2}}\n)"  # a town or country on a line of its own
    rf"|, {_WORDS}(?=,)"
)


class StreetAddresses(LocalDetector):
    """STREET_ADDRESS."""

    name = "street"
    anchor = re.compile(rf"[0-9](?<![\w.][0-9])(?=[0-9]{{0,5}}[A-Za-z]?,? (?:[0-9aru]|{_CAPITAL}))")
    before = 2
    after = 156

    def positions(self, text: str) -> Iterator[int]:
        """Where a number or one of the words that open an address begin, or one that ends like a street."""
        yield from super().positions(text)
        if _ANY_FIRST.search(text.encode("utf-8", "replace")):
            yield from (word.start() for word in _FIRST.finditer(text))
        for number in _NUMBER_BEHIND.finditer(text):
            end = number.start()
            if street := _COMPOUND_BEFORE.search(text, max(0, end - _COMPOUND_LONGEST), end):
                yield street.start()

    def at(self, window: str, position: int) -> Iterator[Match]:
        """The address that begins at `position`."""
        core = _CORE.match(window, position, position + _CORE_LONGEST)
        if core is None:
            return
        end = core.end()
        for _ in range(3):
            if more := _MORE.match(window, end):
                end = more.end()
        yield Match(position, len(window[:end].rstrip()), "STREET_ADDRESS", 0.7)
