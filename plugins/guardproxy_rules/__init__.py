"""The guard `rules`: a deployment's own patterns and words."""

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from guardproxy import Action, Detector, Guard, Settings, hookimpl
from guardproxy_rules.config import PatternRule, RulesSettings, WordsRule, checked
from guardproxy_rules.patterns import Compiled, LongPatterns, Patterns


@hookimpl
def guardproxy_register_settings() -> type[msgspec.Struct]:
    """`[guards.rules]`."""
    return RulesSettings


@hookimpl
def guardproxy_register_guards(settings: Settings) -> Iterable[Guard]:
    """The guard `rules`, and one beside it for each action that rules have of their own."""
    own = settings.of_plugin("rules", RulesSettings)
    by_action: dict[str | None, list[Compiled]] = defaultdict(list)
    for rule, compiled in checked(own):
        by_action[rule.action].append(compiled)
    if not by_action:
        return
    every: list[PatternRule | WordsRule] = [*own.patterns, *own.words]
    replacements = {rule.name: rule.replacement for rule in every if rule.replacement is not None}
    companions = {f"rules-{word}": Action[word.upper()] for word in by_action if word is not None}
    summary = "The deployment's own patterns and words."
    yield Guard(
        "rules",
        _detectors(by_action[None]),
        summary=summary,
        companions=companions,
        replacements=replacements,
    )
    for name, action in companions.items():
        yield Guard(name, _detectors(by_action[action.word]), summary=f"{summary} At least: {action.word}.")


def _detectors(rules: list[Compiled]) -> tuple[Detector, ...]:
    local = [rule for rule in rules if rule.longest is not None]
    long = [rule for rule in rules if rule.longest is None]
    found: list[Detector] = []
    if local:
        found.append(Patterns(local))
    if long:
        found.append(LongPatterns(long))
    return tuple(found)
