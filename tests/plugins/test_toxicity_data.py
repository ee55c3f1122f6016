"""The guard `toxicity` against labelled data: floors under what was measured."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardproxy.blocks import blocks
from guardproxy_toxicity.model import Model, load

DETECTION = (Path(__file__).parents[2] / "../shared/detection").resolve()

pytestmark = pytest.mark.skipif(
    not DETECTION.is_dir(), reason="the labelled data (../shared/detection) is absent"
)

# A little below the figures of MODEL_CARD.md. The first three are short of the goals .88, .95, .75.
FLOORS = {
    "openai-moderation": 0.79,
    "surge-toxicity": 0.82,
    "hatecheck": 0.53,
    "davidson-tweets": 0.97,
    "wiki-toxicity": 0.94,
}


@pytest.fixture(scope="module")
def model() -> Model:
    return load()


def records(name: str) -> list[dict[str, Any]]:
    with gzip.open(DETECTION / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def area_under_curve(toxic: list[float], clean: list[float]) -> float:
    high, low = np.array(toxic)[:, None], np.array(clean)[None]
    return float(((high > low) + 0.5 * (high == low)).mean())


@pytest.mark.parametrize(("source", "floor"), FLOORS.items())
def test_ranking_by_source(model: Model, source: str, floor: float) -> None:
    scores: dict[int, list[float]] = {0: [], 1: []}
    for record in records("tox_dev"):
        if record["group"] == source:
            scores[record["label"]].append(model.score(record["text"]).probability)
    assert area_under_curve(scores[1], scores[0]) >= floor


@pytest.mark.parametrize("name", ["tox_benign_dev", "neg_dev"])
def test_ordinary_answers_and_code_are_clean_in_every_block(model: Model, name: str) -> None:
    texts = [record["text"] for record in records(name)]
    flagged = [text for text in texts if _worst_block(model, text) >= model.threshold]
    assert len(flagged) <= 0.01 * len(texts)


def test_a_long_benign_text_is_clean_in_every_block(model: Model) -> None:
    long = "\n\n".join(record["text"] for record in records("tox_benign_dev"))
    assert len(blocks(long)) > 200
    flagged = [b for b in blocks(long) if model.score(long[b.seen : b.end]).probability >= model.threshold]
    assert len(flagged) <= 0.01 * len(blocks(long))


def _worst_block(model: Model, text: str) -> float:
    return max((model.score(text[b.seen : b.end]).probability for b in blocks(text)), default=0.0)
