"""``robodistill list``: what the tree offers, described by its own first lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robodistill.config import ConfigError, groups
from robodistill.listing import description, listing, plural


def test_a_description_is_the_first_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("# @package _global_\n# A walk (Wang et al. 2024): teacher and\n# student. Then more\nname: a\n")
    assert description(file) == "A walk (Wang et al. 2024): teacher and student"
    file.write_text("name: a\n# A comment\n")
    assert description(file) == ""


def test_every_choice_of_the_tree_is_listed_and_described() -> None:
    shown = listing([])
    found = groups()
    assert "go2_flat" in found["task"]
    for group, choices in found.items():
        if "/" in group:  # choices of a choice, shown when asked for by name
            shown += listing([group])
        assert f"{plural(group)} ({group}=<name>)\n" in shown
        for name, file in choices.items():
            assert f"  {name}" in shown
            assert description(file), f"{file}: begin it with a comment line that says what it is"


@pytest.mark.parametrize("word", ["robot", "robots"])
def test_one_group(word: str) -> None:
    shown = listing([word])
    assert shown.splitlines()[0] == "robots (robot=<name>)"
    assert "unitree_go2" in shown
    assert "go2_flat" not in shown


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "robot").mkdir()
    (tmp_path / "robot" / "hexapod.yaml").write_text(
        "# @package _global_\n\n#  Six legs\nname: hexapod\n# not this\n"
    )
    (tmp_path / "robot" / "silent.yaml").write_text("name: silent\n# not this\n")
    shown = listing(["robots", f"config_dir={tmp_path}"])
    assert re.search(r"^  hexapod +Six legs$", shown, re.MULTILINE)
    assert "  silent\n" in shown
    assert "unitree_go2" in shown
    with pytest.raises(ConfigError, match="no such folder"):
        listing(["config_dir=/nowhere"])


def test_an_unknown_group_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown group 'tsks': did you mean 'tasks'"):
        listing(["tsks"])
