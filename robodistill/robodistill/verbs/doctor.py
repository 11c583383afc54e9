"""What this machine can do and what it lacks, each line with the command that mends it.

  robodistill doctor

Reads   Python, cores, torch, MuJoCo, OpenGL, ONNX Runtime, disk space, the installed extras.
Writes  nothing.

Ends with exit code 1 when something is missing that training needs. A missing OpenGL is none of it: the report then
draws its robot as a stick figure.

Keys    none

Example: before asking for help, on the machine in question
  robodistill doctor
"""

from __future__ import annotations

import sys

from robodistill.doctor import examine
from robodistill_deploy.errors import RobodistillError


def run_words(words: list[str]) -> int:
    """Show every finding; return 1 when one of them stops training."""
    if words:
        raise RobodistillError(f"doctor takes no words, got {words[0]!r}; see robodistill doctor --help")
    worst = 0
    for finding in examine():
        sys.stdout.write(finding.line() + "\n")
        sys.stdout.flush()
        worst = max(worst, finding.state == "missing")
    return int(worst)
