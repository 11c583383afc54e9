"""Phases: the optimisation steps of an iteration, as the method's YAML describes them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robodistill.segment import Minibatch, Segment, by_step, by_world
from robodistill.settings import PhaseConfig
from robodistill.symmetry import Mirror
from robodistill_deploy.errors import RobodistillError, unknown
from robodistill_deploy.resolve import resolve_function
from robodistill_envs.vector import NonFiniteError

KL_STEP = 1.5
"""Factor by which the adaptive learning rate moves (Schulman et al. 2017, section 4; rsl_rl's value)."""


def parameters_of(networks: nn.ModuleDict, names: tuple[str, ...]) -> list[nn.Parameter]:
    """Return the parameters below modules such as ``student.encoder``, or called ``student.raw_log_std``."""
    chosen: dict[int, nn.Parameter] = {}
    every = dict(networks.named_parameters(remove_duplicate=False))
    for name in names:
        found = [p for key, p in every.items() if key == name or key.startswith(f"{name}.")]
        legal = [n for n in (*dict(networks.named_modules()), *every) if n.count(".") < 2 and n]
        if not found and name not in dict(networks.named_modules()):
            raise RobodistillError(f"phase.networks: {unknown('network', name, legal)}")
        if not all(p.requires_grad for p in found):
            raise RobodistillError(f"phase.networks: {name!r} is frozen; leave it out")
        chosen.update({id(p): p for p in found})
    if not chosen:
        raise RobodistillError(
            f"phase.networks: nothing to train in {list(names)}; name a network with weights"
        )
    return list(chosen.values())


class Phase:
    """Runs one PhaseConfig; owns the optimiser and the learning rate."""

    def __init__(
        self, name: str, config: PhaseConfig, networks: nn.ModuleDict, mirror: Mirror | None
    ) -> None:
        self.name, self.config, self.networks, self.mirror = name, config, networks, mirror
        self.losses = {
            key: resolve_function(loss.type, loss.params, f"phase {name!r}, loss {key!r}")
            for key, loss in config.losses.items()
        }
        self.hooks = [
            (resolve_function(hook.type, hook.params, f"phase {name!r}, after {key!r}"), hook.params)
            for key, hook in config.after.items()
        ]
        self.parameters = parameters_of(networks, config.networks)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.lr = config.lr
        self.worlds = 0
        """Worlds of the segment at hand."""
        self.repro_folder = Path(".")
        """Where the minibatch goes when a loss is not finite."""

    def due(self, iteration: int, progress: float) -> bool:
        """Return whether it runs in this iteration."""
        config = self.config
        skipped = config.skip_every > 0 and iteration % config.skip_every == 0
        return iteration % config.every == 0 and not skipped and config.begin <= progress < config.end

    def run(self, segment: Segment, progress: float, generator: torch.Generator) -> dict[str, float]:
        """Make all of the phase's steps on ``segment``; return mean figures under ``loss/`` and ``policy/``."""
        config = self.config
        self._schedule(progress)
        steps, self.worlds = segment.shape
        segment = dataclasses.replace(segment, data=dict(segment.data))
        segment.data["at"] = torch.arange(steps * self.worlds).view(steps, self.worlds)
        if config.center_advantage and "advantage" in segment.data:
            advantage = segment.data["advantage"]
            segment.data["advantage"] = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        if config.mirror and self.mirror:
            segment = self.mirror.double(segment)
        networks: Mapping[str, nn.Module] = dict(self.networks.items())
        figures: dict[str, list[Tensor]] = {}
        for _ in range(config.epochs):
            if config.split == "step":
                batches = by_step(segment, networks, config.minibatches, generator, config.mirror)
            else:
                batches = by_world(segment, networks, config.minibatches, generator)
            for batch in batches:
                for key, value in self._step(batch, progress).items():
                    figures.setdefault(key, []).append(value)
        result = {key: float(torch.stack(values).mean()) for key, values in figures.items()}
        return {**result, f"policy/lr_{self.name}": self.lr}

    def _step(self, batch: Minibatch, progress: float) -> dict[str, Tensor]:
        batch.progress, batch.mirror = progress, self.mirror
        total = torch.zeros(())
        parts: dict[str, Tensor] = {}
        for key, function in self.losses.items():
            config = self.config.losses[key]
            loss = function(batch, **config.params)
            parts[f"loss/{key}"] = loss.detach()
            total = total + config.weight_at(progress) * loss
        if not torch.isfinite(total):
            self._fail(parts, batch)
        # only this phase's parameters get gradients, whatever else the losses touch
        gradients = torch.autograd.grad(total, self.parameters, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        self.optimizer.step()
        with torch.no_grad():
            for hook, params in self.hooks:
                hook(batch.networks, batch.metrics, **params)
        if self.config.schedule == "adaptive_kl" and "kl" in batch.metrics:
            self._adapt(float(batch.metrics["kl"]))
        return {
            **parts,
            **{f"policy/{k}": v for k, v in batch.metrics.items()},
            f"policy/grad_norm_{self.name}": norm,
        }

    def _fail(self, parts: dict[str, Tensor], batch: Minibatch) -> None:
        bad = [key for key, value in parts.items() if not bool(torch.isfinite(value))]
        tensors = {**batch.obs, **batch.data}
        inputs = {
            k: ~v.isfinite() for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()
        }
        weights = [n for n, p in self.networks.named_parameters() if not p.isfinite().all()]
        place = ""
        if inputs and "at" in tensors:
            wrong = next(iter(inputs.values()))
            at = tensors["at"]
            first = int(at[wrong.reshape(*at.shape, -1).any(-1)][0])
            place = f" at step {first // self.worlds} of the segment, world {first % self.worlds}"
        path = self.repro_folder / f"nonfinite_{self.name}.npz"
        arrays: dict[str, Any] = {name: value.detach().numpy() for name, value in tensors.items()}
        np.savez(path, **arrays)
        raise NonFiniteError(
            f"phase {self.name!r}{place}: {', '.join(bad)} is not finite (inputs not finite: "
            f"{', '.join(inputs) or 'none'}; weights not finite: {', '.join(weights) or 'none'}); "
            f"minibatch saved in {path}; lower phases.{self.name}.lr"
        )

    def _schedule(self, progress: float) -> None:
        config = self.config
        if config.schedule == "linear":
            self._set_lr(config.lr + (config.final_lr - config.lr) * progress)
        elif config.schedule == "cosine":
            self._set_lr(
                config.final_lr + 0.5 * (config.lr - config.final_lr) * (1.0 + math.cos(math.pi * progress))
            )

    def _adapt(self, kl: float) -> None:
        low, high = self.config.lr_range
        if kl > 2.0 * self.config.desired_kl:
            self._set_lr(max(low, self.lr / KL_STEP))
        elif 0.0 < kl < 0.5 * self.config.desired_kl:
            self._set_lr(min(high, self.lr * KL_STEP))

    def _set_lr(self, lr: float) -> None:
        self.lr = lr
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """Return optimiser state and learning rate."""
        return {"optimizer": self.optimizer.state_dict(), "lr": self.lr}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._set_lr(state["lr"])
