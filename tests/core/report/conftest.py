"""A made-up run for the report: every file that the stages of a pipeline leave behind."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from robodistill.report import video

POLICIES = ("teacher", "student", "onnx", "zero_action")
E, R, T, DT = 96, 3, 100, 0.02


def interval(mean: float, half: float, **more: Any) -> dict[str, Any]:
    return {"mean": mean, "ci95": [mean - half, mean + half], **more}


def make_config() -> dict[str, Any]:
    command = {"elements": ["vx", "vy", "yaw_rate"], "unit": "m/s, m/s, rad/s", "hold_s": 5.0}
    names = ("friction", "payload", "com_offset", "motor_strength")
    return {
        "provenance": {"git": {"commit": "0123abcd", "changed": True}, "python": "3.11.2", "machine": "x86_64",
                       "versions": {"robodistill": "0.1.0", "torch": "2.13.0"}},
        "run": "demo", "seed": 0,
        "task": {
            "name": "go2_flat", "control_dt": DT, "teacher_floor": 20.0, "command": command,
            "robot": {"name": "unitree_go2", "floor": True, "mjcf": "robots/unitree_go2/unitree_go2.xml"},
            "targets": {"score": 0.93, "velocity_rmse": 0.30, "yaw_rate_rmse": 0.35, "falls_per_minute": 1.0},
            "parameters": {n: {"unit": {"payload": "kg", "com_offset": "m"}.get(n, "1")} for n in names},
            "effects": [{"name": "payload", "params": {"body": "base_link", "mass": "payload"}}],
            "rewards": [{"name": "track_velocity", "weight": 2.0}, {"name": "torque", "weight": -0.0002}],
            "metrics": [{"name": "velocity_rmse", "reduce": "root_ratio", "unit": "m/s"},
                        {"name": "yaw_rate_rmse", "reduce": "root_ratio", "unit": "rad/s"}],
            "terminations": [{"name": "tilt"}],
        },
        "teacher": {"total_steps": 8_000_000, "note": "<script>alert(1)</script>"},
    }  # fmt: skip


def make_metrics(stage: str, lines: int, steps: int) -> list[str]:
    rng = np.random.default_rng(len(stage))
    texts = []
    for i in range(lines):
        x = (i + 1) / lines
        rise = 1 - math.exp(-5 * x)
        line = {
            "iteration": i + 1, "env_steps": (i + 1) * steps // lines, "wall_s": 300.0 * x,
            "episode/return": 27 * rise + rng.normal(), "episode/length_s": 4 + 6 * rise,
            "episode/ended_early": 0.8 * (1 - rise), "reward/track_velocity": 1.7 * rise + 0.05 * rng.normal(),
            "reward/torque": -0.3 + 0.1 * rise, "termination/tilt": 0.3 * (1 - rise),
            "time/steps_per_s": 18e3 + 900 * rng.normal(),
            "time/collect_s": 1.1, "loss/surrogate" if stage == "teacher" else "loss/action": math.exp(-3 * x),
        }  # fmt: skip
        if stage == "teacher":
            line |= {
                "policy/kl": 0.01 + 0.002 * rng.normal(),
                "policy/std_teacher": 0.8 - 0.5 * x,
                "loss/value": math.exp(-x),
            }
        else:
            line |= {"policy/action_error_over_sigma": 1.2 * math.exp(-4 * x), "loss/latent": 0.4 * math.exp(-4 * x),
                     "episode/return_student": 26 * rise,
                     "episode/return_teacher": 27.5 if i else math.nan}  # fmt: skip
        if i == 2:
            line["episode/return"] = math.nan
        texts.append(json.dumps({k: None if v != v else v for k, v in line.items()}))
    return texts


def make_evaluation() -> dict[str, Any]:
    level = {
        "teacher": (27.6, 0.17),
        "student": (26.9, 0.21),
        "onnx": (26.85, 0.21),
        "zero_action": (5.2, 0.62),
    }
    policies = {
        name: {
            "return": interval(mean, 0.4),
            "metrics": {
                "falls_per_minute": interval(2 * (rmse - 0.15), 0.1, unit="1/min"),
                "velocity_rmse": interval(rmse, 0.01, unit="m/s"),
                "velocity_rmse_unsettled": interval(rmse + 0.1, 0.01, unit="m/s"),
                "yaw_rate_rmse": interval(1.2 * rmse, 0.012, unit="rad/s"),
                "cost_of_transport": interval(0.7, 0.02, unit="1"),
                "torque_peak": {"mean": None, "ci95": [None, None], "unit": "share of limit"} if name == "zero_action"
                else interval(0.6, 0.02, unit="share of limit"),
            },
        }
        for name, (mean, rmse) in level.items()
    }  # fmt: skip
    terms = {"friction": 0.62, "payload": 0.83, **{f"base_velocity[{i}]": 0.95 - 0.1 * i for i in range(3)},
             **{f"motor_strength[{i}]": 0.3 + 0.05 * i for i in range(12)}, "action_delay": -3.0}  # fmt: skip
    return {
        "task": "go2_flat", "episodes": E, "seed": 1000003, "control_dt": DT, "policies": policies,
        "score": {"student": interval(0.968, 0.006), "onnx": interval(0.966, 0.006)},
        "r2": terms, "r2_baseline": {k: 0.4 * v for k, v in terms.items()}, "onnx_max_abs_error": 3.1e-6,
        "diagnostics": make_diagnostics(),
    }  # fmt: skip


def make_diagnostics() -> dict[str, Any]:
    time_s, terms = [0.1 + 0.2 * i for i in range(10)], ("imu_gyro", "joint_pos", "command")
    growth = {
        "rate": interval(1.5, 0.2, unit="1/s"), "time_s": time_s, "median": [1.5] * 10, "low": [0.5] * 10,
        "high": [2.5] * 10, "direction": {"base roll": [0.7] * 10, "FL_hip_joint": [0.3] * 10, "base z": [0.0] * 10},
    }  # fmt: skip
    ablated = {"return": interval(20.0, 0.5), "return_lost": interval(6.9, 0.4), "action_change": interval(0.8, 0.1)}
    return {
        "agreement": {
            "error_over_sigma": interval(0.21, 0.01), "kl_teacher_student": interval(0.31, 0.02),
            "kl_student_teacher": interval(0.27, 0.02),
            "by_action": {name: interval(0.2, 0.01) for name in ("FL_hip_joint", "FL_calf_joint")},
        },
        "history": {"memory": True, "worlds": 96, "return": interval(26.9, 0.3), "reset": ablated, "shuffled": ablated},
        "failures": {"both": 6, "student_only": 4, "teacher_only": 1, "neither": 85,
                     "teacher_fails_where_student_fails": {"mean": 0.6, "ci95": [0.31, 0.83]},
                     "teacher_fails_where_student_does_not": {"mean": 0.0116, "ci95": [0.0021, 0.063]}},
        "gap": {"at_most": interval(0.03, 0.004), "plateau": 0.024, "student": interval(0.045, 0.005), "worlds": 96,
                "held_out_worlds": 24, "regression": "random features", "by_action": {"FL_hip_joint": 0.03}},
        "sensitivity": {"by_term": {name: 0.2 * (i + 1) for i, name in enumerate(terms)}, "time_s": time_s,
                        "over_time": {name: [0.2 * (i + 1)] * 10 for i, name in enumerate(terms)}},
        "growth": {"teacher": growth, "student": {**growth, "rate": interval(2.5, 0.2, unit="1/s")}},
    }  # fmt: skip


def make_episodes(rng: np.random.Generator) -> dict[str, Any]:
    friction = rng.uniform(0.3, 1.25, (E, 1))
    data: dict[str, Any] = {
        "parameter.friction": friction, "parameter.payload": rng.uniform(-1, 3, (E, 1)),
        "parameter.com_offset": rng.uniform(-0.05, 0.05, (E, 3)),
        "parameter.motor_strength": rng.uniform(0.8, 1.2, (E, 12)),
        "parameter.imu_tilt": np.zeros((E, 3)), "command": rng.uniform([-1, -0.6, -1.2], [1.5, 0.6, 1.2], (E, 2, 3)),
    }  # fmt: skip
    world = rng.normal(0, 1.5, E)
    for k, policy in enumerate(POLICIES):
        fell = rng.random(E) < 0.35 * np.clip(0.75 - friction[:, 0], 0, 1) * (1 + k)
        data |= {f"{policy}.fell": fell,
                 f"{policy}.return": 27.5 - 0.5 * k - 15 * fell + world + rng.normal(0, 0.5, E),
                 f"{policy}.length": np.where(fell, 240, 500)}  # fmt: skip
        for metric, axis in (("velocity_rmse", 0), ("yaw_rate_rmse", 2)):
            data[f"{policy}.segment.{metric}.num"] = (
                200 * (0.15 + 0.05 * k + 0.1 * np.abs(data["command"][..., axis])) ** 2
            )
            data[f"{policy}.segment.{metric}.den"] = np.full((E, 2), 200.0)
    return data


def make_trajectories(rng: np.random.Generator) -> dict[str, Any]:
    t = np.arange(T) * DT
    command = np.repeat(rng.uniform([-1, -0.6, -1.2], [1.5, 0.6, 1.2], (R, 2, 3)), T // 2, axis=1)
    push = np.zeros((R, T, 2))
    for tick in (30, 70):
        fade = 0.5 ** (np.arange(T - tick) / 5)
        push[:, tick:] = rng.uniform(-0.5, 0.5, (R, 1, 2)) * fade[:, None]
    data: dict[str, Any] = {
        "control_dt": np.array(DT),
        "parameter.payload": np.array([[2.4], [-0.5], [0.9]]),
    }
    for k, policy in enumerate(POLICIES):
        truth = command * (0 if policy == "zero_action" else 0.96 - 0.03 * k) + 0.05 * rng.normal(
            size=command.shape
        )
        truth[..., :2] += push
        qpos = np.zeros((R, T, 19), np.float32)
        yaw = np.cumsum(truth[..., 2], axis=1) * DT
        forward, left = truth[..., 0], truth[..., 1]
        qpos[..., 0] = np.cumsum(np.cos(yaw) * forward - np.sin(yaw) * left, axis=1) * DT
        qpos[..., 1] = np.cumsum(np.sin(yaw) * forward + np.cos(yaw) * left, axis=1) * DT
        qpos[..., 2], qpos[..., 3], qpos[..., 6] = 0.3, np.cos(yaw / 2), np.sin(yaw / 2)
        for leg, phase in enumerate((0.0, np.pi, np.pi, 0.0)):
            qpos[..., 8 + 3 * leg] = 0.9 + 0.3 * np.sin(14 * t + phase)
            qpos[..., 9 + 3 * leg] = -1.7 + 0.2 * np.cos(14 * t + phase)
        alive = np.ones((R, T), bool)
        alive[1, T * 3 // 4 :] = policy == "teacher"
        data |= {f"{policy}.qpos": qpos, f"{policy}.command": command.astype(np.float32), f"{policy}.alive": alive,
                 f"{policy}.truth": truth.astype(np.float32), f"{policy}.push": push.astype(np.float32)}  # fmt: skip
    return data


def write_run(run: Path, lines: int = 40) -> Path:
    """Write a whole run with made-up numbers into ``run``."""
    rng = np.random.default_rng(0)
    for folder in ("teacher", "student", "evaluation", "check"):
        (run / folder).mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(make_config(), sort_keys=False))
    for stage, steps in (("teacher", 8_000_000), ("student", 2_500_000)):
        (run / stage / "metrics.jsonl").write_text("\n".join(make_metrics(stage, lines, steps)) + "\n")
    evaluation = make_evaluation()
    (run / "evaluation/evaluation.json").write_text(json.dumps(evaluation))
    np.savez_compressed(run / "evaluation/episodes.npz", **make_episodes(rng))
    np.savez_compressed(run / "evaluation/trajectories.npz", **make_trajectories(rng))
    check = {"terms": {"imu_gyro": 0.0, "joint_pos": 2.4e-7}, "actions": {"joint_position": 8.1e-7}, "ticks": 500,
             "passed": True, "onnx_vs_torch": 6e-7, "physics": 0.0, "first_difference": ""}  # fmt: skip
    (run / "check/check.json").write_text(json.dumps(check))
    (run / "policy.onnx").write_bytes(b"0" * 300_000)
    stages = {"teacher": 402.0, "student": 226.0, "evaluation": 61.0, "export": 9.0, "check": 4.0}
    summary = {"verb": "pipeline", "task": "go2_flat", "seed": 0, "wall_s": sum(stages.values()),
               "env_steps": 10_500_000, "env_steps_per_s": 16_700.0, "files": {"policy": "policy.onnx"},
               "policies": evaluation["policies"],
               "stages": {name: {"wall_s": wall} for name, wall in stages.items()}}  # fmt: skip
    (run / "summary.json").write_text(json.dumps(summary))
    return run


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with everything in it, which no test may change."""
    return write_run(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """Return a copy of the run that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "demo"))


@pytest.fixture
def small_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "disable")  # the drawn stick figure: the same everywhere
    monkeypatch.setattr(video, "SIZE", (160, 120))
    monkeypatch.setattr(video, "MAX_S", 0.4)
