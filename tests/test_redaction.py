"""Merging ranges and splicing placeholders."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from guardproxy.redaction import Placeholder, Range, delivered, merge, moved, splice
from guardproxy.types import Match

TEXT = "abcdefghijklmnopqrst"
MATCHES = st.lists(
    st.builds(
        lambda a, n, c: Match(a, min(a + n, len(TEXT)), c),
        st.integers(0, len(TEXT) - 1),
        st.integers(1, 6),
        st.sampled_from(["A", "BB"]),
    ),
    max_size=8,
)


def test_the_earliest_of_overlapping_matches_names_the_placeholder() -> None:
    found = [Match(2, 5, "B"), Match(0, 3, "A"), Match(5, 6, "C")]
    assert merge(found) == [Range(0, 5, "A"), Range(5, 6, "C")]
    assert splice("0123456789", merge(found), Placeholder("[{category}]")) == "[A][C]6789"


@given(MATCHES)
def test_no_matched_character_is_left_and_no_other_is_lost(matches: list[Match]) -> None:
    ranges = merge(matches)
    kept = [c for i, c in enumerate(TEXT) if not any(m.start <= i < m.end for m in matches)]
    assert splice(TEXT, ranges, Placeholder("")).replace("", "") == "".join(kept)
    assert all(a.end <= b.start for a, b in itertools.pairwise(ranges))


@given(MATCHES)
def test_delivered_ranges_hold_the_placeholders(matches: list[Match]) -> None:
    ranges = merge(matches)
    text = splice(TEXT, ranges, Placeholder("<{category}>"))
    placed = delivered(ranges, Placeholder("<{category}>"))
    assert [text[a:b] for a, b in placed] == [f"<{r.category}>" for r in ranges]


@given(MATCHES, st.integers(0, len(TEXT) - 1))
def test_what_is_not_replaced_moves_with_the_text(matches: list[Match], place: int) -> None:
    ranges = merge(matches)
    start, end = moved(place, place + 1, ranges, Placeholder("<{category}>"))
    text = splice(TEXT, ranges, Placeholder("<{category}>"))
    inside = next((r for r in ranges if r.start <= place < r.end), None)
    assert text[start:end] == (f"<{inside.category}>" if inside else TEXT[place])


def test_a_category_may_have_a_text_of_its_own() -> None:
    placeholder = Placeholder("[{category}]", {"A": "(someone)"})
    ranges = [Range(0, 1, "A"), Range(2, 3, "B")]
    assert splice("0123", ranges, placeholder) == "(someone)1[B]3"
    assert delivered(ranges, placeholder) == [(0, 9), (10, 13)]
