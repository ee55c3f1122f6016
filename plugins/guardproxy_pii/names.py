"""Names of persons and places: Presidio with a spaCy pipeline that is installed, on prose only."""

import contextlib
import importlib.metadata
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guardproxy import ConfigError, Detector, Match
from guardproxy_pii.cues import announced, with_title
from guardproxy_pii.prose import prose_ranges
from guardproxy_pii.street import StreetAddresses

if TYPE_CHECKING:
    from presidio_analyzer import BatchAnalyzerEngine, RecognizerResult

LANGUAGE = "en"
# The label of the pipeline, and the entity of Presidio, which is our category.
LABELS = {"PERSON": "PERSON", "PER": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION", "FAC": "LOCATION"}
# What costs time and changes no name.
UNUSED = ["tagger", "parser", "attribute_ruler", "lemmatizer"]
BATCH = 16  # texts that the pipeline sees at once
LONGEST = 80  # characters of a name; what is longer is a slip of the model
ANNOUNCED_SCORE = 0.9


class Names(Detector):
    """The `entities` that the pipeline finds in a block: PERSON, LOCATION. Blockwise."""

    name = "names"

    def __init__(self, pipeline: str, entities: Sequence[str] = ("PERSON",)) -> None:
        self.pipeline = pipeline
        self.entities = tuple(entities)
        self._streets = StreetAddresses()
        self._engine: BatchAnalyzerEngine | None = None

    def load(self) -> None:
        """Load the pipeline and scan once; nothing is fetched.

        Raises:
            ConfigError: it is not installed.
        """
        self._engine = build_engine(self.pipeline, self.entities)
        self.scan(["Ada Lovelace wrote to Charles Babbage in London."])

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The names in each text."""
        if self._engine is None:
            self.load()
        assert self._engine is not None
        ranges = [prose_ranges(text) for text in texts]
        worth = [index for index, found in enumerate(ranges) if found]
        results = self._engine.analyze_iterator(
            [texts[index] for index in worth],
            language=LANGUAGE,
            batch_size=BATCH,
            entities=list(self.entities),
        )
        matches: list[list[Match]] = [[] for _ in texts]
        for index, found in zip(worth, results, strict=True):
            matches[index] = self._names(texts[index], found, ranges[index])
        return matches

    def _names(self, text: str, found: "list[RecognizerResult]", prose: list[tuple[int, int]]) -> list[Match]:
        """What the pipeline found, cleaned, and the persons whose names are announced."""
        names = [match for result in found if (match := _name(text, result)) is not None]
        if "PERSON" in self.entities:
            names += [Match(start, end, "PERSON", ANNOUNCED_SCORE) for start, end in announced(text)]
        streets = self._streets.scan([text])[0]
        return [
            name
            for name in names
            if any(low <= name.start < high for low, high in prose)
            # Streets are called after persons: the address is found as such.
            and not (
                name.category == "PERSON" and any(s.start < name.end and name.start < s.end for s in streets)
            )
        ]


def _name(text: str, result: "RecognizerResult") -> Match | None:
    """The name without what stands around it, with its title; None for what cannot be one."""
    start, end = result.start, result.end
    line = text.find("\n", start, end)  # no name goes on in the next line
    end = end if line < 0 else line
    while start < end and not text[start].isalnum():
        start += 1
    while start < end and not text[end - 1].isalnum() and text[end - 1] not in ".)":
        end -= 1
    if text[start:end].endswith(("'s", "’s")):
        end -= 2
    name = text[start:end]
    if not 2 <= len(name) <= LONGEST or any(mark in name for mark in "_{}<>=@\\/|[]"):
        return None
    if result.entity_type != "PERSON":
        return Match(start, end, result.entity_type, result.score)
    if name.islower() or any(character.isdigit() for character in name):
        return None
    return Match(with_title(text, start), end, "PERSON", result.score)


def check_installed(pipeline: str) -> None:
    """Say at once, and without loading spaCy, that `pipeline` is neither a package nor a folder of one.

    Raises:
        ConfigError: names the pipelines that are installed.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
        importlib.metadata.distribution(pipeline)
        return
    if (Path(pipeline) / "config.cfg").is_file():
        return
    points = importlib.metadata.entry_points(group="spacy_models")
    installed = ", ".join(sorted(point.name for point in points)) or "none is installed"
    raise ConfigError(
        f"the spaCy pipeline {pipeline[:64]!r} is not installed; install its package, or set "
        f"[guards.pii] pipeline to an installed one: {installed}."
    )


def build_engine(pipeline: str, entities: Sequence[str]) -> "BatchAnalyzerEngine":
    """Presidio around the spaCy package `pipeline`, with its recogniser of names alone.

    Raises:
        ConfigError: the package is not installed (it is never fetched), or finds no names.
    """
    # Imported here: only the processes that scan pay for it.
    import spacy
    from presidio_analyzer import AnalyzerEngine, BatchAnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    _silence("presidio-analyzer", "presidio_analyzer", "spacy")
    check_installed(pipeline)
    nlp = spacy.load(pipeline, exclude=UNUSED)
    if not nlp.has_pipe("ner"):
        raise ConfigError(f"the spaCy pipeline {pipeline[:64]!r} has no recogniser of names (ner).")
    model = getattr(nlp.get_pipe("ner"), "model")  # noqa: B009 - the stubs know a callable only
    if "tok2vec" in nlp.pipe_names and all(node.name != "tok2vec-listener" for node in model.walk()):
        nlp.remove_pipe("tok2vec")  # it has vectors of its own
    labels = nlp.pipe_labels["ner"]
    configuration = NerModelConfiguration(
        model_to_presidio_entity_mapping=LABELS,
        labels_to_ignore=sorted(label for label in labels if LABELS.get(label) not in entities),
        low_score_entity_names=[],
    )
    engine = SpacyNlpEngine([{"lang_code": LANGUAGE, "model_name": pipeline}], configuration)
    # In place of its load(), which would fetch a pipeline that is missing.
    engine.nlp = {LANGUAGE: nlp}  # type: ignore[assignment]
    registry = RecognizerRegistry(
        [SpacyRecognizer(supported_language=LANGUAGE, supported_entities=list(entities))],
        supported_languages=[LANGUAGE],
    )
    analyzer = AnalyzerEngine(registry, engine, supported_languages=[LANGUAGE])
    return BatchAnalyzerEngine(analyzer)


def _silence(*loggers: str) -> None:
    """Presidio logs words of the text that it reads; ours leave no process."""
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
