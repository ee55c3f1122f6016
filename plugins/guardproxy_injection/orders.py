"""Phrases that attacks share and that hardly have another use. The core's readings bring encoded ones."""

import re
from collections.abc import Iterator, Sequence

from guardproxy import Detector, Match

# What may stand between two words: `ignore_all_previous_instructions` is one order too.
_GAP = r"[\s_\-\u2013\u2014,*\"'`]{1,4}"
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
        # in capitals: Dan is a name
        f"{_some('now|in|an?|the', 3)}(?:(?-i:DAN)|jailbreak|jailbroken)",
    ),
    _words(_IGNORE, "everything|anything|all", f"{_some('that|is|was|written|said|of|the', 2)}above", "and"),
    _words(_IGNORE, rf"{_FILL}(?:instructions?|prompts?)", "above|(?:that )?you (?:were|have been|got)"),
    _words("ignore|disregard|forget", "all|any|every", f"{_FILL}(?:{_PRIOR})", "commands|orders|rules"),
    _words(
        "игнорируй(?:те)?|забудь(?:те)?|проигнорируй(?:те)?", f"{_some('все|всё|про|свои|твои', 3)}"
        "(?:предыдущие|прежние|прошлые)", "инструкции|указания|команды",
    ),
    _words(
        "zignoruj|ignoruj|zapomnij", f"{_some('wszystkie|o|swoje|twoje', 2)}(?:poprzednie|wcześniejsze)",
        "instrukcje|polecenia",
    ),
    _words(
        "negeer|vergeet", f"{_some('alle|de|je', 2)}(?:vorige|eerdere|bovenstaande)",
        "instructies|opdrachten",
    ),
    _words("önceki", f"{_some('tüm|bütün', 1)}(?:talimatları|komutları)", "yoksay|unut|görmezden"),
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
# The same in Chinese, Japanese and Korean, which set no words apart.
_UNSPACED = re.compile(
    r"(?=((?<!不要)(?<![不别勿])(?:忽略|无视|無視|忘记|忘記)(?:掉|你|您){0,2}(?:所有|全部|一切)?(?:之前|以上|先前|上述|前面|此前)的?"
    r"(?:所有|全部|一切|系统|系統){0,2}的?(?:指令|指示|提示词|提示詞|提示|命令|规则|規則)"
    r"|(?:以前|これまで|上記|(?<!以)前)の(?:全ての|すべての)?(?:指示|命令|プロンプト)を?(?:全て|すべて)?(?:無視|忘れ)"
    r"|(?:이전|위)의? ?(?:모든 ?)?(?:지시|명령|지침)(?:사항)?(?:을|를|은|는)? ?"
    r"(?:모두 ?|전부 ?)?(?:무시|잊)))"
)
# Each phrase has one of these in it: most texts have none, and are done.
_HINTS = (
    "instruc", "instruç", "prompt", "directi", "guideline", "programming", "message", "told", "dan", "jailbr",
    "anything", "restriction", "filter", "limitation", "rules", "anweisung", "befehle", "regeln",
    "instrukt", "instrukc", "instructies", "opdracht", "consigne", "istruzion", "above", "command", "orders",
    "инструкц", "указани", "команд", "polecenia", "talimat", "komut",
)  # fmt: skip
_UNSPACED_HINTS = ("指", "提示", "命令", "规则", "規則", "プロンプト", "지시", "명령", "지침")
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
        return [[*_spaced(text), *_unspaced(text)] for text in texts]


def _spaced(text: str) -> Iterator[Match]:
    lower = text.lower()
    if not any(hint in lower for hint in _HINTS):
        return
    for found in _ORDER.finditer(text):
        if not _NEGATED.search(text, max(0, found.start() - _BEFORE), found.start()):
            yield Match(*found.span(1), "PROMPT_INJECTION", validated=True)


def _unspaced(text: str) -> Iterator[Match]:
    if text.isascii() or not any(hint in text for hint in _UNSPACED_HINTS):
        return
    for found in _UNSPACED.finditer(text):
        yield Match(*found.span(1), "PROMPT_INJECTION", validated=True)
