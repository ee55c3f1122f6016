"""What follows from a rewritten text."""

import json
from typing import Any

from guardproxy.agreement import follow
from guardproxy.document import Edits, parse
from guardproxy.redaction import Placeholder, Range
from guardproxy.types import Path, PathMark

RANGES = [Range(0, 5, "X")]


def changed(document: Any, *paths: Path) -> tuple[Any, int]:
    text = json.dumps(document)
    edits = Edits(dict.fromkeys(paths, "[X] rest"))
    dropped = follow(parse(text), edits, lambda _: RANGES, Placeholder("[{category}]"))
    return json.loads(edits.apply(text)), dropped


def test_log_probabilities_go_and_annotations_move() -> None:
    part = {
        "text": "12345 rest",
        "logprobs": [{"token": "1"}],
        "annotations": [
            {"start_index": 6, "end_index": 10},
            {"index": 8},
            {"start_index": 1, "end_index": 3},
            "odd",
        ],
    }
    (new, _) = changed({"content": [part]}, ("content", 0, "text"))
    assert new["content"][0] == {
        "text": "[X] rest",
        "logprobs": [],
        "annotations": [
            {"start_index": 4, "end_index": 8},
            {"index": 6},
            {"start_index": 0, "end_index": 3},
            "odd",
        ],
    }


def test_the_sealed_copy_goes_with_any_text_of_its_item() -> None:
    items = [
        {"summary": [{"text": "12345"}], "encrypted_content": "sealed"},
        {"summary": [{"text": "clean"}], "encrypted_content": "kept"},
    ]
    new, dropped = changed({"output": items}, ("output", 0, "summary", 0, "text"))
    assert [item["encrypted_content"] for item in new["output"]] == [None, "kept"]
    assert dropped == 1


def test_arguments_and_keys_have_no_companions() -> None:
    document = {"arguments": '{"a": "12345"}', "logprobs": [1], "meta": {"a long key": 1}}
    new, dropped = changed(
        document, ("arguments", PathMark.PARSED, "a"), ("meta", "a long key", PathMark.KEY)
    )
    assert json.loads(new["arguments"]) == {"a": "[X] rest"}
    assert new["meta"] == {"[X] rest": 1}
    assert dropped == 0
