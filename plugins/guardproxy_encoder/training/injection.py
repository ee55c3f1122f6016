"""The last step: python -m guardproxy_encoder.training.injection DETECTION MINILM WORK, after train.py.

The injection's output is fitted again on frozen layers, over all windows of all texts and with system
prompts and letters among the harmless ones; beside it the bag of pieces. Of each fold WORK/injection.json
keeps what is said of texts that it did not see; the encoder made of all is written into the package.
"""

import argparse
import importlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from guardproxy_encoder.bag import PAIRS, Bag, features
from guardproxy_encoder.model import BAG_SHARE, HEADS, INJECTION
from guardproxy_encoder.training import orders
from guardproxy_encoder.training.data import Sample, base, folds, judged
from guardproxy_encoder.training.export import write
from guardproxy_encoder.training.network import Network
from guardproxy_encoder.training.train import FOLDS, SEED, Trainer, padded

STRENGTH, PULL, STEPS = 3.0, 0.1, 300
WINDOWS = 24  # of a text
PROMPTS, LETTERS = 500, 300
# How much the kinds of texts count, whatever their number.
SHARES = {("inject", True): 1.0, ("inject", False): 1.0, ("own", True): 0.4, ("own", False): 1.5}
ROW = HEADS.index(INJECTION)


class Fitter:
    """The windows of all samples, and the two fits over them."""

    def __init__(self, trainer: Trainer, samples: Sequence[Sample]) -> None:
        self.trainer = trainer
        self.samples = samples
        self.pieces = len(trainer.vocabulary)
        texts = [trainer.shown(sample.text)[:WINDOWS] for sample in samples]
        self.windows = [ids for found in texts for ids in found]
        self.owner = np.repeat(np.arange(len(samples)), [len(found) for found in texts])
        self.columns = [features(ids[1:-1], self.pieces) for ids in self.windows]
        self.attack = np.array([sample.labels["injection"] for sample in samples])
        self.source = np.array(["inject" if sample.source == "inject" else "own" for sample in samples])

    def importance(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The weight of each sample."""
        weight = np.zeros(len(self.samples))
        for (name, attack), share in SHARES.items():
            group = chosen & (self.source == name) & (self.attack == attack)
            weight[group] = share / max(1, int(group.sum()))
        return weight

    def bag(self, chosen: NDArray[np.bool_]) -> Bag:
        """The regression over the windows' pieces; a text counts once, however long."""
        sparse = importlib.import_module("scipy.sparse")
        regression = importlib.import_module("sklearn.linear_model").LogisticRegression
        columns = np.concatenate(self.columns)
        values = np.concatenate([np.full(len(row), max(1, len(row)) ** -0.5) for row in self.columns])
        ends = np.concatenate(([0], np.cumsum([len(row) for row in self.columns])))
        matrix = sparse.csr_matrix((values, columns, ends), shape=(len(self.columns), self.pieces + PAIRS))
        kept = chosen[self.owner]
        weight = 1000 * self.importance(chosen) / np.bincount(self.owner, minlength=len(self.samples))
        learner: Any = regression(C=STRENGTH, solver="liblinear", random_state=SEED)
        learner.fit(matrix[kept], self.attack[self.owner][kept], sample_weight=weight[self.owner][kept])
        return Bag(learner.coef_[0].astype(np.float16).astype(np.float32), float(learner.intercept_[0]))

    def refit(self, network: Network, chosen: NDArray[np.bool_]) -> None:
        """Fit the injection's row of the head in place: a text counts by its highest window."""
        seen = self._seen(network)
        mean, spread = seen.mean(0), seen.std(0) + 1e-6
        scaled, owner = (seen - mean) / spread, torch.from_numpy(self.owner)
        row, bias = network.head.weight[ROW].detach(), network.head.bias[ROW].detach()
        before = row * spread
        weight = before.clone().requires_grad_()
        shift = (bias + (row * mean).sum()).clone().requires_grad_()
        labels = torch.from_numpy(self.attack).float()
        importance = torch.from_numpy(self.importance(chosen)).float()
        learner = torch.optim.Adam([weight, shift], lr=0.01)
        for _ in range(STEPS):
            low = torch.full((len(self.samples),), -1e9)
            logits = low.scatter_reduce(0, owner, scaled @ weight + shift, "amax")
            losses = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            loss = (losses * importance).sum() + PULL * ((weight - before) ** 2).sum()
            learner.zero_grad()
            loss.backward()
            learner.step()
        with torch.no_grad():
            network.head.weight[ROW] = weight / spread
            network.head.bias[ROW] = shift - (weight / spread * mean).sum()

    def _seen(self, network: Network) -> Tensor:
        order = sorted(range(len(self.windows)), key=lambda number: len(self.windows[number]))
        found = torch.zeros(len(order), network.head.in_features)
        with torch.no_grad():
            for start in range(0, len(order), 16):
                part = order[start : start + 16]
                found[part] = network.pooled(*padded([self.windows[number] for number in part]))
        return found


def harmless(first: Sequence[Sample]) -> list[Sample]:
    """System prompts, and the first step's texts that are fitted too: all code, some of the others."""
    chance = random.Random(SEED)
    known = [sample for sample in first if "injection" in sample.labels]
    code = [sample for sample in known if sample.source in ("code", "docs", "results")]
    own = chance.sample([sample for sample in known if sample.source == "orders"], 900)
    other = chance.sample([sample for sample in known if sample.source in ("own", "tweets", "prose")], 300)
    prompts = [Sample(text, {"injection": 0.0}, "prompts") for text in orders.prompts(PROMPTS, SEED)]
    letters = [Sample(text, {"injection": 0.0}, "letters") for text in orders.letters(LETTERS, SEED)]
    return [*code, *own, *other, *prompts, *letters]


def main() -> None:
    """Judge each fold by the others, then fit to all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detection", type=Path)
    parser.add_argument("minilm", type=Path)
    parser.add_argument("work", type=Path)
    given = parser.parse_args()
    trainer = Trainer(given.minilm)
    target = [sample for sample in judged(given.detection) if sample.source == "inject"]
    place = np.array(folds(target, FOLDS, SEED))
    fitter = Fitter(trainer, [*target, *harmless(base(given.detection, SEED))])
    said: dict[str, float] = {}
    for fold in range(FOLDS):
        chosen = np.ones(len(fitter.samples), dtype=bool)
        chosen[: len(target)] = place != fold
        network, bag = fitted(fitter, given.work / f"fold{fold}.narrow.pt", chosen)
        held = [sample for sample, own in zip(target, place, strict=True) if own == fold]
        for sample in held:
            found = trainer.shown(sample.text)
            with torch.no_grad():
                logits = network(*padded(found))[:, ROW].tolist()
            pairs = zip(logits, found, strict=True)
            said[sample.name] = max(logit + BAG_SHARE * bag.logit(ids[1:-1]) for logit, ids in pairs)
    (given.work / "injection.json").write_text(json.dumps(said))
    network, bag = fitted(fitter, given.work / "final.narrow.pt", np.ones(len(fitter.samples), dtype=bool))
    package = Path(__file__).parents[1]
    write(network, package / "encoder.onnx")
    (package / "vocabulary.txt").write_text("\n".join(trainer.vocabulary) + "\n", encoding="utf-8")
    np.savez_compressed(
        package / "bag.npz", weights=bag.weights.astype(np.float16), bias=np.float32(bag.bias)
    )


def fitted(fitter: Fitter, path: Path, chosen: NDArray[np.bool_]) -> tuple[Network, Bag]:
    """The network of `path` with the injection's output fitted to the chosen samples, and the bag."""
    network = fitter.trainer.narrow()
    network.load_state_dict(torch.load(path))
    network.eval()
    fitter.refit(network, chosen)
    return network, fitter.bag(chosen)


if __name__ == "__main__":
    main()
