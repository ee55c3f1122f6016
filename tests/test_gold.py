"""Labelled texts: what a line may say, and what is wrong with one that may not."""

import json
from typing import Any

import pytest

from guardproxy.gold import GoldError, Record, TypedRange, read


def test_lines_of_both_kinds() -> None:
    spans = {
        "id": 7,
        "text": "mail a@b.de",
        "spans": [{"start": 5, "end": 11, "type": "EMAIL", "more": 1}],
        "types": ["EMAIL"],
        "ignore": [{"start": 0, "end": 4}],
        "group": "g",
        "source": "passed over",
    }
    (record,) = read(["", json.dumps(spans), "  "])
    gold, ignore = (TypedRange(5, 11, "EMAIL"),), (TypedRange(0, 4, ""),)
    assert record == Record("7", "mail a@b.de", gold, frozenset({"EMAIL"}), ignore, None, "g")
    one, two = read(['{"text": "", "label": 1}', '{"text": "x", "label": false}'])
    assert (one.id, one.label, one.ranges, one.types, one.group) == ("1", True, None, None, "")
    assert (two.id, two.label) == ("2", False)
    (none,) = read(['{"text": "x", "spans": [], "types": []}'])
    assert (none.ranges, none.types) == ((), None)


def span(**given: Any) -> str:
    return json.dumps({"text": "abc", "spans": [{"start": 0, "end": 2, "type": "T"}, given]})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON at column 2."),
        ("[" * 100_000, "its JSON is nested too deep."),
        ("[]", "not an object"),
        ('{"spans": []}', "'text' must be a string."),
        ('{"text": 1, "spans": []}', "'text' must be a string."),
        ('{"text": "a"}', "it must have 'spans' or 'label', one of the two."),
        ('{"text": "a", "spans": [], "label": 0}', "it must have 'spans' or 'label'"),
        ('{"text": "a", "label": 2}', "'label' must be 0 or 1."),
        ('{"text": "a", "label": 0.5}', "'label' must be 0 or 1."),
        ('{"text": "a", "label": null}', "'label' must be 0 or 1."),
        ('{"text": "a", "label": [1]}', "'label' must be 0 or 1."),
        ('{"text": "a", "spans": {}}', "'spans' must be a list of {start, end, type}."),
        ('{"text": "a", "spans": [1]}', "'spans[0]' must be an object with start, end and type."),
        (span(start=-1, end=2, type="T"), "'spans[1].start' must be a number of characters from 0 to below"),
        (span(start=3, end=4, type="T"), "'spans[1].start' must be"),
        (span(start=True, end=2, type="T"), "'spans[1].start' must be"),
        (
            span(start=1, end=1, type="T"),
            "'spans[1].end' must be greater than start, and at most the text's 3",
        ),
        (span(start=1, end=4, type="T"), "'spans[1].end' must be"),
        (span(start=1, end=2), "'spans[1].type' must be a string."),
        (span(start=1, end=2, type=5), "'spans[1].type' must be a string."),
        ('{"text": "a", "spans": [], "ignore": [{"start": 0}]}', "'ignore[0].end' must be"),
        ('{"text": "a", "spans": [], "types": "T"}', "'types' must be a list of strings."),
        ('{"text": "a", "spans": [], "group": 1}', "'group' must be a string."),
    ],
)
def test_a_line_that_is_none(line: str, message: str) -> None:
    with pytest.raises(GoldError) as caught:
        read(['{"text": "a", "spans": []}', line])
    assert str(caught.value).startswith("Line 2: ")
    assert message in str(caught.value)


def test_kinds_are_not_mixed_and_something_must_be_there() -> None:
    with pytest.raises(GoldError, match="Line 2: some lines have 'spans' and others 'label'; use two files"):
        read(['{"text": "a", "spans": []}', '{"text": "a", "label": 1}'])
    with pytest.raises(GoldError, match="no labelled text"):
        read(["", " "])
