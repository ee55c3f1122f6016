"""What a text's key says about it."""

import asyncio
import json
import re
from collections.abc import Sequence
from contextlib import nullcontext

import pytest

from guardproxy.document import walk
from guardproxy.labels import LONGEST, labelled
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.shapes import FREE, REQUEST
from guardproxy.stage import StageRun
from guardproxy.types import Action, Detector, Guard, Match, PathMark, Rule, Stage, TextPart


def texts(*parts: TextPart) -> list[str]:
    return [found.text for found in labelled(parts)]


@pytest.mark.parametrize(
    ("path", "text", "seen"),
    [
        (("arguments", PathMark.PARSED, "api_key"), "9f8a7b6c", "api_key: 9f8a7b6c"),
        (("arguments", PathMark.PARSED, "keys", 3), "9f8a7b6c", "keys: 9f8a7b6c"),
        (("a", "pins", 0, 1), "1234", "pins: 1234"),
        (("a", "phrase"), "my dog 7", 'phrase: "my dog 7"'),
        (("a", "phrase"), 'my "dog" 7', "phrase: 'my \"dog\" 7'"),
        (("a", "phrase"), 'my "dog\'s" `7`', 'phrase: my "dog\'s" `7`'),
    ],
)
def test_a_text_is_called_by_its_key(path: tuple[str | int | PathMark, ...], text: str, seen: str) -> None:
    part = TextPart(path, text)
    assert texts(part) == [seen]
    (found,) = labelled([part])
    assert found.text[found.start : found.end] == text


@pytest.mark.parametrize(
    "part",
    [
        TextPart((), "1234"),
        TextPart((0,), "1234"),
        TextPart(("arguments", PathMark.PARSED), "1234"),
        TextPart(("arguments", PathMark.PARSED, 0), "1234"),
        TextPart(("input", 0, "content", 0, "text"), "1234"),
        TextPart(("a", "key", PathMark.KEY), "1234"),
        TextPart(("output", 0, "action", "commands", 0), "ls 1234"),
        TextPart(("output", 0, "code"), "1234"),
        TextPart(("url", PathMark.DATA), "1234"),
        TextPart(("a", "id"), "call_1234", structural=True),
        TextPart(("a", "word"), "string"),
        TextPart(("a", "note"), "1" * (LONGEST + 1)),
        TextPart(("a", "k" * 65), "1234"),
    ],
)
def test_what_has_no_label_is_left(part: TextPart) -> None:
    assert texts(part) == []


def test_a_pair_of_name_and_value_is_one() -> None:
    parts = walk({"env": [{"name": "DB_PASSWORD", "value": "Zx81"}, {"value": "Zx82"}]}, FREE).parts
    assert "DB_PASSWORD: Zx81" in texts(*parts)
    assert "value: Zx82" in texts(*parts)


def test_a_match_counts_as_far_as_it_lies_in_the_value() -> None:
    (found,) = labelled([TextPart(("a", "pin"), "12 34")])
    assert found.text == 'pin: "12 34"'
    assert found.own(Match(0, 8, "X", open=True)) == Match(0, 2, "X")
    assert found.own(Match(6, 12, "X")) == Match(0, 5, "X")
    assert found.own(Match(0, 6, "X")) is None


class Labels(Detector):
    """What stands behind `secret:`, and tags without it."""

    reach = 80
    inline_below = 10_000

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return [[Match(*m.span(), "X") for m in re.finditer('secret: "?[^"]+|TAG', text)] for text in texts]


HELD = {"labels": Rule(Action.REDACT)}
GUARDS = {"labels": Guard("labels", (Labels(),))}


def redacted(document: object) -> object:
    async def run() -> object:
        stage = StageRun(Stage.INPUT, HELD, Scanner(GUARDS, Settings()), "[X]", lambda _: nullcontext())
        text = json.dumps(document)
        parts = walk(document, REQUEST).parts
        return json.loads(stage.apply(parts, await stage.hits(parts, stage.guards)).apply(text))

    return asyncio.run(run())


def test_a_value_is_redacted_by_its_label() -> None:
    assert redacted({"metadata": {"secret": "a 1", "other": "a 1"}}) == {
        "metadata": {"secret": "[X]", "other": "a 1"}
    }
    call = {"type": "function_call", "arguments": json.dumps({"secret": "TAG b 1", "n": 1})}
    assert redacted({"input": [call]}) == {
        "input": [{"type": "function_call", "arguments": '{"secret": "[X]", "n": 1}'}]
    }
