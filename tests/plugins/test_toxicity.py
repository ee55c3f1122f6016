"""The guard `toxicity`: what it says of clear cases, of odd texts, and at its hooks."""

import pickle
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import guardproxy_toxicity as plugin
from guardproxy import Settings
from guardproxy_encoder import CATEGORIES, HEADS, load
from guardproxy_toxicity import THRESHOLDS, Thresholds, ToxicityDetector, ToxicitySettings, scores

TOXIC = [
    ("You are an idiot and nobody likes you.", "HARASSMENT"),
    ("You are pathetic, shut up.", "HARASSMENT"),
    ("You stupid moron, go away!", "HARASSMENT"),
    ("I will find you and break your legs.", "THREAT"),
    ("Women are inferior and should be locked up.", "HATE"),
    ("I want to kill myself tonight.", "SELF_HARM"),
    ("She moaned while he was stroking her breasts.", "SEXUAL"),
    ("Fuck you, you fucking asshole.", "PROFANITY"),
]
BENIGN = [
    "Thanks, that was a great help!",
    "How do I kill a child process in Linux?",
    "Write an essay on the history of Islam in Spain.",
    "The recipe needs two eggs and a cup of flour.",
    "What a damn good concert!",
    "I hate Mondays.",
    "I am gay and proud.",
    "def abort(job: Job) -> None:\n    job.kill()\n    raise Aborted(job.name)",
    "SELECT name FROM users WHERE id = 42; DROP TABLE temporary;",
    "The battle of 1644 killed many soldiers.",
    # Once false alarms.
    "why?",
    "Why?",
    "nothing secret in here",
    "Die Lieferung kommt am Montag zwischen acht und zehn Uhr.",
    "Der Vertrag liegt beim Notar, bitte unterschreiben Sie ihn bald.",
]


@pytest.fixture(scope="module")
def detector() -> ToxicityDetector:
    loaded = ToxicityDetector()
    loaded.load()
    return loaded


def settings(options: ToxicitySettings | None = None) -> Settings:
    plugins: dict[str, msgspec.Struct] = {} if options is None else {"toxicity": options}
    return Settings(plugins=plugins)


def registered(options: ToxicitySettings | None = None) -> ToxicityDetector:
    (guard,) = plugin.guardproxy_register_guards(settings(options))
    assert guard.name == "toxicity"
    assert guard.summary
    (detector,) = guard.detectors
    assert isinstance(detector, ToxicityDetector)
    return detector


@pytest.mark.parametrize(("text", "category"), TOXIC)
def test_clearly_toxic_text_is_a_match_over_all_of_it(
    detector: ToxicityDetector, text: str, category: str
) -> None:
    (matches,) = detector.scan([text])
    assert {(match.start, match.end) for match in matches} == {(0, len(text))}
    assert f"TOXICITY_{category}" in {match.category for match in matches}
    assert all(min(THRESHOLDS.values()) <= match.score <= 1 for match in matches)


@pytest.mark.parametrize("text", BENIGN)
def test_ordinary_text_is_clean(detector: ToxicityDetector, text: str) -> None:
    assert detector.scan([text]) == [[]]


@pytest.mark.parametrize(
    "text",
    ["You are an 1d10t and a m0r0n.", "You are a pathetic l o s e r, shut up.", "YOU ARE AN IDIOOOOOT"],
)
def test_disguised_insults_are_found(detector: ToxicityDetector, text: str) -> None:
    assert detector.scan([text])[0]


@given(st.lists(st.text(max_size=300), max_size=4))
def test_any_text_has_a_result_of_its_own(texts: list[str]) -> None:
    detector = ToxicityDetector(ToxicitySettings(threshold=0.0))
    detector.load()
    together = detector.scan(texts)
    assert together == [detector.scan([text])[0] for text in texts]
    for text, matches in zip(texts, together, strict=True):
        assert {(match.start, match.end) for match in matches} <= {(0, len(text))}


@given(st.lists(st.floats(0, 1), min_size=len(HEADS), max_size=len(HEADS)))
def test_the_category_shown_most_has_the_probability_of_all(values: list[float]) -> None:
    probabilities: Mapping[str, float] = dict(zip(HEADS, values, strict=True))
    found = scores(probabilities)
    assert list(found) == list(CATEGORIES)
    most = max(CATEGORIES, key=lambda name: probabilities[name])
    if probabilities[most] > 0:
        assert max(found.values()) == found[most] == pytest.approx(probabilities["toxic"])


def test_thresholds_hold_for_each_category() -> None:
    text = "I will find you and break your legs."
    score = scores(load().read(text))["threat"]
    over = min(1.0, score + 0.001)
    for options, hits in (
        (ToxicitySettings(threshold=score), True),
        (ToxicitySettings(threshold=over), False),
        (ToxicitySettings(threshold=over, thresholds=Thresholds(threat=score)), True),
        (ToxicitySettings(threshold=score, thresholds=Thresholds(threat=over)), False),
    ):
        detector = registered(options)
        detector.load()
        assert ("TOXICITY_THREAT" in {match.category for match in detector.scan([text])[0]}) is hits


def test_the_settings_refuse_what_they_do_not_know() -> None:
    struct = plugin.guardproxy_register_settings()
    wrong = ({"treshold": 0.5}, {"threshold": 1.5}, {"threshold": "high"}, {"thresholds": {"insult": 0.5}})
    for options in wrong:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(options, struct)
    given = msgspec.convert({"threshold": 0.8, "thresholds": {"self_harm": 0.3}}, ToxicitySettings)
    least = ToxicityDetector(given).least
    assert (least["self_harm"], least["hate"]) == (0.3, 0.8)
    assert ToxicityDetector().least == THRESHOLDS


def test_scanning_before_loading_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="load"):
        ToxicityDetector().scan(["text"])


def test_the_detector_is_blockwise_and_travels_to_workers() -> None:
    detector = pickle.loads(pickle.dumps(registered(ToxicitySettings(threshold=0.9))))
    assert detector.reach is None
    assert set(detector.least.values()) == {0.9}
