"""Words that announce a person's name: a title, `my name is`, `Name:`, `Dear`."""

import re

from guardproxy_pii.given import is_first_name, words

_NAME = r"[^\W\d_a-zß-öø-ÿ][^\W\d_]*(?:['’-][^\W\d_]+)*"
TITLE = r"(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Madam|Herrn?|Frau|Mme|Señora?)\b\.?"
_INNER = r"(?:[A-Z]\.?(?!\w)|van|von|der|den|de|da|di|la|bin|al)"
_FULL_NAME = rf"{_NAME}(?: {{1,2}}(?:{_INNER} )?(?:{_INNER}|{_NAME})){{0,3}}(?<=\w)(?!\w)"
_RELATIVES = (
    "kids?|sons?|daughters?|wife|husband|brothers?|sisters?|mother|father|mom|mum|dad|friend|boss"
    "|colleague|neighbou?r|uncle|aunt|cousin|niece|nephew|fianc[eé]e?|partner|girlfriend|boyfriend"
    "|grandmother|grandfather|student|client"
)
_SURE = (
    rf"(?:my|his|her|our|their|your) (?:{_RELATIVES})|(?:shouted|yelled|screamed|waved|smiled|winked) at"
    r"|my name(?: is|['’]s)|everyone calls me|je m['’]appelle|mon nom est|ich hei(?:ß|ss)e|mein name ist"
    r"|me llamo|mi nombre es|mi chiamo|il mio nome è|ik heet|mijn naam is|meu nome é|jag heter|jeg heter"
    r"|jeg hedder|nazywam się|nimeni on"
)
# What announces other things, too.
_UNSURE = (
    r"(?<!param )(?<![\w-])(?:full |last |first )?names?:|(?:directed|written|composed|reviewed|signed|sent"
    r"|prepared|painted) by:?|attn:?|from:|to:|cc:|contact:|author:|patient:|customer:|calls? me"
)
# The name that is announced is the group that took part, with its title.
_ANNOUNCED = re.compile(
    rf"\b(?P<titled>(?:{TITLE} ){{1,2}}{_FULL_NAME})"
    rf"|\b(?i:{_SURE})[ \t]{{1,4}}(?P<sure>{_FULL_NAME})"
    rf"|(?<![\w'’-])(?P<acting>{_FULL_NAME})"
    r"(?= (?:shouted|yelled|screamed|whispered|giggled|lives (?:at|on|in|with|alone))\b)"
    rf"|\b(?i:{_UNSURE})[ \t]{{1,8}}(?P<unsure>{_FULL_NAME})"
    rf"|(?m:^(?:Dear|Hi|Hello|Hey|Hallo|Bonjour|Hola) )(?P<greeted>{_FULL_NAME})(?=,|!|$)"
)
_SURELY = ("titled", "sure")
_OWN = re.compile(rf"\b[Ii](?: am|['’]m)[ \t]({_FULL_NAME})")
# `"name": "Ada Lovelace"`, `last_name = 'Lovelace'`.
_KEYED = re.compile(rf"[Nn](?i:ame)['\"]?\s{{0,2}}[:=]\s{{0,2}}(['\"])({_FULL_NAME})(?=\1)")
_PART_BEFORE = re.compile(r"(?i)(?:first|last|full|given|family|sur)[ _-]?\Z")
_CLOSING = (
    r"(?:(?:yours )?(?:sincerely|faithfully|truly)(?: yours)?"
    r"|(?:(?:with )?(?:kind|best|warm|warmest|kindest) )?(?:regards|wishes)"
    r"|best|cheers|(?:many )?thanks(?: again)?|thank you|respectfully|love"
    r"|mit freundlichen gr(?:ü|ue)(?:ß|ss)en|(?:viele|liebe|beste) gr(?:ü|ue)(?:ß|ss)e|cordialement"
    r"|(?:un )?saludos?|atentamente|atenciosamente|cordiali saluti|met vriendelijke groet(?:en)?"
    r"|med v[äe]nliga? h[äi]lsning(?:ar)?|pozdrawiam)"
)
# On a line of its own below the formula that closes a letter.
_SIGNED = re.compile(
    rf"(?m)^[> \t]{{0,4}}(?i:{_CLOSING})[,.!]?[ \t\r]{{0,4}}\n(?:[> \t\r]{{0,4}}\n)?"
    rf"[> \t]{{0,4}}({_FULL_NAME})(?=[ \t,\r]{{0,4}}$)"
)
# In lower case only where nothing else follows such words: `my name is lena andersson`.
_PLAIN = re.compile(
    r"\b(?i:my name is|my name['’]s|my (?:full |first |last )?name: ?|everyone calls me) "
    r"([a-zß-öø-ÿā-ž]{2,20}(?:-[a-zß-öø-ÿā-ž]{2,20})?)"
    r"((?: (?:[a-z] |van |de |von ){0,2}[a-zß-öø-ÿā-ž]{2,20}){0,1})"
)
_PLAIN_TITLE = re.compile(
    r"\b(?:mrs?|ms|dr)\. [A-Za-zß-öø-ÿā-ž]{2,20}(?: (?:[a-z]\.? )?[a-zß-öø-ÿā-ž]{2,20})?"
)
_NO_NAMES = words(
    "a an and are as at because but by called can for from going has have here how i if in is it just "
    "known like listed my no not of on or please really still so that the then this to too under unknown "
    "used very was we what when where which who why will with wrong you your also missing spelled spelt "
    "misspelled different changed incorrect correct required empty visible displayed being supposed "
    "hidden never only already now"
)
TITLES = words("mr mrs ms miss dr prof sir madam herr herrn frau mme senor señor señora van von der den del")
_TITLE_BEFORE = re.compile(rf"\b{TITLE}[ \t]\Z")
_TITLE_LONGEST = 10


def announced(text: str) -> list[tuple[int, int, bool]]:
    """Where names start and end that a word before them announces; whether it announces nothing else."""
    spans = []
    for found in _ANNOUNCED.finditer(text):
        group = found.lastgroup or ""
        word = found[group].split()[0].lower()
        if word not in _NO_NAMES:
            spans.append((*found.span(group), group in _SURELY))
    own = (found for found in _OWN.finditer(text) if " " in found[1] or is_first_name(found[1]))
    spans += [(*found.span(1), False) for found in own]
    for found in _KEYED.finditer(text):
        part = _PART_BEFORE.search(text, max(0, found.start() - 8), found.start())
        spans.append((*found.span(2), part is not None))
    spans += [(*found.span(1), False) for found in _SIGNED.finditer(text)]
    for found in _PLAIN.finditer(text):
        if found[1] not in _NO_NAMES:
            more = found[2] and not _NO_NAMES.intersection(found[2].split())
            spans.append((found.start(1), found.end(2) if more else found.end(1), True))
    return spans + [(*found.span(), True) for found in _PLAIN_TITLE.finditer(text)]


def with_title(text: str, start: int) -> int:
    """`start`, or where the title begins that stands right before it."""
    low = max(0, start - _TITLE_LONGEST)
    title = _TITLE_BEFORE.search(text[low:start])
    return start if title is None else low + title.start()
