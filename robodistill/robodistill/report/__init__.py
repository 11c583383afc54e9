"""The report of a run: ``write_report(run)`` makes ``report.html``, one file that opens anywhere."""

from __future__ import annotations

from robodistill.report.page import write_report
from robodistill.report.video import student_video

__all__ = ["student_video", "write_report"]
