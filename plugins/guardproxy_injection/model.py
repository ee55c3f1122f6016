"""What reads like a jailbreak or an order to the model: the encoder's judgement of each block."""

from collections.abc import Sequence

from guardproxy import Detector, Match
from guardproxy_encoder import CONTEXT, INJECTION, Encoder, load

THRESHOLD = 0.9


class InjectionModel(Detector):
    """Scores each block as a whole: at most one match, over all of it."""

    name = "model"
    reach = None
    context = CONTEXT

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self._encoder: Encoder | None = None

    def load(self) -> None:
        """Read the encoder from its package."""
        self._encoder = load()

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """One match for each text that is at or over the threshold."""
        if self._encoder is None:
            raise RuntimeError("InjectionModel.load was not called.")
        found: list[list[Match]] = []
        for text in texts:
            score = self._encoder.read(text)[INJECTION]
            hit = 0.0 < score >= self.threshold
            found.append([Match(0, len(text), "PROMPT_INJECTION", score)] if hit else [])
        return found
