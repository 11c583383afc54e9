"""Every driver of the package is found by its name and says what it wants."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest

from robodistill_deploy import drivers
from robodistill_deploy.driver_options import find_driver, make_driver
from robodistill_deploy.drivers.sim import SimDriver
from robodistill_deploy.errors import DriverError

NAMES = [info.name for info in pkgutil.iter_modules(drivers.__path__) if info.name != "base"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_found_by_its_name_and_has_what_a_driver_has(name: str) -> None:
    if name == "unitree":
        pytest.importorskip("cyclonedds")
    made = find_driver(name)
    assert isinstance(made, type)
    for part in ("open", "read", "write", "close", "joints", "signals"):
        assert hasattr(made, part) or part in getattr(made, "__annotations__", {}), part


@pytest.mark.parametrize(
    ("words", "other"),
    [(["lockstep=true"], "lockstep=true"), (["speed=0.5"], "speed=0.5"), (["speed=1.0"], ""), ([], "")],
)
def test_the_simulated_robot_tells_whose_time_it_keeps(words: list[str], other: str) -> None:
    made = make_driver("sim", words, {"task": "go2_flat"})
    assert isinstance(made, SimDriver)
    assert made.other_time == other


def test_the_simulated_robot_takes_the_policys_task_and_passes_its_own_options_on(tmp_path: Path) -> None:
    made = make_driver("sim", ["noise=1", "lying=true"], {"task": "go2_flat", "unwanted": 3})
    assert isinstance(made, SimDriver)
    with pytest.raises(DriverError, match="needs --set task"):
        make_driver("sim", [])
    with pytest.raises(DriverError, match="unknown option 'nois'"):
        make_driver("udp", ["nois=1"], {"task": "go2_flat"})
