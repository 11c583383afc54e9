"""Quaternion algebra on (..., 4) tensors in w, x, y, z order."""

from __future__ import annotations

import torch
from torch import Tensor


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
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        dim=-1,
    )


def from_rotation_vector(vector: Tensor) -> Tensor:
    """Return the unit quaternion of a rotation by ``|vector|`` [rad] about ``vector`` (..., 3)."""
    angle = vector.norm(dim=-1, keepdim=True)
    # sinc keeps the value and the gradient finite at zero angle.
    return torch.cat((torch.cos(0.5 * angle), 0.5 * torch.sinc(angle / (2.0 * torch.pi)) * vector), dim=-1)


def projected_gravity(quat: Tensor) -> Tensor:
    """Return the unit gravity direction (..., 3) in the body frame of a world-from-body ``quat``."""
    w, x, y, z = quat.unbind(-1)
    return torch.stack((2.0 * (w * y - x * z), -2.0 * (w * x + y * z), 2.0 * (x * x + y * y) - 1.0), dim=-1)


def from_roll_pitch_yaw(roll: Tensor, pitch: Tensor, heading: Tensor) -> Tensor:
    """Return the quaternion of intrinsic z-y-x angles [rad], each (...,)."""
    half = 0.5 * torch.stack((roll, pitch, heading))
    (cr, cp, ch), (sr, sp, sh) = torch.cos(half), torch.sin(half)
    return torch.stack(
        (
            cr * cp * ch + sr * sp * sh,
            sr * cp * ch - cr * sp * sh,
            cr * sp * ch + sr * cp * sh,
            cr * cp * sh - sr * sp * ch,
        ),
        dim=-1,
    )


def heading(quat: Tensor) -> Tensor:
    """Return cos and sin (..., 2) of the heading of ``quat``: (1, 0) straight up or down, where there is none."""
    w, x, y, z = quat.unbind(-1)
    # not by atan2, whose last bit changes with the number of worlds beside this one
    ahead = torch.stack((1.0 - 2.0 * (y * y + z * z), 2.0 * (w * z + x * y)), dim=-1)
    length = torch.sqrt(ahead.square().sum(dim=-1, keepdim=True))
    return torch.where(length > 0.0, ahead / length, torch.tensor((1.0, 0.0), dtype=quat.dtype, device=quat.device))


def to_heading(heading: Tensor, vector_w: Tensor) -> Tensor:
    """Turn the horizontal part (..., 2) of a world vector into the frame of ``heading`` (..., 2)."""
    (c, s), (x, y) = heading.unbind(-1), (vector_w[..., 0], vector_w[..., 1])
    return torch.stack((c * x + s * y, c * y - s * x), dim=-1)
