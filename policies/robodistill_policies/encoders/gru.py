"""A gated recurrent unit (Cho et al. 2014, in the form of torch.nn.GRU)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robodistill_deploy.errors import SpecError
from robodistill_policies.config import EncoderConfig
from robodistill_policies.encoders.base import Encoder, State
from robodistill_policies.mlp import linear, mlp


class GRUEncoder(Encoder):
    """``hidden[0]`` recurrent units, then hidden layers of the remaining widths, then ``out_dim``."""

    def __init__(self, config: EncoderConfig, input_dim: int) -> None:
        """Make the layers."""
        super().__init__(config, input_dim)
        if not config.hidden:
            raise SpecError("encoder.hidden: a GRU needs at least the number of its units, such as [128]")
        self.width = config.hidden[0]
        self.from_input = linear(input_dim, 3 * self.width, 1.0)
        self.from_hidden = nn.Linear(self.width, 3 * self.width)
        for gate in self.from_hidden.weight.data.chunk(3):
            nn.init.orthogonal_(gate)
        nn.init.zeros_(self.from_hidden.bias)
        self.head = mlp(self.width, config.hidden[1:], self.out_dim, config.activation)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of the hidden state."""
        return {"gru": (self.width,)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return features (N, out_dim) and the next hidden state."""
        hidden = cell(self.from_input(x), self.from_hidden(state["gru"]), state["gru"])
        return self.head(hidden), {"gru": hidden}

    def unroll(self, x: Tensor, state: State, resets: Tensor) -> tuple[Tensor, State]:
        """Multiply all inputs at once, then run the recurrence over time.

        Measured against torch.nn.GRU on the runs between resets and on padded runs: equally fast, and one shape
        for every pattern of resets. ``unbind`` matters: the gradient of ``inputs[t]`` is as large as all inputs.
        """
        hidden, outputs = state["gru"], []
        weight, bias = self.from_hidden.weight.t(), self.from_hidden.bias
        starts = resets.any(dim=1).tolist()
        for t, inputs in enumerate(self.from_input(x).unbind(0)):
            if starts[t]:
                hidden = hidden.masked_fill(resets[t].unsqueeze(1), 0.0)
            hidden = cell(inputs, torch.addmm(bias, hidden, weight), hidden)
            outputs.append(hidden)
        return self.head(torch.stack(outputs)), {"gru": hidden}


def cell(inputs: Tensor, recurrent: Tensor, hidden: Tensor) -> Tensor:
    """Return the next hidden state (N, H) from gate sums (N, 3 H) in the order reset, update, new."""
    reset_in, update_in, new_in = inputs.chunk(3, dim=-1)
    reset_h, update_h, new_h = recurrent.chunk(3, dim=-1)
    update = torch.sigmoid(update_in + update_h)
    new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_h) * new_h)
    return new + update * (hidden - new)
