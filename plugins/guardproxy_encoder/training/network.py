"""The encoder with its heads in torch: a BERT of MiniLM's shape, pooled, with one linear head."""

import json
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, INNER, HEADS, EPSILON = 384, 1536, 12, 1e-12


class Layer(nn.Module):
    """One transformer layer, normalised after each half as BERT is."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.mixed = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.inner, self.outer = nn.Linear(WIDTH, units), nn.Linear(units, WIDTH)
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=EPSILON) for _ in range(2))

    def forward(self, hidden: Tensor, mask: Tensor, drop: float) -> Tensor:
        """`mask` is True where there is a token."""
        hidden = self.attended(hidden, mask, drop)
        outer = self.outer(self.active(hidden))
        out: Tensor = self.norm2(hidden + functional.dropout(outer, drop, self.training))
        return out

    def attended(self, hidden: Tensor, mask: Tensor, drop: float = 0.0) -> Tensor:
        """The first half: what the tokens took from each other."""
        count, length, _ = hidden.shape
        parts = [
            linear(hidden).view(count, length, HEADS, WIDTH // HEADS).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        ]
        seen = functional.scaled_dot_product_attention(*parts, attn_mask=mask[:, None, None, :])
        mixed = self.mixed(seen.transpose(1, 2).reshape(count, length, WIDTH))
        out: Tensor = self.norm1(hidden + functional.dropout(mixed, drop, self.training))
        return out

    def active(self, hidden: Tensor) -> Tensor:
        """The units of the second half."""
        return functional.gelu(self.inner(hidden))


class Network(nn.Module):
    """Token ids to one row of logits for each window; each layer has `units` in its second half."""

    def __init__(self, layers: int, units: int, words: int, positions: int, outputs: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, WIDTH), nn.Embedding(positions, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.layers = nn.ModuleList(Layer(units) for _ in range(layers))
        self.head = nn.Linear(2 * WIDTH, outputs)

    def forward(self, ids: Tensor, mask: Tensor, drop: float = 0.1) -> Tensor:
        """`ids` and `mask` are windows × tokens."""
        out: Tensor = self.head(functional.dropout(self.pooled(ids, mask, drop), drop, self.training))
        return out

    def embedded(self, ids: Tensor) -> Tensor:
        """What the first layer sees."""
        places = torch.arange(ids.shape[1])
        out: Tensor = self.norm(self.words(ids) + self.places(places))
        return out

    def pooled(self, ids: Tensor, mask: Tensor, drop: float = 0.0) -> Tensor:
        """What the head sees of each window: the mean, and the maximum, of the last layer."""
        hidden = functional.dropout(self.embedded(ids), drop, self.training)
        for layer in self.layers:
            hidden = layer(hidden, mask, drop)
        kept = mask[:, :, None].to(hidden.dtype)
        # The mean tells what the window is about; the maximum keeps a few words among many visible.
        mean = (hidden * kept).sum(1) / kept.sum(1)
        most = hidden.masked_fill(~mask[:, :, None], -1e4).amax(1)
        return torch.cat((mean, most), 1)


def pretrained(folder: Path, rows: list[int], positions: int, take: list[int], outputs: int) -> Network:
    """The encoder of `folder` (model.safetensors) with the `rows` of its vocabulary and the layers `take`."""
    tensors = _tensors(folder / "model.safetensors")
    network = Network(len(take), INNER, len(rows), positions, outputs)
    kinds = tensors["embeddings.token_type_embeddings.weight"][0]
    state = {
        "words.weight": tensors["embeddings.word_embeddings.weight"][rows] + kinds,
        "places.weight": tensors["embeddings.position_embeddings.weight"][:positions],
    }
    names = {
        "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
        "mixed": "attention.output.dense", "inner": "intermediate.dense", "outer": "output.dense",
        "norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm",
    }  # fmt: skip
    for part in ("weight", "bias"):
        state[f"norm.{part}"] = tensors[f"embeddings.LayerNorm.{part}"]
        for number, layer in enumerate(take):
            for ours, theirs in names.items():
                state[f"layers.{number}.{ours}.{part}"] = tensors[f"encoder.layer.{layer}.{theirs}.{part}"]
    loaded = {name: torch.from_numpy(np.array(values)) for name, values in state.items()}
    missing, unexpected = network.load_state_dict(loaded, strict=False)
    assert (sorted(missing), unexpected) == (["head.bias", "head.weight"], [])
    return network


def _tensors(path: Path) -> dict[str, np.ndarray]:
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    found = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = (8 + size + offset for offset in entry["data_offsets"])
            found[name.removeprefix("bert.")] = np.frombuffer(raw[start:end], np.float32).reshape(
                entry["shape"]
            )
    return found
