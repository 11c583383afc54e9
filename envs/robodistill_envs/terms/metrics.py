"""What evaluation reports beside the return.

``function(world, **params) -> (numerator, denominator)``, each (num_envs,), added up over the ticks of an
episode; the task's YAML says how they reduce: ``ratio``, ``root_ratio`` or ``max`` (of the numerator).
"""

from __future__ import annotations

import torch
from torch import Tensor

from robodistill_envs.robot_config import spread
from robodistill_envs.terms import rewards
from robodistill_envs.world import World

GRAVITY = 9.81
"""[m/s^2]"""


def base_twist(world: World) -> Tensor:
    """Return the true (vx, vy [m/s], yaw rate [rad/s]) in the frame of the robot's heading, (num_envs, 3)."""
    return torch.cat((rewards.heading_velocity(world), rewards.yaw_rate(world).unsqueeze(1)), dim=1)


def velocity_error(world: World) -> tuple[Tensor, Tensor]:
    """Return the squared horizontal velocity error [m^2/s^2], vx and vy jointly."""
    error = rewards.velocity_error(world).square().sum(dim=1)
    return error, torch.ones_like(error)


def yaw_rate_error(world: World) -> tuple[Tensor, Tensor]:
    """Return the squared yaw rate error [rad^2/s^2]."""
    error = rewards.yaw_rate_error(world).square()
    return error, torch.ones_like(error)


def cost_of_transport(world: World, *, mass: float, payload: str) -> tuple[Tensor, Tensor]:
    """Return mechanical energy [J] and weight times distance [J]."""
    speed = rewards.heading_velocity(world).norm(dim=1)
    weight = (mass + world.parameter(payload)[:, 0]) * GRAVITY
    return rewards.power(world) * world.dt, weight * speed * world.dt


def torque_peak(world: World) -> tuple[Tensor, Tensor]:
    """Return the largest joint torque as a share of its limit."""
    action = world.task.robot.actions[0]
    limit = torch.tensor(spread(action.effort_limit, len(action.names), "effort_limit"))
    peak = (world.true("joint_torque").abs() / limit).amax(dim=1)
    return peak, torch.ones_like(peak)


def upright_share(world: World, *, sensor: str, limit: float) -> tuple[Tensor, Tensor]:
    """Return whether a joint angle that is zero when upright lies within +-``limit`` [rad]."""
    inside = (torch.cos(world.true(sensor)[:, 0]) > torch.cos(torch.tensor(limit))).float()
    return inside, torch.ones_like(inside)
