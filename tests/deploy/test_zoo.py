"""The zoo: every card belongs to the file beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from robodistill_deploy import zoo
from robodistill_deploy.codec import to_plain
from robodistill_deploy.errors import RobodistillError
from robodistill_deploy.runtime import load_policy

CARD = zoo.Card(
    zoo.SCHEMA, "toy", "A toy", "cart", "balance", "0" * 64, {"seed": "0"}, {"rmse": "m/s"},
    (zoo.Measured("as trained", 8, {"rmse": (0.25, 0.125, 0.5)}),), ("none tried",), "Apache-2.0",
)  # fmt: skip


@pytest.mark.parametrize("name", zoo.names())
def test_every_policy_proves_itself_and_is_the_one_of_its_card(name: str) -> None:
    card = zoo.card(name)
    file = zoo.locate(f"zoo:{name}")
    policy = load_policy(file)  # digest, spec, graph, self-test
    assert hashlib.sha256(file.read_bytes()).hexdigest() == card.sha256
    assert (policy.spec.interface.robot, policy.spec.interface.task) == (card.robot, card.task)
    assert policy.spec.provenance.license == card.license
    assert card.name == name
    assert all(low <= mean <= high for m in card.measured for mean, low, high in m.figures.values())
    assert file.stat().st_size < 3e6  # it travels with every install


def test_a_card_is_read_as_written_and_shown_with_its_units(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "card.json").write_text(json.dumps(to_plain(CARD)))
    assert zoo.names(tmp_path) == ["toy"]
    assert zoo.card("toy", tmp_path) == CARD
    assert "rmse   0.25 (0.125 to 0.5) m/s" in zoo.describe(CARD)
    assert zoo.locate("zoo:toy", tmp_path) == tmp_path / "toy" / "policy.onnx"
    assert zoo.locate("runs/zoo/policy.onnx") == Path("runs/zoo/policy.onnx")


def test_a_wrong_name_or_a_foreign_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    file = tmp_path / "toy" / "card.json"
    file.write_text(json.dumps({**to_plain(CARD), "schema": "robodistill.card/9"}))
    with pytest.raises(RobodistillError, match=r"schema 'robodistill\.card/9'"):
        zoo.card("toy", tmp_path)
    file.write_text(json.dumps({**to_plain(CARD), "colour": "red"}))
    with pytest.raises(RobodistillError, match="unknown field 'colour'"):
        zoo.card("toy", tmp_path)
    with pytest.raises(RobodistillError, match="did you mean 'toy'"):
        zoo.locate("zoo:toi", tmp_path)
