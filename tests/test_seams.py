"""Neighbouring texts put together, and matches taken apart again."""

from guardproxy.seams import SIDE, chains
from guardproxy.types import Match, PathMark, TextPart


def content(*texts: str, item: int = 0) -> list[TextPart]:
    return [TextPart(("input", item, "content", index, "text"), text) for index, text in enumerate(texts)]


def test_neighbours_are_put_together_with_and_without_a_blank() -> None:
    found = chains(content("see TAG-", "1234 ok"))
    assert [chain.text for chain in found] == ["see TAG-1234 ok", "see TAG- 1234 ok"]


def test_a_match_is_taken_apart() -> None:
    plain, blank = chains(content("see TAG-", "1234 ok"))
    assert plain.split(Match(4, 12, "TAG", validated=True)) == [
        (0, Match(4, 8, "TAG", validated=True)),
        (1, Match(0, 4, "TAG", validated=True)),
    ]
    assert plain.split(Match(0, 8, "X")) == []
    assert plain.split(Match(8, 12, "X")) == []
    assert blank.split(Match(4, 13, "X")) == [(0, Match(4, 8, "X")), (1, Match(0, 4, "X"))]


def test_a_value_may_be_split_over_many() -> None:
    plain, _ = chains(content(*"TAG-1234"))
    assert plain.text == "TAG-1234"
    assert [part for part, _ in plain.split(Match(0, 8, "TAG"))] == list(range(8))


def test_long_texts_are_cut() -> None:
    first, second, *_ = chains(content("a" * 1000 + "x", "y" + "b" * 1000, "c"))
    assert first.text == "a" * (SIDE - 1) + "xy" + "b" * (SIDE - 1)
    assert first.split(Match(SIDE - 1, SIDE + 1, "X")) == [(0, Match(1000, 1001, "X")), (1, Match(0, 1, "X"))]
    assert second.text == "b" * SIDE + "c"


def test_what_has_no_text_parts_nobody() -> None:
    first, _, last = content("TAG-", "", "1234")
    sealed = TextPart(("input", 0, "content", 1, "file_id"), "file-1", structural=True)
    for between in ([], [content("", "")[1]], [sealed]):
        plain, _ = chains([first, *between, last])
        assert plain.text == "TAG-1234"


def test_who_are_no_neighbours() -> None:
    parts = [
        *content("a", item=0),
        *content("b", item=1),
        TextPart(("input", 2, "content"), "c"),
        TextPart(("input", 3, "content"), "d"),
        TextPart(("input", 4, "content", 0, "text"), "e"),
        TextPart(("input", 4, "content", 1, "refusal"), "g"),
        TextPart(("input", 4, "content", 2, "text"), "f"),
        TextPart(("tools", 0, "parameters", "enum", 0), "h"),
        TextPart(("tools", 0, "parameters", "enum", 1), "i"),
        TextPart(("input", 5, "arguments", PathMark.PARSED, 0, "text"), "j"),
        TextPart(("input", 5, "arguments", PathMark.PARSED, 1, "text"), "k"),
        TextPart(("instructions",), "l"),
    ]
    assert chains(parts) == []
