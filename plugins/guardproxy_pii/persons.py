"""Which of the pipeline's persons count, and which it missed: by the words inside and around a name."""

import re
from collections.abc import Iterator, Sequence

from guardproxy import Match
from guardproxy_pii.cues import TITLES, announced, with_title
from guardproxy_pii.given import is_first_name, may_be_first_name, words
from guardproxy_pii.prose import Line, Prose

# The scores of what the pipeline did not find.
ANNOUNCED, AGAIN, KNOWN, LETTERHEAD, LOWER = 0.9, 0.7, 0.6, 0.6, 0.5
LONGEST = 80  # characters of a name; what is longer is a slip of the model

_LETTER = r"[^\W\d_]"
_SMALL_LETTER = "[a-zß-öø-ÿā-ž]"
TOKEN = re.compile(rf"{_LETTER}+(?:['’-]{_LETTER}+)*")
_CAPITALISED = rf"[A-ZÀ-ÖØ-ÞĀ-Ž]{_LETTER}{{1,30}}(?:['’-]{_LETTER}{{1,30}}){{0,3}}"
_INNER = r"(?:(?:[A-Z]\.?|van|von|der|den|de|da|di) ){0,2}"
FULL_NAME = rf"{_CAPITALISED}(?: {{1,2}}{_INNER}{_CAPITALISED}){{1,3}}"
_ROW = re.compile(
    rf"(?<![\w@#$./\\'’-]){_CAPITALISED}(?: {{1,2}}{_INNER}{_CAPITALISED}){{0,3}}(?![\w(]|[-.@/]\w)"
)
_BY = re.compile(rf"(?<=\bby )({_CAPITALISED}(?: {_INNER}{_CAPITALISED}){{1,2}})(?![\w-])")
_LOWER = re.compile(
    rf"(?<![\w@#$./\\'’-])({_SMALL_LETTER}{{3,30}})(?: (?:[a-z]\.? )?({_SMALL_LETTER}{{3,30}}))?(?![\w(/@])"
)
_NUMBER_BEFORE = re.compile(r"(?:[0-9][ ,]{1,2}|\b(?:USS|USNS|USNV|USCGC|HMS) )\Z")
_NUMBER_BEHIND = re.compile(r",? [0-9]{1,5}[A-Za-z]?\b(?!(?:st|nd|rd|th|%|:| ?[ap]m)\b)")
_PLACE_BEFORE = re.compile(r"\b(?:El|San|Santa|Port|Fort|Lake|Mount|Mt\.?|St\.?|Saint|Cape|New|Los|Las) \Z")
_PLACES = words("el san santa port fort lake mount st saint cape new los las via rue calle avenue rua")
_MARKS = re.compile(r"[_{}<>=@\\/|\[\]\d]")
_NOT_LATIN = re.compile(r"[^\W\d_A-Za-zÀ-ɏḀ-ỿ]")
_MOST_BEFORE = 8
# The last word of an organisation, a street, a thing that is called after somebody.
_THINGS = words(
    "inc ltd llc corp co company gmbh ag sa plc group holdings partners associates foundation institute "
    "university college school church hospital museum library bank orchestra band choir club team award "
    "prize theorem algorithm street str st road rd avenue ave lane drive boulevard square place court "
    "strasse straße gasse platz weg straat laan plein house hall park bridge station airport stadium "
    "island lake river mountain bay beach county city day law act case test scale index festival hotel "
    "restaurant cafe bar pub store shop center centre"
)
# What follows a first name with a capital, and is no last name.
_NO_LAST_NAMES = words(
    "monday tuesday wednesday thursday friday saturday sunday january february march april june july "
    "august september october november december i and or but the is was will has had does did in at on "
    "from to for with who ceo cto"
)


def is_thing(word: str) -> bool:
    """Whether a row of capitalised words with `word` at its end names a firm, a street, a place."""
    return word.lower() in _THINGS


class Persons:
    """Judges names of persons by the `words` of a dictionary, in lower case."""

    def __init__(self, words: frozenset[str], *, latin: bool = True) -> None:
        """`latin`: names of the language are written in Latin letters."""
        self._words = words
        self._latin = latin

    def common(self, token: str) -> bool:
        """Whether `token` is a word of the dictionary, and no sure first name."""
        word = token.lower()
        if is_first_name(word):
            return False
        stems = {word, *(word.removesuffix(ending) for ending in ("s", "es", "d", "ed", "ing"))}
        stems.add(word.removesuffix("ing") + "e")
        return not stems.isdisjoint(self._words)

    def counts(self, text: str, start: int, end: int, line: Line, *, foreign: bool = False) -> bool:
        """Whether what was taken for a person can be one; `foreign`: the text is in another language."""
        name = text[start:end]
        tokens = TOKEN.findall(name)
        if not tokens or name.islower() or not self._spelled(name):
            return False
        if is_thing(tokens[-1]) or _NUMBER_BEFORE.search(text, max(0, start - _MOST_BEFORE), start):
            return False
        # A number behind a name is the house's.
        if _NUMBER_BEHIND.match(text, end) and (len(tokens) > 1 or not is_first_name(tokens[0])):
            return False
        if any(map(is_first_name, tokens)):
            return True
        if foreign or line is not Line.SENTENCE:
            return False
        if len(tokens) > 1:
            return not all(map(self.common, tokens))
        return name[1:].islower() and not self.common(name)

    def _spelled(self, name: str) -> bool:
        """Whether `name` has the length and the characters of one."""
        if not 2 <= len(name) <= LONGEST or _MARKS.search(name):
            return False
        return not (self._latin and _NOT_LATIN.search(name))

    def missed(self, text: str, prose: Prose) -> Iterator[Match]:
        """Persons that first names and announcing words give away."""
        for start, end, sure in announced(text):
            if sure or self._announced(TOKEN.findall(text[start:end])):
                yield Match(start, end, "PERSON", ANNOUNCED)
        for low, high, line in prose:
            for row in _ROW.finditer(text, low, high):
                if span := self._in_row(text, *row.span(), line):
                    yield Match(with_title(text, span[0]), span[1], "PERSON", KNOWN)
            if line is Line.SENTENCE:
                yield from self._by(text, low, high)
                if text[low:high].islower():
                    yield from self._in_lower_case(text, low, high)

    def _announced(self, tokens: list[str]) -> bool:
        """Whether words that may announce anything announce a person."""
        return any(map(may_be_first_name, tokens)) or (len(tokens) > 1 and not any(map(self.common, tokens)))

    def _by(self, text: str, low: int, high: int) -> Iterator[Match]:
        for found in _BY.finditer(text, low, high):
            known_words = any(map(self.common, TOKEN.findall(found[1])))
            if not known_words and self.counts(text, *found.span(1), Line.SENTENCE):
                yield Match(*found.span(1), "PERSON", KNOWN)

    def _in_lower_case(self, text: str, low: int, high: int) -> Iterator[Match]:
        for found in _LOWER.finditer(text, low, high):
            if is_first_name(found[1]):
                last = found[2] and found[2] not in _NO_LAST_NAMES and not self.common(found[2])
                yield Match(found.start(), found.end() if last else found.end(1), "PERSON", LOWER)

    def _in_row(self, text: str, start: int, end: int, line: Line) -> tuple[int, int] | None:
        """The part of a row of capitalised words that a first name begins."""
        tokens = [token.span() for token in TOKEN.finditer(text, start, end)]
        words = [text[low:high].lower() for low, high in tokens]
        if words[0] in _PLACES or any(map(is_thing, words[1:])):
            return None
        if _PLACE_BEFORE.search(text, max(0, start - _MOST_BEFORE), start):
            return None
        for index, word in enumerate(words):
            last = index
            while last + 1 < len(words) and words[last + 1] not in _NO_LAST_NAMES:
                last += 1
            if is_first_name(word):
                good = line is Line.SENTENCE or last > index
            else:
                good = line is Line.SENTENCE and last > index and may_be_first_name(word)
                good = good and not self.common(words[last])
            if good:
                low, high = tokens[index][0], tokens[last][1]
                return (low, high) if self.counts(text, low, high, line) else None
        return None

    def again(self, text: str, persons: Sequence[Match]) -> Iterator[Match]:
        """First and last names of found `persons` where they stand alone."""
        names = (TOKEN.findall(text[person.start : person.end]) for person in persons)
        parts = {
            token
            for name in names
            for token in name
            if len(name) > 1 and len(token) > 2 and token.lower() not in TITLES and not self.common(token)
        }
        for found in TOKEN.finditer(text) if parts else ():
            token = found[0].removesuffix("'s").removesuffix("’s")
            if token in parts:
                yield Match(found.start(), found.start() + len(token), "PERSON", AGAIN)


def joined(matches: Sequence[Match]) -> list[Match]:
    """The persons of `matches`, those that overlap made one."""
    out: list[Match] = []
    for match in sorted(matches, key=lambda match: (match.start, -match.end)):
        if out and match.start < out[-1].end:
            end, score = max(out[-1].end, match.end), max(out[-1].score, match.score)
            out[-1] = Match(out[-1].start, end, "PERSON", score)
        else:
            out.append(match)
    return out
