"""The settings of the guard `rules`, and their checks."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from guardproxy import ConfigError
from guardproxy_rules.patterns import BadPattern, Compiled, pattern, words

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]{0,63}\Z")]
Replacement = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
OwnAction = Literal["redact", "block"]


class PatternRule(msgspec.Struct, frozen=True, kw_only=True):
    """`[[guards.rules.patterns]]`: one pattern in google-re2's syntax.

    `name` is the category of its matches. `flags` are letters of `i` (upper or lower case), `m` (`^` and `$`
    at each line) and `s` (`.` is a line end, too). `action` holds for its matches where it is stricter
    than the policy's. `replacement` is what redaction writes instead of the placeholder.
    """

    name: Name
    pattern: str
    flags: Annotated[str, msgspec.Meta(pattern=r"^[ims]*\Z")] = ""
    action: OwnAction | None = None
    replacement: Replacement | None = None


class WordsRule(msgspec.Struct, frozen=True, kw_only=True):
    """`[[guards.rules.words]]`: whole words, or phrases, in upper or lower case."""

    name: Name
    words: Annotated[list[str], msgspec.Meta(min_length=1)]
    action: OwnAction | None = None
    replacement: Replacement | None = None


class RulesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment's own patterns and words."""

    patterns: list[PatternRule] = []
    words: list[WordsRule] = []


def checked(settings: RulesSettings) -> Iterator[tuple[PatternRule | WordsRule, Compiled]]:
    """Each rule, compiled; words may be in several parts.

    Raises:
        ConfigError: names the rule, the place in its pattern where that is known, and what would be right.
    """
    for rule in settings.patterns:
        try:
            yield rule, pattern(rule.name, rule.pattern, rule.flags)
        except BadPattern as error:
            raise ConfigError(f'[[guards.rules.patterns]] ("{rule.name}"): {error}') from None
    for listed in settings.words:
        place = f'[[guards.rules.words]] ("{listed.name}")'
        for number, word in enumerate(listed.words, start=1):
            if not word.strip() or len(word) > 200:
                raise ConfigError(
                    f"{place}: word {number} of {len(listed.words)} must have 1 to 200 characters."
                )
        for part in words(listed.name, listed.words):
            yield listed, part
