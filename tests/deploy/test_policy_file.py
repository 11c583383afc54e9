"""The seal: any change to any byte is found, and so is a graph that is not the spec's."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from robodistill_deploy.errors import RobodistillError, SpecError
from robodistill_deploy.policy_file import METADATA_KEY, open_policy_file, stamp, verify
from robodistill_deploy.policy_spec import PLACEHOLDER, PolicySpec
from robodistill_deploy.runtime import load_policy

Write = Callable[..., Path]


def refused(path: Path, says: str | None = None) -> str:
    """Open ``path``, which must fail in one line that names the file; return the line."""
    with pytest.raises(SpecError, match=says) as caught:
        open_policy_file(path)
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    return line


def test_stamped_file_opens_and_holds_its_spec(path: Path, spec: PolicySpec) -> None:
    file = open_policy_file(path)
    assert file.spec.digest == verify(path)
    assert file.spec.digest != PLACEHOLDER
    assert dataclasses.replace(file.spec, digest=PLACEHOLDER) == spec


def test_stamp_changes_nothing_but_the_digits(write: Write) -> None:
    path = write(sealed=False)
    before = path.read_bytes()
    os.chmod(path, 0o640)
    digest = stamp(path)
    assert path.read_bytes() == before.replace(PLACEHOLDER.encode(), digest.encode())
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file left
    assert stamp(path) == digest  # stamping again is the same


def test_every_flipped_byte_is_refused(path: Path) -> None:
    data = path.read_bytes()
    rng = np.random.default_rng(3)
    weight = data.index(np.float32(0.9).tobytes())
    digest = data.index(b'"digest":"')
    metadata = data.index(METADATA_KEY.encode())
    picked = {0, len(data) - 1, weight, weight + 3, metadata, *range(digest, digest + 76)}
    picked.update(int(i) for i in rng.integers(0, len(data), 200))
    for i in sorted(picked):
        spoiled = bytearray(data)
        spoiled[i] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoiled)
        with pytest.raises(SpecError):  # by the digest alone, before anything is parsed
            verify(path)
        refused(path)


def test_truncated_empty_and_extended_files_are_refused(path: Path) -> None:
    data = path.read_bytes()
    digest = data.index(b'"digest":"')
    for size in (0, 1, len(data) // 2, digest + 20, digest + 74, len(data) - 1):
        path.write_bytes(data[:size])
        refused(path, "damaged")
    path.write_bytes(data + b"\0")
    refused(path, "damaged")


def test_unstamped_file_is_refused(write: Write) -> None:
    refused(write(sealed=False), "never stamped")


def test_two_digest_fields_are_refused(write: Write, spec: PolicySpec, model: onnx.ModelProto) -> None:
    model.doc_string = f'"digest":"{PLACEHOLDER}"'
    with pytest.raises(SpecError, match="2 digest fields"):
        write(model=model)


def test_digest_inside_a_string_is_not_taken_for_the_field(write: Write, spec: PolicySpec) -> None:
    notes = dataclasses.replace(spec.provenance, method=f'"digest":"{PLACEHOLDER}"')
    assert open_policy_file(write(spec=dataclasses.replace(spec, provenance=notes))).spec.provenance == notes


def test_digest_outside_the_spec_does_not_count(
    write: Write, spec: PolicySpec, model: onnx.ModelProto
) -> None:
    """A field elsewhere in the file, while the spec's own is written so that the search misses it."""
    model.doc_string = f'"digest":"{PLACEHOLDER}"'
    text = spec.to_json().replace('"digest":"', '"digest": "')
    refused(write(model=model, text=text), "not the policy spec's own")


def test_a_spec_with_a_field_too_few_or_too_many_is_refused(write: Write, spec: PolicySpec) -> None:
    plain = json.loads(spec.to_json())
    del plain["envelope"]
    refused(write(text=json.dumps(plain, separators=(",", ":"))), "missing field 'envelope'")
    plain = json.loads(spec.to_json()) | {"saftey": {}}
    refused(write(text=json.dumps(plain, separators=(",", ":"))), "unknown field 'saftey'")


def test_a_sealed_file_without_spec_is_refused(write: Write, model: onnx.ModelProto, tmp_path: Path) -> None:
    helper.set_model_props(model, {"somebody.else": f'{{"digest":"{PLACEHOLDER}"}}'})
    path = tmp_path / "other.onnx"
    path.write_bytes(model.SerializeToString())
    stamp(path)
    refused(path, "robodistill export")


def test_what_onnxruntime_cannot_load_is_one_line(write: Write, model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "NoSuchOperator"
    refused(write(model=model), "cannot load this graph")


def test_a_sealed_text_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    path.write_text(f'{{"digest":"{PLACEHOLDER}"}}')
    stamp(path)
    refused(path, "cannot load this graph")


def test_weights_in_another_file_are_refused(
    tmp_path: Path, spec: PolicySpec, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    path = tmp_path / "policy.onnx"
    onnx.save_model(model, str(path), save_as_external_data=True, size_threshold=0, location="policy.data")
    stamp(path)
    monkeypatch.chdir(tmp_path)  # where onnxruntime would find them
    refused(path, "another file")


def test_a_graph_with_an_open_batch_is_refused(write: Write, model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    refused(
        write(model=model), r"'signal.imu_gyro' is tensor\(float\) \['batch', 3\], must be float \[1, 3\]"
    )


def test_a_graph_of_another_size_is_refused(write: Write, spec: PolicySpec) -> None:
    wide = dataclasses.replace(spec.states[1], shape=(1, 2), initial=(0.0, 0.0))
    refused(write(spec=dataclasses.replace(spec, states=(spec.states[0], wide))), "'state.h'.*must be float")


def test_a_graph_with_other_names_is_refused(write: Write, spec: PolicySpec, model: onnx.ModelProto) -> None:
    fewer = dataclasses.replace(spec, states=spec.states[:1])
    refused(write(spec=fewer), "unknown input 'state.h'")
    more = dataclasses.replace(spec, states=(*spec.states, dataclasses.replace(spec.states[1], name="cell")))
    refused(write(spec=more), "lacks the spec's input 'state.cell'")


def test_missing_file_names_the_nearest(path: Path) -> None:
    with pytest.raises(RobodistillError, match=r"did you mean 'policy\.onnx'"):
        verify(path.with_name("polcy.onnx"))
    with pytest.raises(RobodistillError, match="cannot be read"):
        verify(path.parent)


def changed_weight(model: onnx.ModelProto, name: str, factor: float) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            values = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(values, name))
            return
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("weight", "where"),
    [("W", r"ticks\[0\]"), ("b", r"ticks\[0\]"), ("legs.scale", r"ticks\[\d\]"), ("keep", r"sequence\[1\]")],
)
def test_other_weights_under_a_new_seal_fail_the_self_test(
    write: Write, model: onnx.ModelProto, weight: str, where: str
) -> None:
    changed_weight(model, weight, 1.001)
    path = write(model=model)
    verify(path)
    with pytest.raises(SpecError, match=f"self-test {where}: (legs|wheel) of '(hip|thigh|calf|wheel)'"):
        load_policy(path)


def test_another_initial_state_fails_the_self_test(write: Write, spec: PolicySpec) -> None:
    states = (spec.states[0], dataclasses.replace(spec.states[1], initial=(0.51,)))
    with pytest.raises(SpecError, match="self-test"):
        load_policy(write(spec=dataclasses.replace(spec, states=states)))


def test_a_graph_that_returns_nan_fails_the_self_test(write: Write, model: onnx.ModelProto) -> None:
    changed_weight(model, "W", float("nan"))
    with pytest.raises(SpecError, match="not finite"):
        load_policy(write(model=model))
