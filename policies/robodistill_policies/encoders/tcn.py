"""Temporal convolutions over a window, as in RMA (Kumar et al. 2021, appendix: adaptation module)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from robodistill_deploy.errors import SpecError
from robodistill_policies.config import EncoderConfig, check_sizes
from robodistill_policies.encoders.base import read_params
from robodistill_policies.encoders.window import WindowEncoder
from robodistill_policies.mlp import HIDDEN_GAIN, activation, linear, mlp


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
        length, step, reach = history, 1, 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            length = (length - kernel) // stride + 1
            reach += (kernel - 1) * step
            step *= stride
        used = reach + (length - 1) * step
        if length < 1 or used != history:
            # A convolution that leaves steps over drops the newest, the ones that matter most.
            low = max(reach, used)
            raise SpecError(f"encoder.history: {history} does not fit the strides; use {low} or {low + step}")
        return length


class TCNEncoder(WindowEncoder):
    """A linear embedding of each step, strided convolutions over time, then hidden layers to ``out_dim``."""

    Params = TCNParams

    def __init__(self, config: EncoderConfig, input_dim: int) -> None:
        """Make the layers; the history must be a length that the convolutions use whole."""
        super().__init__(config, input_dim)
        params = read_params(TCNParams, config)
        width = params.channels
        self.embed = nn.Sequential(linear(input_dim, width, HIDDEN_GAIN), activation(config.activation))
        layers: list[nn.Module] = []
        for kernel, stride in zip(params.kernels, params.strides, strict=True):
            conv = nn.Conv1d(width, width, kernel, stride)
            nn.init.orthogonal_(conv.weight, HIDDEN_GAIN)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            layers += [conv, activation(config.activation)]
        self.convs = nn.Sequential(*layers)
        positions = params.positions(config.history)
        self.head = mlp(width * positions, config.hidden, self.out_dim, config.activation)

    def encode(self, windows: Tensor) -> Tensor:
        """Return features (B, out_dim) of windows (B, history, input_dim)."""
        return self.head(self.convs(self.embed(windows).transpose(1, 2)).flatten(1))
