"""Headers to a policy, and the lattice of policies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.errors import InvalidRequest
from guardproxy.policy import from_headers, join, verdict
from guardproxy.types import Action, Finding, Guard, OnError, Outcome, Policy, Receipt, Rule, Stage
from tests.samples import Names, Tags

GUARDS = {
    "pii": Guard("pii", (Tags(),)),
    "secrets": Guard("secrets", (Names(),)),
    "input-only": Guard("input-only", (Tags(),), frozenset({Stage.INPUT})),
}
RULES = st.builds(Rule, st.sampled_from(Action), st.booleans(), st.sampled_from(OnError))
TABLES = st.dictionaries(st.sampled_from(["a", "b", "c"]), RULES, max_size=3)
POLICIES = st.builds(Policy, TABLES, TABLES)


def strength(rule: Rule | None) -> tuple[bool, int]:
    return (False, 0) if rule is None else (not rule.shadow, rule.action)


@given(POLICIES, POLICIES)
def test_a_join_is_at_least_as_strict_as_both(left: Policy, right: Policy) -> None:
    joined = left.join(right)
    for stage in Stage:
        for name in {*left.stage(stage), *right.stage(stage)}:
            rule = joined.stage(stage)[name]
            for part in (left, right):
                assert strength(rule) >= strength(part.stage(stage).get(name))


@given(POLICIES, POLICIES, POLICIES)
def test_join_is_a_lattice(a: Policy, b: Policy, c: Policy) -> None:
    assert a.join(a) == a
    assert a.join(b) == b.join(a)
    assert a.join(b).join(c) == a.join(b.join(c))
    assert join([a, Policy()]) == a


@pytest.mark.parametrize(
    ("headers", "input_rules", "output_rules"),
    [
        ({"x-opper-guard-input": "pii"}, {"pii": Action.FLAG}, {}),
        (
            {"x-opper-guard-input": " PII , ,secrets=Block", "x-opper-guard-action": "redact"},
            {"pii": Action.REDACT, "secrets": Action.BLOCK},
            {},
        ),
        ({"x-opper-guard-output": "pii=flag,pii=redact"}, {}, {"pii": Action.REDACT}),
        ({"x-opper-guard-output": "pii", "x-opper-guard-action": "flag, block"}, {}, {"pii": Action.BLOCK}),
        ({"x-opper-guard-output": "pii", "x-opper-guard-action": " "}, {}, {"pii": Action.FLAG}),
        ({"x-opper-guard-action": "redact"}, {}, {}),
    ],
)
def test_headers(
    headers: dict[str, str], input_rules: dict[str, Action], output_rules: dict[str, Action]
) -> None:
    policy = from_headers(headers, GUARDS)
    assert {n: r.action for n, r in policy.input.items()} == input_rules
    assert {n: r.action for n, r in policy.output.items()} == output_rules


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"x-opper-guard-input": "pi"}, "unknown guard 'pi'. Guards for input: input-only, pii, secrets"),
        ({"x-opper-guard-input": "my secret text"}, "a guard's name has the characters"),
        (
            {"x-opper-guard-output": "input-only"},
            "does not serve the output. Guards for output: pii, secrets",
        ),
        ({"x-opper-guard-input": "pii="}, "unknown action"),
        ({"x-opper-guard-action": "delete"}, "unknown action. Actions: flag, redact, block"),
    ],
)
def test_what_is_unknown_is_refused(headers: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        from_headers(headers, GUARDS)


def test_the_verdict_is_that_of_the_strictest_action_that_met_a_finding() -> None:
    rules = {"a": Rule(Action.FLAG), "b": Rule(Action.REDACT), "c": Rule(Action.BLOCK, shadow=True)}

    def outcome(*guards: str, failed: tuple[str, ...] = ()) -> Outcome:
        findings = [Finding(name, Stage.INPUT, "/x", 0, 1, "X") for name in guards]
        return verdict(Stage.INPUT, rules, findings, failed, Receipt()).outcome

    assert outcome() is Outcome.CLEAN
    assert outcome("c") is Outcome.CLEAN
    assert outcome("a") is Outcome.FLAGGED
    assert outcome("a", "b", "c") is Outcome.REDACTED
    assert outcome(failed=("a",)) is Outcome.FLAGGED
