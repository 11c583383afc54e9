"""Quaternion algebra on (..., 4) tensors in w, x, y, z order."""

from __future__ import annotations

import torch
from torch import Tensor

# Sums of products below are written as few operations on many columns: on a few hundred worlds an operation costs
# microseconds whatever it computes. Columns are chosen by index_select; a table belongs to each formula.
_TIMES = torch.tensor([0, 1, 2, 3, 1, 0, 3, 2, 2, 3, 0, 1, 3, 2, 1, 0])
_TIMES_SIGN = torch.tensor([1.0, -1, -1, -1, 1, 1, 1, -1, 1, -1, 1, 1, 1, 1, -1, 1])
"""``multiply``: for each element of the product, the element of ``b`` that each of ``a`` meets, and the sign."""
_GRAVITY = (torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([2, 1, 1, 3, 3, 2]))
_GRAVITY_TIMES = torch.tensor([2.0, -2, 2, -2, -2, 2])
_DOWN = torch.tensor([0.0, 0.0, -1.0])
"""``projected_gravity``: the two factors of each product, what it counts, and what is added."""
_AHEAD = (torch.tensor([2, 0, 3, 1]), torch.tensor([2, 3, 3, 2]))
_AHEAD_TIMES = torch.tensor([-2.0, 2.0, -2.0, 2.0])
_X_AXIS = torch.tensor([1.0, 0.0])
"""``heading``: likewise."""
_TURN = (
    torch.tensor([0, 3, 0, 0, 3, 0, 3, 3]),
    torch.tensor([1, 1, 4, 1, 4, 4, 1, 4]),
    torch.tensor([2, 2, 2, 5, 5, 5, 5, 2]),
)
_TURN_SIGN = torch.tensor([1.0, -1.0, 1.0, -1.0])
"""``from_roll_pitch_yaw``: the three factors among three cosines and three sines, and the second products' signs."""
_LEFT = torch.tensor([1.0, -1.0])
"""``to_heading``: signs of (y, x) in the part that the sine multiplies."""


def rotate(quat: Tensor, vector: Tensor) -> Tensor:
    """Rotate ``vector`` (..., 3) from the body frame of ``quat`` (..., 4) to its parent frame."""
    w, xyz = quat[..., :1], quat[..., 1:]
    t = 2.0 * torch.linalg.cross(xyz, vector, dim=-1)
    return vector + w * t + torch.linalg.cross(xyz, t, dim=-1)


def rotate_inverse(quat: Tensor, vector: Tensor) -> Tensor:
    """Rotate ``vector`` (..., 3) from the parent frame into the body frame of ``quat`` (..., 4)."""
    w, xyz = quat[..., :1], quat[..., 1:]
    t = 2.0 * torch.linalg.cross(vector, xyz, dim=-1)
    return vector + w * t + torch.linalg.cross(t, xyz, dim=-1)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Return the Hamilton product ``a b``: first rotate by ``b``, then by ``a``."""
    met = b.index_select(-1, _TIMES.to(b.device)) * _TIMES_SIGN.to(b)
    return (a.unsqueeze(-2) * met.unflatten(-1, (4, 4))).sum(-1)


def from_rotation_vector(vector: Tensor) -> Tensor:
    """Return the unit quaternion of a rotation by ``|vector|`` [rad] about ``vector`` (..., 3)."""
    angle = vector.norm(dim=-1, keepdim=True)
    # sinc keeps the value and the gradient finite at zero angle.
    return torch.cat((torch.cos(0.5 * angle), 0.5 * torch.sinc(angle / (2.0 * torch.pi)) * vector), dim=-1)


def projected_gravity(quat: Tensor) -> Tensor:
    """Return the unit gravity direction (..., 3) in the body frame of a world-from-body ``quat``."""
    a, b = (quat.index_select(-1, columns.to(quat.device)) for columns in _GRAVITY)
    products = a * b * _GRAVITY_TIMES.to(quat)
    return products[..., :3] + products[..., 3:] + _DOWN.to(quat)


def from_roll_pitch_yaw(roll: Tensor, pitch: Tensor, heading: Tensor) -> Tensor:
    """Return the quaternion of intrinsic z-y-x angles [rad], each (...,)."""
    half = 0.5 * torch.stack((roll, pitch, heading))
    parts = torch.cat((torch.cos(half), torch.sin(half))).movedim(0, -1)
    a, b, c = (parts.index_select(-1, columns.to(parts.device)) for columns in _TURN)
    products = a * b * c
    return products[..., :4] + products[..., 4:] * _TURN_SIGN.to(parts)


def heading(quat: Tensor) -> Tensor:
    """Return cos and sin (..., 2) of the heading of ``quat``: (1, 0) straight up or down, where there is none."""
    # not by atan2, whose last bit changes with the number of worlds beside this one
    a, b = (quat.index_select(-1, columns.to(quat.device)) for columns in _AHEAD)
    products, x_axis = a * b * _AHEAD_TIMES.to(quat), _X_AXIS.to(quat)
    ahead = products[..., :2] + products[..., 2:] + x_axis
    length = torch.sqrt(ahead.square().sum(dim=-1, keepdim=True))
    return torch.where(length > 0.0, ahead / length, x_axis)


def to_heading(heading: Tensor, vector_w: Tensor) -> Tensor:
    """Turn the horizontal part (..., 2) of a world vector into the frame of ``heading`` (..., 2)."""
    c, s = heading.split(1, dim=-1)
    flat = vector_w[..., :2]
    return torch.addcmul(c * flat, s * _LEFT.to(heading), flat.flip(-1))
