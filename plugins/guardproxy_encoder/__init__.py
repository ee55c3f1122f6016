"""The small sentence encoder that `toxicity` and `prompt_injection` share: offline, one core, no torch."""

from guardproxy_encoder.model import CATEGORIES, HEADS, INJECTION, TOXIC, Encoder, load

__all__ = ["CATEGORIES", "HEADS", "INJECTION", "TOXIC", "Encoder", "load"]
