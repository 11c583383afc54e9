"""The driver by its name, with options as a command line gives them."""

from __future__ import annotations

import pytest

pytest.importorskip("cyclonedds", reason="needs cyclonedds, which is installed with robodistill[dds]")

from robodistill_deploy.driver_options import make_driver
from robodistill_deploy.drivers.unitree.go2 import JOINTS, UnitreeDriver
from robodistill_deploy.errors import DriverError


def test_it_is_found_by_its_name() -> None:
    driver = make_driver("unitree", ["interface=enp2s0", "domain=1", "release_sport_mode=false", "timeout=2"])
    assert isinstance(driver, UnitreeDriver)
    assert driver.joints == JOINTS


def test_an_option_that_it_does_not_have_is_refused() -> None:
    with pytest.raises(DriverError, match="release_sport_mode"):
        make_driver("unitree", ["release_sport_mod=false"])
