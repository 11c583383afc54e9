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


@dataclass(frozen=True)
class LossConfig:
    """One summand of a phase's objective."""

    type: str
    """The function, as ``package.module:function``, called with a Minibatch and ``params``."""
    weight: float = 1.0
    final_weight: float | None = None
    """Weight at the end of training, reached linearly; None keeps ``weight``."""
    params: dict[str, Any] = field(default_factory=dict)

    def weight_at(self, progress: float) -> float:
        """Return the weight after a share ``progress`` in [0, 1] of the training."""
        end = self.weight if self.final_weight is None else self.final_weight
        return self.weight + (end - self.weight) * progress


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
    mirror: float = 0.0
    """Share of worlds or steps seen in left-right reflection (stateless policies only)."""
    center_advantage: bool = True
    """Normalise the advantages of an iteration to mean 0, deviation 1."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        _positive("phase", lr=self.lr, epochs=self.epochs, minibatches=self.minibatches, every=self.every)
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
    deterministic: tuple[str, ...] = ()
    """Drivers that act with their mean, without exploration noise."""
    labeller: str = ""
    """Network whose mean action and latent are stored as labels; empty for none."""
    critic: str = ""
    """Network that values states, for GAE; empty for none."""
    gamma: float = 0.99
    lam: float = 0.95
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
        _positive("collect", num_envs=self.num_envs, steps=self.steps)
        if not 0 < self.gamma <= 1 or not 0 <= self.lam <= 1:
            raise RobodistillError(
                f"collect: gamma {self.gamma} and lam {self.lam} must lie in (0, 1] and [0, 1]"
            )
        if not self.drivers:
            raise RobodistillError("collect.drivers: name at least one network")
        for name, shares in self.drivers.items():
            if min(shares) < 0.0:
                raise RobodistillError(f"collect.drivers.{name}: a share of episodes cannot be negative, got {shares}")
        for name in self.deterministic:
            if name not in (*self.drivers, self.labeller):
                raise RobodistillError(f"collect.deterministic: {unknown('driver', name, self.drivers)}")


@dataclass(frozen=True)
class MethodConfig:
    """An iteration, made of data: collect, then phases in order."""

    name: str
    collect: CollectConfig
    phases: dict[str, PhaseConfig]


@dataclass(frozen=True)
class TrainConfig:
    """Training of one policy, teacher or student."""

    method: MethodConfig
    policy: PolicyConfig
    total_steps: int
    """Environment steps, of all worlds together."""
    critic_hidden: tuple[int, ...] = (256, 128)
    copy_head: bool = False
    """Students: start with the teacher's actor and its statistics, which then stand still."""
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
class RunConfig:
    """Everything a run needs; the resolved form is saved beside its results."""

    task: TaskConfig
    teacher: TrainConfig
    student: TrainConfig
    evaluate: EvaluateConfig
    run: str
    """Name of the run, a folder below ``runs_dir``."""
    runs_dir: str = "runs"
    seed: int = 0
    threads: int = 0
    """Threads of physics and of torch each; 0 is one per core."""
    compile: bool = False
    """Compile rewards and observations, which pays in long trainings; needs a C++ compiler."""
    quiet: bool = False
    """No progress bar."""
    play: PlayConfig = field(default_factory=PlayConfig)
    pipeline: Any = None

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name, value, most in (("threads", self.threads, 1024), ("seed", self.seed, 2**62)):
            if not 0 <= value <= most:
                raise RobodistillError(f"{name}: must lie in 0..{most}, got {value}")
        if self.run in ("", ".", "..") or "/" in self.run:
            raise RobodistillError(f"run: name a folder below runs_dir, got {self.run!r}; runs_dir= says where")
