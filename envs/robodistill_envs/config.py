"""A task as data: frozen dataclasses that the YAML under ``configs/task`` fills."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from robodistill_deploy.errors import SpecError, unknown
from robodistill_deploy.spec import Source
from robodistill_envs.motor_config import DAMPING, FRICTION
from robodistill_envs.robot_config import RobotConfig


@dataclass(frozen=True)
class PhysicsConfig:
    """Numbers of the simulation itself."""

    timestep: float
    """[s]"""
    solver: Literal["CG", "Newton", "PGS"] = "Newton"
    """Newton converges in about three iterations; a cut-off CG is 20 % cheaper and off by rad/s per control step."""
    iterations: int = 20
    ls_iterations: int = 20
    tolerance: float = 1.0e-5
    integrator: Literal["implicitfast", "Euler", "implicit"] = "implicitfast"
    cone: Literal["pyramidal", "elliptic"] = "pyramidal"


@dataclass(frozen=True)
class SignalConfig:
    """How the simulated robot's sensor differs from the truth."""

    noise: float = 0.0
    """Standard deviation, in the signal's unit (quaternions: rad per axis)."""
    quantum: float = 0.0
    """Resolution, in the signal's unit; 0 is none."""
    bias: str = ""
    """Name of the per-world parameter added to the signal (quaternions: a small rotation)."""


@dataclass(frozen=True)
class TermConfig:
    """One term of an observation group."""

    name: str
    type: str
    source: Source
    inputs: tuple[str, ...] = ()
    elements: int = 1
    """How many numbers it has."""
    unit: str = "1"
    frame: str = ""
    scale: tuple[float, ...] = (1.0,)
    """One number stands for that number at every element."""
    clip: float = 100.0
    params: dict[str, Any] = field(default_factory=dict)
    mirror: str | tuple[float, ...] | None = None
    """``joints``, ``joints_unsigned`` (magnitudes), ``feet`` or a list of signs."""


@dataclass(frozen=True)
class InternalConfig:
    """State that the interface carries from tick to tick."""

    name: str
    type: str
    dim: int
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FunctionConfig:
    """A named function with parameters: a termination, an effect."""

    name: str
    type: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RewardConfig:
    """One reward term: weight [1/s] * value is integrated over the control step."""

    name: str
    type: str
    weight: float
    params: dict[str, Any] = field(default_factory=dict)
    survives_divergence: bool = False
    """Counts even in a step whose physics diverged, where nothing measured means anything."""


@dataclass(frozen=True)
class MetricConfig:
    """A figure of evaluation: sums of (numerator, denominator) over ticks, reduced over episodes."""

    name: str
    type: str
    unit: str
    reduce: Literal["ratio", "root_ratio", "max"]
    settle: bool = False
    """Leave out the time after a command change (reported as ``<name>_unsettled`` with it)."""
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DrawConfig:
    """Where a range draws a parameter from: uniformly in low..high, but not inside the gap."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    gap_low: tuple[float, ...] = ()
    """Lower ends of what is left out; empty for nothing."""
    gap_high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse gaps that lie outside, or leave nothing to draw."""
        edges = (self.low, self.gap_low or self.low, self.gap_high or self.low, self.high)
        if len({len(edge) for edge in edges}) != 1:
            raise SpecError("range: low, high, gap_low and gap_high must have equally many values")
        if any(sorted(edge) != list(edge) for edge in zip(*edges, strict=True)):
            raise SpecError(f"range: low <= gap_low <= gap_high <= high does not hold for {edges}")


@dataclass(frozen=True)
class RangeConfig:
    """Other conditions, to evaluate under or to practise in: what is not named stays as in the task."""

    parameters: dict[str, DrawConfig] = field(default_factory=dict)
    push_speed: tuple[float, float] | None = None
    """[m/s] range of the pushes' speeds"""
    hold_s: float | None = None
    """[s] between two draws of the command"""
    episode_s: float | None = None
    """[s] Time-outs bootstrap, so shorter episodes only begin more often: exploration where rewards are sparse."""
    reset: ResetConfig | None = None
    """Where episodes begin."""
    practice: bool = False
    """Made to practise in, not to judge by: evaluated only where it is named."""

    def __post_init__(self) -> None:
        """Refuse times that are none."""
        for name in ("hold_s", "episode_s"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise SpecError(f"range: {name} must be above 0 s, got {value}")


@dataclass(frozen=True)
class ParameterConfig:
    """A physical quantity drawn anew for each world and episode, uniformly in low..high."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    unit: str
    nominal: tuple[float, ...]
    """The value with randomisation switched off."""
    draw: DrawConfig | None = None
    """Where to draw from instead; low..high go on telling networks what is usual. See ``TaskConfig.ranges``."""

    def __post_init__(self) -> None:
        """Refuse ranges that are empty or of different lengths."""
        if not len(self.low) == len(self.high) == len(self.nominal):
            raise SpecError("parameter: low, high and nominal must have equally many values")
        if any(lo > hi for lo, hi in zip(self.low, self.high, strict=True)):
            raise SpecError(f"parameter: low {self.low} above high {self.high}")


@dataclass(frozen=True)
class CommandConfig:
    """What the operator asks for: drawn per world, held, drawn again."""

    signal: str
    elements: tuple[str, ...]
    unit: str
    frame: str
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    hold_s: float
    """[s] between two draws"""
    zero_probability: float
    """Share of draws that ask to stand still."""
    tracked_by: str = ""
    """Function of a World that returns what should follow the command, (num_envs, elements)."""
    default: tuple[float, ...] = ()
    """What a robot is told while nobody commands; empty: zeros."""
    rate_limit: tuple[float, ...] = ()
    """[unit/s] fastest change that an operator's program passes on; empty: any, as drawn in training."""


@dataclass(frozen=True)
class PushConfig:
    """Velocity kicks to the base in a random horizontal direction."""

    max_speed: float
    """[m/s]"""
    interval_s: tuple[float, float]
    """[s] between two pushes, uniform"""
    min_speed: float = 0.0
    """[m/s]"""


@dataclass(frozen=True)
class ResetConfig:
    """Where an episode starts: keyed by joint, uniform around the default."""

    height: float = 0.0
    """[m] of a free base, 0 for none"""
    yaw: bool = False
    """Random heading of a free base."""
    tilt: float = 0.0
    """[rad] random roll and pitch of a free base"""
    base_velocity: float = 0.0
    """[m/s] and [rad/s] of a free base, per axis"""
    joint_position: float = 0.0
    """[rad] around the default"""
    joint_velocity: float = 0.0
    """[rad/s] around zero"""
    joint_range: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Joint -> range [rad] to draw its position from, whatever the default is"""


@dataclass(frozen=True)
class TaskConfig:
    """Everything that defines a task on a robot."""

    name: str
    robot: RobotConfig
    physics: PhysicsConfig
    control_dt: float
    """[s]"""
    episode_s: float
    """[s]"""
    groups: dict[str, tuple[TermConfig, ...]]
    signals: dict[str, SignalConfig]
    internals: tuple[InternalConfig, ...]
    rewards: tuple[RewardConfig, ...]
    terminations: tuple[FunctionConfig, ...]
    parameters: dict[str, ParameterConfig]
    effects: tuple[FunctionConfig, ...]
    """Functions that write drawn parameters into the physics of a world."""
    reset: ResetConfig
    delayed: bool
    """Whether actions and signals carry the per-world delays ``action_delay`` and ``signal_delay``."""
    teacher_floor: float
    """Mean return that a teacher must reach for results on this task to count."""
    command: CommandConfig | None = None
    push: PushConfig | None = None
    metrics: tuple[MetricConfig, ...] = ()
    """Quantities that evaluation reports beside the return."""
    targets: dict[str, float] = field(default_factory=dict)
    """What a student should reach, by metric, for the report's verdicts: a score at least, others at most."""
    ranges: dict[str, RangeConfig] = field(default_factory=dict)
    """Conditions other than those of training, by name, for ``evaluate.ranges``."""

    def __post_init__(self) -> None:
        """Add what the robot's motors draw; refuse signals without a sensor and broken physics steps."""
        self._add_motor_parameters()
        sensors = [sensor.name for sensor in self.robot.sensors]
        for name in self.signals:
            if name not in sensors:
                raise SpecError(f"task {self.name!r}: signals: {unknown('sensor', name, sensors)}")
        for name, value in (("physics.timestep", self.physics.timestep), ("episode_s", self.episode_s)):
            if not value > 0.0:
                raise SpecError(f"task {self.name!r}: {name} must be above 0, got {value}")
        ratio = self.control_dt / self.physics.timestep
        if abs(ratio - round(ratio)) > 1e-6 or round(ratio) < 1:
            raise SpecError(
                f"task {self.name!r}: control_dt {self.control_dt} is no multiple of {self.physics.timestep}"
            )

    def _add_motor_parameters(self) -> None:
        drawn, count = self.robot.motors.drawn, sum(len(action.names) for action in self.robot.actions)
        if DAMPING in drawn and any(effect.params.get("field") == "dof_damping" for effect in self.effects):
            raise SpecError(f"task {self.name!r} draws dof_damping itself: set robot.motors.damping_scale=[1.0,1.0]")
        added = {
            name: ParameterConfig((low,) * count, (high,) * count, "1", (1.0,) * count)
            for name, (low, high) in drawn.items()
        }
        effect = FunctionConfig("motor_friction", "robodistill_envs.terms.effects:motor_friction")
        # a run's saved configuration holds what its motors drew; the motors alone say what they draw now
        parameters = {name: p for name, p in self.parameters.items() if name not in (FRICTION, DAMPING)}
        effects = tuple(e for e in self.effects if e.type != effect.type)
        # frozen: only here, before anyone has seen the task
        object.__setattr__(self, "parameters", {**parameters, **added})
        object.__setattr__(self, "effects", (*effects, effect) if added else effects)

    @property
    def decimation(self) -> int:
        """Return the physics steps in a control step."""
        return round(self.control_dt / self.physics.timestep)

    @property
    def max_steps(self) -> int:
        """Return the control steps in an episode."""
        return round(self.episode_s / self.control_dt)
