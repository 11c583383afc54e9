"""Measurements of speed: each module is one, named after ``robodistill bench``, with ``Settings`` and ``measure``."""
