"""The exported file acts as the policy that was trained: in a plain MuJoCo loop, and along one trajectory."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from robodistill.check import TOLERANCE, check_policy
from robodistill.export import RobotGraph
from robodistill.export_facts import robot_facts
from robodistill_deploy import runtime
from robodistill_deploy.errors import SpecError
from robodistill_deploy.safety_limits import limits_for
from robodistill_envs.model import mjcf_path
from robodistill_envs.vector import VecEnv

Export = Callable[[str, str], Any]
KINDS = ("none", "mlp", "stack", "gru", "tcn", "transformer")
CASES = [
    pytest.param(task, kind, marks=() if (task, kind) == ("go2_flat", "gru") else pytest.mark.slow, id=f"{task}-{kind}")
    for task in ("go2_flat", "cartpole_balance")
    for kind in KINDS
]


@pytest.mark.parametrize(("task", "kind"), CASES)
def test_check_passes_in_a_plain_loop(
    exported: Export, task: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = exported(task, kind)
    resets: list[object] = []
    reset = runtime.Policy.reset
    monkeypatch.setattr(runtime.Policy, "reset", lambda policy: (resets.append(policy), reset(policy))[1])
    # short episodes, so that memory must be reset on the way
    short = dataclasses.replace(made.task, episode_s=made.task.control_dt * 120)
    result = check_policy(made.path, made.policy, short, seed=4, ticks=300)
    assert result.to_dict()["passed"], result.first
    # the self-test at load resets more than ten times; the loop must have added its own
    loading = 1 + sum(t.reset for t in (*made.returned.self_test.ticks, *made.returned.self_test.sequence))
    assert len(resets) >= loading + 2
    assert result.ticks == 300
    assert result.terms.keys() == {t.name for t in made.spec.terms("sensors")}
    assert result.actions.keys() == {p.name for p in made.spec.actions}
    assert max(result.terms.values()) <= TOLERANCE
    assert max(result.actions.values()) <= TOLERANCE == 1e-5
    assert result.physics < 1e-9  # both hold the same targets


OPTIONS = ("torque_speed", "friction", "backlash")


@pytest.mark.parametrize("options", [*((option,) for option in OPTIONS), OPTIONS], ids="-".join)
def test_check_passes_with_motors_that_are_not_ideal(exported: Export, options: tuple[str, ...]) -> None:
    """The plain loop needs to know nothing of them: they are in the model, and the encoder reads where it sits."""
    made = exported("go2_flat", "gru")
    chosen: dict[str, dict[str, Any]] = {
        "torque_speed": {"torque_speed": True, "corner_speed": (1.0,), "no_load_speed": (6.0,)},
        "friction": {"friction": (0.3,), "friction_scale": (0.5, 2.0), "damping_scale": (0.5, 2.0)},
        "backlash": {"backlash": (0.02,)},
    }
    values = {key: value for name in options for key, value in chosen[name].items()}
    robot = dataclasses.replace(made.task.robot, motors=dataclasses.replace(made.task.robot.motors, **values))
    task = dataclasses.replace(made.task, robot=robot, episode_s=made.task.control_dt * 120)
    result = check_policy(made.path, made.policy, task, seed=4, ticks=300)
    assert result.to_dict()["passed"], result.first
    assert max(result.terms.values()) <= TOLERANCE
    assert result.physics < 1e-9


@pytest.mark.parametrize(("task", "kind"), CASES)
def test_torch_agrees_along_a_trajectory_that_the_file_drives(exported: Export, task: str, kind: str) -> None:
    made = exported(task, kind)
    file = runtime.load_policy(made.path)
    env = VecEnv(made.task, 1, seed=8, threads=1)  # noise, pushes and delays as in training
    scale, default, lower, upper = (
        torch.tensor([v for part in env.spec.actions for v in getattr(part, field)])
        for field in ("scale", "default", "lower", "upper")
    )
    obs, state = env.reset(), made.policy.initial_state(1)
    worst, sizes, episodes, inside = 0.0, [], 1, 0
    for _ in range(500):
        targets = file.tick({s.name: env.world.signals[s.name][0].numpy() for s in file.signals})
        raw = (torch.cat([torch.from_numpy(targets[p.name]) for p in env.spec.actions]) - default) / scale
        output, state = made.policy.step(obs, state)
        theirs = output.mean[0]
        same = ((default + scale * theirs).clamp(lower, upper) - default) / scale
        worst = max(worst, float((raw - same).abs().max()))
        beyond = (theirs - same).abs() > 1e-5
        sizes.append(float(theirs.abs().mean()))
        inside += int((~beyond).sum())
        # where a target was clipped only the file's own memory knows what it wanted
        action = torch.where(beyond, torch.from_numpy(file.state("last_action"))[0], raw)
        obs, _, terminated, truncated, _ = env.step(action.unsqueeze(0))
        if bool(terminated[0] | truncated[0]):
            file.reset()
            state = made.policy.initial_state(1)
            episodes += 1
    assert worst <= 1e-5
    assert episodes > 1
    assert sum(sizes) / 500 > 0.1  # actions that are nearly zero would agree whatever happened
    assert inside > 0.5 * 500 * env.action_dim  # so would actions that are always clipped


def test_a_changed_byte_is_refused(exported: Export, tmp_path: Path) -> None:
    data = bytearray(exported("go2_flat", "gru").path.read_bytes())
    for at in (10, len(data) // 3, len(data) // 2, len(data) - 10):
        copy = bytearray(data)
        copy[at] ^= 1
        path = tmp_path / "policy.onnx"
        path.write_bytes(copy)
        with pytest.raises(SpecError, match=r"changed or damaged|digest"):
            runtime.load_policy(path)
    path.write_bytes(data)
    assert runtime.load_policy(path).self_test_error <= 1e-5


def test_the_file_stands_alone_and_holds_what_was_returned(exported: Export) -> None:
    made = exported("go2_flat", "gru")
    assert [p.name for p in made.path.parent.iterdir()] == ["policy.onnx"]
    spec = runtime.load_policy(made.path).spec
    assert dataclasses.replace(spec, digest=made.returned.digest) == made.returned
    assert re.fullmatch("[0-9a-f]{64}", spec.digest)
    assert str(Path.cwd()) not in made.path.read_bytes().decode("latin1")  # no stack traces of this machine


def test_the_file_says_where_it_comes_from(exported: Export) -> None:
    origin = runtime.load_policy(exported("go2_flat", "gru").path).spec.provenance
    assert (origin.method, origin.seed, origin.license) == ("dagger", 3, "Apache-2.0")
    assert origin.checkpoints == {"student": "a" * 64, "teacher": "b" * 64}
    assert origin.torch == torch.__version__
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", origin.git)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", origin.created)


def test_the_file_knows_the_conditions_it_was_trained_in(exported: Export) -> None:
    made = exported("go2_flat", "gru")
    envelope = runtime.load_policy(made.path).spec.envelope
    assert envelope.signal_delay == (0.0, 0.02)
    assert envelope.action_delay == (0.0, 0.02)
    assert envelope.signal_noise == {n: s.noise for n, s in made.task.signals.items() if s.noise}
    assert envelope.randomization.keys() == made.task.parameters.keys()
    assert (envelope.randomization["payload"].lower, envelope.randomization["payload"].upper) == ((-1.0,), (3.0,))
    assert envelope.observations.keys() == {t.name for t in made.spec.terms("sensors")}
    mean = [v for t in made.spec.terms("sensors") for v in envelope.observations[t.name].mean]
    assert mean == made.policy.normalizers["sensors"].get_buffer("mean").tolist()
    assert all(s > 0.0 for s in envelope.observations["imu_gyro"].std)


def test_the_file_knows_the_robot_and_its_operator(exported: Export) -> None:
    made = exported("go2_flat", "gru")
    spec = runtime.load_policy(made.path).spec
    (part,) = spec.interface.actions
    assert spec.robot.joints == part.names
    assert spec.robot.mjcf_sha256 == hashlib.sha256(mjcf_path(made.task.robot.mjcf).read_bytes()).hexdigest()
    assert spec.robot.armature == (0.01,) * 12  # as in the model file
    assert spec.robot.friction == (0.2,) * 12
    assert spec.robot.damping == (0.1,) * 12
    assert spec.robot.motor_order == tuple(f"{motor}_joint" for motor in made.task.robot.sdk_motor_order)
    assert spec.robot.stand_up[-1].position == part.default
    assert spec.commands["command"].default == (0.0, 0.0, 0.0)
    assert spec.commands["command"].rate_limit == made.task.command.rate_limit
    assert spec.envelope.signal_quantum == {"joint_pos": 0.0005}
    assert spec.safety == limits_for(spec.interface)


def test_what_a_motor_option_changes_is_read_back(exported: Export) -> None:
    made = exported("go2_flat", "gru")
    motors = dataclasses.replace(made.task.robot.motors, armature=(0.03,), friction=(0.4,))
    task = dataclasses.replace(made.task, robot=dataclasses.replace(made.task.robot, motors=motors))
    facts = robot_facts(task, made.spec)
    assert facts.armature == (0.03,) * 12
    assert facts.friction == (0.4,) * 12


def test_kinds_of_state_are_named(student: Callable[[str, str], Any]) -> None:
    kinds: dict[str, dict[str, str]] = {}
    for kind in ("gru", "stack", "none"):
        made = student("go2_flat", kind)
        kinds[kind] = {s.name: s.kind for s in RobotGraph(made.policy, made.spec).states()}
    internal = {"last_action": "internal", "gait_phase": "internal"}
    assert kinds["none"] == internal
    assert kinds["gru"] == {**internal, "gru": "hidden"}
    assert kinds["stack"] == {**internal, "history": "window", "filled": "flag"}


def test_the_file_holds_nothing_that_only_a_simulator_knows(exported: Export) -> None:
    spec = runtime.load_policy(exported("go2_flat", "gru").path).spec
    assert list(spec.interface.groups) == ["sensors"]
    assert all(t.source != "privileged" for t in spec.interface.terms("sensors"))
    assert "base_velocity" not in json.dumps(spec.interface.to_dict())
    assert {s.name for s in spec.states} == {"last_action", "gait_phase", "gru"}
