"""pi-Distill and on-policy self-distillation (Penaloza et al. 2026, arXiv 2602.04942), for continuous control.

One network in two roles (``methods.shared``); k_T = KL(T || S), k_S = KL(S || T), per step, in closed form:

    where T drove   r' = r - beta k_T     L_T  = PPO(T / T_old) + beta KL(T || sg S)
                                          L_S1 = PPO(S / T_old) + beta KL(sg T || S)
    where S drove   r' = r - beta k_S     L_S2 = PPO(S / S_old) + beta KL(S || sg T)

    pi_distill   alpha L_T + (1 - alpha) L_S1      the teacher drives
    opsd         alpha L_T + (1 - alpha) L_S2      both drive, the student more and more

The paper's are language models: sampled groups stand for a critic, and its teacher is good at once, being the same
model with a longer prompt. Here GAE has a critic on all groups, and in ``opsd`` the teacher must drive a part, or
nothing would train its privileged columns. The divergence stands in the reward (go where the student can follow) and in
the loss (act there as it does). beta is steered to a target divergence, from the paper's 0.25 upwards; k is per action
dimension.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from robodistill import gaussian
from robodistill.methods.coefficient import value_of
from robodistill.segment import Segment, find
from robodistill_policies.policy import Policy


def disagreement(
    segment: Segment, networks: Mapping[str, nn.Module], *, teacher: str, student: str, coefficient: str = ""
) -> Tensor:
    """Return beta KL(who drove || the other role) (T, N), per action dimension; weigh it negatively."""
    mean, log_std = segment.data["mean"], segment.data["log_std"]
    total = mean.new_zeros(segment.shape)
    for driver, other in ((teacher, student), (student, teacher)):
        mine = segment.data["role"] == segment.drivers.index(driver)
        if not bool(mine.any()):
            continue
        policy = find(networks, other, Policy, "method.shape")
        output, _ = policy.unroll(segment.obs, segment.states.get(other, {}), segment.resets)
        kl = gaussian.kl(mean, log_std, output.mean, output.log_std.expand_as(output.mean))
        total = total + mine * kl
    return value_of(networks, coefficient) * total / mean.shape[-1]
