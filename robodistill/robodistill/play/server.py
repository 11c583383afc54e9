"""The page: a session's robot in the browser, with everything there is to set beside it, by viser."""

from __future__ import annotations

import contextlib
import getpass
import io
import math
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import viser

from robodistill.play.pace import FASTEST, SLOWEST, Loop
from robodistill.play.picture import Picture, Plot
from robodistill.play.policies import ZERO, Policies
from robodistill.play.session import Session, View
from robodistill.play.traces import Trace
from robodistill_deploy.errors import RobodistillError

LOOPBACK = ("127.0.0.1", "localhost")
_FRAMES, _PLOTS, _LINES, _WATCHES = 1 / 30, 1 / 4, 1 / 5, 1.0
"""[s] between two updates of the robot, of plots, of text, and two looks at the checkpoints"""
_NUDGE = 0.25
"""Share of a command's limit that one press of a key or button changes."""
_WORDS = {"vx": ("back", "forward"), "vy": ("right", "left"), "yaw_rate": ("turn right", "turn left")}
_KEYS: tuple[tuple[Any, Any], ...] = (("K", "I"), ("L", "J"), ("O", "U"))
"""Keys that lower and raise the first elements of a command; W, A, S, D and the arrows move viser's camera."""
_PUSHES = {"from behind": 0.0, "from left": -0.5 * math.pi, "from front": math.pi, "from right": 0.5 * math.pi}


def reach_text(host: str, port: int) -> str:
    """Return where the page is, and how to reach it from another machine."""
    if host not in LOOPBACK:
        return f"page    http://{host}:{port}  (anybody who reaches this address can steer)\n"
    login = f"{getpass.getuser()}@{socket.gethostname()}"
    return (
        f"page    http://127.0.0.1:{port}\n"
        f"remote  ssh -L {port}:127.0.0.1:{port} {login}   then open the same address there\nCtrl-C ends it\n"
    )


def check_address(host: str) -> None:
    """Refuse an address that is none of this machine's: viser would look for a free port of it for ever."""
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise RobodistillError(
            f"play.host={host}: this machine cannot listen there ({error.strerror}); 127.0.0.1 always works"
        ) from error


class PlayServer:
    """Serves one session to any number of browsers until it is closed."""

    def __init__(self, session: Session, policies: Policies, host: str, port: int) -> None:
        """Listen on ``host`` at ``port`` or, when that is taken, at the next free one."""
        check_address(host)
        self.session, self.policies = session, policies
        self.loop = Loop(session)
        with contextlib.redirect_stdout(io.StringIO()):  # viser greets with a box; the verb says the address
            self.viser = viser.ViserServer(host, port, verbose=False)
        self.port = self.viser.get_port()
        self.viser.gui.configure_theme(show_logo=False, show_share_button=False)
        self.picture = Picture(self.viser, session)
        self._news = "following the training run" if policies.follows else ""
        self._due = dict.fromkeys((_PLOTS, _LINES, _WATCHES), 0.0)
        gui = self.viser.gui
        gui.set_panel_label(f"{policies.run.path.name}: {session.task.name}")
        self._text = gui.add_markdown("")
        self.policy = gui.add_dropdown("policy", tuple(session.drivers), initial_value=session.policy)
        self.policy.on_update(lambda _: self._locked(lambda: session.select(self.policy.value)))
        self._add_time()
        self.command: list[viser.GuiSliderHandle[float]] = []
        if session.task.command:
            self._add_command()
        if session.can_push:
            self._add_push()
        self.physics: dict[str, viser.GuiSliderHandle[float]] = {}
        if session.parameters:
            self._add_physics()
        if self.picture.floating:
            self._add_view()
        self._add_plots()

    # -- what there is to press ------------------------------------------------------------------

    def _locked(self, act: Callable[[], None]) -> None:
        with self.loop.lock:
            act()

    def _key(self, label: str, key: Any, act: Callable[[], None]) -> None:
        self.viser.gui.add_command(label, hotkey=key).on_trigger(lambda _: act())

    def _add_time(self) -> None:
        gui, loop = self.viser.gui, self.loop
        with gui.add_folder("Time"):
            self.speed = gui.add_slider("speed", SLOWEST, FASTEST, 0.05, FASTEST, hint="simulated per real time")
            self.speed.on_update(lambda _: loop.set_speed(self.speed.value))
            self.pause = gui.add_checkbox("pause", False, hint="key N pauses and makes one tick")
            self.pause.on_update(lambda _: setattr(loop, "paused", self.pause.value))
            buttons = gui.add_button_group("", ("one tick", "reset"))
            buttons.on_click(lambda _: self.step() if buttons.value == "one tick" else self.reset())
        self._key("one tick", "N", self.step)
        self._key("reset", "R", self.reset)

    def step(self) -> None:
        """Pause and make one tick."""
        self.pause.value = True
        self.loop.single_step()

    def reset(self) -> None:
        """Stand the robot up at the start."""
        self._locked(self.session.reset)

    def _add_command(self) -> None:
        gui, config = self.viser.gui, self.session.task.command
        assert config is not None
        units = [unit.strip() for unit in config.unit.split(",")]
        units = units if len(units) == len(config.elements) else [config.unit] * len(config.elements)
        with gui.add_folder("Command"):
            for i, name in enumerate(config.elements):
                slider = gui.add_slider(f"{name} [{units[i]}]", config.lower[i], config.upper[i], 0.01, 0.0)
                slider.on_update(lambda _: self._command_set())
                self.command.append(slider)
            for i, name in enumerate(config.elements):
                self._add_directions(i, _WORDS.get(name, (f"{name} -", f"{name} +")))
            gui.add_button("stop (space)").on_click(lambda _: self.stop())
        self._key("stop", "space", self.stop)

    def _add_directions(self, element: int, words: tuple[str, str]) -> None:
        keys = _KEYS[element] if element < len(_KEYS) else (None, None)
        labels = tuple(f"{word} ({key})" if key else word for word, key in zip(words, keys, strict=True))
        group = self.viser.gui.add_button_group("", labels)
        group.on_click(lambda _: self.nudge(element, -1 if group.value == labels[0] else 1))
        for word, key, sign in zip(words, keys, (-1, 1), strict=True):
            if key:
                self._key(word, key, partial(self.nudge, element, sign))

    def nudge(self, element: int, sign: int) -> None:
        """Change one element of the command by a quarter of its limit."""
        slider = self.command[element]
        limit = slider.max if sign > 0 else slider.min
        wanted = slider.value + _NUDGE * (abs(limit) or abs(slider.min)) * sign
        slider.value = round(min(max(wanted, slider.min), slider.max), 3)

    def stop(self) -> None:
        """Ask for nothing."""
        for slider in self.command:
            slider.value = min(max(0.0, slider.min), slider.max)

    def _command_set(self) -> None:
        self._locked(lambda: self.session.set_command([slider.value for slider in self.command]))

    def _add_push(self) -> None:
        gui = self.viser.gui
        with gui.add_folder("Push"):
            self.strength = gui.add_slider("strength [m/s]", 0.0, 2.0, 0.05, 0.8)
            group = gui.add_button_group("", tuple(_PUSHES))
            group.on_click(lambda _: self.push(group.value))
        self._key("push from the left", "P", lambda: self.push("from left"))

    def push(self, side: str) -> None:
        """Push with the strength that is set."""
        self._locked(lambda: self.session.push(self.strength.value, _PUSHES[side]))

    def _add_physics(self) -> None:
        gui, session = self.viser.gui, self.session
        with gui.add_folder("Physics"):
            for name, config in session.parameters.items():
                low, high = config.low[0], config.high[0]
                label = name if config.unit == "1" else f"{name} [{config.unit}]"
                slider = gui.add_slider(label, low, high, (high - low) / 100.0, min(max(config.nominal[0], low), high))
                slider.on_update(partial(self._physics_set, name))
                self.physics[name] = slider

    def _physics_set(self, name: str, event: object) -> None:
        del event
        self._locked(lambda: self.session.set_parameter(name, self.physics[name].value))

    def _add_view(self) -> None:
        picture = self.picture
        with self.viser.gui.add_folder("View"):
            self.follow = self.viser.gui.add_checkbox("camera follows", picture.follow)
            self.follow.on_update(lambda _: setattr(picture, "follow", self.follow.value))
            arrows = self.viser.gui.add_checkbox("arrows", picture.show_arrows)
            arrows.on_update(lambda _: setattr(picture, "show_arrows", arrows.value))

    # -- what there is to see --------------------------------------------------------------------

    def _add_plots(self) -> None:
        gui, traces = self.viser.gui, self.session.traces
        panel = gui.add_panel()
        elements = self.session.task.command.elements if self.session.task.command else ()
        tracking, terms = panel.add_tab("Tracking" if elements else "Reward"), panel.add_tab("Terms")
        latent = panel.add_tab("Latent")
        panel.dock_left()
        panel.set_width(360)
        self._tracking = [Plot(gui, lambda: tracking, i) for i in range(len(elements) + 1)]
        names = traces.names
        with terms:
            self.terms = [gui.add_dropdown(f"term {i + 1}", names, initial_value=names[min(i, len(names) - 1)],
                                           order=2.0 * i) for i in range(3)]  # fmt: skip
        self._terms = [Plot(gui, lambda: terms, 2.0 * i + 1.0) for i in range(len(self.terms))]
        self._latent = Plot(gui, lambda: latent, 0, height=400)

    def _plot(self) -> None:
        session = self.session
        with self.loop.lock:
            command, truth = session.traces.vector("command"), session.traces.vector("truth")
            reward, latent = session.traces.vector("reward", ("reward",)), session.traces.vector("latent")
            chosen = [(handle.value, session.traces.term(handle.value)) for handle in self.terms]
        elements = session.task.command.elements if session.task.command else ()
        for i, (name, plot) in enumerate(zip(elements, self._tracking, strict=False)):
            both = np.stack((command.values[:, i], truth.values[:, i]), 1) if truth.values.size else command.values
            plot.show(f"{name}: asked and true", Trace(command.time_s, both, ("asked", "true"), ""))
        self._tracking[-1].show("reward rate [1/s]", reward)
        for (name, trace), plot in zip(chosen, self._terms, strict=True):
            plot.show(f"{name} [{trace.unit}]", trace)
        self._latent.show("latent", latent)

    def text(self, view: View) -> str:
        """Return the figures of an instant as Markdown."""
        pace = "paused" if self.loop.paused else f"{self.loop.pacer.factor:.2f} x real time"
        falls = f"{view.falls} {'fall' if view.falls == 1 else 'falls'}"
        lines = [
            f"**{view.policy}**, {pace}",
            f"reward {view.reward_rate:.2f}/s, {falls} so far, {view.since_fall_s:.0f} s without one",
            self._news,
        ]
        return "  \n".join(line for line in lines if line)  # two blanks end a line in Markdown

    # -- time ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Simulate and show until interrupted; what ends the simulation is raised here."""
        self.loop.start()
        due = time.perf_counter()
        while True:
            self.refresh(time.perf_counter())
            due = max(due + _FRAMES, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))

    def refresh(self, now: float) -> None:
        """Send browsers what is new; ``now`` [s] decides what is due."""
        if self.loop.failure is not None:
            raise self.loop.failure
        if self._is_due(_WATCHES, now):
            self._take_newer()
        if not self.viser.get_clients():
            return
        with self.loop.lock:
            view = self.session.view()
        with self.viser.atomic():
            self.picture.show(view)
        if self._is_due(_LINES, now):
            self._text.content = self.text(view)
        if self._is_due(_PLOTS, now):
            self._plot()

    def _is_due(self, period: float, now: float) -> bool:
        if now < self._due[period]:
            return False
        self._due[period] = now + period
        return True

    def _take_newer(self) -> None:
        for name, driver in self.policies.newer().items():
            first = set(self.session.drivers) == {ZERO}
            with self.loop.lock:
                self.session.put(name, driver)
            self._news = f"newer {name} taken up at {time.strftime('%H:%M:%S')}"
            self.policy.options = tuple(self.session.drivers)
            if first:  # nobody has chosen to do nothing: there was nothing else
                self.policy.value = name

    def close(self) -> None:
        """Stop simulating and listening."""
        self.loop.stop()
        with contextlib.redirect_stdout(io.StringIO()):
            self.viser.stop()
