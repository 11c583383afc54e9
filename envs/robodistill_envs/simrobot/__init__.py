"""The simulated robot: a process of its own that a driver talks to as it would to a real one.

``robot`` is the machine (physics, PD law at every physics step, watchdog), ``sensing`` what it measures, ``links`` how
it is talked to, ``process`` the loop that ties them to a clock. docs/sim-robot.md tells how to use it.
"""
