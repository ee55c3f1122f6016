"""A second opinion on injections: a logistic regression over a window's pieces and pairs of pieces."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PAIRS = 1 << 15
_FACTOR = 7919


def features(ids: Sequence[int], pieces: int) -> NDArray[np.int64]:
    """The distinct columns of a window's `ids`: `pieces` of single ones, then PAIRS hashed pairs."""
    single = np.array(ids, dtype=np.int64)
    pairs = pieces + (single[:-1] * _FACTOR + single[1:]) % PAIRS
    return np.unique(np.concatenate((single, pairs)))


class Bag:
    """The weights of the columns, and the bias."""

    def __init__(self, weights: NDArray[np.float32], bias: float) -> None:
        self.weights = weights
        self._pieces = len(weights) - PAIRS
        self.bias = bias

    def logit(self, ids: Sequence[int]) -> float:
        """How much the window with the pieces `ids` looks like an injection."""
        columns = features(ids, self._pieces)
        total = float(self.weights[columns].sum())
        return total / math.sqrt(max(1, len(columns))) + self.bias
