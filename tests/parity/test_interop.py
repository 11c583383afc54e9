"""Files for other stacks, each driven by its reader's own loop, written here from that stack's documentation.

Every loop sees nothing but the files and the robot's signals, and must arrive at the targets that ``policy.onnx``
gives through the runtime, along one trajectory with a reset on the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
import yaml
from safetensors.numpy import load_file

from robodistill.interop import leapp
from robodistill.interop.write import write_classic
from robodistill_deploy import runtime
from robodistill_deploy.errors import RobodistillError
from robodistill_envs.vector import VecEnv

Export = Callable[[str, str], Any]
Array = npt.NDArray[np.float32]
TASK = "go2_plain"
TICKS, RESET = 150, 70
KINDS = ("none", "stack", "gru", "tcn", "transformer")
NAMES = [f"{leg}_{joint}_joint" for leg in ("FL", "FR", "RL", "RR") for joint in ("hip", "thigh", "calf")]
SDK = [f"{leg}_{joint}_joint" for leg in ("FR", "FL", "RR", "RL") for joint in ("hip", "thigh", "calf")]


class Reader(Protocol):
    def reset(self) -> None: ...
    def targets(self, signals: dict[str, Array]) -> dict[str, float]: ...


def gravity(quat: Array) -> Array:
    """Return the world's -z axis in the frame of quaternion w x y z."""
    w, x, y, z = quat
    return np.array([2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1], np.float32)


def session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Stacker:
    """Term after term, each with its history, oldest first; filled with the first observation after a reset."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Array]] = {}

    def push(self, name: str, value: Array, length: int) -> Array:
        rows = self.rows.setdefault(name, [value] * length)
        rows.append(value)
        self.rows[name] = rows[-length:]
        return np.concatenate(self.rows[name])


class MjlabReader:
    """Metadata are lists with commas; observation = scale * clip(term), target = default + scale * action."""

    def __init__(self, files: list[Path]) -> None:
        (path,) = files
        self.meta = {p.key: p.value for p in onnx.load_model(str(path)).metadata_props}
        self.session = session(path)
        self.recurrent = len(self.session.get_inputs()) == 2
        self.reset()

    def floats(self, key: str) -> Array:
        return np.array([float(v) for v in self.meta[key].split(",")], np.float32)

    def reset(self) -> None:
        self.history, self.last = Stacker(), np.zeros(12, np.float32)
        self.hidden = (
            np.zeros(self.session.get_inputs()[1].shape, np.float32) if self.recurrent else None
        )

    def targets(self, signals: dict[str, Array]) -> dict[str, float]:
        default = self.floats("default_joint_pos")
        terms = {
            "base_ang_vel": signals["imu_gyro"],
            "projected_gravity": gravity(signals["imu_quat_wxyz"]),
            "joint_pos": signals["joint_pos"] - default,
            "joint_vel": signals["joint_vel"],
            "actions": self.last,
            "command": signals["command"],
        }
        rows = zip(
            self.meta["observation_names"].split(","), self.meta["observation_terms_scale"].split(","),
            self.meta["observation_terms_clip"].split(","), self.floats("observation_terms_history_length"), strict=True,
        )  # fmt: skip
        obs = []
        for name, scale, clip, length in rows:
            low, high = (float(v) for v in clip.split(";"))
            factor = np.array([float(v) for v in scale.split(";")], np.float32)
            obs.append(self.history.push(name, np.clip(terms[name], low, high) * factor, max(int(length), 1)))
        feeds = {"obs": np.concatenate(obs)[None]}
        if self.hidden is not None:
            actions, self.hidden = self.session.run(["actions", "h_out"], {**feeds, "h_in": self.hidden})
        else:
            (actions,) = self.session.run(["actions"], feeds)
        self.last = actions[0]
        made = default + self.floats("action_scale") * self.last
        return dict(zip(self.meta["joint_names"].split(","), made.tolist(), strict=True))


class UnitreeReader:
    """deploy.yaml: joints by index of the policy, gains and motors by index of the SDK, targets clipped."""

    def __init__(self, files: list[Path]) -> None:
        self.session = session(next(p for p in files if p.name == "policy.onnx"))
        self.cfg = yaml.safe_load(next(p for p in files if p.name == "deploy.yaml").read_text())
        self.reset()

    def reset(self) -> None:
        self.history, self.last = Stacker(), np.zeros(12, np.float32)

    def targets(self, signals: dict[str, Array]) -> dict[str, float]:
        action, ids = self.cfg["actions"]["JointPositionAction"], self.cfg["joint_ids_map"]
        # what its message holds: motors in the SDK's order
        order = [NAMES.index(name) for name in SDK]
        position, velocity = signals["joint_pos"][order], signals["joint_vel"][order]
        default = np.array(self.cfg["default_joint_pos"], np.float32)
        ranges = self.cfg["commands"]["base_velocity"]["ranges"]
        limits = np.array([ranges[k] for k in ("lin_vel_x", "lin_vel_y", "ang_vel_z")], np.float32)
        terms = {
            "base_ang_vel": signals["imu_gyro"],
            "projected_gravity": gravity(signals["imu_quat_wxyz"]),
            "joint_pos_rel": position[ids] - default,
            "joint_vel_rel": velocity[ids],
            "last_action": self.last,
            "velocity_commands": np.clip(signals["command"], limits[:, 0], limits[:, 1]),
        }
        obs = [
            self.history.push(name, terms[name] * np.array(cfg["scale"], np.float32), cfg["history_length"])
            for name, cfg in self.cfg["observations"].items()
            if cfg["clip"] is None
        ]
        (actions,) = self.session.run(None, {"obs": np.concatenate(obs)[None]})
        self.last = actions[0]
        made = self.last * np.array(action["scale"], np.float32) + np.array(action["offset"], np.float32)
        clip = np.array(action["clip"], np.float32)
        made = np.clip(made, clip[:, 0], clip[:, 1])
        motors = dict(zip(ids, made.tolist(), strict=True))
        return {name: motors[i] for i, name in enumerate(SDK)}


class LeappReader:
    """One node; feedback goes back to its inputs, initial values come from the file beside."""

    def __init__(self, files: list[Path]) -> None:
        folder = files[0].parent
        self.cfg = yaml.safe_load((folder / "policy.yaml").read_text())
        self.node = self.cfg["models"]["policy"]
        path = folder / self.node["parameters"]["model_path"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == self.node["parameters"]["sha256sum"]
        self.session, self.folder = session(path), folder
        self.reset()

    def reset(self) -> None:
        values = load_file(self.folder / self.cfg["pipeline"]["initial_values"])
        self.memory = {key.split("/")[1]: value for key, value in values.items()}

    def targets(self, signals: dict[str, Array]) -> dict[str, float]:
        names = [entry["name"] for entry in self.node["outputs"]]
        external = {name: signals[name][None] for name in self.cfg["pipeline"]["inputs"]["policy"]}
        out = dict(zip(names, self.session.run(names, {**external, **self.memory}), strict=True))
        for source, sinks in self.cfg["pipeline"]["feedback_flow"].items():
            for sink in sinks:
                self.memory[sink.split("/")[1]] = out[source.split("/")[1]]
        (entry,) = (e for e in self.node["outputs"] if e.get("kind") == "target/joint/position")
        self.gains = {e["kind"]: out[e["name"]][0] for e in self.node["outputs"] if e.get("kind") in ("kp", "kd")}
        return dict(zip(entry["element_names"][1], out[entry["name"]][0].tolist(), strict=True))


def worst_difference(made: Any, reader: Reader) -> float:
    """Drive with policy.onnx and compare ``reader``'s targets, in units of the action scale, inside the limits."""
    file = runtime.load_policy(made.path)
    (part,) = made.spec.actions
    env = VecEnv(made.task, 1, seed=8, threads=1)
    env.reset()
    worst, moved = 0.0, 0.0
    for tick in range(TICKS):
        if tick == RESET:
            file.reset()
            reader.reset()
        signals = {s.name: env.world.signals[s.name][0].numpy().copy() for s in file.signals}
        ours = file.tick(signals)[part.name]
        theirs = reader.targets(signals)
        assert sorted(theirs) == sorted(part.names)
        inside = np.clip([theirs[name] for name in part.names], part.lower, part.upper)
        worst = max(worst, float(np.abs((inside - ours) / part.scale).max()))
        moved = max(moved, float(np.abs((ours - part.default) / part.scale).max()))
        raw = (ours - np.array(part.default, np.float32)) / np.array(part.scale, np.float32)
        env.step(torch.from_numpy(raw.astype(np.float32)).unsqueeze(0))
    assert moved > 0.1
    return worst


def written(made: Any, stack: str, folder: Path) -> list[Path]:
    if stack == "leapp":
        return leapp.write(made.path, made.returned, folder)
    return write_classic(made.policy, made.returned, stack, folder)


READERS: dict[str, Callable[[list[Path]], Reader]] = {
    "mjlab": MjlabReader,
    "unitree_rl_lab": UnitreeReader,
    "leapp": LeappReader,
}
PAIRS = [
    pytest.param(s, k, marks=() if (s, k) == ("mjlab", "gru") else pytest.mark.slow, id=f"{s}-{k}")
    for s in READERS
    for k in KINDS
    if (s, k) != ("unitree_rl_lab", "gru")
]


@pytest.mark.parametrize(("stack", "kind"), PAIRS)
def test_a_stacks_own_loop_gets_the_same_targets(exported: Export, tmp_path: Path, stack: str, kind: str) -> None:
    made = exported(TASK, kind)
    assert worst_difference(made, READERS[stack](written(made, stack, tmp_path))) <= 2e-5


def test_the_control_a_reader_with_another_default_pose_differs(exported: Export, tmp_path: Path) -> None:
    made = exported(TASK, "gru")
    reader = MjlabReader(written(made, "mjlab", tmp_path))
    reader.meta["default_joint_pos"] = reader.meta["default_joint_pos"].replace("0.8", "0.801")  # three decimals
    assert worst_difference(made, reader) > 1e-3


@pytest.mark.slow
def test_the_control_history_newest_first_differs(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, right = exported(TASK, "stack"), Stacker.push

    def reversed_push(self: Stacker, name: str, value: Array, length: int) -> Array:
        return right(self, name, value, length).reshape(length, -1)[::-1].ravel()

    reader = UnitreeReader(written(made, "unitree_rl_lab", tmp_path))
    monkeypatch.setattr(Stacker, "push", reversed_push)
    assert worst_difference(made, reader) > 1e-3


def test_recurrent_files_name_their_memory_as_rsl_rl_does(exported: Export, tmp_path: Path) -> None:
    made = exported(TASK, "gru")
    (path,) = written(made, "mjlab", tmp_path)
    graph = session(path)
    assert [(n.name, n.shape) for n in graph.get_inputs()] == [("obs", [1, 45]), ("h_in", [1, 1, 32])]
    assert [(n.name, n.shape) for n in graph.get_outputs()] == [("actions", [1, 12]), ("h_out", [1, 1, 32])]


def test_numbers_keep_all_their_digits(exported: Export, tmp_path: Path) -> None:
    made = exported(TASK, "gru")
    (part,) = made.returned.interface.actions
    meta = MjlabReader(written(made, "mjlab", tmp_path)).meta
    for key, values in (("joint_stiffness", part.kp), ("default_joint_pos", part.default), ("action_scale", part.scale)):
        assert tuple(map(float, meta[key].split(","))) == values


def test_gains_follow_each_formats_order(exported: Export, tmp_path: Path) -> None:
    made = exported(TASK, "none")
    (part,) = made.returned.interface.actions
    cfg = UnitreeReader(written(made, "unitree_rl_lab", tmp_path / "u")).cfg
    kd = dict(zip(part.names, part.kd, strict=True))
    assert cfg["damping"] == [kd[name] for name in SDK]
    assert [SDK[i] for i in cfg["joint_ids_map"]] == list(part.names)
    assert cfg["step_dt"] == made.returned.interface.control_dt
    reader = LeappReader(written(made, "leapp", tmp_path / "l"))
    reader.targets({s.name: np.zeros(s.dim, np.float32) for s in made.returned.interface.signals})
    assert reader.gains["kp"].tolist() == np.array(part.kp, np.float32).tolist()
    assert reader.cfg["pipeline"]["configs"]["frequency"] == 50.0
    assert not onnx.load_model(str(tmp_path / "l" / "policy.onnx")).metadata_props


@pytest.mark.parametrize(
    ("task", "kind", "stack", "says"),
    [
        ("go2_flat", "gru", "mjlab", "no observation like term 'gait_clock'"),
        ("go2_flat", "gru", "unitree_rl_lab", "no observation like term 'gait_clock'"),
        ("go2_plain", "gru", "unitree_rl_lab", "feeds no hidden state back"),
        ("cartpole_balance", "none", "mjlab", "drives joints by position alone"),
    ],
)
def test_what_a_format_cannot_express_is_named(
    exported: Export, tmp_path: Path, task: str, kind: str, stack: str, says: str
) -> None:
    with pytest.raises(RobodistillError, match=says) as caught:
        written(exported(task, kind), stack, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
