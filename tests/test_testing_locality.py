"""check_locality passes what is local and catches what is not."""

import re
from collections.abc import Sequence

import pytest

from guardproxy import Detector, Match
from guardproxy.testing.locality import check_locality
from tests.samples import Braces, Names, Pairs, Tags


@pytest.mark.parametrize(
    ("detector", "examples"),
    [
        (Tags(), ["TAG-1234", "TAG-123456789"]),
        (Pairs(), ["xyxyxy", "xx"]),
        (Braces(), ["{{ secret }}", "{{"]),
    ],
)
def test_local_detectors_pass(detector: Detector, examples: list[str]) -> None:
    check_locality(detector, examples)


class Short(Tags):
    """Says that it needs less than it does."""

    reach = 6


class Consuming(Detector):
    """Its matches consume each other."""

    name = "consuming"
    reach = 4

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return [[Match(*m.span(), "XY") for m in re.finditer("[xy]{3}", text)] for text in texts]


@pytest.mark.parametrize(
    ("detector", "examples"), [(Short(), ["TAG-1234", "TAG-123456789"]), (Consuming(), ["xyxyxy"])]
)
def test_others_are_caught(detector: Detector, examples: list[str]) -> None:
    with pytest.raises(AssertionError, match="is not local"):
        check_locality(detector, examples, max_examples=2000)


def test_a_blockwise_detector_is_refused() -> None:
    with pytest.raises(AssertionError, match="blockwise"):
        check_locality(Names(), ["Zorp"])
