"""Damaged checkpoints are refused, the one before is offered and works; what the disk refuses is one line."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robodistill import cli
from robodistill.checkpoint import is_whole, load_tree, save_tree
from robodistill.files import WriteError, append, write_bytes, write_text, writing
from robodistill.records import StageRecord, read_record, write_record
from robodistill.resume import conditions, cpu_kind, fall_back, warn_of_changes
from robodistill.runs import RunFolder
from robodistill_deploy.errors import RobodistillError

TREE = {"w": torch.linspace(0.0, 1.0, 7), "n": 3, "nested": {"x": [1.5, None, (True, "a")]}}
TEXTS = {"spec.json": "{}", "policy.json": '{"a": 1}\n'}
FILES = ["tensors.safetensors", "tree.json", "manifest.json", *TEXTS]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``last`` and ``previous``."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for n in (1, 2):
        save_tree(folder / "last", {**TREE, "n": n}, TEXTS)
    return folder


@settings(max_examples=300)
@given(
    name=st.sampled_from(FILES),
    where=st.floats(0.0, 1.0, exclude_max=True),
    flip=st.integers(1, 255),
    cut=st.booleans(),
)
def test_any_byte_altered_or_cut_off_is_refused_and_the_one_before_offered(
    pair: Path, name: str, where: float, flip: int, cut: bool
) -> None:
    file = pair / "last" / name
    data = file.read_bytes()
    at = int(where * len(data))
    try:
        file.write_bytes(data[:at] if cut else data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
        with pytest.raises(RobodistillError) as caught:
            load_tree(pair / "last")
    finally:
        file.write_bytes(data)
    message = str(caught.value)
    assert message.startswith(f"checkpoint {pair / 'last'}: ")
    assert message.endswith("; add resume=previous to the command that made it to go on from the one before it")
    assert "\n" not in message
    assert load_tree(pair / "last")["n"] == 2  # the control: put back, it loads
    assert load_tree(pair / "previous")["n"] == 1


def test_without_a_whole_one_before_it_none_is_offered(tmp_path: Path) -> None:
    for n in (1, 2):
        save_tree(tmp_path / "last", {"n": n})
        save_tree(tmp_path / "best", {"n": n})
    for name in ("last", "best", "previous"):
        (tmp_path / name / "tree.json").write_text("")
    for name in ("last", "best"):
        with pytest.raises(RobodistillError, match=r"altered; restore it, or name another$"):
            load_tree(tmp_path / name)


def make_run(folder: Path, status: str = "partial") -> RunFolder:
    """A run with a damaged ``last`` in its stage ``teacher`` and a whole one in ``student``."""
    run = RunFolder(folder / "walk")
    for stage in ("teacher", "student"):
        for n in (1, 2):
            save_tree(run.stage(stage).checkpoint("last"), {"n": n})
        write_record(StageRecord(stage, "hash", status, outputs={"kept": stage}), run)
    (run.stage("teacher").checkpoint("last") / "tree.json").unlink()
    return run


@pytest.mark.parametrize("status", ["partial", "complete"])
def test_falling_back_takes_the_one_before_where_the_last_is_damaged(
    tmp_path: Path, status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, status)
    fall_back(run)
    assert load_tree(run.stage("teacher").checkpoint("last")) == {"n": 1}
    assert load_tree(run.stage("student").checkpoint("last")) == {"n": 2}
    assert load_tree(run.stage("student").checkpoint("previous")) == {"n": 1}
    records = {stage: read_record(run, stage) for stage in ("teacher", "student")}
    assert {stage: r and r.status for stage, r in records.items()} == {"teacher": "partial", "student": status}
    said = capsys.readouterr().err
    assert said == "teacher: the last checkpoint is damaged, going on from the one before it\n"
    fall_back(run)  # the same command again does nothing
    assert load_tree(run.stage("teacher").checkpoint("last")) == {"n": 1}
    assert capsys.readouterr().err == ""


def test_falling_back_from_two_damaged_ones_says_what_is_left(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run.stage("teacher").checkpoint("previous") / "manifest.json").write_text("{}")
    with pytest.raises(RobodistillError, match=r"or delete .*teacher to begin that stage again$"):
        fall_back(run)
    assert not is_whole(run.stage("teacher").checkpoint("last"))  # nothing was touched


def test_only_what_trains_takes_resume(capsys: pytest.CaptureFixture[str]) -> None:
    """To look at a run must not change it."""
    for verb in ("evaluate", "export", "check", "play"):
        assert cli.main([verb, "task=cartpole_balance", "resume=previous"]) == 2
        assert "unknown key 'resume'" in capsys.readouterr().err


def test_resume_takes_one_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "task=cartpole_balance", "resume=older"]) == 2
    assert capsys.readouterr().err == "robodistill: unknown resume 'older': legal: previous\n"


# -- the disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "mount it writable"), (errno.EFBIG, "ulimit")],
)
def test_what_the_disk_refuses_is_one_line(tmp_path: Path, number: int, remedy: str) -> None:
    with pytest.raises(WriteError, match=rf"^{tmp_path}: cannot be written: .*{remedy}.*same command again$"), writing(
        tmp_path
    ):
        raise OSError(number, "said by the system")


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path):
        (tmp_path / "nothing").read_text()


def test_a_full_device_is_named() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(WriteError, match=r"^/dev/full: cannot be written: No space left on device; free some space"):
        append(Path("/dev/full"), b"x")


def test_a_refused_write_keeps_the_old_file_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.json"
    write_text(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WriteError, match=r"summary\.json: cannot"):
        write_bytes(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]
    assert path.read_text() == "old"


def test_the_command_line_shows_a_refused_write_of_anybodys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dispatch(words: list[str]) -> int:
        raise OSError(errno.EROFS, "Read-only file system", "/there/policy.onnx")

    monkeypatch.setattr(cli, "_dispatch", dispatch)
    assert cli.main(["train"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("robodistill: /there/policy.onnx: cannot be written: Read-only file system; mount it")
    assert shown.count("\n") == 1


# -- the machine -------------------------------------------------------------------------------


def test_the_same_conditions_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_changes(conditions(2), conditions(2))
    warn_of_changes({}, conditions(2))  # a checkpoint that remembers none
    assert capsys.readouterr().err == ""


def test_other_conditions_are_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    here = conditions(2)
    there = {"torch": "1.0", "threads": "64 of torch, 64 of physics", "cpu": "abacus"}
    warn_of_changes(there, here)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    torches = f"torch 1.0 there, {torch.__version__} here"
    for part in (torches, "threads: 64 of torch", "CPU: abacus there", "may differ"):
        assert part in said
    warn_of_changes({**here, "threads": "64 of torch, 64 of physics"}, here)
    said = capsys.readouterr().err
    assert "threads: 64" in said
    assert "CPU" not in said
    warn_of_changes(conditions(2, compiled=True), here)
    assert "compile true there, false here" in capsys.readouterr().err


def test_the_kind_of_cpu_is_maker_family_and_model(tmp_path: Path) -> None:
    info: dict[str, Any] = {"processor": 0, "vendor_id": "Maker", "cpu family": 25, "model": 17, "model name": "X"}
    (tmp_path / "cpuinfo").write_text("".join(f"{k}\t: {v}\n" for k, v in info.items()) * 2)
    assert cpu_kind(tmp_path / "cpuinfo").endswith(" Maker 25 17")
    assert json.dumps(conditions(0))  # plain text: a checkpoint can hold it
