"""Who can drive: the teacher, the student and the exported file of a run, as far as they exist yet."""

from __future__ import annotations

from pathlib import Path

from robodistill.checkpoint import has_tree, is_whole
from robodistill.evaluation.drivers import Driver, OnnxDriver, TorchDriver, ZeroDriver
from robodistill.networks import STUDENT, TEACHER, check_same_interface, load_policy
from robodistill.play.watch import CheckpointWatch
from robodistill.runs import RunFolder
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.spec import InterfaceSpec

ONNX, ZERO = "onnx", "zero_action"
_PREFERRED = (STUDENT, TEACHER, ONNX)


class Policies:
    """The policies of one run, read from ``last`` or ``best`` checkpoints; ``latest`` follows a training run."""

    def __init__(self, run: RunFolder, spec: InterfaceSpec, checkpoint: str = "last") -> None:
        """``spec`` is the interface of the world that they will drive; another one is refused."""
        self.run, self.spec = run, spec
        self.follows = checkpoint == "latest"
        name = "last" if self.follows else checkpoint
        self._folders = {role: run.stage(role).checkpoint(name) for role in (TEACHER, STUDENT)}
        self._watches = {role: CheckpointWatch(folder) for role, folder in self._folders.items()}

    def load(self) -> dict[str, Driver]:
        """Return every driver that exists, with ``zero_action``, which always does.

        None beside it is an error, unless a training run is followed: there it waits for the first.
        """
        found: dict[str, Driver] = {
            role: self._read(role) for role, folder in self._folders.items() if has_tree(folder)
        }
        exported = self.run.path / "policy.onnx"
        if exported.is_file():
            found[ONNX] = OnnxDriver(exported)
        if not found and not self.follows:
            places = " or ".join(str(folder) for folder in self._folders.values())
            raise RobodistillError(
                f"nothing to play in {self.run.path}: no checkpoint in {places}; "
                "make one with robodistill train, or name another run= or checkpoint="
            )
        return {**found, ZERO: ZeroDriver()}

    def newer(self) -> dict[str, Driver]:
        """Return drivers whose checkpoint is newer than the one read last; nothing unless ``latest`` was asked for.

        One that does not fit is an error.
        """
        found: dict[str, Driver] = {}
        for role, watch in self._watches.items() if self.follows else ():
            if not watch.poll():
                continue
            try:
                found[role] = self._read(role)
            except RobodistillError:
                if is_whole(self._folders[role]) and not watch.poll():  # in this order: it may become whole between
                    raise
                watch.forget()  # replaced once more while it was read: the next call sees it whole
        return found

    def _read(self, role: str) -> Driver:
        saved = load_policy(self._folders[role], role)
        check_same_interface(saved.spec, self.spec, saved.policy.config.reads, f"{role} {saved.checkpoint}")
        return TorchDriver(saved.policy)


def first_policy(drivers: dict[str, Driver], wanted: str) -> str:
    """Return who drives at first: ``wanted``, else the student, the teacher, or what there is."""
    if wanted and wanted not in drivers:
        raise RobodistillError(f"play.policy={wanted}: this run has {', '.join(drivers)} so far; name one of them")
    return wanted or next((name for name in _PREFERRED if name in drivers), ZERO)


def run_folder(runs_dir: str, run: str) -> RunFolder:
    """Return the folder of a run that exists."""
    folder = RunFolder(Path(runs_dir) / run)
    if not folder.path.is_dir():
        raise RobodistillError(f"no run {folder.path}; name one with run=, or make it with robodistill train")
    return folder
