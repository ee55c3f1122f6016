"""The training texts with what is known of each: labels per head, unknown where a source does not say."""

import gzip
import json
import random
import re
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardproxy_encoder.training import orders, phrases

CATEGORIES = ("hate", "harassment", "threat", "sexual", "self_harm", "profanity")
HEADS = ("toxic", *CATEGORIES, "injection")
UNKNOWN = -1.0
TWEETS = 1000  # of the clean ones, and of the offensive ones
KINDS = {
    phrases.HATE: "hate",
    phrases.INSULT: "harassment",
    phrases.THREAT: "threat",
    phrases.SEXUAL: "sexual",
    phrases.SELF_HARM: "self_harm",
}
OPENAI = {
    "H": "hate", "H2": "hate", "HR": "harassment", "V": "threat", "V2": "threat", "S": "sexual",
    "S3": "sexual", "SH": "self_harm",
}  # fmt: skip
# Texts at single people and at groups that hate speech laws do not name are no hate, and yet may be toxic.
NOT_HATE_ONLY = ("target_indiv_nh", "target_group_nh")
_PROFANE = re.compile(
    r"\b(?:f+u+c*k\w*|f[*#@!]+c?k\w*|\w*fuck\w*|sh[i1*]t\w*|bullshit|bitch\w*|ass(?:hole)?s?|dick(?:head)?s?|cunts?|pussy|hoes?|"
    r"damn|goddamn|bastards?|whores?|sluts?|cocks?|crap|nigg\w+|fagg?o?t?s?|dumbass|twats?|piss\w*|wank\w*)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One text, its labels (0, 1 or unknown, by head), its source and weight; `name` is the record's id."""

    text: str
    labels: dict[str, float]
    source: str
    weight: float = 1.0
    name: str = ""

    def row(self) -> list[float]:
        """The labels in the order of HEADS."""
        return [self.labels.get(head, UNKNOWN) for head in HEADS]


def records(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """The lines of a file of the labelled data."""
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def base(folder: Path, seed: int) -> list[Sample]:
    """What the encoder is first tuned on: none of the sources that it is judged by."""
    seen = {_key(record["text"]) for record in records(folder, "tox_dev")}
    own = (sample for sample in _own(seed) if _key(sample.text) not in seen)
    return [*_tweets_and_comments(folder, seed), *own, *_clean(folder, seed)]


def judged(folder: Path) -> list[Sample]:
    """The development data of the sources that the encoder is judged by."""
    found = [
        Sample(record["text"], _judged_labels(record), record["group"], name=record["id"])
        for record in records(folder, "tox_dev")
        if record["group"] in ("openai-moderation", "surge-toxicity", "hatecheck")
    ]
    for record in records(folder, "inject_dev"):
        labels = {"injection": float(record["label"])} | ({} if record["label"] else _nothing())
        found.append(Sample(record["text"], labels, "inject", name=record["id"]))
    return found


def _judged_labels(record: dict[str, Any]) -> dict[str, float]:
    labels = {"toxic": float(record["label"]), "injection": 0.0}
    cats = record.get("cats", {})
    if record["group"] == "openai-moderation":
        for name, value in cats.items():
            labels[OPENAI[name]] = max(labels.get(OPENAI[name], 0.0), float(value))
    elif record["group"] == "hatecheck":
        kind = cats["functionality"]
        labels["hate"] = labels["toxic"]
        if kind in NOT_HATE_ONLY:
            del labels["toxic"]
        elif not record["label"]:
            labels |= {name: 0.0 for name in CATEGORIES if name != "profanity"}
        elif kind.startswith("threat"):
            labels["threat"] = 1.0
        labels |= {"sexual": 0.0, "self_harm": 0.0, "profanity": _profane(record["text"])}
    else:
        labels["profanity"] = _profane(record["text"])
        if not record["label"]:
            labels |= {name: 0.0 for name in CATEGORIES if name != "profanity"}
    return labels


def _profane(text: str) -> float:
    return float(_PROFANE.search(text) is not None)


def _nothing() -> dict[str, float]:
    return dict.fromkeys(HEADS, 0.0)


def _tweets_and_comments(folder: Path, seed: int) -> Iterator[Sample]:
    rows = list(records(folder, "tox_train"))
    random.Random(seed).shuffle(rows)
    offensive = clean_tweets = 0
    for record in rows:
        labels = {"toxic": float(record["label"]), "injection": 0.0, "profanity": _profane(record["text"])}
        clean = {name: 0.0 for name in CATEGORIES if name != "profanity"}
        if record["group"] != "davidson-tweets":
            labels |= {"harassment": 1.0} if record["label"] else clean
            yield Sample(record["text"], labels, "wiki", weight=1.5)
        elif record["cats"]["class"] == "0":
            yield Sample(record["text"], labels | {"hate": 1.0}, "tweets")
        elif record["cats"]["class"] == "2":
            if (clean_tweets := clean_tweets + 1) <= TWEETS:
                yield Sample(record["text"], labels | clean, "tweets")
        elif (offensive := offensive + 1) <= TWEETS:
            # Three of four tweets: more than these teach nothing but the words that they share.
            yield Sample(record["text"], labels | {"self_harm": 0.0}, "tweets", weight=0.5)


def _own(seed: int) -> Iterator[Sample]:
    for text, kind in phrases.sentences(320, seed):
        labels = _nothing() | {"profanity": _profane(text)}
        if kind:
            labels |= {"toxic": 1.0, KINDS[kind]: 1.0}
        yield Sample(text, labels, "own")
    for text, attack in orders.sentences(700, seed):
        labels = {"injection": 1.0} if attack else _nothing()
        yield Sample(text, labels, "orders", weight=0.7)


def _clean(folder: Path, seed: int) -> Iterator[Sample]:
    chance = random.Random(seed)
    for name in ("pii_presidio_dev", "pii_wnut17_dev"):
        rows = list(records(folder, name))
        for record in chance.sample(rows, 500):
            yield Sample(record["text"], _nothing(), "prose", weight=0.5)
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        start = chance.randrange(max(1, len(text) - 400))
        yield Sample(text[start : start + chance.choice((120, 250, 400))], _nothing(), "code")
    topics = (library / "pydoc_data" / "topics.py").read_text(encoding="utf-8").replace("\\n", "\n")
    for _ in range(250):
        start = chance.randrange(len(topics) - 400)
        yield Sample(topics[start : start + chance.choice((150, 250, 400))], _nothing(), "docs", weight=0.5)
    for _ in range(150):
        yield Sample(_result(chance), _nothing(), "results", weight=0.5)


_NAMES = (
    "id", "name", "status", "items", "created_at", "price", "count", "error", "user", "path", "title",
    "version", "size", "kill_timeout", "abort", "dead_letters", "slave", "master", "blacklist", "child",
    "parent", "attack_surface", "ignore", "override", "system", "instructions", "role", "prompt", "content",
    "assistant",
)  # fmt: skip


def _result(chance: random.Random) -> str:
    """A tool's result: JSON, a log, a table, or a diff, of random values."""
    kind = chance.randrange(4)

    def value() -> object:
        words = (
            chance.choice(_NAMES),
            chance.randrange(10_000),
            f"{chance.getrandbits(64):016x}",
            True,
            None,
            1.5,
        )
        return chance.choice(words)

    rows = [{name: value() for name in chance.sample(_NAMES, 4)} for _ in range(chance.randrange(1, 6))]
    if kind == 0:
        return json.dumps(rows, indent=chance.choice((None, 2)))
    if kind == 1:
        levels = ("INFO", "DEBUG", "ERROR", "WARN")
        lines = (
            f"2026-0{chance.randrange(1, 10)}-11T10:00:{chance.randrange(10, 60)}Z "
            f"{chance.choice(levels)} {row}"
            for row in rows
        )
        return "\n".join(lines)
    if kind == 2:
        return "\n".join(",".join(str(cell) for cell in row.values()) for row in rows)
    return "\n".join(f"{chance.choice('+-')}{name} = {cell!r}" for row in rows for name, cell in row.items())


def _key(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


_IDENTITY = re.compile(
    r"\b(?:women|woman|female|trans|gays?|blacks?|disabled|muslims?|islam|immigrants?|people|persons?|the|an?|are|is)\b"
)


def folds(samples: Iterable[Sample], count: int, seed: int) -> list[int]:
    """The fold of each sample: near-duplicates, and sentences of one template, are in the same fold."""
    grams, owner = [], []
    for number, sample in enumerate(samples):
        text = _IDENTITY.sub("~", re.sub(r"\s+", " ", sample.text[:1500].lower()))
        grams.append({text[place : place + 4] for place in range(max(1, len(text) - 3))})
        owner.append(number)

    def root(number: int) -> int:
        while owner[number] != number:
            number = owner[number] = owner[owner[number]]
        return number

    holders: dict[str, list[int]] = defaultdict(list)
    for number, own in enumerate(grams):
        shared: dict[int, int] = defaultdict(int)
        for gram in own:
            for other in holders[gram][-400:]:
                shared[other] += 1
            holders[gram].append(number)
        for other, same in shared.items():
            if same >= 0.45 * (len(own) + len(grams[other]) - same):
                owner[root(number)] = root(other)
    chance = random.Random(seed)
    sizes, placed = [0] * count, {}
    clusters: dict[int, int] = defaultdict(int)
    for number in range(len(owner)):
        clusters[root(number)] += 1
    for cluster in sorted(clusters, key=lambda c: (-clusters[c], chance.random())):
        placed[cluster] = min(range(count), key=lambda fold: (sizes[fold], chance.random()))
        sizes[placed[cluster]] += clusters[cluster]
    return [placed[root(number)] for number in range(len(owner))]
