"""The safety filter: a pure function that every command passes on its way to a robot.

``SafetyFilter.step(state, sensors, target, t) -> (state, command, events)``. Limits that a command can keep (position,
rate of change, predicted effort) are kept by changing the command. What no command can repair (sensors that are
stale, a robot that falls) trips: from then on every command is damping, and the first reason stays.
docs/safety.md tells each rule, its threshold and its reason.
"""

from robodistill_deploy.safety.filter import SafetyFilter
from robodistill_deploy.safety.state import Event, FilterState, Sensors, Target
from robodistill_deploy.safety_limits import SafetyLimits, limits_for

__all__ = ["Event", "FilterState", "SafetyFilter", "SafetyLimits", "Sensors", "Target", "limits_for"]
