"""The guard `toxicity`: insults, hate, threats, sexual content and self-harm, found by a small offline classifier."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from guardproxy import Detector, Guard, Match, Settings, hookimpl

from guardproxy_toxicity.model import Model, load

Threshold = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class ToxicitySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[guards.toxicity]`.

    `threshold`: the probability from which a text is a match; None takes the model's own for each
    kind (see MODEL_CARD.md). `categories`: the kinds to report, such as "hate"; empty means all.
    """

    threshold: Threshold | None = None
    categories: tuple[str, ...] = ()


class ToxicityDetector(Detector):
    """Scores each block as a whole; reports the strongest kind that passes its threshold."""

    name = "toxicity"
    reach = None
    # A block of 2,200 characters takes about 0.7 ms; a hop to a worker costs half of that.
    inline_below = 2_300

    def __init__(self, threshold: float | None = None, categories: Iterable[str] = ()) -> None:
        self.threshold = threshold
        self.categories = frozenset(kind.upper().removeprefix("TOXICITY_") for kind in categories)
        self._model: Model | None = None

    def load(self) -> None:
        """Read the weights. Raises ValueError where `categories` names a kind that the model lacks."""
        model = load()
        if unknown := sorted(self.categories.difference(model.kinds)):
            known = ", ".join(kind.lower() for kind in model.kinds)
            raise ValueError(f"Unknown toxicity category: {unknown[0].lower()}. Known: {known}.")
        self._model = model

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """At most one match for each text, over the whole of it."""
        return [self._judge(text) for text in texts]

    def _judge(self, text: str) -> list[Match]:
        if self._model is None:
            raise RuntimeError("The toxicity model is not loaded.")
        scores = self._model.scores(text)
        best: Match | None = None
        for kind, score, own in zip(self._model.kinds, scores, self._model.thresholds, strict=True):
            if self.categories and kind not in self.categories:
                continue
            least = own if self.threshold is None else self.threshold
            if score > 0 and score >= least and (best is None or score > best.score):
                best = Match(0, len(text), f"TOXICITY_{kind}", float(score))
        return [] if best is None else [best]


@hookimpl
def guardproxy_register_settings() -> type[msgspec.Struct]:
    """The options of `[guards.toxicity]`."""
    return ToxicitySettings


@hookimpl
def guardproxy_register_guards(settings: Settings) -> Iterable[Guard]:
    """One guard with one detector."""
    chosen = settings.plugins.get("toxicity")
    options = chosen if isinstance(chosen, ToxicitySettings) else ToxicitySettings()
    detector = ToxicityDetector(options.threshold, options.categories)
    summary = "Insults, hate, threats, sexual content and self-harm, by a small offline classifier."
    return [Guard("toxicity", (detector,), summary=summary)]
