"""Left and right: a mirrored robot under mirrored actions sees and earns the mirror image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robodistill.config import groups
from robodistill.symmetry import Mirror, declared
from robodistill_deploy.resolve import resolve
from robodistill_envs.config import TaskConfig
from robodistill_envs.interface import joint_mirror
from robodistill_envs.motors import ROTOR
from robodistill_envs.robot_config import RobotConfig
from robodistill_envs.vector import Disturbances, VecEnv

MakeEnv = Callable[..., VecEnv]
TASKS = sorted(groups()["task"])
UNSEEN = {"imu_tilt": (-1.0, 1.0, -1.0)}
"""Signs of parameters that no privileged term shows: a small rotation turns the other way about x and z."""
DRAWN = Disturbances(noise=False, pushes=False)
N = 4


@pytest.fixture(params=TASKS)
def symmetric(request: pytest.FixtureRequest, make_env: MakeEnv) -> str:
    if not declared(make_env(request.param, 1).spec):
        pytest.skip(f"{request.param} declares no mirror")
    return request.param


def test_the_robot_dog_is_symmetric(make_env: MakeEnv) -> None:
    """So that the tests below cannot all skip."""
    assert declared(make_env("go2_flat", 1).spec)
    assert declared(make_env("cartpole_balance", 1).spec)


def test_mirror_twice_is_identity(symmetric: str, make_env: MakeEnv) -> None:
    spec = make_env(symmetric, 1).spec
    mirror, generator = Mirror(spec), torch.Generator().manual_seed(0)
    for group in spec.groups:
        value = torch.randn(5, spec.group_dim(group), generator=generator)
        assert torch.equal(mirror.obs(group, mirror.obs(group, value)), value)
        assert not torch.equal(mirror.obs(group, value), value)
    value = torch.randn(5, spec.action_dim, generator=generator)
    assert torch.equal(mirror.action(mirror.action(value)), value)
    assert not torch.equal(mirror.action(value), value)


def with_rotors(robot: RobotConfig) -> RobotConfig:
    """Return ``robot`` with a mirror for the rotors behind its joints' backlash, which goes as the joints' own."""
    return replace(
        robot,
        mirror=robot.mirror | {f"{a}{ROTOR}": f"{b}{ROTOR}" for a, b in robot.mirror.items()},
        mirror_sign=robot.mirror_sign | {f"{name}{ROTOR}": sign for name, sign in robot.mirror_sign.items()},
    )


def mirrored_state(env: VecEnv) -> tuple[Tensor, Tensor]:
    """Return the reflection of qpos and qvel at the plane y = 0."""
    qpos, qvel = env.engine.state("qpos").clone(), env.engine.state("qvel").clone()
    model, free = env.engine.model, env.task.reset.height > 0.0
    names = tuple(model.joint(i).name for i in range(int(free), model.njnt))
    permutation, signs = joint_mirror(with_rotors(env.task.robot), names)
    sign = torch.tensor(signs, dtype=torch.float64)
    qpos[:, 7 * free :] = qpos[:, 7 * free :][:, list(permutation)] * sign
    qvel[:, 6 * free :] = qvel[:, 6 * free :][:, list(permutation)] * sign
    if free:
        qpos[:, :7] *= torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
        qvel[:, :6] *= torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    return qpos, qvel


def mirrored_parameters(env: VecEnv) -> dict[str, Tensor]:
    shown = {
        t.params["name"]: t.mirror for t in env.spec.terms("privileged") if t.type.endswith(":parameter")
    }
    result: dict[str, Tensor] = {}
    for name, value in env.world.parameters.items():
        as_is = (tuple(range(value.shape[1])), UNSEEN.get(name, (1.0,)))
        mirror = shown.get(name) or as_is
        if name.startswith("motor_") and name not in shown:  # factors, one per motor
            permutation, _ = joint_mirror(env.task.robot, env.task.robot.actions[0].names)
            mirror = permutation, (1.0,)
        result[name] = value[:, list(mirror[0])] * torch.tensor(mirror[1])
    return result


def mirror_into(env: VecEnv, image: VecEnv, mirror: Mirror, parameters: bool) -> None:
    """Make ``image`` the reflection of ``env``, which has just been reset."""
    ids = torch.arange(env.num_envs)
    image.reset(0)
    if parameters:
        image.world.parameters = mirrored_parameters(env)
    for effect in image.task.effects:
        resolve(effect.type)(image.engine, image.world, ids, **effect.params)
    image.engine.update_constants(ids)
    qpos, qvel = mirrored_state(env)
    image.engine.reset(ids, qpos, qvel, image.engine.state("ctrl").clone())
    for name, value in env.world.internals.items():
        # half a period later the other diagonal pair of legs is where this one is now
        image.world.internals[name] = (value + 0.5) % 1.0 if name == "gait_phase" else mirror.action(value)
    (command,) = [t for t in env.spec.terms("sensors") if t.inputs == ("command",)] or [None]
    if command is not None:
        assert command.mirror is not None
        image.world.command[:] = env.world.command * torch.tensor(command.mirror[1])


def distance(env: VecEnv, image: VecEnv, mirror: Mirror, parameters: bool = True) -> float:
    """Return the largest difference in 12 steps between the mirrored run of ``env`` and that of ``image``.

    Of the middle world: in some, a foot touches a tick earlier for the last bit's sake, and contacts amplify that.
    """
    env.reset(0)
    mirror_into(env, image, mirror, parameters)
    apart = [(mirror.obs(g, v) - image.observe()[g]).abs().amax(dim=1) for g, v in env.observe().items()]
    generator = torch.Generator().manual_seed(1)
    for _ in range(12):
        action = 0.4 * torch.randn(env.num_envs, env.action_dim, generator=generator)
        obs, reward, *_ = env.step(action)
        seen, earned, *_ = image.step(mirror.action(action))
        apart += [(mirror.obs(g, v) - seen[g]).abs().amax(dim=1) for g, v in obs.items()]
        apart.append((reward - earned).abs())
    return float(torch.stack(apart).amax(dim=0).median())


def pair(make_env: MakeEnv, task: TaskConfig | str) -> list[VecEnv]:
    """Return two environments whose episodes do not end on the way: what follows is drawn anew, unmirrored."""
    task = replace(make_env(task, 1).task, terminations=())
    return [make_env(task, N, disturbances=DRAWN) for _ in range(2)]


def test_the_step_commutes_with_the_mirror(symmetric: str, make_env: MakeEnv) -> None:
    """Up to what contacts amplify, and the Go2's base, whose published inertia is not quite symmetric."""
    env, image = pair(make_env, symmetric)
    assert distance(env, image, Mirror(env.spec)) < 2e-3


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (("torque_speed=true", "corner_speed=[0.5]", "no_load_speed=[6.0]"), 2e-3),
        (("friction=[0.4]", "damping=[0.2]", "friction_scale=[0.5,2.0]", "damping_scale=[0.5,2.0]"), 2e-3),
        (("backlash=[0.01]",), 2e-2),  # rotors hit their stops, which amplifies more
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_step_commutes_with_the_mirror_for_real_motors(
    load_task: Callable[..., TaskConfig], make_env: MakeEnv, options: tuple[str, ...], limit: float
) -> None:
    task = load_task("go2_flat", *(f"task.robot.motors.{option}" for option in options))
    env, image = pair(make_env, task)
    assert distance(env, image, Mirror(env.spec)) < limit
    assert distance(env, image, Mirror(env.spec), parameters=False) > 0.1


def test_a_wrong_mirror_shows(make_env: MakeEnv) -> None:
    """The negative control: the image keeps the robot's parameters, or the hips do not change sides."""
    env, image = pair(make_env, "go2_flat")
    assert distance(env, image, Mirror(env.spec), parameters=False) > 0.1
    part = env.spec.actions[0]
    assert part.mirror is not None
    unsigned = replace(part, mirror=(part.mirror[0], (1.0,) * 12))
    assert distance(env, image, Mirror(replace(env.spec, actions=(unsigned,)))) > 0.1
