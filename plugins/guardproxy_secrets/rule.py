"""What a rule is: one kind of key as its provider documents it, what decides, and what is none."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

WORD = "[A-Za-z0-9]"
URL_SAFE = "[A-Za-z0-9_-]"
HEX = "[a-f0-9]"
BASE64 = "[A-Za-z0-9+/=]"

Check = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of key: `prefix` (a pattern that begins it), then `least` to `most` of `alphabet`.

    Without `most` the key is as long as its run of characters. What tells a key from other text must
    lie within its first 90 characters.
    """

    category: str
    keyword: str  # the literal that any text with such a key holds
    prefix: str
    alphabet: str
    least: int
    most: int | None = None
    provider: str = ""
    check: Check | None = None  # the score of a key (`checks.py`): its checksum or its structure
    entropy: float = 3.0  # bits a character that the body must have at least; 0: its looks do not count
    sample: str = ""  # how an example begins, where `prefix` is no literal; {4w} is four characters by chance
    unlike: tuple[str, ...] = ()  # examples that are no such key, beside those that every rule has

    @property
    def id(self) -> str:
        """A name of its own: the category, and the keyword where several rules share it."""
        slug = re.sub("[^a-z0-9]+", "-", f"{self.category}-{self.keyword}".lower())
        return slug.strip("-")


def exact(
    category: str, prefix: str, length: int, alphabet: str = WORD, pattern: str = "", **more: object
) -> Rule:
    """A key of one length: `prefix` is the literal that begins it, `pattern` its form where it varies."""
    return _made(Rule(category, prefix, pattern or literal(prefix), alphabet, length, length), prefix, more)


def run(
    category: str, prefix: str, least: int, alphabet: str = URL_SAFE, pattern: str = "", **more: object
) -> Rule:
    """A key of at least `least` characters behind its prefix."""
    return _made(Rule(category, prefix, pattern or literal(prefix), alphabet, least), prefix, more)


def of(provider: str, *rules: Rule | Iterable[Rule]) -> Iterable[Rule]:
    """The rules of one provider."""
    for given in rules:
        for rule in (given,) if isinstance(given, Rule) else given:
            yield replace(rule, provider=provider)


def literal(text: str) -> str:
    """`text` as a pattern."""
    return "".join(c if c.isalnum() or c in "_-/:=@" else f"\\{c}" for c in text)


def _made(rule: Rule, prefix: str, more: dict[str, object]) -> Rule:
    return replace(rule, **{"sample": prefix, **more})  # type: ignore[arg-type]
