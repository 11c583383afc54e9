"""Write a finished run's policy for another stack's runtime."""

from __future__ import annotations

from pathlib import Path

from robodistill.interop import leapp, mjlab, unitree_rl_lab
from robodistill.networks import STUDENT, load_policy
from robodistill.settings import RunConfig
from robodistill.stages import checkpoint_sha256
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runtime import load_policy as load_file
from robodistill_policies.policy import Policy

CLASSIC = {"mjlab": mjlab.write, "unitree_rl_lab": unitree_rl_lab.write}


def write_interop(config: RunConfig) -> list[Path]:
    """Write the run's policy in ``config.export.format`` and return the files."""
    folder, stack = Path(config.runs_dir) / config.run, config.export.format
    source = folder / "policy.onnx"
    if not source.is_file():
        raise RobodistillError(f"no {source}: robodistill export run={config.run} writes it first")
    spec = load_file(source).spec
    if stack == "leapp":
        return leapp.write(source, spec, folder / stack)
    saved = load_policy(_student(folder, spec), STUDENT)
    return write_classic(saved.policy, spec, stack, folder / stack)


def _student(folder: Path, spec: PolicySpec) -> Path:
    """Return the checkpoint that policy.onnx was made from: weights and spec of two trainings must not mix."""
    for checkpoint in sorted((folder / "student" / "checkpoints").glob("*")):
        if checkpoint_sha256(checkpoint) == spec.provenance.checkpoints.get(STUDENT):
            return checkpoint
    raise RobodistillError(f"{folder}: policy.onnx comes from none of its student checkpoints; export it again")


def write_classic(policy: Policy, spec: PolicySpec, stack: str, folder: Path) -> list[Path]:
    """Write ``policy``, whose own file says ``spec``, for ``stack``."""
    return CLASSIC[stack](policy, spec, folder)
