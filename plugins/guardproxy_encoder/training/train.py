"""Make the weights: python -m guardproxy_encoder.training.train DETECTION MINILM WORK (see README.md).

DETECTION is the folder of the labelled data, MINILM that of the sentence encoder, WORK a folder for
what is made on the way. Four steps, each kept in WORK: `base` never sees the sources that the encoder is
judged by; `folds` go on from it with two thirds of those sources' development data, and are judged by the
last third; `final` goes on from it with all of them; `narrow` takes units out of all of these.
`injection.py` is the last step.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from guardproxy_encoder import model
from guardproxy_encoder.plain import plain
from guardproxy_encoder.training import augment
from guardproxy_encoder.training.data import HEADS, Sample, base, folds, judged
from guardproxy_encoder.training.export import quantise
from guardproxy_encoder.training.network import Network, pretrained
from guardproxy_encoder.training.prune import narrow
from guardproxy_encoder.wordpiece import SPECIAL, WordPieces, windows

SEED, FOLDS, BATCH = 7, 3, 24
EPOCHS, RATES = (1, 2), (1.2e-4, 1e-4)  # of the first and the second step
LAYERS = [0, 1, 2, 3]
FROZEN = 2  # of the layers, in the second step
UNITS, SHOWN = 1024, 3000  # left in each layer, and texts by which they are chosen
SIZE, OVERLAP, MOST = 128, 32, (2, 2)  # windows of a long text that a step sees
# How much a head counts in the loss.
HEAD_WEIGHTS = torch.tensor([1.0, 0.4, 0.4, 0.4, 0.4, 0.4, 0.2, 0.6])
SOURCES = ("openai-moderation", "surge-toxicity", "hatecheck", "inject")


class Trainer:
    """A vocabulary, and what is done with a network over it."""

    def __init__(self, minilm: Path) -> None:
        self.minilm = minilm
        theirs = (minilm / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
        kept = [row for row, piece in enumerate(theirs) if _kept(piece)]
        self.rows = [theirs.index(piece) for piece in SPECIAL] + kept
        self.vocabulary = [theirs[row] for row in self.rows]
        self.pieces = WordPieces(self.vocabulary)

    def fresh(self) -> Network:
        """The pretrained encoder with new heads; the words' vectors as the export rounds them."""
        network = pretrained(self.minilm, self.rows, SIZE, LAYERS, len(HEADS))
        codes, scale = quantise(network.words.weight.detach().numpy(), 127)
        network.words.weight.data = torch.from_numpy(codes.astype(np.float32) * scale[:, None])
        return network

    def narrow(self) -> Network:
        """A network of the final shape, for stored weights."""
        return Network(len(LAYERS), UNITS, len(self.vocabulary), SIZE, len(HEADS))

    def windows(self, samples: Sequence[Sample]) -> list[tuple[Tensor, Tensor]]:
        """The first windows of some of `samples`, in batches of like length."""
        chosen = random.Random(SEED).sample(list(samples), min(SHOWN, len(samples)))
        found = sorted((ids for sample in chosen for ids in self.shown(sample.text)[:4]), key=len)
        return [padded(found[start : start + BATCH]) for start in range(0, len(found), BATCH)]

    def tokens(self, text: str) -> list[list[int]]:
        """The windows of `text` that are trained on."""
        return windows(self.pieces.ids(plain(text)), SIZE, OVERLAP)

    def shown(self, text: str) -> list[list[int]]:
        """The windows of `text` at run time, which are narrower."""
        return windows(self.pieces.ids(plain(text)), model.SIZE, model.OVERLAP)

    def tune(self, network: Network, samples: Sequence[Sample], second: bool, seed: int) -> None:
        """Train `network` on `samples` in place; `second` tells the step."""
        epochs, rate = EPOCHS[second], RATES[second]
        for name, value in network.named_parameters():
            fixed = name.startswith(("places", "norm", *(f"layers.{number}." for number in range(FROZEN))))
            value.requires_grad_(not name.startswith("words") and not (second and fixed))
        chance = random.Random(seed)
        torch.manual_seed(seed)
        head = [value for name, value in network.named_parameters() if name.startswith("head")]
        rest = [
            value
            for name, value in network.named_parameters()
            if not name.startswith("head") and value.requires_grad
        ]
        learner = torch.optim.AdamW(
            [{"params": rest, "lr": rate}, {"params": head, "lr": 10 * rate}], weight_decay=0.01
        )
        steps = epochs * -(-len(samples) // BATCH)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            learner, lambda step: min((step + 1) / (0.06 * steps), max(0.02, 1 - step / steps))
        )
        calm = [sample for sample in samples if sample.source in ("prose", "docs")]
        network.train()
        for epoch in range(epochs):
            started, total, count = time.monotonic(), 0.0, 0
            for batch in self._batches(augment.varied(samples, calm, chance), MOST[second], chance):
                logits = self._pooled(network, [tokens for tokens, _ in batch])
                loss = _loss(logits, [sample for _, sample in batch])
                learner.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(rest + head, 1.0)
                learner.step()
                schedule.step()
                total, count = total + loss.item(), count + 1
                if count % 50 == 0:
                    print(f"  {count} {total / count:.4f} {time.monotonic() - started:.0f} s", flush=True)
            print(f"epoch {epoch}: loss {total / count:.4f}, {time.monotonic() - started:.0f} s", flush=True)
        network.eval()

    def _batches(
        self, samples: Sequence[Sample], most: int, chance: random.Random
    ) -> Iterator[list[tuple[list[list[int]], Sample]]]:
        """Texts of like length together, in a random order."""
        rows = []
        for sample in samples:
            found = self.tokens(sample.text)
            if len(found) > most:
                found = [found[0], *chance.sample(found[1:], most - 1)]
            rows.append((found, sample))
        rows.sort(key=lambda row: sum(map(len, row[0])) + chance.random() * 12)
        batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        chance.shuffle(batches)
        yield from batches

    def _pooled(self, network: Network, texts: Sequence[list[list[int]]]) -> Tensor:
        """The logits of each text: the maximum over its windows."""
        ids, mask = padded([window for text in texts for window in text])
        logits = network(ids, mask)
        parts: tuple[Tensor, ...] = torch.split(logits, [len(text) for text in texts])
        return torch.stack([part.amax(0) for part in parts])

    def scores(self, network: Network, texts: Sequence[str]) -> list[list[float]]:
        """The logits of whole texts."""
        network.eval()
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        found: dict[int, list[float]] = {}
        with torch.no_grad():
            for start in range(0, len(order), 16):
                chosen = order[start : start + 16]
                logits = self._pooled(network, [self.shown(texts[number]) for number in chosen])
                found |= dict(zip(chosen, logits.tolist(), strict=True))
        return [found[number] for number in range(len(texts))]


def padded(windows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """The windows as one tensor of ids, and where there are any."""
    shape = len(windows), max(map(len, windows))
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
    for row, window in enumerate(windows):
        ids[row, : len(window)], mask[row, : len(window)] = torch.tensor(window), True
    return ids, mask


def _kept(piece: str) -> bool:
    """Latin pieces and punctuation; the others are for languages that the encoder does not know."""
    return (
        not piece.startswith("[unused")
        and piece not in (*SPECIAL, "[PAD]", "[MASK]")
        and all(ord(c) < 0x180 or 0x2000 <= ord(c) < 0x20D0 for c in piece)
    )


def _loss(logits: Tensor, samples: Sequence[Sample]) -> Tensor:
    labels = torch.tensor([sample.row() for sample in samples])
    weights = torch.tensor([sample.weight for sample in samples])[:, None] * HEAD_WEIGHTS * (labels >= 0)
    losses = functional.binary_cross_entropy_with_logits(logits, labels.clamp(0), reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=1.0)


def mixed(target: Sequence[Sample], before: Sequence[Sample], seed: int) -> list[Sample]:
    """The second step's samples: the judged sources, and a share of the first step's."""
    weight = {"openai-moderation": 1.5, "surge-toxicity": 2.0, "hatecheck": 0.7, "inject": 1.0}
    kept = random.Random(seed).sample(list(before), len(before) // 10)
    return [replace(sample, weight=weight[sample.source]) for sample in target] + kept


def main() -> None:
    """Do one step, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detection", type=Path)
    parser.add_argument("minilm", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--step", choices=("base", "folds", "final", "narrow", "judge", "all"), default="all")
    parser.add_argument("--fold", type=int, choices=range(FOLDS), help="this one alone")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    trainer = Trainer(given.minilm)
    first, target = base(given.detection, SEED), judged(given.detection)
    place: dict[str, int] = {}
    for source in SOURCES:
        own = [sample for sample in target if sample.source == source]
        place |= dict(zip((s.name for s in own), folds(own, FOLDS, SEED), strict=True))
    network = trainer.fresh()
    if given.step in ("base", "all"):
        trainer.tune(network, first, False, SEED)
        torch.save(network.state_dict(), given.work / "base.pt")
    known = {"base": first, "final": mixed(target, first, SEED)}
    for fold in range(FOLDS):
        others = [sample for sample in target if place[sample.name] != fold]
        known[f"fold{fold}"] = mixed(others, first, SEED)
        if given.step in ("folds", "all") and given.fold in (None, fold):
            network.load_state_dict(torch.load(given.work / "base.pt"))
            trainer.tune(network, known[f"fold{fold}"], True, SEED + fold)
            torch.save(network.state_dict(), given.work / f"fold{fold}.pt")
    if given.step in ("final", "all"):
        network.load_state_dict(torch.load(given.work / "base.pt"))
        trainer.tune(network, known["final"], True, SEED)
        torch.save(network.state_dict(), given.work / "final.pt")
    if given.step in ("narrow", "all"):
        for name, samples in known.items():
            wide = trainer.fresh()
            wide.load_state_dict(torch.load(given.work / f"{name}.pt"))
            wide.eval()
            narrow(wide, trainer.windows(samples), UNITS)
            torch.save(wide.state_dict(), given.work / f"{name}.narrow.pt")
    network = trainer.narrow()
    if given.step in ("judge", "all"):
        held = {f"fold{fold}": [s for s in target if place[s.name] == fold] for fold in range(FOLDS)}
        for name, samples in {"base": target, **held}.items():
            network.load_state_dict(torch.load(given.work / f"{name}.narrow.pt"))
            rows = trainer.scores(network, [sample.text for sample in samples])
            said = {sample.name: row for sample, row in zip(samples, rows, strict=True)}
            (given.work / f"{name}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
