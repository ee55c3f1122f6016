"""Narrows the feed-forward halves of a trained network: units go, and the others take over what they did.

One unit after the other is removed, the one whose loss the rest can make up for best, and the weights that
are left are set so that the half's output over the sample changes least (least squares). This is the optimal
brain surgeon of Hassibi and Stork (1993), by units as in ZipLM (Kurtic et al., 2023).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guardproxy_encoder.training.network import WIDTH, Layer, Network

DAMPING = 1e-4  # of the mean square of a unit, so that the sums can be inverted

Batch = tuple[Tensor, Tensor]


def narrow(network: Network, batches: Sequence[Batch], kept: int) -> None:
    """Leave `kept` units in each layer of `network`, in place; `batches` are windows as it will see them.

    A layer is judged by what it gets from those before it, which are narrow already.
    """
    with torch.no_grad():
        hidden = [network.embedded(ids) for ids, _ in batches]
        for layer in network.layers:
            assert isinstance(layer, Layer)
            middle = [layer.attended(rows, mask) for rows, (_, mask) in zip(hidden, batches, strict=True)]
            _narrow(layer, [rows[mask] for rows, (_, mask) in zip(middle, batches, strict=True)], kept)
            hidden = [layer(rows, mask, 0.0) for rows, (_, mask) in zip(hidden, batches, strict=True)]


def _narrow(layer: Layer, inputs: Sequence[Tensor], kept: int) -> None:
    units = layer.inner.out_features
    bias = units  # one more unit, always 1, that is never removed
    moments = torch.zeros(units + 1, units + 1, dtype=torch.float64)
    for rows in inputs:
        active = torch.cat((layer.active(rows), torch.ones(len(rows), 1)), 1)
        moments += (active.T @ active).double()
    moments /= moments[bias, bias].clone()
    moments += DAMPING * moments.diag().mean() * torch.eye(units + 1)
    inverse = torch.linalg.inv(moments)
    weights = torch.cat((layer.outer.weight.T, layer.outer.bias[None])).double()
    gone = torch.zeros(units + 1, dtype=torch.bool)
    for _ in range(units - kept):
        loss = (weights**2).sum(1) / inverse.diag()
        loss[gone] = loss[bias] = torch.inf
        unit = int(loss.argmin())
        column = inverse[:, unit].clone()
        weights -= torch.outer(column, weights[unit] / column[unit])
        inverse -= torch.outer(column, column) / column[unit]
        gone[unit], weights[unit], inverse[unit, unit] = True, 0.0, 1.0
    left = ~gone[:bias]
    inner, outer = nn.Linear(WIDTH, kept), nn.Linear(kept, WIDTH)
    inner.weight.data, inner.bias.data = layer.inner.weight[left].clone(), layer.inner.bias[left].clone()
    outer.weight.data = weights[:bias][left].T.float().contiguous()
    outer.bias.data = weights[bias].float()
    layer.inner, layer.outer = inner, outer
