"""The values that flow."""

import pytest

from guardproxy.types import Action, PathMark, Policy, Receipt, Rule, Stage, pointer


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("input", 0, "a/b~c"), "/input/0/a~1b~0c"),
        (("arguments", PathMark.PARSED, "to"), "/arguments#/to"),
        (("file_data", PathMark.DATA), "/file_data#"),
        (("metadata", "name", PathMark.KEY), "/metadata/name"),
    ],
)
def test_pointers(path: tuple[str | int | PathMark, ...], text: str) -> None:
    assert pointer(path) == text


def test_actions_have_an_order_and_words() -> None:
    assert Action.FLAG < Action.REDACT < Action.BLOCK
    assert [Action.parse(word) for word in ("flag", "REDACT", "Block", "x")] == [*Action, None]


def test_receipts_add_up() -> None:
    both = Receipt(2, {"image": 1}) + Receipt(3, {"image": 1, "file": 2})
    assert str(both) == "parts=5, skipped=file:2 image:2"
    assert str(Receipt(4)) == "parts=4"


def test_a_policy_of_shadows_enforces_nothing() -> None:
    policy = Policy(input={"a": Rule(shadow=True)}, output={"b": Rule()})
    assert policy.enforced()
    assert policy.enforced(Stage.OUTPUT)
    assert not policy.enforced(Stage.INPUT)
