"""The guard `toxicity` against labelled data: floors under what was measured."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardproxy.blocks import blocks
from guardproxy_encoder import TOXIC, Encoder, load
from guardproxy_toxicity import ToxicityDetector

DETECTION = (Path(__file__).parents[2] / "../shared/detection").resolve()

pytestmark = pytest.mark.skipif(
    not DETECTION.is_dir(), reason="the labelled data (../shared/detection) is absent"
)

# The goals; the shipped encoder saw the first three of these sources in training (MODEL_CARD.md has the
# figures for texts that it did not see), so these catch a broken file, not a worse model.
FLOORS = {
    "openai-moderation": 0.88,
    "surge-toxicity": 0.95,
    "hatecheck": 0.75,
    "davidson-tweets": 0.93,
    "wiki-toxicity": 0.90,
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load()


def records(name: str) -> list[dict[str, Any]]:
    with gzip.open(DETECTION / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def area_under_curve(toxic: list[float], clean: list[float]) -> float:
    high, low = np.array(toxic)[:, None], np.array(clean)[None]
    return float(((high > low) + 0.5 * (high == low)).mean())


@pytest.mark.parametrize(("source", "floor"), FLOORS.items())
def test_ranking_by_source(encoder: Encoder, source: str, floor: float) -> None:
    scores: dict[int, list[float]] = {0: [], 1: []}
    # Every third text: the whole takes minutes.
    for record in [record for record in records("tox_dev") if record["group"] == source][::3]:
        scores[record["label"]].append(encoder.read(record["text"])[TOXIC])
    assert area_under_curve(scores[1], scores[0]) >= floor


@pytest.mark.parametrize("name", ["tox_benign_dev", "neg_dev"])
def test_ordinary_answers_and_code_are_clean_in_every_block(name: str) -> None:
    detector = ToxicityDetector()
    detector.load()
    texts = [record["text"] for record in records(name)]
    flagged = [text for text in texts if any(detector.scan([text[b.seen : b.end] for b in blocks(text)]))]
    assert len(flagged) <= 0.01 * len(texts)
