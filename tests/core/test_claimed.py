"""One process at a time writes a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from robodistill.files import claimed
from robodistill_deploy.errors import RobodistillError

HOLD = """
import pathlib, sys, time
from robodistill.files import claimed
with claimed(pathlib.Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_kept_out_until_the_first_is_gone_even_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with claimed(run):
        pass  # free again afterwards
    command = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(RobodistillError, match=f"process {other.pid} is at work here"), claimed(run):
            pass
        os.kill(other.pid, signal.SIGKILL)
    with claimed(run):
        assert (run / ".lock").read_text() == str(os.getpid())
