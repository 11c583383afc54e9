"""A task, a robot and terms of one's own: new files in a folder anywhere, nothing edited."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robodistill.config import compose, decode, groups
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.config import TaskConfig
from robodistill_envs.vector import VecEnv

MakeEnv = Callable[..., VecEnv]

MJCF = """<mujoco model="lift"><worldbody><body name="car" pos="0 0 1">
<joint name="rope" type="slide" axis="0 0 1" damping="1"/><inertial pos="0 0 0" mass="2" diaginertia=".1 .1 .1"/>
</body></worldbody></mujoco>"""
ROBOT = """
name: lift
mjcf: {mjcf}
floor: false
actions:
  - {{name: joint_effort, kind: joint_effort, unit: N, names: [rope], default: [19.62], scale: [4.0], lower: [-40.0],
     upper: [40.0], effort_limit: [40.0], velocity_limit: [5.0]}}
sensors:
  - {{name: joint_pos, type: jointpos, object: joint, objects: [rope], elements: [rope], unit: m, frame: joint}}
  - {{name: joint_vel, type: jointvel, object: joint, objects: [rope], elements: [rope], unit: m/s, frame: joint}}
truth:
  - {{name: car_height, type: framepos, object: xbody, objects: [car], elements: [x, y, z], unit: m, frame: world}}
"""
TASK = """
defaults:
  - /robot@robot: lift
  - _self_
name: lift_hold
control_dt: 0.02
episode_s: 0.4
delayed: false
teacher_floor: 0.0
physics: {timestep: 0.005}
reset: {joint_position: 0.1}
signals: {joint_pos: {noise: 0.001}}
internals:
  - {name: clock, type: "lift_terms:Clock", dim: 1, params: {rate: 2.0}}
groups:
  sensors:
    - {name: position, type: "robodistill_envs.terms.observations:identity", source: sensor, inputs: [joint_pos]}
    - {name: both, type: "lift_terms:energy", source: sensor, inputs: [joint_pos, joint_vel], params: {gravity: 10.0}}
    - {name: clock, type: "robodistill_envs.terms.observations:identity", source: internal, inputs: [clock]}
  privileged:
    - {name: height, type: "lift_terms:height", source: privileged}
    - {name: load, type: "robodistill_envs.terms.privileged:parameter", source: privileged, params: {name: load}}
parameters:
  load: {low: [1.0], high: [3.0], unit: kg, nominal: [2.0]}
effects:
  - {name: load, type: "lift_terms:load", params: {parameter: load}}
rewards:
  - {name: low, type: "lift_terms:low", weight: -1.0, params: {target: 0.8}}
terminations:
  - {name: hit, type: "lift_terms:hit", params: {ceiling: 1.05}}
"""
TERMS = """
import torch
from torch import nn


def energy(position, velocity, *, gravity):
    return gravity * position + 0.5 * velocity.square()


def height(world):
    return world.true("car_height")[:, 2:3]


def load(engine, world, ids, *, parameter):
    engine.field("body_mass")[ids, 1] = world.parameter(parameter)[ids, 0].double()


def low(world, *, target):
    return (world.true("car_height")[:, 2] - target).abs()


def hit(world, *, ceiling):
    return world.true("car_height")[:, 2] > ceiling


class Clock(nn.Module):
    def __init__(self, dim, control_dt, rate):
        super().__init__()
        self.dim, self.step = dim, rate * control_dt

    def initial(self):
        return torch.full((self.dim,), 0.25)

    def forward(self, state, action):
        return state + self.step
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for place in ("robot", "task", "code"):
        (tmp_path / place).mkdir()
    (tmp_path / "lift.xml").write_text(MJCF)
    (tmp_path / "robot/lift.yaml").write_text(ROBOT.format(mjcf=tmp_path / "lift.xml"))
    (tmp_path / "task/lift_hold.yaml").write_text(TASK)
    (tmp_path / "code/lift_terms.py").write_text(TERMS)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.delitem(sys.modules, "lift_terms", raising=False)
    return tmp_path


def load_from(folder: Path, *overrides: str) -> TaskConfig:
    words = [f"config_dir={folder}", "task=lift_hold", "recipe=pendulum_swingup", *overrides]
    return decode(TaskConfig, compose(words)["task"])


def hover(env: VecEnv, steps: int) -> list[Tensor]:
    return [env.step(torch.zeros(env.num_envs, 1))[4]["final_obs"]["privileged"][:, 0] for _ in range(steps)]


def test_a_task_from_a_folder_runs(folder: Path, make_env: MakeEnv) -> None:
    assert "lift_hold" in groups(folder)["task"]
    assert "go2_flat" in groups(folder)["task"]  # beside those that come along
    env = make_env(load_from(folder), 4)
    obs = env.reset(1)  # with it no world starts above the ceiling
    assert obs["sensors"].shape == (4, 3)
    assert obs["sensors"][:, 2].tolist() == [0.25] * 4
    env.step(torch.zeros(4, 1))
    assert env.world.internals["clock"][:, 0].tolist() == pytest.approx([0.29] * 4)
    position, velocity = env.world.signals["joint_pos"], env.world.signals["joint_vel"]
    assert torch.allclose(env.observe()["sensors"][:, 1:2], 10.0 * position + 0.5 * velocity.square())


def test_its_own_effect_termination_and_reward_count(folder: Path, make_env: MakeEnv) -> None:
    """The default force holds 2 kg: lighter cars rise and hit the ceiling, heavier ones sink."""
    env = make_env(load_from(folder, "task.reset.joint_position=0.0"), 16)
    env.reset(0)
    load = env.world.parameter("load")[:, 0].clone()
    heights = torch.stack(hover(env, 8))
    alive = env.episode == 0
    assert torch.equal(heights[5] > 1.0, load < 2.0)
    ended = ~alive
    assert ended.any()
    assert (load[ended] < 2.0).all()
    before = env.world.true("car_height")[:, 2].clone()
    _, reward, *_ = env.step(torch.zeros(16, 1))
    now = env.world.true("car_height")[:, 2]
    same = env.world.steps > 0
    assert torch.allclose(reward[same], -0.02 * (now - 0.8).abs()[same])
    assert not torch.equal(before, now)


def test_a_value_overridden_on_the_command_line(folder: Path, make_env: MakeEnv) -> None:
    task = load_from(folder, "task.parameters.load.low=[2.5]", "task.physics.timestep=0.01")
    assert (task.decimation, task.parameters["load"].low) == (2, (2.5,))
    env = make_env(task, 8)
    env.reset(0)
    assert float(env.world.parameter("load").min()) >= 2.5


def swap(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("task/lift_hold.yaml", "lift_terms:height", "lift_terms:hight", "height"),
        ("task/lift_hold.yaml", "lift_terms:low", "lift_term:low", "lift_term"),
        (
            "task/lift_hold.yaml",
            "inputs: [joint_pos, joint_vel]",
            "inputs: [joint_pos, joint_vell]",
            "joint_vel",
        ),
        ("task/lift_hold.yaml", "episode_s", "episode_sec", "episode_s"),
        ("task/lift_hold.yaml", "timestep: 0.005", "timestep: 0.003", "multiple"),
        ("task/lift_hold.yaml", "low: [1.0]", "low: [4.0]", "above"),
        ("task/lift_hold.yaml", "low: [1.0]", "low: [1.0, 2.0]", "equally many"),
        ("task/lift_hold.yaml", "target: 0.8", "goal: 0.8", "target"),
        ("robot/lift.yaml", "names: [rope]", "names: [roop]", "rope"),
        ("robot/lift.yaml", "type: framepos", "type: framepose", "framepos"),
        ("robot/lift.yaml", "object: xbody", "object: bodyx", "xbody"),
        ("robot/lift.yaml", "objects: [car]", "objects: [cart]", "'cart'"),
        ("lift.xml", "</worldbody>", "</worldbodies>", "lift.xml"),
        ("robot/lift.yaml", "elements: [x, y, z]", "elements: [x, y]", "elements"),
        ("robot/lift.yaml", "kind: joint_effort", "kind: joint_velocity", "joint_effort"),
        ("robot/lift.yaml", "lower: [-40.0]", "lower: [40.0]", "lower"),
        ("robot/lift.yaml", "lift.xml", "lift.mjcf", "lift.mjcf"),
    ],
)
def test_mistakes_are_named_in_one_line(
    folder: Path, make_env: MakeEnv, file: str, old: str, new: str, says: str
) -> None:
    swap(folder / file, old, new)
    with pytest.raises(RobodistillError) as caught:
        make_env(load_from(folder), 1)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reward_that_reads_an_unknown_sensor(folder: Path, make_env: MakeEnv) -> None:
    swap(
        folder / "code/lift_terms.py",
        'return (world.true("car_height")[:, 2] - target)',
        'return world.true("car")[:, 2]',
    )
    env = make_env(load_from(folder), 1)
    env.reset(0)
    with pytest.raises(RobodistillError, match="car_height"):
        env.step(torch.zeros(1, 1))
