"""Terms that a robot can compute: pure functions of signals and internal states, in SI units.

The same function serves the environment and the exported graph. Inputs are (..., dim) tensors in the
order of the term's ``inputs``; the output is (..., elements).
"""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill_envs import rotations


def identity(signal: Tensor) -> Tensor:
    """Return the signal itself."""
    return signal


def relative(signal: Tensor, *, origin: Tensor | list[float]) -> Tensor:
    """Return the signal minus ``origin``, such as joint positions [rad] about the default pose."""
    return signal - torch.as_tensor(origin, dtype=signal.dtype, device=signal.device)


def projected_gravity(imu_quat_wxyz: Tensor) -> Tensor:
    """Return the gravity direction (..., 3) in the IMU frame: (0, 0, -1) when level."""
    return rotations.projected_gravity(imu_quat_wxyz)


def sin_cos(angle: Tensor) -> Tensor:
    """Return sin and cos of angles [rad] (..., k) as (..., 2k)."""
    return torch.cat((torch.sin(angle), torch.cos(angle)), dim=-1)


def gait_clock(phase: Tensor, command: Tensor, *, still: float) -> Tensor:
    """Return sin and cos (..., 2) of the gait phase in [0, 1), zero while asked to stand still.

    ``still``: a command with a smaller norm asks to stand.
    """
    angle = 2.0 * torch.pi * phase
    moving = (command.norm(dim=-1, keepdim=True) > still).to(angle.dtype)
    return torch.cat((torch.sin(angle), torch.cos(angle)), dim=-1) * moving
