"""Names of persons and places: Presidio with a spaCy pipeline that is installed, on prose only."""

import bisect
import contextlib
import importlib.metadata
import importlib.util
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardproxy import ConfigError, Detector, Match
from guardproxy_pii.cues import with_title
from guardproxy_pii.given import words
from guardproxy_pii.letterheads import letterheads
from guardproxy_pii.persons import LONGEST, Persons, joined
from guardproxy_pii.prose import Line, Prose, prose_ranges
from guardproxy_pii.street import StreetAddresses

if TYPE_CHECKING:
    from presidio_analyzer import BatchAnalyzerEngine, RecognizerResult

# The label of the pipeline, and the entity of Presidio, which is our category.
LABELS = {
    "PERSON": "PERSON",
    "PER": "PERSON",
    "GPE": "LOCATION",
    "LOC": "LOCATION",
    "FAC": "LOCATION",
    "ORG": "ORGANIZATION",
    "NORP": "NRP",
    "DATE": "DATE_TIME",
    "TIME": "DATE_TIME",
}
# What costs time and changes no name.
UNUSED = ["tagger", "parser", "attribute_ruler", "lemmatizer"]
BATCH = 16  # texts that the pipeline sees at once
ANY_LANGUAGE = "xx"  # what spaCy calls a pipeline of several
NOT_LATIN = words("ar bg el fa he hi hy ja ka ko mk ru sr ta te th uk ur zh")
# Quotation marks of mail: to the model they would be part of a name.
_QUOTED = re.compile(r"(?m)^(?:> ?)+")
# `ex-president Smith`
_OPENING = re.compile(r"(?!van|von|de|da|di|der|den|la|bin|al)[a-z][\w-]{1,30} (?=[A-Z])")
_MARKS = frozenset("_{}<>=@\\/|[]")
# A text of so many words, of which fewer than this share are function words of the language, is in another.
_FEWEST_WORDS, _FUNCTION_WORDS = 8, 0.15


class Names(Detector):
    """The `entities` that the pipeline finds in a block, from a score on. Blockwise."""

    name = "names"

    def __init__(
        self,
        pipeline: str,
        entities: Sequence[str] = ("PERSON",),
        least: Mapping[str, float] | None = None,
        language: str = "",
    ) -> None:
        """`least`: the least score by entity; `pipeline`: an installed package of spaCy, or a folder."""
        self.language = language
        self.pipeline = pipeline
        self.entities = tuple(entities)
        self._least = dict(least or {})
        self._streets = StreetAddresses()
        self._model: Model | None = None

    def load(self) -> None:
        """Load the pipeline and scan once; nothing is fetched.

        Raises:
            ConfigError: it is not installed.
        """
        self._model = load_model(self.pipeline, self.entities, self.language)
        self.scan(["Ada Lovelace wrote to Charles Babbage in London."])

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The names in each text."""
        if self._model is None:
            self.load()
        assert self._model is not None
        ranges = [prose_ranges(text) for text in texts]
        # The pipeline is asked only where there is more than a few words amid code.
        worth = [i for i, found in enumerate(ranges) if any(line is not Line.MIXED for _, _, line in found)]
        results = self._model.engine.analyze_iterator(
            [_QUOTED.sub(_blanks, texts[index]) for index in worth],
            language=self._model.language,
            batch_size=BATCH,
            entities=list(self.entities),
        )
        matches: list[list[Match]] = [[] for _ in texts]
        by_text = dict(zip(worth, results, strict=True))
        for index, prose in enumerate(ranges):
            matches[index] = [
                match
                for match in (
                    self._names(self._model, texts[index], by_text.get(index, ()), prose) if prose else ()
                )
                if match.score >= self._least.get(match.category, 0.0)
            ]
        return matches

    def _names(
        self, model: "Model", text: str, found: "Sequence[RecognizerResult]", prose: Prose
    ) -> list[Match]:
        """What the pipeline found, cleaned, and the persons that other signs give away."""
        others, persons = [], []
        foreign = model.foreign(text, prose)
        for result in found:
            start, end = _trimmed(text, result.start, result.end)
            line = _line(prose, start)
            if line is None or not 2 <= end - start <= LONGEST:
                continue
            if result.entity_type != "PERSON":
                if _MARKS.isdisjoint(text[start:end]):
                    others.append(Match(start, end, result.entity_type, result.score))
                continue
            if opening := _OPENING.match(text, start, end):
                start = opening.end()
            if model.persons.counts(text, start, end, line, foreign=foreign):
                persons.append(Match(with_title(text, start), end, "PERSON", result.score))
        if "PERSON" in self.entities:
            streets = self._streets.scan([text])[0]
            persons += model.persons.missed(text, prose)
            persons += letterheads(text, prose, streets, model.persons)
            persons += model.persons.again(text, persons)
            persons = joined(list(_before_streets(text, persons, streets)))
        return others + [person for person in persons if _line(prose, person.start)]


def _before_streets(text: str, persons: Sequence[Match], streets: Sequence[Match]) -> Iterator[Match]:
    """The persons without streets, which are called after persons: the address is found as such."""
    for person in persons:
        overlapping = [s.start for s in streets if s.start < person.end and person.start < s.end]
        end = min(overlapping, default=person.end)
        end = _trimmed(text, person.start, end)[1] if end > person.start else end
        if end - person.start >= (3 if overlapping else 1):
            yield Match(person.start, end, "PERSON", person.score)


def _line(prose: Prose, at: int) -> Line | None:
    """What the line around `at` reads like; None where it is no prose."""
    index = bisect.bisect_right(prose, at, key=lambda line: line[0]) - 1
    return prose[index][2] if index >= 0 and at < prose[index][1] else None


def _blanks(found: re.Match[str]) -> str:
    return " " * len(found[0])


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The range of a name without what stands around it."""
    line = text.find("\n", start, end)  # no name goes on in the next line
    end = end if line < 0 else line
    while start < end and not text[start].isalnum():
        start += 1
    while start < end and not text[end - 1].isalnum() and text[end - 1] not in ".)":
        end -= 1
    if text[start:end].endswith(("'s", "’s")):
        end -= 2
    return start, end


class Model:
    """A loaded pipeline with Presidio around it, and what its language tells about names."""

    def __init__(
        self, engine: "BatchAnalyzerEngine", nlp: Any, language: str, dictionary: frozenset[str]
    ) -> None:
        """`dictionary`: the words of the language, in lower case; may be empty."""
        self.engine = engine
        self.language = language
        self._function_words = frozenset(nlp.Defaults.stop_words)
        latin = language not in NOT_LATIN and language != ANY_LANGUAGE
        self.persons = Persons(dictionary | self._function_words, latin=latin)

    def foreign(self, text: str, prose: Prose) -> bool:
        """Whether `text` hardly reads like the pipeline's language: it takes words for names then."""
        found = [word for low, high, _ in prose for word in text[low:high].lower().split()]
        if len(found) < _FEWEST_WORDS or not self._function_words:
            return False
        known = sum(word.strip(".,;:!?\"'()") in self._function_words for word in found)
        return known < _FUNCTION_WORDS * len(found)


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


def load_model(pipeline: str, entities: Sequence[str], language: str = "") -> Model:
    """Presidio around the spaCy package `pipeline`, with its recogniser of names alone.

    Raises:
        ConfigError: the package is not installed (it is never fetched), finds no names, or is of
            another language.
    """
    # Imported here: only the processes that scan pay for it.
    import spacy
    from presidio_analyzer import AnalyzerEngine, BatchAnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    _silence("presidio-analyzer", "presidio_analyzer", "spacy")
    check_installed(pipeline)
    nlp = spacy.load(_source(pipeline))
    dictionary = _dictionary(nlp)
    if language not in ("", nlp.lang) and nlp.lang != ANY_LANGUAGE:
        raise ConfigError(
            f"[guards.pii] language is {language[:16]!r}, and the spaCy pipeline {pipeline[:64]!r} is of "
            f"{nlp.lang!r}. Leave language out, or set pipeline to one of that language."
        )
    language = language or str(nlp.lang)
    for pipe in UNUSED:
        if pipe in nlp.pipe_names:
            nlp.remove_pipe(pipe)
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
    engine = SpacyNlpEngine([{"lang_code": language, "model_name": pipeline}], configuration)
    # In place of its load(), which would fetch a pipeline that is missing.
    engine.nlp = {language: nlp}  # type: ignore[assignment]
    registry = RecognizerRegistry(
        [SpacyRecognizer(supported_language=language, supported_entities=list(entities))],
        supported_languages=[language],
    )
    analyzer = AnalyzerEngine(registry, engine, supported_languages=[language])
    return Model(BatchAnalyzerEngine(analyzer), nlp, language, dictionary)


def _source(pipeline: str) -> str | Path:
    """What spaCy loads: its package, a folder, or the folder that another package carries as data.

    Raises:
        ConfigError: it has none.
    """
    if Path(pipeline).exists():
        return Path(pipeline)
    found = importlib.util.find_spec(pipeline.replace("-", "_"))
    for root in found.submodule_search_locations or () if found else ():
        if (Path(root) / "meta.json").is_file():
            return pipeline
        if folders := sorted(Path(root).glob("*/meta.json")):
            return folders[0].parent
    raise ConfigError(
        f"the package {pipeline[:64]!r} holds no spaCy pipeline. Set [guards.pii] pipeline to one."
    )


def _dictionary(nlp: Any) -> frozenset[str]:
    """The words that the pipeline's lemmatizer knows, where it has a table of them."""
    if not nlp.has_pipe("lemmatizer"):
        return frozenset()
    lookups = nlp.get_pipe("lemmatizer").lookups
    tables = lookups.get_table("lemma_index") if lookups.has_table("lemma_index") else {}
    return frozenset(word for table in tables.values() for word in table)


def _silence(*loggers: str) -> None:
    """Presidio logs words of the text that it reads; ours leave no process."""
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
