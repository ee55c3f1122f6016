"""Writes a trained network as an ONNX graph with weights of 8 bits; the graph is made node by node.

Weights keep 7 of the 8 bits, so that processors without 8-bit dot products cannot overflow and all
give the same sums; activations are scaled at run time. Embeddings have one scale for each row.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from guardproxy_encoder.training.network import EPSILON, HEADS, WIDTH, Network

OPSET = 20


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.count = 0

    def constant(self, values: NDArray[np.generic]) -> str:
        self.count += 1
        name = f"w{self.count}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        self.count += 1
        names = [f"x{self.count}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"n{self.count}", **attributes))
        return names

    def one(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.node(kind, *inputs, **attributes)[0]

    def linear(self, hidden: list[str], weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        """`hidden` is the quantised input: values, scale, zero point."""
        codes, scale = quantise(weight)
        product = self.one("MatMulInteger", hidden[0], self.constant(codes.T), hidden[2])
        scales = self.one("Mul", hidden[1], self.constant(scale))
        scaled = self.one("Mul", self.one("Cast", product, to=TensorProto.FLOAT), scales)
        return self.one("Add", scaled, self.constant(bias))

    def quantised(self, hidden: str) -> list[str]:
        return self.node("DynamicQuantizeLinear", hidden, outputs=3)

    def norm(self, hidden: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        return self.one(
            "LayerNormalization", hidden, self.constant(weight), self.constant(bias), axis=-1, epsilon=EPSILON
        )


def quantise(weight: NDArray[np.float32], most: int = 63) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Signed codes of at most `most` with one scale for each row."""
    scale = np.maximum(np.abs(weight).max(axis=1), 1e-8) / most
    return np.rint(weight / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def graph(network: Network) -> onnx.ModelProto:
    """`ids` (tokens, without a batch) to `logits` (outputs)."""
    state = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    g = _Graph()
    codes, scale = quantise(state["words.weight"], 127)
    rows = g.one("Cast", g.one("Gather", g.constant(codes), "ids"), to=TensorProto.FLOAT)
    scales = g.one("Unsqueeze", g.one("Gather", g.constant(scale), "ids"), g.constant(np.array([1])))
    words = g.one("Mul", rows, scales)
    length = g.one("Shape", "ids")
    zero = g.constant(np.array([0]))
    places = g.one("Slice", g.constant(state["places.weight"]), zero, length, zero)
    hidden = g.norm(g.one("Add", words, places), state["norm.weight"], state["norm.bias"])
    split = g.constant(np.array([-1, HEADS, WIDTH // HEADS]))
    joined = g.constant(np.array([-1, WIDTH]))
    for number in range(len(network.layers)):
        own = {name.removeprefix(f"layers.{number}."): values for name, values in state.items()}
        shrink = np.float32(1 / np.sqrt(WIDTH // HEADS))
        weight = np.concatenate([own["query.weight"] * shrink, own["key.weight"], own["value.weight"]])
        bias = np.concatenate([own["query.bias"] * shrink, own["key.bias"], own["value.bias"]])
        parts = g.node(
            "Split", g.linear(g.quantised(hidden), weight, bias), outputs=3, axis=-1, num_outputs=3
        )
        query, key, value = (g.one("Reshape", part, split) for part in parts)
        query, value = (g.one("Transpose", part, perm=[1, 0, 2]) for part in (query, value))
        share = g.one("Softmax", g.one("MatMul", query, g.one("Transpose", key, perm=[1, 2, 0])), axis=-1)
        mixed = g.one("Reshape", g.one("Transpose", g.one("MatMul", share, value), perm=[1, 0, 2]), joined)
        mixed = g.linear(g.quantised(mixed), own["mixed.weight"], own["mixed.bias"])
        hidden = g.norm(g.one("Add", hidden, mixed), own["norm1.weight"], own["norm1.bias"])
        inner = g.linear(g.quantised(hidden), own["inner.weight"], own["inner.bias"])
        outer = g.linear(g.quantised(g.one("Gelu", inner)), own["outer.weight"], own["outer.bias"])
        hidden = g.norm(g.one("Add", hidden, outer), own["norm2.weight"], own["norm2.bias"])
    mean = g.one("ReduceMean", hidden, zero, keepdims=0)
    most = g.one("ReduceMax", hidden, zero, keepdims=0)
    logits = g.one("MatMul", g.one("Concat", mean, most, axis=0), g.constant(state["head.weight"].T))
    g.nodes.append(
        helper.make_node("Add", [logits, g.constant(state["head.bias"])], ["logits"], name="logits")
    )
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["tokens"])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [len(state["head.bias"])])
    model = helper.make_model(
        helper.make_graph(g.nodes, "encoder", [ids], [out], g.weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
        producer_name="guardproxy",
    )
    onnx.checker.check_model(model)
    return model


def write(network: Network, target: Path) -> None:
    """Write `network` to `target`."""
    target.write_bytes(graph(network).SerializeToString(deterministic=True))
