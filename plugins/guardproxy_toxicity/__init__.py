"""The guard `toxicity`: hate, harassment, threats, sexual content, self-harm, profanity; a small model."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec

from guardproxy import Detector, Guard, Match, Settings, hookimpl
from guardproxy_encoder import CATEGORIES, CONTEXT, TOXIC, Encoder, load

# Of each category where the settings say nothing. Harmless talk about people resembles hate most.
THRESHOLDS: Mapping[str, float] = dict.fromkeys(CATEGORIES, 0.85) | {"hate": 0.97, "harassment": 0.7}

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[guards.toxicity.thresholds]`: a category's own threshold; None takes `threshold`."""

    hate: Probability | None = None
    harassment: Probability | None = None
    threat: Probability | None = None
    sexual: Probability | None = None
    self_harm: Probability | None = None
    profanity: Probability | None = None


class ToxicitySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[guards.toxicity]`.

    A block is a match of each category whose score, 0 to 1, is at or over the threshold; None takes
    THRESHOLDS. Lower finds more and is wrong more often: MODEL_CARD.md says how much.
    """

    threshold: Probability | None = None
    thresholds: Thresholds = Thresholds()


def scores(probabilities: Mapping[str, float]) -> dict[str, float]:
    """The score of each category.

    The one that the text shows most has the probability that the text is toxic at all, the others their
    share of it: a word alone, said kindly or quoted, makes no match.
    """
    most = max(probabilities[name] for name in CATEGORIES)
    toxic = probabilities[TOXIC]
    return {name: toxic * probabilities[name] / most if most > 0 else 0.0 for name in CATEGORIES}


class ToxicityDetector(Detector):
    """Scores each block as a whole: for each category at most one match, over all of the block."""

    name = "toxicity"
    reach = None
    context = CONTEXT

    def __init__(self, options: ToxicitySettings | None = None) -> None:
        options = options or ToxicitySettings()
        self.least: dict[str, float] = {}
        for name in CATEGORIES:
            given = (getattr(options.thresholds, name), options.threshold, THRESHOLDS[name])
            self.least[name] = next(value for value in given if value is not None)
        self._encoder: Encoder | None = None

    def load(self) -> None:
        """Read the encoder from its package."""
        self._encoder = load()

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The categories that each text shows."""
        if self._encoder is None:
            raise RuntimeError("ToxicityDetector.load was not called.")
        return [self._matches(scores(self._encoder.read(text)), len(text)) for text in texts]

    def _matches(self, found: Mapping[str, float], length: int) -> list[Match]:
        return [
            Match(0, length, f"TOXICITY_{name.upper()}", score)
            for name, score in found.items()
            if 0.0 < score >= self.least[name]
        ]


@hookimpl
def guardproxy_register_settings() -> type[msgspec.Struct]:
    """The options of `[guards.toxicity]`."""
    return ToxicitySettings


@hookimpl
def guardproxy_register_guards(settings: Settings) -> Iterable[Guard]:
    """One guard with one detector."""
    options = settings.of_plugin("toxicity", ToxicitySettings)
    summary = "Hate, harassment, threats, sexual content, self-harm and profanity, by a small offline model."
    return [Guard("toxicity", (ToxicityDetector(options),), summary=summary)]
