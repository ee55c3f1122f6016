"""The numbers of countries that `pii` takes from Presidio."""

import inspect

import presidio_analyzer
import presidio_analyzer.predefined_recognizers as presidio
import pytest

from guardproxy import Match
from guardproxy.testing.locality import check_locality
from guardproxy_pii.context import raised
from guardproxy_pii.countries import COUNTRIES, ENTITIES, HIGHEST, CountryNumbers

DEFAULT = dict.fromkeys(ENTITIES, 0.4)


def _found(text: str, *countries: str) -> list[Match]:
    entities = [entity for country in countries for entity in COUNTRIES[country]]
    return CountryNumbers(entities, DEFAULT).scan([text])[0]


def test_all_of_presidios_recognizers_for_countries_are_there() -> None:
    theirs = {
        name
        for name, kind in vars(presidio).items()
        if inspect.isclass(kind) and ".country_specific." in kind.__module__
    }
    assert theirs - set(ENTITIES.values()) == {"UsSsnRecognizer"}  # the guard has its own
    for entity, name in ENTITIES.items():
        assert getattr(presidio, name)().supported_entities == [entity]


@pytest.mark.parametrize(
    ("country", "text", "entity", "value"),
    [
        ("uk", "her NHS number is 401-023-2137.", "UK_NHS", "401-023-2137"),
        ("uk", "NHS 4010232137", "UK_NHS", "4010232137"),
        ("uk", "nino AA 12 34 56 B", "UK_NINO", "AA 12 34 56 B"),
        ("uk", "postcode SW1A 1AA", "UK_POSTCODE", "SW1A 1AA"),
        ("es", "mi DNI es 12345678Z", "ES_NIF", "12345678Z"),
        ("es", "NIE X1234567L", "ES_NIE", "X1234567L"),
        ("it", "codice fiscale RSSMRA85T10A562S", "IT_FISCAL_CODE", "RSSMRA85T10A562S"),
        ("fi", "hetu 131052-308T", "FI_PERSONAL_IDENTITY_CODE", "131052-308T"),
        ("in", "aadhaar 312345678909", "IN_AADHAAR", "312345678909"),
        ("in", "ABCPD1234F", "IN_PAN", "ABCPD1234F"),
        ("au", "ABN 51 824 753 556", "AU_ABN", "51 824 753 556"),
        ("au", "tax file number 876 543 210", "AU_TFN", "876 543 210"),
        ("sg", "NRIC S2740116C", "SG_NRIC_FIN", "S2740116C"),
        ("pl", "PESEL 44051401359", "PL_PESEL", "44051401359"),
        ("pl", "PESEL 02070803628", "PL_PESEL", "02070803628"),
        ("au", "ACN 000 000 180", "AU_ACN", "000 000 180"),
        ("kr", "주민등록번호는 960121-1013412", "KR_RRN", "960121-1013412"),
        ("us", "itin 911-70-1234", "US_ITIN", "911-70-1234"),
        ("us", "MBI 1EG4-TE5-MK73", "US_MBI", "1EG4-TE5-MK73"),
        ("us", "routing number 122105155", "ABA_ROUTING_NUMBER", "122105155"),
        ("us", "passport 123456789", "US_PASSPORT", "123456789"),
        ("uk", "passport number 123456789", "UK_PASSPORT", "123456789"),
        ("uk", "passport AB1234567", "UK_PASSPORT", "AB1234567"),
    ],
)
def test_numbers(country: str, text: str, entity: str, value: str) -> None:
    assert (entity, value) in [(m.category, text[m.start : m.end]) for m in _found(text, country)]


@pytest.mark.parametrize(
    "text",
    [
        "401-023-2138",  # the check digit
        "1732443600",  # a time, whatever its check digit
        "4010232137",
        "876543210",
        "12345678A",
        "x12345678Z",
        "12345678Zx",
        "sha512-f3qQ9oQy9j2AhBe a1b2c3d4 8f0e1d2c",
        "12345678-1234-1234-1234-123456789012",
    ],
)
def test_no_numbers(text: str) -> None:
    assert _found(text, *COUNTRIES) == []


def test_the_highest_scores_are_those_of_presidio() -> None:
    known = {}
    for entity, name in ENTITIES.items():
        recognizer = getattr(presidio, name)()
        if type(recognizer).validate_result is presidio_analyzer.PatternRecognizer.validate_result:
            known[entity] = raised(max(pattern.score for pattern in recognizer.patterns))
    assert known == HIGHEST


@pytest.mark.parametrize(
    ("text", "country"),
    [("PESEL 44051401358", "pl"), ("PESEL 44051401351", "pl"), ("ACN 004 085 617", "au")],
)
def test_a_wrong_check_digit_rules_a_number_out(text: str, country: str) -> None:
    assert _found(text, country) == []


def test_a_check_digit_is_proof_where_looks_are_strong_or_a_word_is_near() -> None:
    [match] = _found("DNI 12345678Z", "es")
    assert (match.score, match.validated) == (1.0, True)
    [announced] = _found("NHS 4010232137", "uk")
    assert (announced.score, announced.validated) == (1.0, True)
    [without] = CountryNumbers(["UK_NHS"]).scan(["4010232137"])[0]
    assert (without.score, without.validated) == (0.3, False)


def test_it_is_local() -> None:
    examples = [
        "NHS 401-023-2137",
        "DNI 12345678Z ",
        "passport 123456789",
        "AA 12 34 56 B",
        "GB 12 ",
        "routing ",
    ]
    check_locality(CountryNumbers(list(ENTITIES), DEFAULT), examples)
