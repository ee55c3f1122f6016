"""The recognizers of one's own that `pii` takes from the settings."""

import pytest

from guardproxy import Match
from guardproxy.testing.locality import check_locality
from guardproxy_pii.config import Recognizer
from guardproxy_pii.own import OwnValues


def _own(regex: str = "", **settings: object) -> OwnValues:
    return OwnValues(Recognizer(name="mine", entity="MINE", regex=regex, **settings))  # type: ignore[arg-type]


def _values(detector: OwnValues, text: str) -> list[str]:
    return [text[match.start : match.end] for match in detector.scan([text])[0]]


@pytest.mark.parametrize(
    ("regex", "text", "values"),
    [
        (r"\bTKT-[0-9]{4}\b", "TKT-1234, tkt-5678; TKT-12345 and XTKT-1234", ["TKT-1234", "tkt-5678"]),
        (r"(?-i:TKT)-[0-9]", "tkt-1 TKT-2", ["TKT-2"]),
        ("[0-9]{3}", "1234", ["123", "234"]),  # no candidate hides another
        ("ä[0-9]", "ßä1 😀ä2", ["ä1", "ä2"]),
        ("^a1", "a1 a1", ["a1"]),
        ("a1$", "a1 a1", ["a1"]),
        ("x?", "", []),
    ],
)
def test_a_regex(regex: str, text: str, values: list[str]) -> None:
    assert _values(_own(regex), text) == values


@pytest.mark.parametrize("before", [0, 1, 511, 512, 513, 1023, 2000])
def test_a_value_is_found_wherever_it_stands(before: int) -> None:
    text = "ü" * (before - 1) + " " * (before > 0) + "TKT-1234"
    assert _values(_own(r"\bTKT-[0-9]{4}$"), text + "") == ["TKT-1234"]
    assert _values(_own(r"\bTKT-[0-9]{4}$"), text + " x" * 400) == []


def test_a_deny_list() -> None:
    own = _own(deny_list=("Blue Heron", "C++", "heron"))
    assert _values(own, "blue heron, Blue Herons; C++ C+++ XC++.") == ["blue heron", "heron", "C++", "C++"]
    assert own.scan(["heron"])[0] == [Match(0, 5, "MINE", 0.7, validated=True)]


@pytest.mark.parametrize(
    "text", ["blue  heron", "Blue\nHeron", "Blue\t Heron", "BLUE HERON", "Blue \r\nHeron"]
)
def test_blanks_of_a_denied_value_may_be_others(text: str) -> None:
    for listed in ("Blue Heron", " Blue  Heron "):
        assert _values(_own(deny_list=(listed,)), f"the {text}.") == [text]


@pytest.mark.parametrize("text", ["BlueHeron", "Blue-Heron", "Blue    Heron"])
def test_other_text_than_a_denied_value(text: str) -> None:
    assert _values(_own(deny_list=("Blue Heron",)), text) == []


def test_a_denied_value_is_found_as_wide_as_it_can_be() -> None:
    listed = " ".join(["ab"] * 40 + ["c"])  # 121 characters, and 201 of them with three for a blank
    with pytest.raises(ValueError, match="1 to 200 characters, a blank counts as three"):
        _own(deny_list=(listed,))
    widest = listed.removesuffix(" c").replace(" ", "   ")
    own = _own(deny_list=(listed.removesuffix(" c"),))
    for before in (0, 1, 511, 512, 513):
        assert _values(own, "-" * before + widest) == [widest]


def test_a_word_of_the_context_raises_the_score() -> None:
    own = _own("[0-9]{6}", context=("badge", "staff no."), score=0.1)
    scores = [own.scan([text])[0][0].score for text in ("123456", "badge 123456", "Staff no. is 123456")]
    assert scores == [0.1, 0.45, 0.45]
    assert [m.score for m in own.scan(["badge " + "x " * 60 + "123456"])[0]] == [0.1]


def test_it_is_local() -> None:
    check_locality(
        _own(r"\bTKT-[0-9]{4,8}\b", context=("ticket",)), ["ticket TKT-1234", "TKT-12345678", "XTKT-1"]
    )
    check_locality(
        _own(deny_list=("Blue Heron", "heron")), ["Blue Heron", "Blue \n Heron", "heron", "Herons", "x"]
    )
