"""The settings of a run: frozen dataclasses that the YAML under ``configs`` fills, ranges checked here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_envs.config import TaskConfig
from robodistill_policies.config import PolicyConfig


def _positive(where: str, **values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise RobodistillError(f"{where}.{name}: must be above 0, got {value}")


def _window(where: str, begin: float, end: float) -> None:
    if not 0.0 <= begin < end <= 1.0:
        raise RobodistillError(f"{where}: needs 0 <= begin < end <= 1, got {begin} and {end}")


@dataclass(frozen=True)
class LossConfig:
    """One summand of a phase's objective."""

    type: str
    """The function, as ``package.module:function``, called with a Minibatch and ``params``."""
    weight: float = 1.0
    final_weight: float | None = None
    """Weight from ``end`` on, reached linearly from ``begin``; None keeps ``weight``."""
    params: dict[str, Any] = field(default_factory=dict)
    begin: float = 0.0
    """Share of the training at which the weight starts to move."""
    end: float = 1.0
    """Share of the training at which it has become ``final_weight``."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        _window("loss", self.begin, self.end)

    def weight_at(self, progress: float) -> float:
        """Return the weight after a share ``progress`` in [0, 1] of the training."""
        end = self.weight if self.final_weight is None else self.final_weight
        share = min(1.0, max(0.0, (progress - self.begin) / (self.end - self.begin)))
        return self.weight + (end - self.weight) * share


@dataclass(frozen=True)
class ShapeConfig(LossConfig):
    """A bonus, with negative weight a penalty, that is added to the reward before advantages are estimated.

    ``type`` is called with the Segment, the networks and ``params``; it returns (T, N), and no gradient flows.
    """


@dataclass(frozen=True)
class HookConfig:
    """Something done after each optimisation step of a phase, such as moving a slow copy of a network."""

    type: str
    """The function, as ``package.module:function``, called with the networks, the step's figures and ``params``."""
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkConfig:
    """One network of a method."""

    type: str
    """The function that makes it, as ``package.module:function``, called with a Build and ``params``."""
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PhaseConfig:
    """One kind of optimisation step of an iteration."""

    losses: dict[str, LossConfig]
    networks: tuple[str, ...]
    """Networks whose parameters it may move; ``name.child`` for a part, such as ``student.encoder``."""
    lr: float
    schedule: Literal["constant", "linear", "cosine", "adaptive_kl"] = "constant"
    """linear and cosine end at ``final_lr``; adaptive_kl keeps the step's KL near ``desired_kl``."""
    final_lr: float = 1e-5
    desired_kl: float = 0.01
    lr_range: tuple[float, float] = (1e-5, 1e-2)
    """Bounds of the adaptive learning rate."""
    epochs: int = 4
    minibatches: int = 4
    split: Literal["step", "world"] = "step"
    """How a segment becomes minibatches; recurrent policies split worlds, never time."""
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    every: int = 1
    """Runs in each n-th iteration."""
    skip_every: int = 0
    """Does not run in each n-th iteration; 0 skips none."""
    begin: float = 0.0
    """Share of the training from which it runs."""
    end: float = 1.0
    """Share of the training before which it runs."""
    after: dict[str, HookConfig] = field(default_factory=dict)
    """What is done after each of its optimisation steps, in order."""
    mirror: float = 0.0
    """Share of worlds or steps seen in left-right reflection (stateless policies only)."""
    center_advantage: bool = True
    """Normalise the advantages of an iteration to mean 0, deviation 1."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        _positive("phase", lr=self.lr, epochs=self.epochs, minibatches=self.minibatches, every=self.every)
        _window("phase", self.begin, self.end)
        if self.skip_every < 0 or self.skip_every == 1:
            raise RobodistillError(f"phase.skip_every: must be 0 or at least 2, got {self.skip_every}")
        if not 0.0 <= self.mirror < 1.0 or (self.mirror and self.split == "world"):
            raise RobodistillError(
                f"phase.mirror: {self.mirror} must lie in [0, 1), and be 0 with split: world"
            )
        if not self.losses:
            raise RobodistillError("phase.losses: name at least one loss")


@dataclass(frozen=True)
class CollectConfig:
    """Who drives the worlds, for how long, and what is remembered of it."""

    drivers: dict[str, tuple[float, float]]
    """Network -> share of episodes that it drives, at the beginning and at the end of training."""
    num_envs: int = 1024
    steps: int = 24
    """Control steps of a segment."""
    takeover: dict[str, int] = field(default_factory=dict)
    """Driver -> it drives every world in each n-th iteration, in the middle of other drivers' episodes."""
    deterministic: tuple[str, ...] = ()
    """Drivers that act with their mean, without exploration noise."""
    source: Literal["live", "buffer", "file"] = "live"
    """Train on the segment just collected, on the last ``buffer`` ones, or on recorded ones without a step."""
    buffer: int = 8
    """Segments that the ring of ``source: buffer`` keeps, or that a recording for ``source: file`` has."""
    labeller: str = ""
    """Network whose mean action and latent are stored as labels; empty for none."""
    label_critic: str = ""
    """Network whose value and one-step advantage are stored with the labels; empty for none."""
    next_obs: tuple[str, ...] = ()
    """Groups stored as ``next_<group>`` too: what each step led to, the last observation where an episode ended."""
    critic: str = ""
    """Network that values states, for GAE; empty for none."""
    gamma: float = 0.99
    lam: float = 0.95
    reward_scale: float = 1.0
    """What the learner multiplies rewards by, so that the critic's values stay near 1; returns are reported without."""
    range: str = "train"
    """The task's range that worlds are drawn from: one that drills what is hard, or begins where exploring is easy."""
    curriculum_start: float = 1.0
    """Size of commands and pushes at the beginning, as a share of the task's."""
    curriculum_share: float = 0.3
    """Share of the training over which the curriculum reaches the task's full size."""
    update_normalizers: tuple[str, ...] = ()
    """Networks whose statistics take in each segment, once."""
    freeze_normalizers_at: float = 1.0
    """Share of the training after which their statistics stand still."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        _positive("collect", num_envs=self.num_envs, steps=self.steps, buffer=self.buffer)
        _positive("collect", reward_scale=self.reward_scale)
        if not 0 < self.gamma <= 1 or not 0 <= self.lam <= 1:
            raise RobodistillError(
                f"collect: gamma {self.gamma} and lam {self.lam} must lie in (0, 1] and [0, 1]"
            )
        self._check_drivers()
        if self.source != "live" and self.takeover:
            raise RobodistillError(
                f"collect.source={self.source}: its segments are of several iterations, and who takes over in one of "
                "them (collect.takeover) would be learned from in the others; use collect.source=live"
            )
        if self.source == "file" and self.critic:
            raise RobodistillError(
                "collect.source=file: advantages and returns of a recording are those of whoever drove then, for ever; "
                "use collect.source=live, or a method without collect.critic, such as bc"
            )

    def _check_drivers(self) -> None:
        if not self.drivers:
            raise RobodistillError("collect.drivers: name at least one network")
        for name, shares in self.drivers.items():
            if min(shares) < 0.0:
                raise RobodistillError(f"collect.drivers.{name}: a share of episodes cannot be negative, got {shares}")
        if min(map(sum, zip(*self.drivers.values(), strict=True))) <= 0.0:
            raise RobodistillError("collect.drivers: all shares are 0 at one end of the training; let somebody drive")
        for name, every in self.takeover.items():
            if name not in self.drivers:
                raise RobodistillError(f"collect.takeover: {unknown('driver', name, self.drivers)}")
            _positive("collect.takeover", **{name: every})
        for name in self.deterministic:
            if name not in (*self.drivers, self.labeller):
                raise RobodistillError(f"collect.deterministic: {unknown('driver', name, self.drivers)}")


@dataclass(frozen=True)
class MethodConfig:
    """An iteration, made of data: collect, then phases in order."""

    name: str
    collect: CollectConfig
    phases: dict[str, PhaseConfig]
    networks: dict[str, NetworkConfig] = field(default_factory=dict)
    """Name -> what it is, in the order in which they are made; the one trained is ``teacher`` or ``student``."""
    shape: dict[str, ShapeConfig] = field(default_factory=dict)
    """What is added to the reward."""
    needs_teacher: bool = False
    """A trained teacher's checkpoint is an input."""


@dataclass(frozen=True)
class TrainConfig:
    """Training of one policy, teacher or student."""

    method: MethodConfig
    policy: PolicyConfig
    total_steps: int
    """Environment steps, of all worlds together."""
    critic_hidden: tuple[int, ...] = (256, 128)
    copy_head: bool = False
    """Students of a trained teacher start with its actor and its statistics, which then stand still."""
    checkpoint_every_s: float = 60.0
    """[s] between two checkpoints at most; the end and each twentieth of the training always make one."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        _positive("train", total_steps=self.total_steps)
        if self.checkpoint_every_s < 0.0:
            raise RobodistillError(f"train.checkpoint_every_s: must be at least 0, got {self.checkpoint_every_s}")

    @property
    def iterations(self) -> int:
        """Return the number of iterations that ``total_steps`` makes."""
        return max(1, round(self.total_steps / (self.method.collect.num_envs * self.method.collect.steps)))


@dataclass(frozen=True)
class EvaluateConfig:
    """A comparison of policies on the same seeds."""

    episodes: int = 512
    """Worlds, one episode each; the same draws for every policy."""
    seed: int = 1_000_003
    """Kept apart from the seeds of training."""
    bootstrap: int = 2000
    """Resamples for the 95 % intervals."""
    settle_s: float = 1.0
    """[s] after a command change that the settled tracking error leaves out."""
    record: int = 3
    """Episodes whose trajectories are kept for plots and video."""
    record_by: str = ""
    """Keep the episodes with the largest value of this parameter; empty keeps the first ones."""
    ranges: tuple[str, ...] = ()
    """The task's ranges to compare under as well; ``train`` is its own, which always comes first."""
    diagnose: bool = True
    """Also say where the student differs from its teacher and why, at a share of the comparison's cost."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        _positive("evaluate", episodes=self.episodes, bootstrap=self.bootstrap)


@dataclass(frozen=True)
class PlayConfig:
    """A look at a run's policies in the browser, or on video. It changes nothing that a run makes."""

    host: str = "127.0.0.1"
    """Address that the page is served on; the default is reached from this machine alone."""
    port: int = 8080
    checkpoint: Literal["last", "best", "latest"] = "last"
    """``latest`` is ``last``, taken up anew whenever training has written a newer one."""
    policy: Literal["", "teacher", "student", "onnx", "zero_action"] = ""
    """Who drives at first; empty takes the student, or what there is."""
    video: str = ""
    """Write this file instead of serving a page."""
    seconds: float = 10.0
    """[s] of the video"""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        _positive("play", seconds=self.seconds)
        if not 0 <= self.port < 65536:
            raise RobodistillError(f"play.port: must lie in 0..65535, got {self.port}")
        if self.video and not self.video.endswith(".mp4"):
            raise RobodistillError(f"play.video: name a file that ends in .mp4, got {self.video!r}")


@dataclass(frozen=True)
class ExportConfig:
    """What the export writes."""

    format: Literal["policy", "mjlab", "unitree_rl_lab", "leapp"] = "policy"
    """``policy``: policy.onnx. Another one is written from that file and the student, for another stack's runtime."""


@dataclass(frozen=True)
class RunConfig:
    """Everything a run needs; the resolved form is saved beside its results."""

    task: TaskConfig
    teacher: TrainConfig
    student: TrainConfig
    evaluate: EvaluateConfig
    run: str
    """Name of the run, a folder below ``runs_dir``."""
    runs_dir: str = "runs"
    rollouts_dir: str = ""
    """Where runs share an evaluation's rollouts of the same teacher on the same worlds; empty makes them each time."""
    seed: int = 0
    threads: int = 0
    """Threads of physics and of torch each; 0 is one per core."""
    compile: bool = False
    """Compile what a step is made of besides the physics, which pays in long trainings; needs a C++ compiler."""
    quiet: bool = False
    """No progress bar."""
    play: PlayConfig = field(default_factory=PlayConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    pipeline: Any = None

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name, value, most in (("threads", self.threads, 1024), ("seed", self.seed, 2**62)):
            if not 0 <= value <= most:
                raise RobodistillError(f"{name}: must lie in 0..{most}, got {value}")
        if self.run in ("", ".", "..") or "/" in self.run:
            raise RobodistillError(f"run: name a folder below runs_dir, got {self.run!r}; runs_dir= says where")
