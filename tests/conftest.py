"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure: time is bounded by the tests' own sizes, not by a deadline for each example.
settings.register_profile("robodistill", deadline=None)
settings.load_profile("robodistill")
