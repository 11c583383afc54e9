"""Drive a robot with a ``policy.onnx``: signals in, targets out, once per control period.

    policy = load_policy("policy.onnx")        # refuses a file that does not prove itself
    policy.bind_joints(robot.joint_names)      # once, by name
    policy.reset()
    while True:
        targets = policy.tick(robot.read())    # {"joint_pos": array([12 numbers in rad])}

Needs numpy and onnxruntime only; MLP, history stack and GRU run on numpy alone (``backend="numpy"``).
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robodistill_deploy import binding
from robodistill_deploy.binding import Order
from robodistill_deploy.errors import RobodistillError, SpecError, unknown
from robodistill_deploy.graph import GraphError
from robodistill_deploy.masks import all_true
from robodistill_deploy.policy_file import PolicyFile, open_policy_file
from robodistill_deploy.policy_spec import PolicySpec, Tick
from robodistill_deploy.spec import ActionPart, SignalSpec

Array = npt.NDArray[np.float32]
SignalValue = npt.ArrayLike | Mapping[str, float]

_EPSILON = float(np.finfo(np.float32).eps)


class SignalError(RobodistillError):
    """A signal is missing, has the wrong size or is not finite; the policy's state did not advance."""


class PolicyOutputError(RobodistillError):
    """The graph failed or returned what is not finite; the state did not advance. Stop the robot."""


def load_policy(path: str | Path, backend: str = "onnxruntime") -> Policy:
    """Return the policy in ``path``, ready to tick on ``backend``: ``onnxruntime`` or ``numpy``.

    Its digest, its spec and its self-test have been checked; a file that fails one is a SpecError.
    """
    return Policy(open_policy_file(path, backend))


class Policy:
    """A verified policy and its state. Not for use by two threads at once: give each its own ``clone``."""

    def __init__(self, file: PolicyFile) -> None:
        """Replay the self-test: no Policy exists that has not passed it."""
        self._spec = file.spec
        self._session = file.session
        self._bound = binding.identity(file.spec.interface)
        self._allocate()
        self._self_test_error = _replay_self_test(self, file.path)
        self.reset()

    @property
    def spec(self) -> PolicySpec:
        """Return what the file says about itself, in the policy's own order of joints."""
        return self._spec

    @property
    def backend(self) -> str:
        """Return what runs the network, with its version."""
        return self._session.backend

    @property
    def self_test_error(self) -> float:
        """Return the largest difference that the self-test found at load, in units of the action scale."""
        return self._self_test_error

    @property
    def signals(self) -> tuple[SignalSpec, ...]:
        """Return the signals to deliver, elements in the order bound (``bind_joints``)."""
        return self._bound.signals

    @property
    def actions(self) -> tuple[ActionPart, ...]:
        """Return the parts of the targets: names, gains and limits in the order bound (``bind_joints``)."""
        return self._bound.actions

    def bind_joints(self, robot_joints: Sequence[str]) -> None:
        """From now on read joint signals and return joint targets in the order of ``robot_joints``.

        An unknown, missing or doubled name is a RobodistillError. Bind again to change the order.
        """
        self._bound = binding.bind(self._spec.interface, robot_joints)
        self._allocate_slots()

    def clone(self) -> Policy:
        """Return an independent policy in its initial state, bound alike, sharing the loaded graph."""
        twin = copy.copy(self)
        twin._allocate()
        return twin

    def reset(self) -> None:
        """Return to the initial state: no history, no last action."""
        self._carried[:] = self._initial

    def state(self, name: str) -> Array:
        """Return a copy of state ``name`` as it stands before the next tick, such as ``last_action``."""
        key = f"state.{name}"
        if key not in self._states:
            raise RobodistillError(unknown("state", name, [state.name for state in self._spec.states]))
        return self._states[key].copy()

    def tick(self, signals: Mapping[str, SignalValue]) -> dict[str, Array]:
        """Advance by one control period.

        ``signals`` maps each signal's name to its numbers in SI units, an array in the order bound or a
        mapping from element names; signals the policy does not read are ignored. Returns per action part
        a new array of targets in SI units, in the order bound. On an error the state stays as it was.
        """
        with np.errstate(over="ignore"):  # what no float32 holds becomes infinite, and is refused below
            for slot, signal, order in self._slots:
                if signal.name not in signals:
                    raise _missing(signal, signals)
                value = _as_array(signal, signals[signal.name])
                slot[:] = value if order is None else value[order]
        self._advance()
        targets = {}
        for part in self._bound.actions:
            order, output = self._bound.outbound[part.name], self._outputs[f"action.{part.name}"][0]
            targets[part.name] = output.copy() if order is None else output[order]
        return targets

    def tick_vector(self, inputs: Array) -> npt.NDArray[np.float64]:
        """Advance like ``tick``, with all signals as one vector and all targets as another.

        Both are in the policy's own order, whatever was bound: the elements of ``spec.interface.signals`` one signal
        after another, and the names of ``spec.interface.actions`` one part after another.
        """
        if inputs.shape != self._inputs.shape:
            raise SignalError(f"inputs have shape {inputs.shape}, expected {self._inputs.shape}")
        self._inputs[:] = inputs
        self._advance()
        return self._targets.astype(np.float64)

    def _advance(self) -> None:
        """Check the inputs that were filled in, run the graph and keep its next state."""
        if not all_true(np.isfinite(self._inputs)):
            raise self._not_finite()
        try:
            self._run()
        except GraphError as error:
            raise PolicyOutputError(str(error)) from error
        if not all_true(np.isfinite(self._produced)):
            name = next(name for name, output in self._outputs.items() if not np.isfinite(output).all())
            raise PolicyOutputError(f"output {name!r} of the policy is not finite although its inputs are")
        self._carried[:] = self._next

    def _allocate(self) -> None:
        """Give this instance its own buffers and bind the graph to them, which costs less than new ones each tick.

        Signals lie side by side, and so do states, targets and next states: one check or copy covers all.
        """
        interface, states = self._spec.interface, self._spec.states
        self._inputs, self._signals = _side_by_side({f"signal.{s.name}": (1, s.dim) for s in interface.signals})
        self._carried, self._states = _side_by_side({f"state.{s.name}": s.shape for s in states})
        shapes = {f"action.{part.name}": (1, part.dim) for part in interface.actions}
        self._produced, self._outputs = _side_by_side(shapes | {f"next.{s.name}": s.shape for s in states})
        self._targets, self._next = np.split(self._produced, [interface.action_dim])
        self._initial = np.array([value for state in states for value in state.initial], np.float32)
        self.reset()
        self._run = self._session.bind({**self._signals, **self._states}, self._outputs)
        self._allocate_slots()

    def _allocate_slots(self) -> None:
        self._slots: list[tuple[Array, SignalSpec, Order | None]] = [
            (self._signals[f"signal.{signal.name}"][0], signal, self._bound.inbound[signal.name])
            for signal in self._bound.signals
        ]

    def _not_finite(self) -> SignalError:
        places = [
            (signal, i if order is None else int(order[i]))
            for _, signal, order in self._slots
            for i in range(signal.dim)
        ]
        first = int(np.flatnonzero(~np.isfinite(self._inputs))[0])
        signal, i = places[first]
        return SignalError(
            f"signal {signal.name!r}, element {signal.elements[i]!r} is {self._inputs[first]}, "
            "must be a finite float32"
        )


def _side_by_side(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Array, dict[str, Array]]:
    """Return one vector of zeros, and by name the parts of it, each of its own shape."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    whole = np.zeros(sum(sizes), np.float32)
    parts = np.split(whole, np.cumsum(sizes)[:-1])
    return whole, {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=False)}


def _missing(signal: SignalSpec, delivered: Iterable[str]) -> SignalError:
    near = difflib.get_close_matches(signal.name, list(delivered), n=1, cutoff=0.5)
    hint = f", {near[0]!r} was delivered" if near else ""
    return SignalError(f"signal {signal.name!r} ({', '.join(signal.elements)}) is missing{hint}")


def _as_array(signal: SignalSpec, value: SignalValue) -> npt.NDArray[Any]:
    """Return ``value`` as numbers of shape (signal.dim,), or say what is wrong with it."""
    if isinstance(value, np.ndarray):
        array = value
    elif isinstance(value, Mapping):
        array = _by_element(signal, value)
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:  # lists of different lengths
            raise SignalError(f"signal {signal.name!r} is not a list of numbers") from error
    if array.shape != (signal.dim,):
        raise SignalError(
            f"signal {signal.name!r} has shape {array.shape}, expected ({signal.dim},): "
            + ", ".join(signal.elements)
        )
    if array.dtype.kind not in "fiu":
        raise SignalError(f"signal {signal.name!r} has dtype {array.dtype}, expected real numbers")
    return array


def _by_element(signal: SignalSpec, value: Mapping[str, float]) -> npt.NDArray[Any]:
    for element in value:
        if element not in signal.elements:
            raise SignalError(f"signal {signal.name!r}: {unknown('element', str(element), signal.elements)}")
    for element in signal.elements:
        if element not in value:
            raise SignalError(f"signal {signal.name!r}: element {element!r} is missing")
    return np.array([value[element] for element in signal.elements])


def _replay_self_test(policy: Policy, path: Path) -> float:
    """Return the largest difference from what the exporter saw ``policy`` do; refuse one above atol."""
    test = policy.spec.self_test
    worst = 0.0
    for kind, ticks in (("ticks", test.ticks), ("sequence", test.sequence)):
        for i, tick in enumerate(ticks):
            where = f"{path}: self-test {kind}[{i}]"
            if tick.reset:
                policy.reset()
            try:
                targets = policy.tick(tick.signals)
            except PolicyOutputError as error:
                raise SpecError(f"{where}: {error}; export the policy again") from error
            for part in policy.spec.interface.actions:
                difference = _difference(part, targets[part.name], tick)
                j = int(np.argmax(difference))
                if difference[j] > test.atol:
                    raise SpecError(
                        f"{where}: {part.name} of {part.names[j]!r} is {targets[part.name][j]:.7g}, "
                        f"the exporter saw {tick.actions[part.name][j]:.7g}; "
                        "export again, or try another onnxruntime on this machine"
                    )
                worst = max(worst, float(difference[j]))
            _check_targets(policy, targets, where)
    return worst


def _check_targets(policy: Policy, targets: dict[str, Array], where: str) -> None:
    """Refuse a spec whose default, scale or limits are not those that the graph computes with.

    The raw action is known where the policy carries it; gains are not in the graph, the digest guards them.
    """
    spec = policy.spec
    carried = [i.name for i in spec.interface.internals if i.type.endswith(":LastAction")]
    if not carried:
        return
    raw, start = policy.state(carried[0])[0], 0
    for part in spec.interface.actions:
        own = np.array(part.default) + np.array(part.scale) * raw[start : start + part.dim]
        own = np.clip(own, part.lower, part.upper)
        start += part.dim
        wrong = np.abs(own - targets[part.name]) > 1e-5 * (np.abs(own) + np.abs(part.scale))
        if wrong.any():
            j = int(np.argmax(wrong))
            raise SpecError(
                f"{where}: {part.name} of {part.names[j]!r} is {targets[part.name][j]:.7g}, by the spec's default, "
                f"scale and limits it would be {own[j]:.7g}: spec and graph do not belong together; export again"
            )


def _difference(part: ActionPart, target: Array, tick: Tick) -> npt.NDArray[np.float64]:
    """Return per element what rounding to float32 does not explain, in units of the part's scale."""
    expected = np.array(tick.actions[part.name])
    beyond = np.maximum(np.abs(target - expected) - 2.0 * _EPSILON * np.abs(expected), 0.0)
    scale = np.abs(np.array(part.scale))
    return np.divide(beyond, scale, out=np.where(beyond > 0.0, np.inf, 0.0), where=scale > 0.0)
