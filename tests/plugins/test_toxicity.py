"""The guard `toxicity`: what it says of clear cases, of odd texts, and at its hooks."""

import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import resources
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import guardproxy_toxicity as plugin
import guardproxy_toxicity.features as patterns
from guardproxy import Match, Settings
from guardproxy_toxicity import ToxicityDetector, ToxicitySettings
from guardproxy_toxicity.features import BUCKETS, features, words
from guardproxy_toxicity.model import Model, load

TOXIC = [
    ("You are an idiot and nobody likes you.", "TOXICITY_INSULT"),
    ("You are pathetic, shut up.", "TOXICITY_INSULT"),
    ("You stupid moron, go away!", "TOXICITY_INSULT"),
    ("I will find you and break your legs.", "TOXICITY_THREAT"),
    ("Women are inferior and should be locked up.", "TOXICITY_HATE"),
    ("I want to kill myself tonight.", "TOXICITY_SELF_HARM"),
    ("She moaned while he was stroking her breasts.", "TOXICITY_SEXUAL"),
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
]


@pytest.fixture(scope="module")
def model() -> Model:
    return load()


@pytest.fixture(scope="module")
def detector() -> ToxicityDetector:
    loaded = ToxicityDetector()
    loaded.load()
    return loaded


def settings(options: ToxicitySettings | None = None) -> Settings:
    plugins = {} if options is None else {"toxicity": options}
    return cast(Settings, SimpleNamespace(plugins=plugins))


def registered(options: ToxicitySettings | None = None) -> ToxicityDetector:
    (guard,) = plugin.guardproxy_register_guards(settings(options))
    assert guard.name == "toxicity"
    assert guard.summary
    (detector,) = guard.detectors
    assert isinstance(detector, ToxicityDetector)
    return detector


@pytest.mark.parametrize(("text", "category"), TOXIC)
def test_clearly_toxic_text_is_one_match_over_all_of_it(
    detector: ToxicityDetector, text: str, category: str
) -> None:
    ((match,),) = detector.scan([text])
    assert (match.start, match.end, match.category) == (0, len(text), category)
    assert 0.7 <= match.score <= 1


@pytest.mark.parametrize("text", BENIGN)
def test_ordinary_text_is_clean(detector: ToxicityDetector, text: str) -> None:
    assert detector.scan([text]) == [[]]


@pytest.mark.parametrize(
    "text",
    ["You are an 1d10t and a m0r0n.", "You are a pathetic l o s e r, shut up.", "YOU ARE AN IDIOOOOOT"],
)
def test_disguised_insults_are_found(detector: ToxicityDetector, text: str) -> None:
    assert detector.scan([text])[0]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "12345 67890", "\u200b", "😀😀", "\ud800", "---", "\x00"])
def test_text_without_words_is_clean(detector: ToxicityDetector, text: str) -> None:
    assert detector.scan([text]) == [[]]


@given(st.lists(st.text(max_size=300), max_size=4))
def test_any_text_has_a_probability_and_a_result_of_its_own(texts: list[str]) -> None:
    detector = ToxicityDetector(threshold=0.0)
    detector.load = lambda: None  # type: ignore[method-assign]
    detector._model = _shared()
    together: Sequence[list[Match]] = detector.scan(texts)
    assert together == [detector.scan([text])[0] for text in texts]
    assert all(
        0 <= match.score <= 1 and match.end == len(t)
        for t, m in zip(texts, together, strict=True)
        for match in m
    )


_MODELS: list[Model] = []


def _shared() -> Model:
    if not _MODELS:
        _MODELS.append(load())
    return _MODELS[0]


@given(st.text(max_size=400))
def test_features_are_distinct_rows_of_the_tables(text: str) -> None:
    for buckets in features(words(text)):
        assert len(set(buckets.tolist())) == len(buckets)
        assert all(0 <= bucket < BUCKETS for bucket in buckets.tolist())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You are an 1d10t!", ["you", "are", "an", "idiot", "!"]),
        ("k.i.l.l it, sooooo good", ["kill", "it", "soo", "good"]),
        ("see https://a.example/x and @bob", ["see", "and"]),
        ("don’t st0p!!", ["don't", "stop", "!"]),
        ("version 2.10.3 of 2024", ["version", "of"]),
    ],
)
def test_words_undo_cheap_disguises(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_scores_do_not_depend_on_the_hash_seed_and_need_neither_sklearn_nor_a_socket(model: Model) -> None:
    program = (
        "import socket, sys\n"
        "def refuse(*args, **kwargs): raise AssertionError('network')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "from guardproxy_toxicity.model import load\n"
        "print(load().score('You are a fool, said the man.').probability)\n"
        "assert not {'sklearn', 'scipy', 'joblib'} & set(sys.modules)\n"
    )
    here = [str(path) for path in sys.path if path]
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(here)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert seen == {str(model.score("You are a fool, said the man.").probability)}


def test_the_weights_are_small() -> None:
    weights = resources.files("guardproxy_toxicity") / "weights.npz"
    assert len(weights.read_bytes()) <= 4 * 1024 * 1024


def test_a_threshold_of_the_settings_replaces_the_models_own(model: Model) -> None:
    text = "You are an idiot and nobody likes you."
    score = model.score(text).probability
    for threshold, hits in ((score - 0.001, 1), (min(1.0, score + 0.001), 0)):
        detector = registered(ToxicitySettings(threshold=threshold))
        detector.load()
        assert len(detector.scan([text])[0]) == hits


def test_without_settings_the_models_own_threshold_holds() -> None:
    assert registered().threshold is None


def test_the_settings_refuse_what_they_do_not_know() -> None:
    struct = plugin.guardproxy_register_settings()
    for wrong in ({"treshold": 0.5}, {"threshold": 1.5}, {"threshold": "high"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, struct)


def test_scanning_before_loading_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="load"):
        ToxicityDetector().scan(["text"])


def test_the_detector_is_blockwise_and_travels_to_workers() -> None:
    import pickle

    detector = pickle.loads(pickle.dumps(registered(ToxicitySettings(threshold=0.9))))
    assert detector.reach is None
    assert detector.threshold == 0.9


# As the pattern was before it was made linear.
DISGUISED = re.compile(r"[^\W\d_]*[013457@$!|]+(?:[^\W\d_]+[013457@$!|]*)+")


@given(st.text(st.sampled_from("aé4!2_ x|'$"), max_size=16))
def test_disguised_words_are_found_where_a_plain_pattern_finds_them(text: str) -> None:
    spans = [found.span() for found in patterns.DISGUISED.finditer(text)]
    assert spans == [found.span() for found in DISGUISED.finditer(text)]
