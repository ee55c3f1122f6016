"""The guard `rules`: a deployment's own patterns and words."""

from contextlib import nullcontext
from typing import Any

import msgspec
import pytest

from guardproxy import ConfigError, Guard
from guardproxy.plugins import collect_guards, load_plugins
from guardproxy.policy import resolve
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.stage import StageRun
from guardproxy.testing.locality import check_locality
from guardproxy.types import Action, Policy, Rule, Stage, TextPart
from guardproxy_rules.config import RulesSettings
from guardproxy_rules.patterns import LONGEST, Compiled, LongPatterns, Patterns, pattern, words


def guards(**table: Any) -> dict[str, Guard]:
    own = msgspec.convert(table, RulesSettings)
    settings = Settings(plugins={"rules": own})
    found = collect_guards(load_plugins(), settings)
    return {name: guard for name, guard in found.items() if name.startswith("rules")}


def found(guard: Guard, text: str) -> list[tuple[str, str]]:
    every = []
    for detector in guard.detectors:
        detector.load()
        result = detector.scan([text])
        assert isinstance(result, list)
        every += [(m.category, text[m.start : m.end]) for m in result[0]]
    return every


def test_without_rules_there_is_no_guard() -> None:
    assert guards() == {}


def test_patterns_and_words_are_found() -> None:
    own = guards(
        patterns=[
            {"name": "EMPLOYEE", "pattern": "EMP-[0-9]{6}"},
            {"name": "CASE", "pattern": "^case .*$", "flags": "im"},
        ],
        words=[{"name": "CODENAME", "words": ["Bluebird", "red fox", "C++"]}],
    )
    assert list(own) == ["rules"]
    text = "EMP-123456, a BLUEBIRD, bluebirds, red  fox, C++\nCase closed\nno case"
    assert sorted(found(own["rules"], text)) == [
        ("CASE", "Case closed"),
        ("CODENAME", "BLUEBIRD"),
        ("CODENAME", "C++"),
        ("CODENAME", "red  fox"),
        ("EMPLOYEE", "EMP-123456"),
    ]


def test_every_candidate_of_a_pattern_is_found() -> None:
    own = guards(patterns=[{"name": "X", "pattern": "[0-9]{3}"}])["rules"]
    assert found(own, "12345") == [("X", "123"), ("X", "234"), ("X", "345")]


def test_a_word_is_found_where_a_longer_one_only_begins() -> None:
    own = guards(words=[{"name": "X", "words": ["red fox", "red", "C", "C++"]}])["rules"]
    assert found(own, "red foxes") == [("X", "red")]
    assert sorted(found(own, "Red fox, c++")) == [("X", "Red"), ("X", "Red fox"), ("X", "c"), ("X", "c++")]


def test_there_may_be_very_many_words() -> None:
    listed = [f"codename{number}" for number in range(50_000)]
    own = guards(words=[{"name": "X", "words": listed}])["rules"]
    assert found(own, "codename49999 codename50000") == [("X", "codename49999")]


def test_dense_matches_take_no_new_encoding_of_the_text_each() -> None:
    texts: list[object] = []

    class Counted(Compiled):
        def search(self) -> Any:
            compiled = super().search()

            class Search:
                def search(self, text: object, position: int) -> Any:
                    texts.append(text)
                    return compiled.search(text, position)

            return Search()

    detector = Patterns([Counted("X", "[0-9]é", 2, validated=False)])
    detector.load()
    (matches,) = detector.scan(["1é2é€3é"])
    assert [(m.start, m.end) for m in matches] == [(0, 2), (2, 4), (5, 7)]
    assert all(isinstance(text, bytes) for text in texts)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"patterns": [{"name": "A", "pattern": "a(b"}]},
            r"\[\[guards.rules.patterns\]\] \(\"A\"\): the pattern .* missing \)",
        ),
        (
            {"patterns": [{"name": "A", "pattern": "a"}, {"name": "B", "pattern": "x(?=y)"}]},
            r"patterns\]\] \(\"B\"\): .* compile: .*no lookaround.*, at character 1:\n  x\(\?=y\)\n   \^",
        ),
        ({"patterns": [{"name": "A", "pattern": "a*"}]}, "fits the empty text; it must need a character"),
        ({"patterns": [{"name": "A", "pattern": r"\b"}]}, "fits the empty text; it must need a character"),
        ({"patterns": [{"name": "A", "pattern": r"\b|\bab"}]}, "fits the empty text; it must need a char"),
        (
            {"patterns": [{"name": "A", "pattern": "x{1001}x{1001}"}]},
            r"'x\{1001\}x\{1001\}' does not compile: .* size: \{1001\}\.$",
        ),
        (
            {"patterns": [{"name": "A", "pattern": "\x1b["}]},
            r"the pattern '\\x1b\[' does not compile: .*\]: \[",
        ),
        (
            {"words": [{"name": "A", "words": ["b", " "]}]},
            r"\[\[guards.rules.words\]\] \(\"A\"\): word 2 of 2 must have 1 to 200 char",
        ),
    ],
)
def test_a_rule_that_is_wrong_is_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        guards(**table)


@pytest.mark.parametrize(
    "table",
    [
        {"patterns": [{"name": "lower", "pattern": "a"}]},
        {"patterns": [{"name": "A\n", "pattern": "a"}]},
        {"patterns": [{"name": "A", "pattern": "a", "flags": "q"}]},
        {"patterns": [{"name": "A", "pattern": "a", "flags": "i\n"}]},
        {"patterns": [{"name": "A", "pattern": "a", "action": "flag"}]},
        {"patterns": [{"name": "A", "pattern": "a", "replacement": ""}]},
        {"patterns": [{"name": "A"}]},
        {"words": [{"name": "A", "words": []}]},
    ],
)
def test_a_setting_that_is_wrong_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        guards(**table)


@pytest.mark.parametrize(
    ("source", "longest"),
    [
        ("EMP-[0-9]{6}", 10),
        ("a|bcd{2,5}", 7),
        ("a{1,400}", LONGEST),
        ("a{1,401}", None),
        ("a+", None),
        ("[[:alpha:]]{3}", None),  # not the standard library's syntax
        (r"\pL{3}", None),
        ("x{,3}", None),
    ],
)
def test_how_long_a_match_may_be(source: str, longest: int | None) -> None:
    assert pattern("A", source, "").longest == longest


RULES = (
    pattern("A", "EMP-[0-9]{2,6}", ""),
    pattern("B", r"(?:^|\W)ab?c\b", "m"),
    pattern("C", "x.{0,9}$", "ms"),
    *words("D", ["red fox", "red", "redder", "été"]),
)


def test_patterns_are_local() -> None:
    examples = ["EMP-123456", "EMP-12", "abc", "\nac", "x 123\n", "red  fox", "redder", "été", "x\n\nx"]
    check_locality(Patterns(RULES), examples, max_examples=500)


def test_a_pattern_of_any_length_sees_blocks() -> None:
    detector = LongPatterns([pattern("A", "begin.*?end", "s")])
    detector.load()
    (matches,) = detector.scan(["a begin 1\n2 end begin end"])
    assert [(m.start, m.end) for m in matches] == [(2, 15), (16, 25)]


async def test_a_rule_has_an_action_and_a_replacement_of_its_own() -> None:
    own = guards(
        patterns=[
            {"name": "EMPLOYEE", "pattern": "EMP-[0-9]{6}", "action": "redact", "replacement": "(someone)"},
            {"name": "BOARD", "pattern": "board paper [0-9]{2}", "action": "block"},
        ],
        words=[{"name": "CODENAME", "words": ["bluebird"]}],
    )
    assert list(own) == ["rules", "rules-block", "rules-redact"]
    header = {"x-opper-guard-input": "rules"}
    policy = resolve(Policy(), None, header, lambda _: (), own).policy
    assert policy == Policy(
        {
            "rules": Rule(),
            "rules-block": Rule(Action.BLOCK),
            "rules-redact": Rule(Action.REDACT),
        }
    )

    for guard in own.values():
        for detector in guard.detectors:
            detector.load()

    async def check(text: str) -> tuple[StageRun, str]:
        run = StageRun(
            Stage.INPUT, policy.input, Scanner(own, Settings()), "[{category}]", lambda _: nullcontext()
        )
        parts = [TextPart(("input",), text)]
        edits = run.apply(parts, await run.hits(parts, run.guards))
        return run, edits.texts.get(("input",), text)

    run, text = await check("bluebird EMP-123456")
    assert (run.blocked, text) == (False, "bluebird (someone)")
    run, _ = await check("bluebird board paper 12")
    assert run.blocked


@pytest.mark.parametrize("rule", [Rule(Action.BLOCK), Rule(shadow=True)])
def test_a_companion_is_never_weaker_and_never_leaves_the_shadow(rule: Rule) -> None:
    own = guards(patterns=[{"name": "A", "pattern": "a", "action": "redact"}])
    resolved = resolve(Policy(output={"rules": rule}), None, {}, lambda _: (), own)
    expected = Rule(max(rule.action, Action.REDACT), rule.shadow)
    assert resolved.policy == Policy(output={"rules": rule, "rules-redact": expected})
    assert resolved.origins(Stage.OUTPUT, "rules-redact") == [("guard rules", expected, True)]
