"""Varies the training texts: spelling tricks, and short texts hidden in longer harmless ones."""

import random
from collections.abc import Sequence
from dataclasses import replace

from guardproxy_encoder.training.data import Sample

_LEET = str.maketrans("oieast", "013457")


def varied(samples: Sequence[Sample], calm: Sequence[Sample], chance: random.Random) -> list[Sample]:
    """Each sample once, some of them varied; labels stay. `calm` are the harmless texts to hide them in."""
    return [_vary(sample, calm, chance) for sample in samples]


def _vary(sample: Sample, calm: Sequence[Sample], chance: random.Random) -> Sample:
    text, dice = sample.text, chance.random()
    if dice < 0.08 and len(text) < 300:
        text = _misspelt(text, chance)
    elif dice < 0.22 and len(text) < 250 and sample.source != "inject":
        around = [other.text for other in chance.sample(calm, chance.randrange(1, 4))]
        around.insert(chance.randrange(len(around) + 1), text)
        text = chance.choice((" ", "\n")).join(around)
    return replace(sample, text=text)


def _misspelt(text: str, chance: random.Random) -> str:
    words = text.split(" ")
    for _ in range(1 + len(words) // 12):
        place = chance.randrange(len(words))
        word = words[place]
        if len(word) < 4:
            continue
        at, kind = chance.randrange(len(word) - 1), chance.randrange(6)
        if kind == 0:
            word = word.translate(_LEET)
        elif kind == 1:
            word = " ".join(word)
        elif kind == 2:
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        elif kind == 3:
            word = word[:at] + word[at + 1 :]
        elif kind == 4 and place + 1 < len(words):
            word += words.pop(place + 1)
        else:
            word = word[:at] + word[at] * 4 + word[at + 1 :]
        words[place] = word
    return " ".join(words)
