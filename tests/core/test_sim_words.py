"""``robodistill sim``: a wrong word gets the simulated robot's options, not the keys of a training run."""

from __future__ import annotations

import pytest

from robodistill.verbs import sim
from robodistill_deploy.errors import RobodistillError


def test_a_wrong_option_of_the_robot_lists_the_robots_own() -> None:
    right = r"unknown option 'lyin': did you mean 'lying'\? legal: .*payload"
    with pytest.raises(RobodistillError, match=right) as said:
        sim.run_words(["task=go2_flat", "lyin=true"])
    assert "teacher" not in str(said.value)


def test_a_wrong_key_of_the_task_is_named_as_ever() -> None:
    with pytest.raises(RobodistillError) as said:
        sim.run_words(["task=go2_flt"])
    assert "payload" not in str(said.value)
    assert "go2_flat" in str(said.value)
