"""Temporal convolutions over a window, as in RMA (Kumar et al. 2021, appendix: adaptation module)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robodistill_deploy.errors import SpecError
from robodistill_policies.config import EncoderConfig, check_sizes
from robodistill_policies.encoders.window import WindowEncoder
from robodistill_policies.mlp import HIDDEN_GAIN, activation, linear, mlp, slide


@dataclass(frozen=True)
class TCNParams:
    """The convolutions, first to last."""

    channels: int = 32
    """Width of the per-step embedding and of every convolution, >= 1."""
    kernels: tuple[int, ...] = (8, 5, 5)
    """Taps of each convolution, >= 1."""
    strides: tuple[int, ...] = (4, 1, 1)
    """Stride of each convolution, >= 1."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_sizes("encoder.params.channels", (self.channels,))
        check_sizes("encoder.params.kernels", self.kernels)
        check_sizes("encoder.params.strides", self.strides)
        if not self.kernels or len(self.kernels) != len(self.strides):
            got = f"{len(self.kernels)} kernels and {len(self.strides)} strides"
            raise SpecError(f"encoder.params: {got}; give one of each for every layer")

    def positions(self, history: int) -> int:
        """Return how many positions ``history`` steps become; refuses a history that leaves steps over."""
        reach, step = 1, 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            reach += (kernel - 1) * step
            step *= stride
        steps_over = (history - reach) % step
        if history < reach or steps_over:
            # A convolution that leaves steps over drops the newest, the ones that matter most.
            low = max(reach, history - steps_over)
            raise SpecError(f"encoder.history: {history} does not fit the strides; use {low} or {low + step}")
        return (history - reach) // step + 1


class TimeConv(nn.Module):
    """One convolution over time, whose stride may be traded for dilation."""

    def __init__(self, width: int, kernel: int) -> None:
        """Make orthogonal taps."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, width, kernel))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.orthogonal_(self.weight, HIDDEN_GAIN)

    def forward(self, signal: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        """Return (M, width, positions) of a signal (M, width, L)."""
        return F.conv1d(signal, self.weight, self.bias, stride=stride, dilation=dilation)


class TCNEncoder(WindowEncoder):
    """A linear embedding of each step, strided convolutions over time, then hidden layers to ``out_dim``."""

    Params = TCNParams
    params: TCNParams

    def __init__(self, config: EncoderConfig, input_dim: int) -> None:
        """Make the layers; the history must be a length that the convolutions use whole."""
        super().__init__(config, input_dim)
        self.positions = self.params.positions(config.history)
        width = self.params.channels
        self.embed = nn.Sequential(linear(input_dim, width, HIDDEN_GAIN), activation(config.activation))
        self.act = activation(config.activation)
        self.convs = nn.ModuleList([TimeConv(width, kernel) for kernel in self.params.kernels])
        self.head = mlp(width * self.positions, config.hidden, self.out_dim, config.activation)

    def encode(self, lines: Tensor) -> Tensor:
        """Return features (M, L - history + 1, out_dim) of every window in lines (M, L, input_dim)."""
        signal, dilation = self.embed(lines).transpose(1, 2), 1
        # Strides become dilations: windows that begin at neighbouring steps then share what they have in common.
        for conv, stride in zip(self.convs, self.params.strides, strict=True):
            signal = self.act(conv(signal, dilation=dilation))
            dilation *= stride
        taps = self.head.get_parameter("0.weight").unflatten(1, (-1, self.positions))
        return slide(self.head, signal, taps, dilation)

    def encode_window(self, window: Tensor) -> Tensor:
        """Return features (N, out_dim) of one window each (N, history, input_dim)."""
        signal = self.embed(window).transpose(1, 2)
        for conv, stride in zip(self.convs, self.params.strides, strict=True):
            signal = self.act(conv(signal, stride=stride))
        return self.head(signal.flatten(1))
