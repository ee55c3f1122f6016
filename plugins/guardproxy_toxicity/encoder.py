"""One vector per word, taken once from a small sentence encoder in plain numpy. Training only.

The encoder (a BERT of MiniLM's shape) reads each word alone between its two marks; the mean of its
last layer, reduced by a principal component analysis, is the word's vector at run time.
"""

import json
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
CLS, SEP, HEADS = 101, 102, 12
BATCH = 512


class Encoder:
    """The layers of the encoder in `folder` (model.safetensors, vocab.txt)."""

    def __init__(self, folder: Path) -> None:
        raw = (folder / "model.safetensors").read_bytes()
        (size,) = struct.unpack("<Q", raw[:8])
        self.tensors: dict[str, Floats] = {}
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if name != "__metadata__" and entry["dtype"] == "F32":
                start, end = (8 + size + offset for offset in entry["data_offsets"])
                values = np.frombuffer(raw[start:end], dtype=np.float32).reshape(entry["shape"])
                self.tensors[name.removeprefix("bert.")] = values
        self.vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        self.layers = sum(name.endswith("attention.self.query.weight") for name in self.tensors)

    def words(self) -> tuple[list[str], Floats]:
        """The plain ASCII words of the vocabulary, more frequent ones first, and their vectors."""
        known = [(row, word) for row, word in enumerate(self.vocabulary) if word.isascii() and word.isalpha()]
        out = []
        for start in range(0, len(known), BATCH):
            tokens = np.array([[CLS, row, SEP] for row, _ in known[start : start + BATCH]])
            out.append(self._forward(tokens).mean(axis=1))
        vectors = np.concatenate(out)
        return [word for _, word in known], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _forward(self, tokens: NDArray[np.int64]) -> Floats:
        weights = self.tensors
        hidden = weights["embeddings.word_embeddings.weight"][tokens]
        hidden = hidden + weights["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        hidden = self._norm(hidden + weights["embeddings.token_type_embeddings.weight"][0], "embeddings")
        for number in range(self.layers):
            layer = f"encoder.layer.{number}."
            hidden = self._norm(hidden + self._attention(hidden, layer), layer + "attention.output")
            inner = self._gelu(self._linear(hidden, layer + "intermediate.dense"))
            hidden = self._norm(hidden + self._linear(inner, layer + "output.dense"), layer + "output")
        return hidden

    def _attention(self, hidden: Floats, layer: str) -> Floats:
        batch, length, width = hidden.shape
        query, key, value = (
            self._linear(hidden, f"{layer}attention.self.{part}")
            .reshape(batch, length, HEADS, width // HEADS)
            .transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        raw = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // HEADS))
        share = np.exp(raw - raw.max(axis=-1, keepdims=True))
        mixed = (share / share.sum(axis=-1, keepdims=True)) @ value
        joined = mixed.transpose(0, 2, 1, 3).reshape(batch, length, width)
        return self._linear(joined, layer + "attention.output.dense")

    def _linear(self, hidden: Floats, name: str) -> Floats:
        out: Floats = hidden @ self.tensors[name + ".weight"].T + self.tensors[name + ".bias"]
        return out

    def _norm(self, hidden: Floats, name: str) -> Floats:
        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        name += ".LayerNorm"
        out: Floats = centred / scale * self.tensors[name + ".weight"] + self.tensors[name + ".bias"]
        return out

    @staticmethod
    def _gelu(values: Floats) -> Floats:
        cubic = values + np.float32(0.044715) * values * values * values
        out: Floats = values * np.float32(0.5) * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * cubic))
        return out
