"""The toxicity model: reads its weights, scores a text by kind. numpy only, no network.

For each kind it is a logistic regression over three views of the text: hashed words and word
pairs, hashed character n-grams, and the mean of word vectors. `train.py` says how it came to be.
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


def length(values: Floats) -> float:
    """The Euclidean length of `values`, never 0."""
    return max(float(np.sqrt(values @ values)), 1e-6)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """The weights, ready for scoring. `kinds[i]` names row i of each matrix."""

    kinds: tuple[str, ...]
    thresholds: Floats
    bias: Floats
    word_weights: Floats  # kind × bucket, as are the n-grams'
    gram_weights: Floats
    word_idf: Floats
    gram_idf: Floats
    vector_weights: Floats  # kind × dimension
    vectors: Floats  # vocabulary × dimension, already weighted by how rare the word is
    vocabulary: dict[str, int]

    def scores(self, text: str) -> Floats:
        """The probability of each kind, 0 to 1; zeros for a text without words."""
        tokens = words(text)
        if not tokens:
            return np.zeros(len(self.kinds), dtype=np.float32)
        word, gram = features(tokens)
        sums = self.bias + self._share(self.word_weights, self.word_idf, word)
        sums = sums + self._share(self.gram_weights, self.gram_idf, gram)
        sums = sums + self.vector_weights @ self.meaning(tokens)
        return (1.0 / (1.0 + np.exp(-np.clip(sums, -30, 30)))).astype(np.float32)

    def meaning(self, tokens: list[str]) -> Floats:
        """The direction of the mean word vector; zeros where no word is known."""
        known = [row for token in tokens if (row := self.vocabulary.get(token)) is not None]
        if not known:
            return np.zeros(self.vectors.shape[1], dtype=np.float32)
        mean: Floats = self.vectors[known].mean(axis=0, dtype=np.float32)
        return mean / np.float32(length(mean))

    @staticmethod
    def _share(weights: Floats, idf: Floats, buckets: NDArray[np.int64]) -> Floats:
        values = idf[buckets]
        result: Floats = weights[:, buckets] @ values / np.float32(length(values))
        return result


def load() -> Model:
    """The model of the package's own weights file. Raises ValueError for another format."""
    source = importlib.resources.files(__package__ or "guardproxy_toxicity") / WEIGHTS
    with source.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays: dict[str, NDArray[Any]] = {name: stored[name] for name in stored.files}
    if int(arrays["format"]) != FORMAT:
        raise ValueError(f"{WEIGHTS} has format {int(arrays['format'])}, this code reads {FORMAT}.")
    if arrays["word_idf"].shape != (BUCKETS,):
        raise ValueError(f"{WEIGHTS} was made for another number of buckets.")
    vocabulary = arrays["vocabulary"].tobytes().decode("ascii").split("\n")
    vectors = arrays["vectors"].astype(np.float32) * arrays["vector_scale"].astype(np.float32)[:, None]
    return Model(
        kinds=tuple(arrays["kinds"].tobytes().decode("ascii").split("\n")),
        thresholds=arrays["thresholds"].astype(np.float32),
        bias=arrays["bias"].astype(np.float32),
        word_weights=arrays["word_weights"].astype(np.float32),
        gram_weights=arrays["gram_weights"].astype(np.float32),
        word_idf=arrays["word_idf"].astype(np.float32),
        gram_idf=arrays["gram_idf"].astype(np.float32),
        vector_weights=arrays["vector_weights"].astype(np.float32),
        vectors=vectors,
        vocabulary={word: row for row, word in enumerate(vocabulary)},
    )
