"""Quantize: ranges come from the images, and what was done is on record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from calib.images import open_images
from calib.ranges import RangesTable
from calib.synthetic import structured_images
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends import onnxruntime
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.linears import linears
from swin_deploy.stages import quantize
from swin_deploy.stages.quantize import Quantize
from tests.chain import PREPROCESS, Chain, decibels, random_images


def largest_inputs(chain: Chain) -> dict[str, float]:
    """The largest magnitude at the input of each linear, from hooks on the deployment form."""
    model = chain.deployment()
    found: dict[str, float] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(
                lambda module, inputs, output, name=name: found.update({name: float(inputs[0].abs().max())})
            )
    with torch.inference_mode():
        model(torch.from_numpy(PREPROCESS.batch(chain.images)))
    return found


def test_min_max_ranges_are_those_that_pytorch_sees(chain: Chain, tmp_path: Path) -> None:
    stage = Quantize(chain.images, PREPROCESS, "min-max", batch=7)
    facts = stage.run(chain.artifact("simplified"), tmp_path / "out.onnx").facts
    wanted = largest_inputs(chain)
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "out.onnx").graph.initializer}
    amax = facts["calibration"]["amax"]
    for linear in linears(chain.model("simplified")):
        if linear.module in facts["quantized_linears"]:
            assert amax[linear.activation] == pytest.approx(wanted[linear.module], rel=1e-4)
            assert held[f"{linear.module}.input.scale"] == np.float32(np.float16(amax[linear.activation] / 127))


def test_the_percentile_clips_what_min_max_keeps(chain: Chain) -> None:
    ranges = chain.produced("qdq").facts["calibration"]
    assert ranges["method"] == "percentile"
    wanted = largest_inputs(chain)
    activations = {linear.module: linear.activation for linear in linears(chain.model("simplified"))}
    ratios = [
        ranges["amax"][activations[module]] / wanted[module]
        for module in chain.produced("qdq").facts["quantized_linears"]
    ]
    assert max(ratios) < 1 + 1e-4
    assert min(ratios) < 0.99


def test_the_facts_say_what_was_calibrated_on_what(chain: Chain) -> None:
    facts = chain.produced("qdq").facts
    table = RangesTable.from_json(facts["calibration"])
    assert table.images == len(chain.images) == 24
    assert table.data_fingerprint == chain.images.fingerprint()
    assert facts["preprocess"] == PREPROCESS.to_json()
    assert len(facts["quantized_linears"]) == 16


@pytest.mark.parametrize("name", ["qdq", "int8", "lowered.qdq"])
def test_the_quantized_graph_is_close_but_not_equal(chain: Chain, name: str) -> None:
    images = random_images(7)
    with OnnxRuntime(literal=True).open(chain.artifact(name)) as session:
        got = session.infer(images)["logits"]
    assert 25 <= decibels(got, chain.logits(images)) < 90


def test_wrong_ranges_would_be_seen(v1: Chain, tmp_path: Path) -> None:
    model = v1.model("qdq")
    for tensor in model.graph.initializer:
        if tensor.name.endswith("input.scale"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) / 16, tensor.name))
    onnx.save(model, tmp_path / "spoiled.onnx")
    images = random_images(7)
    with OnnxRuntime(literal=True).open(
        Artifact("spoiled", tmp_path / "spoiled.onnx", Format.ONNX, Precision.INT8)
    ) as session:
        assert decibels(session.infer(images)["logits"], v1.logits(images)) < 35


def test_few_images_are_remarked_on(v1: Chain) -> None:
    assert v1.produced("qdq").notes == ("only 24 calibration images: ranges from fewer than 100 are noisy",)


def test_a_hundred_images_are_not(v1: Chain, tmp_path: Path) -> None:
    np.savez(tmp_path / "hundred.npz", images=structured_images(100, 28, 28, seed=0))
    stage = Quantize(open_images(tmp_path / "hundred.npz"), PREPROCESS)
    assert stage.run(v1.artifact("simplified"), tmp_path / "out.onnx").notes == ()


def test_an_unknown_method_is_refused_and_the_known_ones_are_named(v1: Chain) -> None:
    with pytest.raises(BadInput, match=r"'entropie'.*min-max"):
        Quantize(v1.images, PREPROCESS, "entropie")


def test_an_empty_calibration_batch_is_refused(v1: Chain) -> None:
    with pytest.raises(BadInput, match="batch of 0"):
        Quantize(v1.images, PREPROCESS, batch=0)


def test_a_step_holds_no_more_images_than_its_memory(v1: Chain, tmp_path: Path, monkeypatch) -> None:
    """One image of a dense network may have a GiB of activations, and 32 of them be no machine's."""
    steps: list[int] = []
    whole = onnxruntime.tensors_of

    def watched(path, names, batches):
        for found in whole(path, names, batches):
            steps.append(len(next(iter(found.values()))))
            yield found

    monkeypatch.setattr(onnxruntime, "tensors_of", watched)
    stage, parent = Quantize(v1.images, PREPROCESS, "min-max"), v1.artifact("simplified")
    wide = stage.run(parent, tmp_path / "wide.onnx").facts["calibration"]
    assert steps == [1, 24]  # the first says how large one image is
    (first,) = whole(parent.path, list(wide["amax"]), [PREPROCESS.batch([v1.images[0]])])
    each = sum(values.nbytes for values in first.values())
    for room, wanted in ((7 * each, [7, 7, 7, 3]), (each - 1, [1] * 24)):
        steps.clear()
        monkeypatch.setattr(quantize, "STEP_BYTES", room)
        narrow = stage.run(parent, tmp_path / "narrow.onnx").facts["calibration"]
        assert steps[1:] == wanted
        assert narrow["amax"] == pytest.approx(wide["amax"], rel=1e-5)


def test_images_of_another_size_than_the_graphs_are_refused(v1: Chain, tmp_path: Path) -> None:
    stage = Quantize(v1.images, replace(PREPROCESS, height=56, width=56))
    with pytest.raises(BadInput, match=r"56x56.*28x28"):
        stage.run(v1.artifact("simplified"), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_without_block_linears_is_refused(v1: Chain, tmp_path: Path) -> None:
    model = v1.model("simplified")
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.save(model, tmp_path / "nameless.onnx")
    nameless = replace(v1.artifact("simplified"), path=tmp_path / "nameless.onnx")
    with pytest.raises(BadInput, match="no block linears"):
        Quantize(v1.images, PREPROCESS).run(nameless, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
