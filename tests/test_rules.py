"""Rules of front doors: what they refuse, with which words, and what they make of a request."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardproxy import document, inputs
from guardproxy.errors import InvalidRequest
from guardproxy.profiles import GATEWAY, JULEP, OPENROUTER
from guardproxy.rules import (
    AtMost,
    Default,
    Draft,
    Dropped,
    Each,
    Few,
    OfType,
    OneOf,
    OnlyFalse,
    Pairs,
    Refused,
    Required,
    Rule,
    ToolTypes,
    nested_tools,
)

CANARY = "CANARY-" + "value"


def draft(request: Any) -> Draft:
    return Draft(document.parse(json.dumps(request)))


def refused(rule: Rule, request: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        rule(draft(request))
    error = raised.value
    assert CANARY not in f"{error.message}{error.param}"  # no guard has seen it
    assert error.status == 400
    return error


PAIRS = Pairs("metadata", 2, 3, 4)
TOOLS = ToolTypes(("function",), {"preview": "web"})
REFUSALS: list[tuple[Rule, Any, str, str]] = [
    (Required("model"), {}, "model", "'model' is missing"),
    (Required("model"), {"model": None}, "model", "'model' is missing"),
    (OneOf(("a", "b")), {}, "a", "neither 'a' nor 'b'"),
    (OneOf(("a", "b")), {"a": 1, "b": 2}, "b", "more than one of 'a' and 'b'"),
    (OfType("a", ("a string", "an object")), {"a": [CANARY]}, "a", "'a' must be a string or an object."),
    (OfType("a", ("a string",)), {"a": 12}, "a", "must be a string"),
    (OfType("a", ("a string that is not empty",)), {"a": ""}, "a", "a string that is not empty"),
    (OfType("a", ("a string that is not empty",)), {"a": 12}, "a", "a string that is not empty"),
    (OfType("a", ("an object",)), {"a": CANARY}, "a", "must be an object"),
    (OfType("a", ("a list of objects",)), {"a": [{}, CANARY]}, "a", "a list of objects"),
    (OfType("a", ("a list of objects",)), {"a": {}}, "a", "a list of objects"),
    (OfType("a", ("true or false",)), {"a": 1}, "a", "true or false"),
    (OfType("a", ("a list of strings",)), {"a": ["b", 12345678]}, "a", "a list of strings"),
    (OfType("a", ("a list of strings",)), {"a": CANARY}, "a", "a list of strings"),
    (AtMost("user", 4), {"user": CANARY}, "user", "at most 4 characters"),
    (Few("models", 1), {"models": [CANARY, "b"]}, "models", "at most 1 elements"),
    (AtMost("user", 400), {"user": {"a": CANARY}}, "user", "must be a string"),
    (AtMost("user", 400), {"user": 12}, "user", "must be a string"),
    (PAIRS, {"metadata": CANARY}, "metadata", "an object of strings"),
    (PAIRS, {"metadata": {"a": "", "b": "", "c": ""}}, "metadata", "at most 2 pairs"),
    (PAIRS, {"metadata": {CANARY: ""}}, "metadata", "at most 3 characters"),
    (PAIRS, {"metadata": {"a[": ""}}, "metadata", "no brackets"),
    (PAIRS, {"metadata": {"]": ""}}, "metadata", "no brackets"),
    (PAIRS, {"metadata": {"a": CANARY}}, "metadata", "at most 4 characters"),
    (PAIRS, {"metadata": {"a": 1}}, "metadata", "must be strings"),
    (OnlyFalse("store"), {"store": True}, "store", "must be false"),
    (OnlyFalse("store"), {"store": 0}, "store", "must be false"),
    (OnlyFalse("store"), {"store": CANARY}, "store", "must be false"),
    (Refused("a", "use 'b'"), {"a": CANARY}, "a", "'a' is not supported here; use 'b'."),
    (Refused("a", "use 'b'"), {"a": False}, "a", "not supported"),
    (Each("include", ("x", "y")), {"include": ["x", CANARY]}, "include[1]", "Known: x, y."),
    (Each("include", ("x", "y")), {"include": "x"}, "include", "a list of: x, y."),
    (Each("include", ("x", "y")), {"include": [["x"]]}, "include[0]", "Known: x, y."),
    (TOOLS, {"tools": CANARY}, "tools", "a list of objects"),
    (TOOLS, {"tools": [CANARY]}, "tools[0]", "a list of objects"),
    (TOOLS, {"tools": [{"type": "function"}, {"type": CANARY}]}, "tools[1].type", "function, preview."),
    (TOOLS, {"tools": [{}]}, "tools[0].type", "Supported:"),
    (TOOLS, {"tools": [{"type": ["function"]}]}, "tools[0].type", "Supported:"),
    (
        nested_tools,
        {"tools": [{"type": "function", "name": "a", "function": {"name": CANARY}}]},
        "tools[0]",
        "both in 'function' and beside it",
    ),
    (
        nested_tools,
        {"tool_choice": {"type": "function", "name": "a", "function": {"name": CANARY}}},
        "tool_choice",
        "both in 'function' and beside it",
    ),
]


@pytest.mark.parametrize(("rule", "request_", "param", "why"), REFUSALS)
def test_what_a_rule_refuses(rule: Rule, request_: Any, param: str, why: str) -> None:
    error = refused(rule, request_)
    assert why in error.message
    assert error.param == param


KEPT: list[tuple[Rule, Any]] = [
    (Required("model"), {"model": ""}),
    (OneOf(("a", "b")), {"a": 1, "b": None}),
    (OfType("a", ("a string",)), {}),
    (OfType("a", ("a string",)), {"a": None}),
    (OfType("a", ("a string", "an object")), {"a": {}}),
    (AtMost("user", 4), {"user": "ab😀d"}),
    (AtMost("user", 4), {"user": None}),
    (Few("models", 2), {"models": ["a", "b"]}),
    (Few("models", 2), {"models": "abc"}),
    (PAIRS, {"metadata": {"a": "", "bcd": "1234"}}),
    (PAIRS, {"metadata": None}),
    (OnlyFalse("store"), {"store": False}),
    (OnlyFalse("store"), {"store": None}),
    (OnlyFalse("store"), {}),
    (Refused("a", "b"), {"a": None}),
    (Each("include", ("x", "y")), {"include": ["y", "x"]}),
    (Each("include", ("x", "y")), {"include": None}),
    (TOOLS, {"tools": [{"type": "function", "n": 1e5}]}),
    (TOOLS, {"tools": None, "tool_choice": "auto"}),
    (TOOLS, {"tool_choice": {"type": "function"}}),
    (TOOLS, {"tool_choice": {"type": ["preview"]}}),
    (nested_tools, {"tools": [{"type": "function", "name": "a"}, {"type": "x", "function": {}}, 1]}),
    (nested_tools, {"tools": "no", "tool_choice": "auto"}),
    (Dropped(("a", "b")), {"c": 1}),
    (Default("store", False), {"store": True}),
    (Default("store", False), {"store": False}),
]


@pytest.mark.parametrize(("rule", "request_"), KEPT)
def test_what_a_rule_lets_be(rule: Rule, request_: Any) -> None:
    found = draft(request_)
    rule(found)
    assert not found.changed
    assert found.value == draft(request_).value


def test_what_is_left_out_gets_the_default_of_this_door() -> None:
    for left_out in ({}, {"store": None}):
        found = draft(left_out)
        Default("store", False)(found)
        assert found.value == {"store": False}
        assert (found.changed, found.added) == ((True, {}) if left_out else (False, {"store": False}))


def test_dropped() -> None:
    found = draft({"a": 1, "b": None, "c": 3})
    Dropped(("a", "b"))(found)
    assert found.changed
    assert found.value == {"c": "3"}


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ({"tools": [{"type": "preview", "size": "low"}]}, {"tools": [{"type": "web", "size": "low"}]}),
        ({"tool_choice": {"type": "preview"}}, {"tool_choice": {"type": "web"}}),
    ],
)
def test_a_tool_with_another_name_gets_ours_and_a_choice_of_it_follows(asked: Any, made: Any) -> None:
    found = draft(asked)
    TOOLS(found)
    assert (found.changed, found.value) == (True, made)


def test_nested_functions_become_flat_and_it_is_known_where_they_were() -> None:
    function = {"name": "f", "description": "d", "parameters": {"a": 1.50}, "strict": True}
    asked = {
        "tools": [{"type": "web"}, {"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    }
    found = draft(asked)
    nested_tools(found)
    assert found.changed
    assert json.loads(document.rendered(found.value)) == {
        "tools": [{"type": "web"}, {"type": "function", **function}],
        "tool_choice": {"type": "function", "name": "f"},
    }
    assert found.moved["tools", 1, "description"] == ("tools", 1, "function", "description")
    assert found.moved["tool_choice", "name"] == ("tool_choice", "function", "name")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    (
        *("model", "models", "input", "messages", "metadata", "user", "session_id", "store", "provider"),
        *("plugins", "trace", "include", "tools", "tool_choice", "conversation", "previous_response_id"),
        *("truncation", "temperature", "instructions"),
    )
)
REQUESTS = st.dictionaries(NAMES, JSON, max_size=6)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS, st.sampled_from((OPENROUTER, GATEWAY, JULEP)))
async def test_any_request_is_refused_or_read_and_rules_have_no_more_to_do(
    request: Any, profile: Any
) -> None:
    body = json.dumps(request).encode()
    try:
        asked = await inputs.read(body, profile.rules)
    except InvalidRequest:
        return
    again = await inputs.read(asked.text.encode(), profile.rules)
    assert json.loads(again.text) == json.loads(asked.text)
    if not asked.changed:
        assert asked.text.encode() == body


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_what_is_deep_is_rendered_like_all_else(opening: str) -> None:
    closing = {"[": "]"}.get(opening, "}")
    deep = opening * 480 + "1.50" + closing * 480
    assert document.rendered(document.parse(deep)) == deep


@given(JSON)
def test_what_is_rendered_reads_the_same(value: Any) -> None:
    parsed = document.parse(json.dumps(value))
    assert document.parse(document.rendered(parsed)) == parsed
