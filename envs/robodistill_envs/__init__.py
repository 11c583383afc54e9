"""Engines, robots, tasks and terms: the simulated side."""
