"""Look-alikes of ASCII characters."""

import pytest

from guardproxy.lookalikes import lookalike, marks


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("АКІА", "AKIA"),
        ("ΑΚΙΑ", "AKIA"),
        ("٤١١١ ४१११", "4111 4111"),
        ("ádá‑x", "ada-x"),
        ("ᴀᴅᴀ․x⁄y", "ADA.x/y"),
        ("𝟜𝟙", "41"),
    ],
)
def test_what_looks_like_ascii(text: str, read: str) -> None:
    assert lookalike(text) == read


@pytest.mark.parametrize("text", ["", "plain", "日本語", "😀"])
def test_what_does_not(text: str) -> None:
    assert lookalike(text) is None


def test_every_character_stands_for_one() -> None:
    text = "".join(map(chr, (*range(0x80, 0xD800), *range(0xE000, 0x11000))))
    read = lookalike(text)
    assert read is not None
    assert len(read) == len(text)


def test_marks_are_left_out() -> None:
    assert marks("a\u0336b\u0301\u0302c") == [(1, 2, ""), (3, 5, "")]
    assert marks("abc") == []
