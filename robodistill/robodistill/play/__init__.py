"""Live view of a run: one simulated world, a policy that drives it, and a page in the browser to steer both.

``session`` simulates, ``pace`` keeps it at real time, ``policies`` and ``watch`` find who can drive, ``scene`` turns a
MuJoCo model into meshes, ``server`` (with ``picture``, which it alone imports) shows all of it with viser, ``film``
writes a video instead.
"""
