"""Normalised readings and their offsets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.readings import back_from, clean, fold, on_from, readings
from guardproxy.types import Match

ODD = st.text(st.sampled_from("ab1ｂ①\u200b\u00ad\u0301é😀\ufb01\U000e0041 "), max_size=30)


@pytest.mark.parametrize(
    ("text", "read"),
    [("ＡＫＩＡ", "AKIA"), ("4\u200b1\u00ad1", "411"), ("\ufb01ne", "fine"), ("x\U000e0041y", "xy")],
)
def test_what_detectors_see(text: str, read: str) -> None:
    reading = fold(text)
    assert reading is not None
    assert reading.text == read


@pytest.mark.parametrize("text", ["", "plain", "é ü", "😀"])
def test_texts_that_read_as_they_are(text: str) -> None:
    assert fold(text) is None


@given(ODD)
def test_matches_map_back_to_what_they_were_read_from(text: str) -> None:
    reading = fold(text)
    if reading is None or not reading.text:
        return
    for start in range(len(reading.text)):
        back = reading.back(Match(start, start + 1, "X"))
        part = fold(text[back.start : back.end])
        assert reading.text[start] in (part.text if part else text[back.start : back.end])


@given(ODD, st.integers(0, 30), st.integers(0, 10))
def test_characters_of_every_reading_are_counted(text: str, position: int, count: int) -> None:
    position = min(position, len(text))

    def least(piece: str) -> int:
        return min(len(reading.text) for reading in readings(piece))

    start, end = back_from(text, position, count), on_from(text, position, count)
    assert start == 0 or least(text[start:position]) >= count
    assert end == len(text) or least(text[position:end]) >= count


def test_lone_surrogates_keep_their_place() -> None:
    assert clean("a\ud800b") == "a\ufffdb"


def test_an_open_match_goes_on_over_invisible_characters() -> None:
    reading = fold("｛｛\u200b")
    assert reading is not None
    back = reading.back(Match(0, 2, "X", open=True))
    assert (back.start, back.end, back.open) == (0, 3, True)
