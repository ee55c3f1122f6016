"""The local detectors of `pii` see no further than their reach, wherever a text is cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy import Detector, Match
from guardproxy_pii import STRUCTURED

FRAGMENTS = (
    "4111 1111 1111 1111", "2026", "5555555555554444", "3782 822463 10005", "12345678-1234-1234-1234-",
    "6304", "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "MT84MALT011000012345MTLCAST001S",
    "ada@example.org", "a.b.c+d", "@", "mail.example.co.uk", '"foo"@bar.com', "x" * 63, "[192.0.2.1]",
    "git@github.com:", "+41 (0)71 526 99 04", "+1-604-696-5272x565", "001-253-366-9781",
    "(602)272-9781", "451 5986", "call me on ", "phone", "order", "224-87-3831", "ssn",
    "social security", "203.0.113.7", "::ffff:203.0.113.7", "fe80::7:8%eth0", "version ", "address ",
    "221 Baker Street", "Hauptstraße 12", ", 10115 Berlin", ", 111 43 Stockholm", " NW",
    ", London SW1A 2AA", "Rue de la Paix 8", "Apt. 12",
    "\nWashington\n", "DC 20500", "P.O. Box 242", "Abc", "zip", " ", " ", ", ", "\n", "-", ".", "00",
    "1", "12",
)  # fmt: skip
texts = st.lists(
    st.sampled_from(FRAGMENTS) | st.text(alphabet=" \n-+.,:/()@%09aAéß", max_size=6), min_size=30, max_size=90
).map("".join)


def _scan(detector: Detector, text: str, shift: int = 0) -> set[Match]:
    results = detector.scan([text])
    assert isinstance(results, list)
    return {Match(m.start + shift, m.end + shift, m.category, m.score, m.validated) for m in results[0]}


@pytest.mark.parametrize("kind", STRUCTURED)
@given(text=texts, data=st.data())
@settings(deadline=None, max_examples=150)
def test_a_slice_with_context_has_the_matches_of_the_whole(
    kind: type[Detector], text: str, data: st.DataObject
) -> None:
    detector = kind()
    assert detector.reach is not None
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    low = max(0, start - detector.reach)
    high = min(len(text), end + detector.reach)

    def inside(matches: set[Match]) -> set[Match]:
        return {match for match in matches if start <= match.start < end}

    assert inside(_scan(detector, text[low:high], low)) == inside(_scan(detector, text))


@pytest.mark.parametrize("kind", STRUCTURED)
@given(text=texts)
@settings(deadline=None, max_examples=50)
def test_matches_lie_in_the_text_within_reach_and_come_once(kind: type[Detector], text: str) -> None:
    detector = kind()
    results = detector.scan([text])
    assert isinstance(results, list)
    assert len(set(results[0])) == len(results[0])
    for match in results[0]:
        assert 0 <= match.start < match.end <= len(text)
        assert match.end - match.start <= (detector.reach or 0)
