"""Fully connected networks with orthogonal weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from robodistill_deploy.errors import SpecError, unknown

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    # in place: its gradient then comes from the result, without a second exponential
    "elu": functools.partial(nn.ELU, inplace=True),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
"""Name in a configuration -> layer."""

HIDDEN_GAIN = math.sqrt(2.0)


def activation(name: str) -> nn.Module:
    """Return the activation layer called ``name``."""
    if name not in ACTIVATIONS:
        raise SpecError(unknown("activation", name, ACTIVATIONS))
    return ACTIVATIONS[name]()


def linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """Return a linear layer with orthogonal weights times ``gain`` and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def mlp(inputs: int, hidden: Sequence[int], outputs: int, act: str, out_gain: float = 1.0) -> nn.Sequential:
    """Return hidden layers with activation ``act`` and a last linear layer with ``out_gain``."""
    layers: list[nn.Module] = []
    width = inputs
    for size in hidden:
        layers += [linear(width, size, HIDDEN_GAIN), activation(act)]
        width = size
    layers.append(linear(width, outputs, out_gain))
    return nn.Sequential(*layers)


def slide(net: nn.Sequential, signal: Tensor, taps: Tensor, dilation: int = 1) -> Tensor:
    """Return the MLP ``net`` at every position of ``signal`` (M, C, L): (M, positions, outputs).

    ``taps`` (hidden, C, k) are the weights of its first layer, which as a convolution copies no window out.
    """
    features = F.conv1d(signal, taps, net.get_parameter("0.bias"), dilation=dilation)
    return net[1:](features.transpose(1, 2).contiguous())
