"""Texts on both sides of a seam, and matches taken apart again."""

from guardproxy.seams import SIDE, seams
from guardproxy.types import Match, TextPart


def content(*texts: str, item: int = 0) -> list[TextPart]:
    return [TextPart(("input", item, "content", index, "text"), text) for index, text in enumerate(texts)]


def test_neighbours_are_put_together_with_and_without_a_blank() -> None:
    found = list(seams(content("see TAG-", "1234 ok")))
    assert [seam.text for seam in found] == ["see TAG-1234 ok", "see TAG- 1234 ok"]


def test_a_match_is_taken_apart() -> None:
    seam = next(seams(content("see TAG-", "1234 ok")))
    assert seam.split(Match(4, 12, "TAG", validated=True)) == [
        (0, Match(4, 8, "TAG", validated=True)),
        (1, Match(0, 4, "TAG", validated=True)),
    ]
    assert seam.split(Match(0, 3, "X")) == []


def test_a_value_may_be_split_over_many() -> None:
    found = [seam for seam in seams(content(*"TAG-1234")) if seam.text == "TAG-1234"]
    assert len(found) == 7
    assert [part for part, _ in found[0].split(Match(0, 8, "TAG"))] == list(range(8))


def test_long_texts_are_cut() -> None:
    seam = next(seams(content("a" * 1000 + "x", "y" + "b" * 1000)))
    assert seam.text == "a" * (SIDE - 1) + "xy" + "b" * (SIDE - 1)
    assert seam.split(Match(SIDE - 1, SIDE + 1, "X")) == [(0, Match(1000, 1001, "X")), (1, Match(0, 1, "X"))]


def test_who_are_no_neighbours() -> None:
    parts = [
        *content("a", item=0),
        *content("b", item=1),
        TextPart(("input", 2, "content"), "c"),
        TextPart(("input", 3, "content"), "d"),
        TextPart(("input", 4, "content", 0, "text"), "e"),
        TextPart(("input", 4, "content", 2, "text"), "f"),
        TextPart(("input", 4, "content", 1, "refusal"), "g"),
        TextPart(("instructions",), "h"),
    ]
    assert list(seams(parts)) == []
