"""What the page draws: charts of traces, and the robot with its floor and arrows. Imported by ``server`` alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import mujoco
import numpy as np
import viser
from viser import uplot

from robodistill.play import scene
from robodistill.play.session import Session, View
from robodistill.play.traces import Trace
from robodistill_envs.model import mjcf_path
from robodistill_envs.scene import load_scene
from robodistill_envs.stick_figure import reach, root_body

_COLORS = ("#1f77b4", "#d95f02", "#2ca02c", "#9467bd", "#e6a817", "#17becf", "#8c564b", "#e377c2")

_POINTS = 250
"""In a line at most: what is drawn must also pass through a slow connection."""

Enter: TypeAlias = Callable[[], AbstractContextManager[Any]]
"""Returns the container that a chart is put in."""


class Plot:
    """One chart that shows a trace, made anew when the trace has other lines."""

    def __init__(self, gui: viser.GuiApi, enter: Enter, order: float, height: int = 150) -> None:
        self._gui, self._enter, self._order, self._height = gui, enter, order, height
        self._handle: viser.GuiUplotHandle | None = None
        self._shown: tuple[str, tuple[str, ...]] = ("", ())

    def show(self, title: str, trace: Trace) -> None:
        """Draw ``trace``; nothing yet while it has fewer than two points."""
        trace = trace.thinned(_POINTS)
        if len(trace.values) < 2:
            return
        data = (trace.time_s, *np.ascontiguousarray(trace.values.T))
        if self._handle is not None and self._shown == (title, trace.labels):
            self._handle.data = data
            return
        if self._handle is not None:
            self._handle.remove()
        series = [uplot.Series(label="t [s]")]
        for i, label in enumerate(trace.labels):
            series.append(uplot.Series(label=label, stroke=_COLORS[i % len(_COLORS)], width=1.5))
        with self._enter():
            self._handle = self._gui.add_uplot(
                data, tuple(series), title=title, scales={"x": uplot.Scale(time=False, auto=True)}, height=self._height,
                legend=uplot.Legend(show=len(trace.labels) <= 4), order=self._order,
            )  # fmt: skip
        self._shown = title, trace.labels


class Picture:
    """The robot, what acts on it, and the floor, all below one frame that can be held under the camera."""

    def __init__(self, server: viser.ViserServer, session: Session) -> None:
        robot, api = session.task.robot, server.scene
        self.model = load_scene(mjcf_path(robot.mjcf), floor=False, remove=robot.remove)
        self._data = mujoco.MjData(self.model)
        self._api = api
        self.floating = root_body(self.model) is not None
        self.follow, self.show_arrows = True, True
        self._away = np.zeros(2)
        api.set_up_direction("+z")
        api.configure_environment_map("park", environment_intensity=0.5)
        self.world = api.add_frame("/world", show_axes=False)
        self.floor = api.add_grid(
            "/floor", 40.0, 40.0, cell_size=0.5, section_size=1.0, cell_color=(205, 212, 220),
            section_color=(165, 175, 188), plane_color=(236, 240, 244), plane_opacity=1.0, fade_distance=30.0,
            shadow_opacity=0.35, visible=robot.floor,
        )  # fmt: skip
        self._bodies: dict[int, viser.FrameHandle] = {}
        for shape in scene.shapes(self.model):
            self._add(shape)
        self._arrows = self._add_arrows(session.view())
        self._place_camera(server)

    def _add(self, shape: scene.Shape) -> None:
        if shape.body not in self._bodies:
            self._bodies[shape.body] = self._api.add_frame(f"/world/body{shape.body}", show_axes=False)
        r, g, b, alpha = (float(v) for v in shape.rgba)
        self._api.add_mesh_simple(
            f"/world/body{shape.body}/{shape.name}", shape.vertices.astype(np.float32), shape.faces, color=(r, g, b),
            opacity=alpha if alpha < 1.0 else None, flat_shading=shape.edged, wxyz=shape.wxyz, position=shape.position,
        )  # fmt: skip

    def _place_camera(self, server: viser.ViserServer) -> None:
        if self.floating:
            middle, back = np.array([0.0, 0.0, 0.28]), np.array([1.3, -1.5, 0.65])
        else:
            middle, radius = reach(self.model, scene.sweep(self.model))
            back = np.array([0.0, -3.2 * radius, 0.5 * radius])
        server.initial_camera.position = middle + back
        server.initial_camera.look_at = middle
        server.initial_camera.fov = math.radians(45.0)

    def show(self, view: View) -> None:
        """Move everything to where it is."""
        position, wxyz = scene.body_poses(self.model, self._data, view.qpos)
        for body, handle in self._bodies.items():
            handle.position, handle.wxyz = position[body], wxyz[body]
        if self.floating and self.follow:
            self._away = view.qpos[:2].copy()
        self.world.position = np.append(-self._away, 0.0)
        self.floor.position = np.append(-(self._away % 1.0), 0.0)  # its lines come again after one metre
        self._show_arrows(scene.arrows(view) if self.show_arrows else {})

    def _add_arrows(self, view: View) -> dict[str, viser.MeshHandle]:
        """Make all that may be shown beforehand, hidden."""
        if not self.floating:
            return {}
        vertices, faces = scene.arrow_mesh()
        forces = [f"force{i}" for i in range(len(view.feet[1]) if view.feet else 0)]
        return {
            name: self._api.add_mesh_simple(
                f"/world/{name}", vertices.astype(np.float32), faces, color=scene.ARROWS[name.rstrip("0123456789")],
                cast_shadow=False, receive_shadow=False, visible=False,
            )
            for name in ("asked", "true", "push", *forces)
        }  # fmt: skip

    def _show_arrows(self, arrows: Mapping[str, scene.Arrow]) -> None:
        for name, handle in self._arrows.items():
            handle.visible = name in arrows
            if name in arrows:
                arrow = arrows[name]
                handle.position, handle.wxyz, handle.scale = arrow.start, arrow.wxyz, (1.0, 1.0, arrow.length)
