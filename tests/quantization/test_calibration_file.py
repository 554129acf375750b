"""A calibration file gives the very graph again, and is refused for anything but what it was made for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calib.errors import BadData
from calib.images import open_images
from calib.synthetic import structured_images
from swin_deploy.artifact import Artifact
from swin_deploy.backends.onnxruntime import outputs_of
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.linears import linears
from swin_deploy.quantization.calibration import Calibration
from swin_deploy.quantization.calibration_file import graph_fingerprint, read_record
from swin_deploy.quantization.solve import Settings
from swin_deploy.stages.quantize import Quantize
from tests.chain import PREPROCESS, Chain, decibels, random_images


def file_of(chain: Chain, name: str = "qdq") -> Path:
    """What the stage left beside its graph."""
    return chain.artifact(name).path.with_name("fp8.calibration.npz" if name == "qdq.fp8" else "int8.calibration.npz")


def reusing(file: Path, settings: Settings | None = None, **options: Any) -> Quantize:
    return Quantize(
        **{"calibration": None, "settings": settings or Settings(), "preprocess": PREPROCESS, **options},
        reuse=str(file),
    )


def run(chain: Chain, stage: Quantize, folder: Path, parent: Artifact | None = None) -> onnx.ModelProto:
    stage.run(parent or chain.artifact("simplified"), folder / "out.onnx")
    return onnx.load(folder / "out.onnx")


@pytest.mark.parametrize(("name", "grid"), [("qdq", "int8"), ("qdq.fp8", "fp8")])
def test_it_gives_the_same_graph_to_the_bit_without_an_image(
    chain: Chain, name: str, grid: str, tmp_path: Path
) -> None:
    run(chain, reusing(file_of(chain, name), Settings(grid)), tmp_path)
    assert (tmp_path / "out.onnx").read_bytes() == chain.artifact(name).path.read_bytes()
    # And leaves the same file for the next.
    left = tmp_path / file_of(chain, name).name
    assert left.read_bytes() == file_of(chain, name).read_bytes()


@pytest.mark.parametrize("tools", [(), ("bias",), ("smoothquant", "reconstruct"), ("repq",)])
def test_it_does_whatever_the_tools_were(v1: Chain, tools: tuple[str, ...], tmp_path: Path) -> None:
    settings = Settings(tools=tools)
    (tmp_path / "first").mkdir()
    (tmp_path / "again").mkdir()
    first = run(v1, Quantize(v1.calibration, settings, preprocess=PREPROCESS), tmp_path / "first")
    again = run(v1, reusing(tmp_path / "first" / "int8.calibration.npz", settings), tmp_path / "again")
    assert again.SerializeToString() == first.SerializeToString()


def test_with_the_attention_too_and_never_without_its_ranges(v1: Chain, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "again").mkdir()
    options = {"placement": "linears-and-attention"}
    first = run(v1, Quantize(v1.calibration, preprocess=PREPROCESS, **options), tmp_path / "first")
    file = tmp_path / "first" / "int8.calibration.npz"
    again = run(v1, reusing(file, **options), tmp_path / "again")
    assert again.SerializeToString() == first.SerializeToString()
    assert any("probabilities" in node.name for node in again.graph.node)
    with pytest.raises(BadInput, match="has no ranges of the attention's products, which the placement"):
        run(v1, reusing(file_of(v1), **options), tmp_path / "again")
    plain = run(v1, reusing(file), tmp_path / "again")  # the linears' part serves alone
    assert not any("probabilities" in node.name for node in plain.graph.node)


def test_the_same_images_may_be_given_again_and_others_are_refused(v1: Chain, tmp_path: Path) -> None:
    same = run(v1, reusing(file_of(v1), calibration=v1.calibration), tmp_path)
    assert same == v1.model("qdq")
    np.savez(tmp_path / "others.npz", images=structured_images(24, 28, 28, seed=4))
    others = Calibration(open_images(tmp_path / "others.npz"), PREPROCESS, 24, None)
    with pytest.raises(BadData, match=r"come from another calibration: .*24 of 24 differ"):
        run(v1, reusing(file_of(v1), calibration=others), tmp_path)


@pytest.mark.parametrize(
    "change", [{"mean": (0.5, 0.5, 0.5)}, {"interpolation": "bicubic"}, {"resize": "shorter-side"}]
)
def test_another_transform_than_the_models_is_refused_and_named(v1: Chain, change: dict, tmp_path: Path) -> None:
    other = replace(PREPROCESS, **change)
    with pytest.raises(BadData, match=f"the transform: {next(iter(change))} is"):
        run(v1, reusing(file_of(v1), preprocess=other), tmp_path)
    assert not (tmp_path / "out.onnx").exists()
    # It is the model's own that counts, whether images are given or not.
    wrong = replace(v1.calibration, preprocess=other)
    with pytest.raises(BadData, match=f"the transform: {next(iter(change))} is"):
        run(v1, reusing(file_of(v1), calibration=wrong, preprocess=other), tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings("fp8"), 'grid is "fp8" and was "int8"'),
        (Settings(method="mse"), 'ranges is "mse" and was "output"'),
        (Settings(tools=("bias",)), "tools is "),
    ],
)
def test_another_method_is_refused_and_named(v1: Chain, settings: Settings, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=f"the method: {words}"):
        run(v1, reusing(file_of(v1), settings), tmp_path)


def test_another_network_is_refused(v1: Chain, v2: Chain, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="the graph: its SHA-256 starts with"):
        run(v2, reusing(file_of(v1)), tmp_path)


@pytest.mark.parametrize("match", ["mlp.0.weight", "mlp.0.bias", "norm", "attn.constant"])
def test_one_other_number_makes_another_network_whatever_it_is_called(v1: Chain, match: str, tmp_path: Path) -> None:
    model = v1.model("simplified")
    before = graph_fingerprint(model)
    for index, tensor in enumerate(model.graph.initializer):
        for node in model.graph.node:
            for place, name in enumerate(node.input):
                node.input[place] = f"renamed_{index}" if name == tensor.name else name
        tensor.doc_string, tensor.name = tensor.name, f"renamed_{index}"
    assert graph_fingerprint(model) == before  # an export names its constants anew
    tensor = next(tensor for tensor in model.graph.initializer if match in tensor.doc_string)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 0.5
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    assert graph_fingerprint(model) != before
    onnx.save(model, tmp_path / "other.onnx")
    parent = replace(v1.artifact("simplified"), path=tmp_path / "other.onnx")
    with pytest.raises(BadData, match="the graph: its SHA-256"):
        run(v1, reusing(file_of(v1)), tmp_path, parent)


def test_a_linear_may_be_left_out_later_but_not_added(v1: Chain, tmp_path: Path) -> None:
    pattern = (r"blocks\.3\.mlp",)
    fewer = run(v1, reusing(file_of(v1), exclude=pattern), tmp_path)
    left = {linear.module for linear in linears(fewer)}
    assert left == {"blocks.2.merge.reduction", "blocks.3.mlp.0", "blocks.3.mlp.2"}
    (tmp_path / "less").mkdir()
    run(v1, Quantize(v1.calibration, exclude=pattern, preprocess=PREPROCESS), tmp_path / "less")
    with pytest.raises(BadInput, match=r"no solution for blocks\.3\.mlp\.0"):
        run(v1, reusing(tmp_path / "less" / "int8.calibration.npz"), tmp_path)


def test_a_projection_left_out_is_moved_as_its_qkv_was_solved_for(v1: Chain, tmp_path: Path) -> None:
    stored = np.load(file_of(v1))
    moved = [block for block in range(4) if (stored[f"blocks.{block}.attn.proj/scale"] != 1).any()]
    assert moved
    model = run(v1, reusing(file_of(v1), exclude=(rf"blocks\.{moved[0]}\.attn\.proj",)), tmp_path)
    images = random_images(8)
    wanted = next(outputs_of(v1.model("simplified"), [images]))["logits"]
    assert decibels(next(outputs_of(model, [images]))["logits"], wanted) > 25


def test_a_file_that_is_none_is_refused_in_a_clear_sentence(v1: Chain, tmp_path: Path) -> None:
    whole = file_of(v1).read_bytes()
    middle = len(whole) // 2
    spoiled = bytearray(whole)
    spoiled[middle : middle + 40] = bytes(40)
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    cases = {
        "cut": whole[:middle],
        "spoiled": bytes(spoiled),
        "empty": b"",
        "text": b"hello " * 99,
        "array": (tmp_path / "array.npy").read_bytes(),
        "other": (tmp_path / "other.npz").read_bytes(),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match=f"{name} cannot be read as a calibration.*the file that a run with --int8"):
            read_record(tmp_path / name)
    for missing in (tmp_path / "missing", tmp_path):
        with pytest.raises(BadInput, match="cannot be read as a calibration"):
            read_record(missing)


def test_a_record_that_is_none_and_arrays_of_another_shape_are_refused(v1: Chain, tmp_path: Path) -> None:
    with np.load(file_of(v1)) as archive:
        stored = {name: archive[name] for name in archive.files}
    np.savez(tmp_path / "a.npz", **{**stored, "record": np.array('{"schema_version": 1}')})
    with pytest.raises(BadData, match="calibration record"):
        read_record(tmp_path / "a.npz")
    for key in ("codes", "weight_step", "shift", "correction", "step"):
        name = f"blocks.1.mlp.0/{key}"
        for spoiled in ({**stored, name: np.zeros((2, 3))}, {k: v for k, v in stored.items() if k != name}):
            np.savez(tmp_path / "b.npz", **spoiled)
            with pytest.raises(BadInput, match=r"b\.npz has no solution for blocks\.1\.mlp\.0"):
                run(v1, reusing(tmp_path / "b.npz"), tmp_path)
