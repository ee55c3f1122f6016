"""The settings of `pii`: what they select, and what they refuse."""

import re
from pathlib import Path
from typing import Any

import pytest

import guardproxy_pii
from guardproxy import ConfigError, Detector
from guardproxy.config import load_settings
from guardproxy_pii.config import HIGHEST, NAMED, STRUCTURED, PiiSettings, Recognizer, widest
from guardproxy_pii.countries import COUNTRIES


def _load(tmp_path: Path, text: str) -> PiiSettings:
    file = tmp_path / "guardproxy.toml"
    file.write_text(f"[guards.pii]\n{text}", "utf-8")
    own = load_settings(file, {}, {}, {"pii": PiiSettings}).plugins["pii"]
    assert isinstance(own, PiiSettings)
    return own


def _found(settings: PiiSettings, text: str) -> set[tuple[str, str]]:
    found = set()
    for detector in guardproxy_pii.detectors(settings):
        results = detector.scan([text])
        assert isinstance(results, list)
        found |= {(match.category, text[match.start : match.end]) for match in results[0]}
    return found


@pytest.mark.parametrize(
    ("preset", "entities"),
    [
        ("structured", STRUCTURED),
        ("default", (*STRUCTURED, "PERSON")),
        ("all", (*STRUCTURED, *NAMED)),
        ("pl", (*STRUCTURED, "PERSON", "PL_PESEL")),
        (("structured", "pl"), (*STRUCTURED, "PL_PESEL")),
        (("es", "fi"), (*STRUCTURED, "PERSON", "ES_NIE", "ES_NIF", "FI_PERSONAL_IDENTITY_CODE")),
    ],
)
def test_presets(preset: str | tuple[str, ...], entities: tuple[str, ...]) -> None:
    assert PiiSettings(preset=preset).selected == entities


NOT_IN_DEFAULT = (
    "DATE_TIME",
    "NRP",
    "ORGANIZATION",
    "URL",
    "LOCATION",
    "US_DRIVER_LICENSE",
    "US_BANK_NUMBER",
)


def test_the_default_has_only_what_code_is_not_full_of() -> None:
    assert not set(NOT_IN_DEFAULT) & set(PiiSettings().selected)


def test_every_country_is_a_preset(tmp_path: Path) -> None:
    for country, entities in COUNTRIES.items():
        own = _load(tmp_path, f'preset = "{country}"')
        assert own.selected == (*STRUCTURED, "PERSON", *entities)


def test_settings_of_a_file(tmp_path: Path) -> None:
    own = _load(
        tmp_path,
        """
        entities = ["EMAIL_ADDRESS", "UK_NHS"]
        threshold = 0.5
        thresholds = { UK_NHS = 0.9 }

        [[guards.pii.recognizers]]
        name = "tickets"
        entity = "TICKET_ID"
        regex = '\\bTKT-[0-9]{4,8}\\b'

        [[guards.pii.recognizers]]
        name = "projects"
        entity = "PROJECT"
        deny_list = ["Blue Heron"]
        """,
    )
    text = "ada@example.org, card 4111111111111111, NHS 401-023-2137, tkt-1234, project blue heron."
    assert _found(own, text) == {
        ("EMAIL_ADDRESS", "ada@example.org"),
        ("UK_NHS", "401-023-2137"),
        ("TICKET_ID", "tkt-1234"),
        ("PROJECT", "blue heron"),
    }
    assert [own.least(entity) for entity in ("UK_NHS", "EMAIL_ADDRESS")] == [0.9, 0.5]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"entities": ("US_SSN",)}, {("US_SSN", "224-87-3831")}),
        ({"entities": ("US_SSN",), "thresholds": {"US_SSN": 0.9}}, set()),
        ({"entities": ("US_SSN",), "threshold": 0.9}, set()),
        (
            {"entities": ("US_SSN",), "threshold": 0.9, "thresholds": {"US_SSN": 0.8}},
            {("US_SSN", "224-87-3831")},
        ),
    ],
)
def test_thresholds(settings: dict[str, Any], found: set[tuple[str, str]]) -> None:
    assert _found(PiiSettings(**settings), "the number 224-87-3831, or ada@example.org") == found


def test_a_threshold_reaches_every_detector() -> None:
    settings = PiiSettings(
        preset=("structured", *COUNTRIES),
        threshold=1.0,
        thresholds={"UK_NHS": 0.0},
        recognizers=(Recognizer(name="t", entity="T", regex="t1"),),
    )
    text = "NHS 4010232137, t1, 12 Rue de la Paix, 203.0.113.7, +33612457898, S2740116C"
    assert _found(settings, text) == {("UK_NHS", "4010232137")}


REFUSED = [
    ('preset = "dflt"', "preset: 'dflt' is none. Known: structured, default, all, au, "),
    ('preset = ["us", "zz"]', "'zz' is none"),
    ('entities = ["PERSON", "NAME"]', "entities: 'NAME' is none. Known: ABA_ROUTING_NUMBER, AU_ABN"),
    ("entities = ['EMAIL']", "entities: 'EMAIL' is none. Did you mean EMAIL_ADDRESS?"),
    ("entities = ['email_adress']", "Did you mean EMAIL_ADDRESS?"),
    ("entities = ['nhs']", "Did you mean UK_NHS?"),
    ("entities = ['PASSPORT']", "Did you mean IN_PASSPORT or IT_PASSPORT or KR_PASSPORT?"),
    ("thresholds = { PERSONS = 0.5 }", "thresholds: 'PERSONS' is no entity. Did you mean PERSON?"),
    ("thresholds = { NAME = 0.5 }", "thresholds: 'NAME' is no entity. Known: "),
    ("thresholds = { UK_NHS = 0.5 }", "thresholds: UK_NHS is not looked for; add it to entities or its"),
    ("entities = ['PERSON']\nthresholds = { US_SSN = 0.5 }", "thresholds: US_SSN is not looked for"),
    (
        "preset = 'uk'\nthresholds = { UK_POSTCODE = 0.6 }",
        "thresholds: UK_POSTCODE = 0.6 would switch it off: 0.45 is the highest score that it can have",
    ),
    ("thresholds = { STREET_ADDRESS = 0.8 }", "STREET_ADDRESS = 0.8 would switch it off: 0.7 is the highest"),
    ("thresholds = { PERSON = 5 }", "thresholds: PERSON must be a number from 0 to 1"),
    ("threshold = 1.5", "threshold must be a number from 0 to 1"),
    ('preset = "default"\nentity = ["PERSON"]', "'entity' is not known. Did you mean 'entities'?"),
]
RECOGNIZER = "[[guards.pii.recognizers]]\nname = 'mine'\n"
REFUSED_RECOGNIZERS = [
    ("entity = 'T'\nregex = '('", "the recognizer 'mine': regex is none of google-re2 (missing )"),
    ("entity = 'T'\nregex = '(?<=a)b'", "the recognizer 'mine': regex is none of google-re2"),
    ("entity = 'T'\nregex = 'a+'", "the recognizer 'mine': regex must match between 1 and 200 characters"),
    ("entity = 'T'\nregex = 'a{150}b{150}'", "between 1 and 200"),
    ("entity = 'T'\nregex = '\\b'", "between 1 and 200"),
    ("entity = 'T'", "the recognizer 'mine' needs either regex or deny_list"),
    ("entity = 'T'\nregex = 'a'\ndeny_list = ['a']", "needs either regex or deny_list"),
    ("entity = 'T'\ndeny_list = ['']", "a value of deny_list has 1 to 200 characters"),
    ("entity = 'ticket'\nregex = 'a'", "entity must be like TICKET_ID"),
    ("entity = 'T'\nregex = 'a'\nscore = 2", "the recognizer 'mine': score must be a number from 0 to 1"),
    ("entity = 'T'\nregex = 'a'\ncontext = ['(']", "a word of context"),
    (
        "entity = 'T'\nregex = 'a'\nscore = 0.3\n[guards.pii.thresholds]\nT = 0.4",
        "thresholds: T = 0.4 would switch it off: 0.3 is the highest",
    ),
    (
        "entity = 'T'\nregex = 'a'\nscore = 0.3\ncontext = ['b']\n[guards.pii.thresholds]\nT = 0.7",
        "thresholds: T = 0.7 would switch it off: 0.65 is the highest",
    ),
    ("entity = 'T'\nregexp = 'a'", "'regexp' is not known. Did you mean 'regex'?"),
]


@pytest.mark.parametrize(
    ("text", "message"), [*REFUSED, *((RECOGNIZER + text, message) for text, message in REFUSED_RECOGNIZERS)]
)
def test_what_is_refused_and_how(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert message in str(caught.value)
    assert "guards.pii" in str(caught.value)
    assert "guardproxy.toml" in str(caught.value)


def test_the_name_of_a_recognizer_is_plain(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a name has 1 to 64 letters"):
        _load(tmp_path, "[[guards.pii.recognizers]]\nname = 'a\tb'\nentity = 'T'\nregex = 'a'")


def test_a_threshold_of_the_highest_score_is_none_too_many() -> None:
    for entity, score in HIGHEST.items():
        assert PiiSettings(entities=(entity,), thresholds={entity: score}).least(entity) == score
    mine = Recognizer(name="t", entity="PERSON", deny_list=("Kingfisher",), score=1.0)
    assert PiiSettings(recognizers=(mine,), thresholds={"PERSON": 1.0}).least("PERSON") == 1.0


README = (Path(guardproxy_pii.__file__).parent / "README.md").read_text("utf-8")


def test_the_settings_of_the_readme_are_some(tmp_path: Path) -> None:
    first, second = re.findall(r"^```toml\n\[guards\.pii\]\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert _load(tmp_path, first) == PiiSettings()
    own = _load(tmp_path, second)
    text = "ticket tkt-1234, Blue Heron, and " + "so on and " * 9 + "tkt-5678"
    assert _found(PiiSettings(entities=("US_SSN",), recognizers=own.recognizers), text) == {
        ("TICKET_ID", "tkt-1234"),
        ("PROJECT", "Blue Heron"),
    }


def test_the_readme_lists_countries_and_entities() -> None:
    for country, entities in COUNTRIES.items():
        assert f"| `{country}` | {', '.join(f'`{entity}`' for entity in entities)} |" in README
    for entity in (*STRUCTURED, *NAMED):
        assert f"`{entity}`" in README


def test_two_recognizers_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = 2 * (RECOGNIZER + "entity = 'T'\nregex = 'a'\n")
    with pytest.raises(ConfigError, match="recognizers: two have the name 'mine'"):
        _load(tmp_path, twice)


@pytest.mark.parametrize(
    ("regex", "width"),
    [
        ("ab{1,3}", 4),
        (r"\bTKT-\d{4,8}\b", 12),
        (r"\p{Lu}\pN\z", 2),
        ("a|bcd", 3),
        ("a*", None),
        ("(?:ab)+", None),
        (r"\Qa\E", None),
    ],
)
def test_widest(regex: str, width: int | None) -> None:
    assert widest(regex) == width


def test_detectors_have_different_names() -> None:
    recognizers = tuple(Recognizer(name=name, entity="T", regex="t1") for name in ("cards", "names"))
    detectors: tuple[Detector, ...] = guardproxy_pii.detectors(
        PiiSettings(preset=("all", *COUNTRIES), recognizers=recognizers)
    )
    assert len({detector.name for detector in detectors}) == len(detectors) == 11
