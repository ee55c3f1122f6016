"""Prove that a local detector is local: what it finds does not depend on text further than its reach."""

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardproxy import Detector, Match

NOISE = ("", " ", "\n", ". ", "a", "x9", "-", "some words ", '"', "=", "/", "é")


def check_locality(detector: Detector, examples: Sequence[str], max_examples: int = 200) -> None:
    """Compare what `detector` finds in whole texts and in slices of them.

    Texts are put together from `examples` (texts with and without matches), pieces of them, and
    noise. A slice that begins `reach` characters before a region and ends `reach` after it must show
    the same matches that start in the region; of an open match, and of one that is longer than the
    reach, the same start and category.

    Raises:
        AssertionError: with the text, the slice and both findings.
    """
    reach = detector.reach
    assert reach is not None, "A blockwise detector (reach = None) is not local."
    detector.load()
    pieces = st.sampled_from([*examples, *NOISE]) | st.sampled_from(list(examples)).flatmap(
        lambda text: st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(
            lambda ends: text[min(ends) : max(ends)]
        )
    )

    @settings(
        max_examples=max_examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(pieces, max_size=8).map("".join), st.data())
    def compare(text: str, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, len(text)), "start")
        end = data.draw(st.integers(start, len(text)), "end")
        first, last = max(0, start - reach), min(len(text), end + reach)
        piece = text[first:last]
        whole = _in_region(_scan(detector, text), 0, start, end, len(text))
        seen = _in_region(_scan(detector, piece), first, start, end, len(text))
        here = {_comparable(m, reach, last) for m in whole}
        there = {_comparable(m, reach, last) for m in seen}
        assert here == there, (
            f"{type(detector).__name__} (reach {reach}) is not local.\n"
            f"In the whole text: {sorted(here)}\nIn its characters {first} to {last}: {sorted(there)}\n"
            f"The region: {start} to {end}\nThe text: {text!r}"
        )

    compare()


def _scan(detector: Detector, text: str) -> list[Match]:
    found = detector.scan([text])
    assert isinstance(found, list), "check_locality needs a detector with `def scan`."
    return found[0]


def _in_region(matches: Sequence[Match], offset: int, start: int, end: int, length: int) -> list[Match]:
    return [
        Match(m.start + offset, m.end + offset, m.category, m.score, m.validated, m.open)
        for m in matches
        if start <= m.start + offset < end or (end == length and m.start + offset >= start)
    ]


def _comparable(match: Match, reach: int, last: int) -> tuple[int, int, str, bool]:
    """What must agree; -1 for the end of a match that a slice need not show whole."""
    cut = match.open or match.end - match.start > reach or match.end >= last
    return match.start, -1 if cut else match.end, match.category, match.validated
