"""Characters that look like ASCII ones: letters, digits and dashes of other scripts, and marks. Pure.

The pairs are facts of Unicode: names and decompositions of the Unicode Character Database, and what
Unicode Technical Standard 39 calls confusable, as far as it concerns what detectors look for.
"""

import functools
import re
import unicodedata

_PAIRS = (
    # Cyrillic
    ("АВЕЅІЈКМНОРСТУХҮԌԚԜԀԁԛԝӀӏҺһ", "ABESIJKMHOPCTYXYGQWddqwIlHh"),
    ("авеѕіјкмнорсгтухѵпьзЗбчґ", "abesijkmhopcrtyxvnb3364r"),
    # Greek
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹϳ", "ABEZHIKMNOPTYXCj"),
    ("αγεικνορτυχωησϲςµ", "ayeikvoptuxwnoccu"),
    # Armenian, Cherokee, Lisu
    ("օսոհցզքՕՍԼՏ", "ounhgzpOULS"),
    ("ᎪᏴᏟᎬᎻᎫᏦᏞᎷᏢᏒᏚᎢᏙᎳᏃ", "ABCEHJKLMPRSTVWZ"),
    ("ꓐꓑꓓꓖꓗꓙꓚꓝꓟꓠꓢꓣꓤꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴꓡꓔꓜ", "BPDGKJCFMNSRRVHWXYAEIOULTZ"),
    # Small capitals and other Latin letters
    ("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "ABCDEFGHIJKLMNOPRSTUVWYZ"),
    ("ıɡɑɩɨƅƽßøØłŁđĐħŧ", "igaiib5BoOlLdDht"),
    # Dashes, dots, slashes, quotes
    ("‐‑‒–—―−⁃﹘˗", "----------"),
    ("․‧∙⋅·٫۔", "......."),
    ("⁄∕╱⧸", "////"),
    ("‘’‚‛′“”„‟″", "'''''\"\"\"\"\""),
    ("˸։׃꞉∶", ":::::"),
    ("＿ˍ", "__"),
)
# Marks that stand over, under or through the letter before them.
MARKS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")


_LAST_DIGIT = 0x1FBF9  # the highest code point of the category Nd


@functools.cache  # made when the first text needs it
def _table() -> dict[int, str]:
    table: dict[int, str] = {}
    for code in range(0x80, _LAST_DIGIT + 1):
        character = chr(code)
        if unicodedata.category(character) == "Nd":
            table[code] = str(unicodedata.digit(character))
        elif code < 0x2000 and (base := unicodedata.normalize("NFD", character)[0]).isascii():
            table[code] = base  # é, ń, ǻ
    for others, ascii_ones in _PAIRS:
        table |= str.maketrans(dict(zip(others, ascii_ones, strict=True)))
    return table


def lookalike(text: str) -> str | None:
    """`text` with ASCII characters for those that look like them, one for one; None when it has none."""
    if text.isascii():
        return None
    read = text.translate(_table())
    return None if read == text else read


def marks(text: str) -> list[tuple[int, int, str]]:
    """Where marks are that hide nothing when they are left out, as (start, end, "")."""
    return [] if text.isascii() else [(*found.span(), "") for found in MARKS.finditer(text)]
