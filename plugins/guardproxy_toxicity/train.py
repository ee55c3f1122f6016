"""Make weights.npz: python -m guardproxy_toxicity.train DETECTION ENCODER (see README.md). Not for run time.

DETECTION is the folder of the labelled data, ENCODER that of the sentence encoder. The seed is
fixed; the same inputs give the same weights, up to the last bits of float arithmetic.
"""

import argparse
import gzip
import importlib
import json
import random
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardproxy_toxicity import phrases
from guardproxy_toxicity.encoder import Encoder
from guardproxy_toxicity.features import BUCKETS, words
from guardproxy_toxicity.model import FORMAT, WEIGHTS, Model, size, unpack

SEED = 7
DIMENSIONS = 64
KINDS = (phrases.INSULT, phrases.HATE, phrases.THREAT, phrases.SEXUAL, phrases.SELF_HARM)
# How much each source counts, whatever its size; within a source toxic and clean count the same.
WEIGHT = {"tweets": 1.0, "wiki": 1.0, "own": 1.5, "words": 2.0, "prose": 0.5, "code": 0.5}
TWEET_KINDS = {"0": phrases.HATE, "1": phrases.INSULT, "2": phrases.NONE}
# At 0.5 one in six clean comments of an open forum was called toxic; at 0.7 one in fifteen.
LEAST_THRESHOLD, CLEAN_SHARE = 0.7, 0.995
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sample:
    """One training text, the kind it shows (empty: clean), and where it is from."""

    text: str
    kind: str
    source: str


def samples(detection: Path) -> Iterator[Sample]:
    """All training texts."""
    for record in _records(detection, "tox_train"):
        if record["group"] == "davidson-tweets":
            yield Sample(record["text"], TWEET_KINDS[record["cats"]["class"]], "tweets")
        else:
            yield Sample(record["text"], phrases.INSULT if record["label"] else phrases.NONE, "wiki")
    for text, kind in phrases.sentences(600, SEED):
        yield Sample(text, kind, "own")
    for name in ("pii_presidio_dev", "pii_wnut17_dev"):
        for record in _records(detection, name):
            yield Sample(record["text"], phrases.NONE, "prose")
    yield from _code()
    yield from _word_labels()


def _records(detection: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(detection / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _code() -> Iterator[Sample]:
    chance = random.Random(SEED)
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for length in (150, 400, 1000, 2000):
            start = chance.randrange(max(1, len(text) - length))
            yield Sample(text[start : start + length], phrases.NONE, "code")


def _word_labels() -> Iterator[Sample]:
    """Single words as a public classifier of profanity judges them, where it is sure."""
    teacher = importlib.import_module("profanity_check.profanity_check")
    known = [word for word in teacher.vectorizer.get_feature_names_out() if word.isascii() and word.isalpha()]
    for word, probability in zip(known, teacher.predict_prob(known), strict=True):
        if probability > 0.6 or probability < 0.3:
            yield Sample(word, phrases.INSULT if probability > 0.6 else phrases.NONE, "words")


def word_vectors(encoder: Encoder) -> dict[str, NDArray[Any]]:
    """The words' vectors, reduced, shortened by frequency (by rank: Zipf's law) and rounded to int8."""
    vocabulary, vectors = encoder.words()
    reduce = importlib.import_module("sklearn.decomposition").PCA(DIMENSIONS, random_state=SEED)
    rarity = np.log1p(np.arange(len(vocabulary))) / np.log1p(len(vocabulary))
    reduced = reduce.fit_transform(vectors) * rarity[:, None]
    scale = np.maximum(np.abs(reduced).max(axis=1), 1e-6) / 127
    return {
        "vocabulary": np.frombuffer("\n".join(vocabulary).encode("ascii"), dtype=np.uint8),
        "vectors": np.rint(reduced / scale[:, None]).astype(np.int8),
        "vector_scale": scale.astype(np.float32),
    }


def matrix(model: Model, texts: Iterable[str]) -> Any:
    """The features of `texts` as the model sees them, one sparse row each."""
    sparse = importlib.import_module("scipy.sparse")
    columns, values, ends, meanings = [], [], [0], []
    for text in texts:
        tokens = words(text)
        for buckets in model.views(tokens):
            rarity = model.rarity[buckets]
            columns.append(buckets)
            values.append(rarity / size(rarity))
        ends.append(ends[-1] + len(columns[-1]) + len(columns[-2]))
        meanings.append(model.meaning(tokens))
    shape = (len(meanings), 2 * BUCKETS)
    hashed = sparse.csr_matrix((np.concatenate(values), np.concatenate(columns), ends), shape=shape)
    return sparse.hstack([hashed, sparse.csr_matrix(np.stack(meanings))]).tocsr()


def rarity(texts: list[str]) -> Floats:
    """log(n / texts with the bucket) + 1; 0 for a bucket seen once, which teaches nothing."""
    counts = np.zeros(2 * BUCKETS)
    for text in texts:
        for buckets in Model.views(words(text)):
            counts[buckets] += 1
    seen = np.where(counts >= 2, np.log(len(texts) / np.maximum(counts, 1)) + 1, 0)
    return seen.astype(np.float16).astype(np.float32)


def importance(rows: list[Sample], toxic: NDArray[np.bool_]) -> Floats:
    """A weight for each row, so that sources count as WEIGHT says and both classes the same."""
    source = np.array([row.source for row in rows])
    weight = np.zeros(len(rows), dtype=np.float32)
    for name, share in WEIGHT.items():
        for chosen in ((source == name) & toxic, (source == name) & ~toxic):
            weight[chosen] = share * 1000 / max(1, int(chosen.sum()))
    return weight


def fit(seen: Any, toxic: NDArray[np.bool_], weight: Floats) -> tuple[Floats, float]:
    """The weights and the bias of one logistic regression."""
    regression = importlib.import_module("sklearn.linear_model").LogisticRegression
    learner = regression(C=5.0, solver="liblinear", max_iter=300, tol=1e-3, random_state=SEED)
    learner.fit(seen, toxic, sample_weight=weight)
    return learner.coef_[0].astype(np.float32), float(learner.intercept_[0])


def calibrate(
    seen: Any, toxic: NDArray[np.bool_], weight: Floats, fold: NDArray[np.int64]
) -> tuple[float, float]:
    """Platt's slope and shift, from a fifth of the rows that the fit did not see."""
    kept, held = fold != 0, fold == 0
    weights, bias = fit(seen[kept], toxic[kept], weight[kept])
    sums = (seen[held] @ weights + bias).reshape(-1, 1)
    regression = importlib.import_module("sklearn.linear_model").LogisticRegression
    platt = regression(C=1e6).fit(sums, toxic[held], sample_weight=weight[held])
    return float(platt.coef_[0, 0]), float(platt.intercept_[0])


def train(detection: Path, encoder: Path) -> dict[str, NDArray[Any]]:
    """The arrays of the weights file."""
    rows = list(samples(detection))
    texts = [row.text for row in rows]
    arrays = word_vectors(Encoder(encoder)) | {
        "format": np.array(FORMAT),
        "kinds": np.frombuffer("\n".join(KINDS).encode("ascii"), dtype=np.uint8),
        "threshold": np.array(LEAST_THRESHOLD),
        "rarity": rarity(texts).astype(np.float16),
        "bias": np.zeros(1 + len(KINDS)),
        "weights": np.zeros((2 * BUCKETS, 1 + len(KINDS)), dtype=np.float16),
        "vector_weights": np.zeros((1 + len(KINDS), DIMENSIONS), dtype=np.float32),
    }
    seen = matrix(unpack(arrays), texts)
    kind = np.array([row.kind for row in rows])
    source = np.array([row.source for row in rows])
    toxic = kind != phrases.NONE
    weight = importance(rows, toxic)
    fold = np.random.default_rng(SEED).integers(0, 5, len(rows))
    slope, shift = calibrate(seen, toxic, weight, fold)
    for number in range(1 + len(KINDS)):
        if number == 0:
            learned, bias = fit(seen, toxic, weight)
            learned, bias = learned * slope, bias * slope + shift
        else:
            # Only toxic texts: the kinds are told from each other. Labels of the words are too coarse.
            chosen = toxic & (source != "words")
            is_kind = kind[chosen] == KINDS[number - 1]
            balance = np.where(is_kind, 1000 / max(1, is_kind.sum()), 1000 / max(1, (~is_kind).sum()))
            learned, bias = fit(seen[chosen], is_kind, balance.astype(np.float32))
        arrays["weights"][:, number] = learned[: 2 * BUCKETS].astype(np.float16)
        arrays["vector_weights"][number] = learned[2 * BUCKETS :]
        arrays["bias"][number] = bias
    model = unpack(arrays)
    clean = [model.score(row.text).probability for row in rows if row.source == "code"]
    arrays["threshold"] = np.array(max(LEAST_THRESHOLD, round(float(np.quantile(clean, CLEAN_SHARE)), 3)))
    return arrays


def main() -> None:
    """Train and write the weights next to this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detection", type=Path)
    parser.add_argument("encoder", type=Path)
    given = parser.parse_args()
    target = Path(__file__).with_name(WEIGHTS)
    np.savez_compressed(target, allow_pickle=False, **train(given.detection, given.encoder))
    print(f"{target.name}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
