"""Plots as plain plotly JSON: pure functions from data to a Figure, usable by any page."""
