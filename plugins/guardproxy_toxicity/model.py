"""The toxicity model: reads its weights, scores a text. numpy only, no network.

It is a logistic regression over three views of the text: hashed words and word pairs, hashed
character n-grams, and the direction of the mean word vector. Row 0 of each matrix answers whether
the text is toxic, the other rows how much it looks like each kind. `train.py` makes the weights.
"""

import importlib.resources
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardproxy_toxicity.features import BUCKETS, features, words

WEIGHTS = "weights.npz"
FORMAT = 1

Floats = NDArray[np.float32]


def size(values: Floats) -> np.float32:
    """The Euclidean length of `values`, never 0."""
    return np.float32(max(float(np.sqrt(values @ values)), 1e-6))


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """How toxic a text is, as a probability, and the kind that it looks like most."""

    probability: float
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """The weights, ready for scoring."""

    kinds: tuple[str, ...]
    threshold: float
    bias: Floats  # row
    weights: Floats  # bucket × row: the words' buckets, then the n-grams'
    rarity: Floats  # bucket: the inverse document frequency
    vector_weights: Floats  # row × dimension
    vectors: Floats  # word × dimension, frequent words shorter
    vocabulary: dict[str, int]

    def score(self, text: str) -> Score:
        """Score `text` as a whole; a text without words is clean."""
        tokens = words(text)
        if not tokens:
            return Score(0.0, self.kinds[0])
        sums = self.bias + self.vector_weights @ self.meaning(tokens)
        for buckets in self.views(tokens):
            rarity = self.rarity[buckets]
            sums = sums + (rarity / size(rarity)) @ self.weights[buckets]
        probability = 1.0 / (1.0 + float(np.exp(-np.clip(sums[0], -30.0, 30.0))))
        return Score(probability, self.kinds[int(np.argmax(sums[1:]))])

    @staticmethod
    def views(tokens: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of `weights` that the words and the n-grams of a text fall on."""
        word, gram = features(tokens)
        return word, gram + BUCKETS

    def meaning(self, tokens: list[str]) -> Floats:
        """The direction of the mean word vector; zeros where no word is known."""
        known = [row for token in tokens if (row := self.vocabulary.get(token)) is not None]
        if not known:
            return np.zeros(self.vectors.shape[1], dtype=np.float32)
        mean: Floats = self.vectors[known].mean(axis=0, dtype=np.float32)
        return mean / size(mean)


def load() -> Model:
    """The model of the package's own weights file. Raises ValueError for another format."""
    source = importlib.resources.files(__package__ or "guardproxy_toxicity") / WEIGHTS
    with source.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays: dict[str, NDArray[Any]] = {name: stored[name] for name in stored.files}
    if int(arrays["format"]) != FORMAT or arrays["rarity"].shape != (2 * BUCKETS,):
        raise ValueError(f"{WEIGHTS} was not made for this version of the model. Run train.py.")
    return unpack(arrays)


def unpack(arrays: dict[str, NDArray[Any]]) -> Model:
    """The model that `arrays` hold: strings as ASCII bytes, vectors as int8 with a scale for each word."""
    lines = {name: arrays[name].tobytes().decode("ascii").split("\n") for name in ("kinds", "vocabulary")}
    scale = arrays["vector_scale"].astype(np.float32)[:, None]
    return Model(
        kinds=tuple(lines["kinds"]),
        threshold=float(arrays["threshold"]),
        bias=arrays["bias"].astype(np.float32),
        weights=arrays["weights"].astype(np.float32),
        rarity=arrays["rarity"].astype(np.float32),
        vector_weights=arrays["vector_weights"].astype(np.float32),
        vectors=arrays["vectors"].astype(np.float32) * scale,
        vocabulary={word: row for row, word in enumerate(lines["vocabulary"])},
    )
