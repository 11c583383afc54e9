"""What a log says about its run, so that it can be repeated from it: policy, robot, thresholds, rates."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robodistill_deploy import strict_json
from robodistill_deploy.codec import from_plain, to_plain
from robodistill_deploy.errors import SpecError
from robodistill_deploy.policy_spec import PolicySpec
from robodistill_deploy.runner import Settings
from robodistill_deploy.runtime import Policy
from robodistill_deploy.safety.layout import Layout
from robodistill_deploy.safety_limits import SafetyLimits

FORMAT = "robodistill.log/1"
"""Of the metadata and of the channels."""


@dataclass(frozen=True)
class About:
    """The metadata ``robodistill.run`` of a log; its values there are JSON."""

    format: str
    digest: str
    """Of the policy file."""
    backend: str
    """What ran the network, with its version."""
    machine: str
    """Such as ``x86_64``: another kind of CPU rounds differently."""
    created: str
    """UTC, ISO 8601."""
    driver: str
    """As the command line named it."""
    joints: tuple[str, ...]
    """In the robot's own order."""
    signals: dict[str, tuple[str, ...]]
    """Of the driver, in its own order."""
    command_rate: float
    """[Hz]"""
    ramp_seconds: float
    """[s]"""
    limits: SafetyLimits
    """Those that were in force."""
    policy: PolicySpec

    @property
    def layout(self) -> Layout:
        """Return where everything lay in readings and commands."""
        return Layout(self.policy.interface, self.joints, self.signals)

    def to_metadata(self) -> dict[str, str]:
        """Return a word per field, as MCAP keeps it."""
        return {key: json.dumps(value, separators=(",", ":")) for key, value in to_plain(self).items()}

    @staticmethod
    def from_metadata(data: Mapping[str, str]) -> About:
        """Read ``to_metadata`` back; a field that is missing or unknown is a SpecError."""
        plain: dict[str, Any] = {key: strict_json.loads(text, f"log: {key}") for key, text in data.items()}
        if plain.get("format") != FORMAT:
            raise SpecError(f"log of format {plain.get('format')!r}: this version reads {FORMAT!r}")
        return from_plain(About, plain)


def about(policy: Policy, layout: Layout, settings: Settings | None = None, driver: str = "") -> About:
    """Return what the log of a run of ``policy`` on a robot with ``layout`` must say."""
    settings = settings or Settings()
    return About(
        FORMAT, policy.spec.digest, policy.backend, platform.machine(),
        datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), driver,
        layout.joints, layout.signals, settings.command_rate, settings.ramp_seconds,
        settings.limits or policy.spec.safety, policy.spec,
    )  # fmt: skip
