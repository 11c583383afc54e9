"""Collect: let policies drive the worlds for T steps and remember what a phase may need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robodistill import gaussian
from robodistill.agreement import agreement
from robodistill.networks import STUDENT
from robodistill.returns import gae
from robodistill.segment import Segment, State, find
from robodistill.settings import MethodConfig
from robodistill.threads import one_thread
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.resolve import resolve_function
from robodistill_envs.vector import VecEnv
from robodistill_policies.critic import Critic
from robodistill_policies.encoders.base import reset_state
from robodistill_policies.latent import NOISE
from robodistill_policies.policy import Policy, PolicyOutput

End = tuple[int, Tensor, dict[str, Tensor]]
"""Step of the segment, worlds whose episode timed out there, what they observed last."""


def _share(span: tuple[float, float], progress: float) -> float:
    return span[0] + (span[1] - span[0]) * progress


def _rows(tree: dict[str, Any], mask: Tensor) -> dict[str, Any]:
    """Return the rows of every tensor in ``tree`` where ``mask`` is."""
    return {k: _rows(v, mask) if isinstance(v, dict) else v[mask] for k, v in tree.items()}


class Collector:
    """Steps ``env``; a role, which policy drives, is drawn for each world and held for a whole episode."""

    def __init__(
        self, method: MethodConfig, env: VecEnv, networks: Mapping[str, nn.Module], generator: torch.Generator
    ) -> None:
        self.config, self.env, self.generator = method.collect, env, generator
        config = self.config
        self._shape = {
            name: (hook, resolve_function(hook.type, hook.params, f"method.shape.{name}"))
            for name, hook in method.shape.items()
        }
        self.networks = networks
        self.drivers = list(config.drivers)
        acting: list[str] = [*self.drivers, *([config.labeller] if config.labeller else [])]
        self.policies: dict[str, Policy] = {}
        for name in acting:
            where = "collect.drivers" if name in self.drivers else "collect.labeller"
            self.policies[name] = find(networks, name, Policy, where)
        self._critic = find(networks, config.critic, Critic, "collect.critic") if config.critic else None
        self._label_critic: Critic | None = None
        if config.label_critic:
            self._label_critic = find(networks, config.label_critic, Critic, "collect.label_critic")
        self.states: dict[str, State] = {n: p.initial_state(env.num_envs) for n, p in self.policies.items()}
        self._first = torch.ones(env.num_envs, dtype=torch.bool)
        self._whole = torch.zeros(env.num_envs, dtype=torch.bool)
        """Worlds past their first episode, which begins somewhere in its middle and tells nothing of a return."""
        self.roles = torch.zeros(env.num_envs, dtype=torch.int64)
        self.collected = 0
        """Segments so far."""
        gaussian_latents = [p.layout.implicit for p in self.policies.values() if p.layout.norm == "gaussian"]
        self._noise = max(gaussian_latents, default=0)
        self._set_curriculum(0.0)
        self.obs: dict[str, Tensor] = env.reset(stagger=True)
        self._draw_roles(torch.arange(env.num_envs), 0.0)

    def _set_curriculum(self, progress: float) -> None:
        start = self.config.curriculum_start
        self.env.progress = start + (1.0 - start) * min(1.0, progress / max(self.config.curriculum_share, 1e-9))

    def _draw_roles(self, ids: Tensor, progress: float) -> None:
        shares = torch.tensor([_share(self.config.drivers[name], progress) for name in self.drivers])
        self.roles[ids] = torch.multinomial(shares, len(ids), replacement=True, generator=self.generator)

    @torch.no_grad()
    def collect(self, progress: float) -> tuple[Segment, dict[str, float]]:
        """Return a segment, with advantages if there is a critic, and figures of the episodes that ended."""
        with one_thread():
            return self._collect(progress)

    def _collect(self, progress: float) -> tuple[Segment, dict[str, float]]:
        env, steps = self.env, self.config.steps
        self._set_curriculum(progress)
        record: dict[str, list[Tensor]] = {}
        seen: list[dict[str, Tensor]] = []
        resets: list[Tensor] = []
        ends: list[End] = []
        episodes: list[dict[str, Any]] = []
        start_states = {n: {k: v.clone() for k, v in s.items()} for n, s in self.states.items() if s}
        for t in range(steps):
            seen.append(self._with_noise(self.obs))
            resets.append(self._first.clone())
            step = self._act(seen[-1])
            self.obs, reward, terminated, truncated, info = env.step(step["action"])
            step.update(reward=reward, terminated=terminated, done=terminated | truncated)
            for group in self.config.next_obs:
                step[f"next_{group}"] = self.obs[group].clone()
                step[f"next_{group}"][info["done_ids"]] = info["final_obs"][group][info["done_ids"]]
            for name, value in step.items():
                record.setdefault(name, []).append(value)
            self._first = step["done"]
            done_ids = info["done_ids"]
            if done_ids.numel():
                ended = {**info["episode"], "role": self.roles[done_ids]}
                episodes.append(_rows(ended, self._whole[done_ids]))
                self._whole[done_ids] = True
                self._draw_roles(done_ids, progress)
                late = truncated.nonzero()[:, 0]
                ends.append((t, late, {k: v[late] for k, v in info["final_obs"].items()}))
        data = {name: torch.stack(values) for name, values in record.items()}
        data["log_prob"] = gaussian.log_prob(data["mean"], data["log_std"], data["action"])
        obs = {g: torch.stack([o[g] for o in seen]) for g in seen[0]}
        self.collected += 1
        segment = Segment(obs, torch.stack(resets), data, start_states, tuple(self.drivers))
        figures = self._figures(episodes, segment) | agreement(segment, env.spec, STUDENT)
        if self._label_critic:
            self._add_label_values(self._label_critic, segment, ends)
        figures |= self._add_shape(segment, progress)
        if self._critic:
            self._add_advantages(self._critic, segment, ends)
        return segment, figures

    def _add_shape(self, segment: Segment, progress: float) -> dict[str, float]:
        """Add each hook's bonus to the reward; return their means, unweighted, for the log."""
        figures: dict[str, float] = {}
        reward = segment.data["reward"]
        for name, (hook, function) in self._shape.items():
            bonus = function(segment, self.networks, **hook.params)
            if bonus.shape != reward.shape:
                shapes = f"{tuple(bonus.shape)}, the reward is {tuple(reward.shape)}"
                raise RobodistillError(f"method.shape.{name}: {hook.type} returned {shapes}; return (T, N)")
            segment.data["reward"] = segment.data["reward"] + hook.weight_at(progress) * bonus
            figures[f"shape/{name}"] = float(bonus.mean())
        return figures

    def _with_noise(self, obs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the observation with the noise by which Gaussian latents are sampled, if there are any."""
        if not self._noise:
            return obs
        return {**obs, NOISE: torch.randn(self.env.num_envs, self._noise, generator=self.generator)}

    def _driving(self) -> Tensor:
        """Return who drives each world in this segment: its role, unless a driver has taken over."""
        for name, every in self.config.takeover.items():
            if self.collected % every == 0:
                return torch.full_like(self.roles, self.drivers.index(name))
        return self.roles

    def _act(self, obs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the action of every world at this tick, and what there is to know about it."""
        roles = self._driving()
        outputs: dict[str, PolicyOutput] = {}
        for name, policy in self.policies.items():
            state = reset_state(self.states[name], self._first)
            outputs[name], self.states[name] = policy.step(obs, state)
        actions = []
        for name in self.drivers:
            output = outputs[name]
            noise = torch.randn(output.mean.shape, generator=self.generator)
            spread = 0.0 if name in self.config.deterministic else torch.exp(output.log_std)
            actions.append(output.mean + spread * noise)
        pick = roles.unsqueeze(1)
        means = [outputs[n].mean for n in self.drivers]
        log_stds = [outputs[n].log_std.expand_as(outputs[n].mean) for n in self.drivers]
        action, mean, log_std = actions[0], means[0], log_stds[0]
        for i in range(1, len(self.drivers)):
            action, mean, log_std = (
                torch.where(pick == i, new, old)
                for new, old in ((actions[i], action), (means[i], mean), (log_stds[i], log_std))
            )
        step = {"action": action, "mean": mean, "log_std": log_std, "role": roles.clone()}
        if self.config.labeller:
            label = outputs[self.config.labeller]
            log_std = label.log_std.expand_as(label.mean)
            step.update(label_mean=label.mean, label_latent=label.latent, label_log_std=log_std)
        return step

    def _values(self, critic: Critic, segment: Segment, ends: list[End]) -> tuple[Tensor, Tensor]:
        """Return the values (T, N) of each step's state and of the state that it really led to."""
        values = critic.value(segment.obs)
        next_values = torch.cat((values[1:], critic.value(self.obs).unsqueeze(0)))
        for t, ids, final_obs in ends:
            # a time-out goes on in the value of the observation it ended with, not of the reset's
            next_values[t, ids] = critic.value(final_obs)
        return values, next_values

    def _add_advantages(self, critic: Critic, segment: Segment, ends: list[End]) -> None:
        values, next_values = self._values(critic, segment, ends)
        advantages, returns = gae(
            segment.data["reward"] * self.config.reward_scale, values, next_values,
            segment.data["terminated"], segment.data["done"], self.config.gamma, self.config.lam,
        )  # fmt: skip
        segment.data.update({"value": values, "advantage": advantages, "return": returns})

    def _add_label_values(self, critic: Critic, segment: Segment, ends: list[End]) -> None:
        """Store what the labeller expects, and by how much the step taken turned out better than that."""
        values, next_values = self._values(critic, segment, ends)
        alive = (~segment.data["terminated"]).to(values.dtype)
        # in the critic's own units, which are those that it was trained in
        advantage = segment.data["reward"] * critic.reward_scale + critic.gamma * alive * next_values - values
        segment.data.update({"label_value": values, "label_advantage": advantage})

    def _figures(self, episodes: list[dict[str, Any]], segment: Segment) -> dict[str, float]:
        figures = {"collect/reward": float(segment.data["reward"].mean()), "collect/curriculum": self.env.progress}
        if not any(len(e["role"]) for e in episodes):
            return figures
        returns, lengths, roles = (torch.cat([e[k] for e in episodes]) for k in ("return", "length", "role"))
        figures["episode/return"] = float(returns.mean())
        figures["episode/length_s"] = float(lengths.float().mean()) * self.env.task.control_dt
        figures["episode/ended_early"] = 1.0 - float(torch.cat([e["truncated"] for e in episodes]).float().mean())
        for i, name in enumerate(self.drivers):
            if len(self.drivers) > 1 and bool((roles == i).any()):
                figures[f"episode/return_{name}"] = float(returns[roles == i].mean())
        seconds = lengths.float().clamp_min(1.0) * self.env.task.control_dt
        sums = torch.cat([e["rewards"] for e in episodes]) / seconds.unsqueeze(1)
        for i, name in enumerate(self.env.reward_names):
            figures[f"reward/{name}"] = float(sums[:, i].mean())
        for cause in episodes[0]["causes"]:
            figures[f"termination/{cause}"] = float(torch.cat([e["causes"][cause] for e in episodes]).float().mean())
        return figures

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on bit for bit."""
        states = {name: dict(state) for name, state in self.states.items()}
        own = {"first": self._first, "whole": self._whole.clone(), "roles": self.roles.clone()}
        return {"states": states, **own, "collected": self.collected, "env": self.env.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.env.load_state_dict(state["env"])
        self.states = {n: dict(s) for n, s in state["states"].items()}
        self._first, self._whole, self.roles = state["first"], state["whole"], state["roles"]
        self.collected = state["collected"]
        self.obs = self.env.observe()
