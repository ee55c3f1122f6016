"""The guard `toxicity`: insults, hate, threats, sexual content and self-harm; a small offline classifier."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec

from guardproxy import Detector, Guard, Match, Settings, hookimpl
from guardproxy_toxicity.model import Model, load

Threshold = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class ToxicitySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[guards.toxicity]`.

    `threshold` is the probability, 0 to 1, from which a text is a match; None takes the model's
    own (MODEL_CARD.md says how it was chosen). Lower finds more and is wrong more often.
    """

    threshold: Threshold | None = None


class ToxicityDetector(Detector):
    """Scores each block as a whole: one match over all of it, named by the kind it looks like most."""

    name = "toxicity"
    reach = None
    # 1,000 characters take about 0.5 ms, not much more than a round trip to a worker; longer blocks go there.
    inline_below = 1_000

    def __init__(self, threshold: float | None = None) -> None:
        self.threshold = threshold
        self._model: Model | None = None

    def load(self) -> None:
        """Read the weights from the package. Raises ValueError where they are of another version."""
        self._model = load()

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """At most one match for each text, over the whole of it."""
        if self._model is None:
            raise RuntimeError("ToxicityDetector.load was not called.")
        least = self._model.threshold if self.threshold is None else self.threshold
        found: list[list[Match]] = []
        for text in texts:
            score = self._model.score(text)
            toxic = 0.0 < score.probability >= least
            found.append([Match(0, len(text), f"TOXICITY_{score.kind}", score.probability)] if toxic else [])
        return found


@hookimpl
def guardproxy_register_settings() -> type[msgspec.Struct]:
    """The options of `[guards.toxicity]`."""
    return ToxicitySettings


@hookimpl
def guardproxy_register_guards(settings: Settings) -> Iterable[Guard]:
    """One guard with one detector."""
    chosen = settings.plugins.get("toxicity")
    options = chosen if isinstance(chosen, ToxicitySettings) else ToxicitySettings()
    detector = ToxicityDetector(options.threshold)
    summary = "Insults, hate, threats, sexual content and self-harm, by a small offline classifier."
    return [Guard("toxicity", (detector,), summary=summary)]
