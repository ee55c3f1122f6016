"""The small sentence encoder that `toxicity` and `prompt_injection` share: offline, one core, no torch."""

from guardproxy_encoder.model import CATEGORIES, CONTEXT, HEADS, INJECTION, TOXIC, Encoder, load

__all__ = ["CATEGORIES", "CONTEXT", "HEADS", "INJECTION", "TOXIC", "Encoder", "load"]
