"""Measure the encoder of `toxicity` and `prompt_injection`: python -m tests.bench.encoder DETECTION [WORK].

Prints the tables of plugins/guardproxy_encoder/MODEL_CARD.md. WORK is the folder of the training: its
files hold what the first step, and the model of each fold, say of texts that they never saw. Benign
texts, time and memory are measured with the encoder of the package.
"""

import argparse
import gzip
import json
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guardproxy.blocks import blocks
from guardproxy_encoder import CONTEXT, HEADS, INJECTION, Encoder, load
from guardproxy_injection.model import THRESHOLD
from guardproxy_toxicity import THRESHOLDS as LEAST
from guardproxy_toxicity import scores as shares

Scores = Mapping[str, float]
SOURCES = ("openai-moderation", "surge-toxicity", "hatecheck")
THRESHOLDS = (0.5, 0.8, 0.92, 0.95)
CATEGORY_MARKS = {
    "hate": ("H", "H2"),
    "harassment": ("HR",),
    "threat": ("V", "V2"),
    "sexual": ("S", "S3"),
    "self_harm": ("SH",),
}


def records(detection: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a file of the labelled data."""
    with gzip.open(detection / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def area(toxic: Sequence[float], clean: Sequence[float]) -> float:
    """The area under the ROC curve."""
    high, low = np.array(toxic)[:, None], np.array(clean)[None]
    return float(((high > low) + 0.5 * (high == low)).mean())


def kept(work: Path, pattern: str, head: str) -> dict[str, float]:
    """The probabilities of `head` by record, from the files of the training."""
    found: dict[str, float] = {}
    for path in sorted(work.glob(pattern)):
        for name, said in json.loads(path.read_text()).items():
            logit = said[HEADS.index(head)] if isinstance(said, list) else said
            found[name] = float(1 / (1 + np.exp(-logit)))
    return found


def row(title: str, rows: Iterable[Mapping[str, Any]], scores: Scores, thresholds: Sequence[float]) -> None:
    """Print one line: the area, and at each threshold the share of found and of false."""
    pairs = [(scores[record["id"]], record["label"]) for record in rows if record["id"] in scores]
    high = [score for score, label in pairs if label]
    low = [score for score, label in pairs if not label]
    if not high or not low:
        return
    worst = sorted(low, reverse=True)[int(0.01 * len(low))]
    cells = [
        f"{np.mean(np.array(high) >= least):.3f} / {np.mean(np.array(low) >= least):.3f}"
        for least in thresholds
    ]
    at = float(np.mean(np.array(high) > worst))
    print(f"| {title} | {len(pairs)} | {area(high, low):.3f} | {' | '.join(cells)} | {at:.3f} |")


def toxic(probabilities: Scores) -> bool:
    """Whether a category is at or over its default threshold."""
    return any(score >= LEAST[name] for name, score in shares(probabilities).items())


def trained(detection: Path, work: Path) -> None:
    """What the first step and the folds say of texts that they did not see."""
    rows = records(detection, "tox_dev")
    for title, pattern in (("never saw the sources", "base.json"), ("cross-validated", "fold?.json")):
        scores = kept(work, pattern, "toxic")
        print(f"\n{title}\n| source | texts | area | at .5 | at .8 | at .92 | at .95 | at 1 % false |")
        for source in SOURCES:
            row(source, [r for r in rows if r["group"] == source], scores, THRESHOLDS)
        heads = {head: kept(work, pattern, head) for head in HEADS}
        hits = {name: toxic({head: heads[head][name] for head in HEADS}) for name in scores}
        for source in SOURCES:
            own = [r for r in rows if r["group"] == source and r["id"] in hits]
            for kind in sorted(
                {r["cats"]["functionality"] if source == "hatecheck" else "" for r in own} | {""}
            ):
                of = [r for r in own if not kind or r["cats"]["functionality"] == kind]
                shown = [_share(hits[r["id"]] for r in of if r["label"] == label) for label in (1, 0)]
                print(f"| {source} {kind} | {len(of)} | found {shown[0]} | false {shown[1]} |")
        scores = kept(work, pattern.replace("fold?", "injection"), INJECTION)
        row("inject", records(detection, "inject_dev"), scores, THRESHOLDS)


def categories(detection: Path, work: Path) -> None:
    """How well a category's probability ranks the texts that OpenAI's annotators gave it."""
    rows = [record for record in records(detection, "tox_dev") if record["group"] == "openai-moderation"]
    for name, marks in CATEGORY_MARKS.items():
        scores = kept(work, "fold?.json", name)
        known = [
            (scores[r["id"]], max(_marks(r, marks))) for r in rows if r["id"] in scores and _marks(r, marks)
        ]
        high, low = ([score for score, label in known if label == value] for value in (1, 0))
        if high and low:
            print(f"| {name} | {len(known)} | {len(high)} | {area(high, low):.3f} |")


def _marks(record: dict[str, Any], marks: Sequence[str]) -> list[int]:
    return [record["cats"][mark] for mark in marks if mark in record["cats"]]


def clean(detection: Path, encoder: Encoder) -> None:
    """Benign texts with a block that is called something."""
    for name in ("tox_benign_dev", "neg_dev"):
        texts = [record["text"] for record in records(detection, name)]
        read = [[encoder.read(text[b.seen : b.end]) for b in blocks(text, CONTEXT)] for text in texts]
        print(f"| {name} | toxic | {len(texts)} | {sum(any(map(toxic, found)) for found in read)} |")
        worst = [max((one[INJECTION] for one in found), default=0.0) for found in read]
        print(f"| {name} | injection | {len(texts)} | {sum(score >= THRESHOLD for score in worst)} |")


def _share(hits: Iterable[bool]) -> str:
    found = list(hits)
    return f"{sum(found) / len(found):.3f}" if found else "-"


def timed(encoder: Encoder) -> None:
    """Milliseconds of CPU for texts of some lengths, and the memory of this process."""
    text = (
        "The meeting was moved to Thursday, and everyone who wants to join has to write to Ann first. " * 30
    )
    for length in (100, 500, 1000, 2200):
        took = [_once(lambda: encoder._read(text[:length])) for _ in range(40)]  # noqa: B023
        print(f"| {length} | {np.median(took) * 1000:.1f} | {min(took) * 1000:.1f} |")
    print(f"memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


def _once(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detection", type=Path)
    parser.add_argument("work", type=Path, nargs="?")
    given = parser.parse_args()
    encoder = load()
    timed(encoder)
    if given.work:
        trained(given.detection, given.work)
        categories(given.detection, given.work)
    clean(given.detection, encoder)


if __name__ == "__main__":
    main()
