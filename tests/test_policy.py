"""Headers to a policy, the lattice of policies, and who asked for what."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.errors import InternalError, InvalidRequest
from guardproxy.headers import lower_headers
from guardproxy.policy import from_headers, join, resolve, verdict
from guardproxy.settings import ClientKey
from guardproxy.types import Action, Finding, Guard, OnError, Outcome, Policy, Receipt, Rule, Stage
from tests.samples import Names, Tags

GUARDS = {
    "pii": Guard("pii", (Tags(),)),
    "secrets": Guard("secrets", (Names(),)),
    "input-only": Guard("input-only", (Tags(),), frozenset({Stage.INPUT})),
}
RULES = st.builds(Rule, st.sampled_from(Action), st.booleans(), st.sampled_from(OnError))
NAMES = ["pii", "secrets"]
TABLES = st.dictionaries(st.sampled_from(NAMES), RULES)
POLICIES = st.builds(Policy, TABLES, TABLES)
EVERY_RULE = [Rule(*parts) for parts in itertools.product(Action, (False, True), OnError)]
NOBODY = Policy()

# Whole headers as they could be written: right and nearly right, and with garbage among it.
RIGHT = st.sampled_from(
    ["pii", "PII", " Secrets\t", "pii=flag", "pii = Block", "secrets=redact", "", " ", "\t"]
)
WRONG = st.one_of(
    st.sampled_from(
        ["=block", "pii=", "pii==block", "pii=off", "-pii", "!pii", "none", "*", "pii;q=0", '"pii"']
    ),
    st.text(st.characters(max_codepoint=255), max_size=8),
)
STAGE_NAMES = st.sampled_from(["X-Opper-Guard-Input", "x-opper-guard-input", "X-OPPER-GUARD-OUTPUT"])
ACTION_WORDS = st.sampled_from(["flag", " FLAG ", "redact", "block", "", ",", "flag,block"])
OTHERS = st.tuples(
    st.sampled_from(["Connection", "X-Opper-Guard-Report", "Te", "X-Other"]),
    st.sampled_from(["X-Opper-Guard-Input", "close", "none", "pii=flag"]),
)
TIDY = st.one_of(
    st.tuples(STAGE_NAMES, st.lists(RIGHT, max_size=4).map(",".join)),
    st.tuples(st.just("X-Opper-Guard-Action"), ACTION_WORDS),
    OTHERS,
)
UNTIDY = st.one_of(
    TIDY,
    st.tuples(STAGE_NAMES, st.lists(WRONG, max_size=2).map(",".join)),
    st.tuples(st.just("X-Opper-Guard-Action"), WRONG),
    st.tuples(st.just("X_Opper_Guard_Input"), RIGHT),
)
REQUESTS = st.one_of(st.lists(TIDY, max_size=6), st.lists(UNTIDY, max_size=6))


def lowered(fields: list[tuple[str, str]]) -> dict[str, str]:
    return lower_headers([(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields])


def weaker(left: Rule | None, right: Rule | None) -> bool:
    """Whether `left` does at most what `right` does; the order of the lattice, written down once more.

    A shadow stops nothing, whatever its action and its on_error say: it is below all that is enforced.
    """
    if left is None or right is None:
        return left is None
    if left.shadow != right.shadow:
        return left.shadow
    return left.action <= right.action and (left.on_error is right.on_error or right.on_error is OnError.FAIL)


def holds(weak: Policy, strict: Policy) -> bool:
    return all(
        weaker(rule, strict.stage(stage).get(name))
        for stage in Stage
        for name, rule in weak.stage(stage).items()
    )


def test_rules_are_a_lattice() -> None:
    for a, b, c in itertools.product(EVERY_RULE, repeat=3):
        joined = a.join(b)
        assert a.join(a) == a
        assert joined == b.join(a)
        assert joined.join(c) == a.join(b.join(c))
        assert weaker(a, joined)
        assert weaker(b, joined)
        if weaker(a, c) and weaker(b, c):
            assert weaker(joined, c)  # no stricter than need be
        if weaker(a, b):
            assert joined == b
            assert weaker(a.join(c), b.join(c))


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        (Rule(Action.BLOCK), Rule(Action.FLAG), Rule(Action.BLOCK)),
        # Enforcing wins, and so does its own action: what a shadow would have done is done to nobody.
        (Rule(Action.BLOCK, True), Rule(Action.FLAG), Rule(Action.FLAG)),
        (Rule(Action.BLOCK, True), Rule(Action.REDACT, True), Rule(Action.BLOCK, True)),
        # A shadow that fails is let be, so its `fail` takes nothing from an enforcing `flag`.
        (Rule(Action.FLAG, True, OnError.FAIL), Rule(Action.FLAG, False, OnError.FLAG), None),
        (Rule(Action.FLAG, False, OnError.FAIL), Rule(Action.BLOCK, False, OnError.FLAG), Rule(Action.BLOCK)),
        (Rule(Action.BLOCK, False, OnError.FLAG), Rule(Action.BLOCK, True, OnError.FAIL), None),
    ],
)
def test_join_of_rules(one: Rule, other: Rule, joined: Rule | None) -> None:
    enforcing = other if one.shadow else one
    assert one.join(other) == (joined or enforcing)


@given(POLICIES, POLICIES, POLICIES)
def test_policies_are_a_lattice(a: Policy, b: Policy, c: Policy) -> None:
    assert a.join(a) == a
    assert a.join(b) == b.join(a)
    assert a.join(b).join(c) == a.join(b.join(c))
    assert join([a, NOBODY]) == join([NOBODY, a]) == a
    assert holds(a, a.join(b))
    assert holds(b, a.join(b))
    if holds(a, c) and holds(b, c):
        assert holds(a.join(b), c)


@given(POLICIES, POLICIES)
def test_a_join_leaves_its_parts_and_names_in_order(left: Policy, right: Policy) -> None:
    before = [list(policy.stage(stage).items()) for policy in (left, right) for stage in Stage]
    joined = left.join(right)
    assert [list(policy.stage(stage).items()) for policy in (left, right) for stage in Stage] == before
    for stage in Stage:
        assert list(joined.stage(stage)) == list(dict.fromkeys([*left.stage(stage), *right.stage(stage)]))


@given(POLICIES, POLICIES, st.lists(st.tuples(st.sampled_from(["a", "b"]), POLICIES), max_size=2), REQUESTS)
def test_nobody_can_loosen_what_another_asks_for(
    floor: Policy, key: Policy, plugins: list[tuple[str, Policy]], fields: list[tuple[str, str]]
) -> None:
    client = ClientKey("team", "", key)
    before = resolve(floor, client, {}, lambda _: plugins, GUARDS).policy
    for part in (floor, key, *(policy for _, policy in plugins)):
        assert holds(part, before)
    with contextlib.suppress(InvalidRequest):  # refused: nothing runs, and nothing is forwarded
        resolved = resolve(floor, client, lowered(fields), lambda _: plugins, GUARDS)
        assert holds(before, resolved.policy)
        assert holds(resolved.policy, join(policy for _, policy in resolved.asked))


@given(REQUESTS, REQUESTS)
def test_what_is_added_to_headers_can_only_tighten(
    fields: list[tuple[str, str]], more: list[tuple[str, str]]
) -> None:
    with contextlib.suppress(InvalidRequest):
        least, most = (from_headers(lowered(each), GUARDS) for each in (fields, fields + more))
        assert holds(least, most)
        assert most == from_headers(lowered(more + fields), GUARDS)  # repeated headers have no order


@given(REQUESTS)
def test_headers_never_ask_for_less_than_enforcing(fields: list[tuple[str, str]]) -> None:
    with contextlib.suppress(InvalidRequest):
        asked = from_headers(lowered(fields), GUARDS)
        rules = [rule for stage in Stage for rule in asked.stage(stage).values()]
        assert not any(rule.shadow or rule.on_error is OnError.FLAG for rule in rules)


@given(st.lists(st.sampled_from(["pii", "pii=flag", "pii=redact", "pii=block"]), min_size=1), st.data())
def test_of_one_guard_named_twice_the_strictest_wins(entries: list[str], data: st.DataObject) -> None:
    default = data.draw(st.sampled_from(Action))
    actions = [Action.parse(e.partition("=")[2]) or default for e in entries]
    cut = data.draw(st.integers(0, len(entries)))
    headers = [("x-opper-guard-input", ",".join(each)) for each in (entries[:cut], entries[cut:])]
    asked = from_headers(lowered([*headers, ("x-opper-guard-action", default.word)]), GUARDS)
    assert asked == Policy({"pii": Rule(max(actions))})


def test_origins_say_who_asked_for_what_and_whose_counts() -> None:
    floor = Policy(
        {"pii": Rule(Action.REDACT, on_error=OnError.FLAG), "secrets": Rule(Action.BLOCK)},
        {"pii": Rule(Action.BLOCK, shadow=True)},
    )
    key = ClientKey("team", "", Policy({"secrets": Rule(Action.BLOCK)}))
    plugin = Policy({"input-only": Rule(Action.REDACT)})
    headers = {"x-opper-guard-input": "pii,secrets", "x-opper-guard-output": "pii"}
    resolved = resolve(floor, key, headers, lambda _: [("acme", plugin)], GUARDS)
    origins = {(s, n): resolved.origins(s, n) for s in Stage for n in resolved.policy.stage(s)}
    assert origins == {
        # The action is the floor's, and that a failure stops the exchange is the header's.
        (Stage.INPUT, "pii"): [("floor", floor.input["pii"], True), ("header", Rule(), True)],
        (Stage.INPUT, "secrets"): [
            ("floor", Rule(Action.BLOCK), True),
            ("key team", Rule(Action.BLOCK), True),
            ("header", Rule(), False),
        ],
        (Stage.INPUT, "input-only"): [("plugin acme", Rule(Action.REDACT), True)],
        (Stage.OUTPUT, "pii"): [("floor", Rule(Action.BLOCK, shadow=True), False), ("header", Rule(), True)],
    }
    assert resolved.policy.input["pii"] == Rule(Action.REDACT)


@pytest.mark.parametrize("policy", [Policy({"other": Rule()}), Policy(output={"input-only": Rule()})])
def test_a_plugin_cannot_ask_for_what_does_not_run(policy: Policy) -> None:
    with pytest.raises(InternalError, match="plugin 'acme' asks for a guard that does not serve"):
        resolve(NOBODY, None, {}, lambda _: [("acme", policy)], GUARDS)


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
        ({"x-opper-guard-action": "redact", "x-opper-guard-report": "none", "x-opper-name": "a"}, {}, {}),
        (
            {"x-opper-guard-input": "pii,secrets=redact"},
            {"pii": Action.FLAG, "secrets": Action.REDACT},
            {},
        ),
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
        ({"x-opper-guard-input": "pii;secrets"}, "commas separate guards"),
        ({"x-opper-guard-input": "pii secrets"}, "commas separate guards"),
        ({"x-opper-guard-input": "secrets, pii=redakt"}, "unknown action for 'pii'. Actions: flag"),
        (
            {"x-opper-guard-inputs": "pii"},
            "'x-opper-guard-inputs' is no header of guardproxy's. Known: X-Opper-Guard-Input, "
            "X-Opper-Guard-Output, X-Opper-Guard-Action, X-Opper-Guard-Report",
        ),
        ({"x-opper-guards": "pii"}, "'x-opper-guards' is no header"),
        ({"x-opper-guard": "pii"}, "'x-opper-guard' is no header"),
        ({"x-opper-guard_input": "pii"}, "'x-opper-guard_input' is no header"),
        ({"x-opper-guard-" + "a" * 99: "pii"}, f"'x-opper-guard-{'a' * 50}' is no header"),
        (
            {"x-opper-guard-output": "input-only"},
            "does not serve the output. Guards for output: pii, secrets",
        ),
        ({"x-opper-guard-input": "pii="}, "unknown action"),
        ({"x-opper-guard-action": "delete"}, "unknown action. Actions: flag, redact, block"),
        ({"x-opper-guard-input": "=block"}, "a guard's name has the characters"),
        ({"x-opper-guard-input": "pii==block"}, "unknown action"),
        ({"x_opper_guard_input": "pii"}, "Known: X-Opper-Guard-Input, X-Opper-Guard-Output"),
        ({"x-opper-guards": "pii"}, "is no header of guardproxy"),
        ({"x-opper_guard-action": "block"}, "is no header of guardproxy"),
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
