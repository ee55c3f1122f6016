"""Phrases that attacks share and that hardly have another use. The core's readings bring encoded ones."""

import re
from collections.abc import Sequence

from guardproxy import Detector, Match

# What may stand between two words: `ignore_all_previous_instructions` is one order too.
_GAP = r"[\s_\-,*\"'`]{1,4}"
_IGNORE = "ignore|disregard|forget|bypass|discard|override|overrule"
_PRIOR = "previous|prior|above|earlier|preceding|foregoing|initial|original"
_TOLD = "instructions?|prompts?|directions|guidelines|programming"
_YOURS = "system|developer|safety"


def _words(*groups: str) -> str:
    return _GAP.join(f"(?:{group})" for group in groups)


def _some(words: str, most: int) -> str:
    return rf"(?:(?:{words}){_GAP}){{0,{most}}}"


_FILL = _some("all|any|every|the|your|my|our|of|these|those|other|and|each", 4)
_PHRASES = (
    _words(_IGNORE, rf"{_FILL}(?:{_PRIOR})", rf"{_some(f'and|or|{_PRIOR}|{_YOURS}', 2)}(?:{_TOLD})"),
    _words(_IGNORE, rf"{_FILL}(?:{_YOURS})", "prompt|message|instructions|guidelines"),
    _words(_IGNORE, "all|your|all of your|all the", f"{_some('of|your|the', 2)}instructions"),
    _words(_IGNORE, "everything|anything|all|whatever", f"{_some('that', 1)}you", "were|have been", "told"),
    _words(
        "reveal|print|show|repeat|output|leak|display|tell|give",
        rf"{_some('me|us|all|of|exactly|verbatim', 3)}your",
        f"{_some('full|entire|initial|hidden|secret|original|complete', 2)}"
        rf"(?:system{_GAP}(?:prompt|message)|instructions)",
    ),
    _words(
        "you are|you're|act as|become|enable|enter|activate",
        f"{_some('now|in|an?|the', 3)}(?:dan|jailbreak|jailbroken)",
    ),
    _words("do anything now"),
    _words(
        "pretend|imagine|act as if", f"{_some('that', 1)}you", "have no|had no|are free of|are not bound by",
        f"{_some('any|ethical|moral|content', 2)}(?:rules|restrictions|filters|guidelines|limitations)",
    ),
    # The first one in German, French, Spanish, Italian and Portuguese.
    _words(
        "ignoriere?|ignorieren|vergiss|missachte", f"{_some('sie|bitte|alle|die|deine|aller', 3)}"
        "(?:vorherigen|bisherigen|vorigen|obigen|früheren)", "anweisungen|instruktionen|befehle|regeln",
    ),
    _words(
        "ignore|ignorez|oublie|oubliez",
        f"{_some('toutes?|les|tes|vos', 3)}(?:instructions|consignes|directives)",
        "pr[eé]c[eé]dentes|ant[eé]rieures",
    ),
    _words(
        "ignor[ae]n?|olvid[ae]", f"{_some('todas?|las|tus|sus|le|tutte|as|suas', 3)}"
        "(?:instrucciones|instru[cç][oõ]es|istruzioni)", "anteriores|previas|precedenti|pr[eé]vias",
    ),
)  # fmt: skip
# A lookahead, so that a phrase that begins within another is reported too.
_ORDER = re.compile(rf"(?<![^\W_])(?=({'|'.join(_PHRASES)})(?![^\W_]))", re.IGNORECASE)
# Each phrase has one of these in it: most texts have none, and are done.
_HINTS = (
    "instruc", "instruç", "prompt", "directi", "guideline", "programming", "message", "told", "dan", "jailbr",
    "anything", "restriction", "filter", "limitation", "rules", "anweisung", "befehle", "regeln",
    "instrukt", "consigne", "istruzion",
)  # fmt: skip
_NEGATED = re.compile(r"(?:not|n't|n’t|never|cannot)\s{1,3}\Z", re.IGNORECASE)
_BEFORE = 10


class Overrides(Detector):
    """Orders to set aside what the model was told, or to say it."""

    name = "orders"
    # The longest phrase with its widest gaps, and what decides on each side.
    reach = 128
    inline_below = 4_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The phrases. They count as validated: what spells one in base64 or hex was meant to."""
        return [
            [
                Match(*found.span(1), "PROMPT_INJECTION", validated=True)
                for found in _ORDER.finditer(text)
                if not _NEGATED.search(text, max(0, found.start() - _BEFORE), found.start())
            ]
            if any(hint in lower for hint in _HINTS)
            else []
            for text, lower in ((text, text.lower()) for text in texts)
        ]
