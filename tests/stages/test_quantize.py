"""Quantize: what it reads and writes, what is on record, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from calib.calibration_record import CalibrationRecord
from calib.image_source import ArrayRow
from calib.images import ImageSet, open_images
from calib.synthetic import structured_images
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends import onnxruntime
from swin_deploy.backends.onnxruntime import OnnxRuntime, outputs_of
from swin_deploy.checkpoint.task import Classifier
from swin_deploy.errors import BadData, BadInput, UsageFault
from swin_deploy.onnx_graph.attention_qdq import attention_products
from swin_deploy.onnx_graph.linears import linears
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.quantization.calibration import Calibration
from swin_deploy.quantization.find_plan import Search
from swin_deploy.quantization.solve import Settings
from swin_deploy.stages import quantize
from swin_deploy.stages.quantize import Quantize
from tests.chain import PREPROCESS, Chain, decibels, random_images

PLAIN = Settings(method="min-max", tools=())
PARTS = ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")


def stage_of(chain: Chain, settings: Settings = PLAIN, **options: Any) -> Quantize:
    return Quantize(chain.calibration, settings, preprocess=PREPROCESS, **options)


def made(chain: Chain, stage: Quantize, out: Path) -> tuple[onnx.ModelProto, dict[str, Any]]:
    facts = dict(stage.run(chain.artifact("simplified"), out).facts)
    return onnx.load(out), facts


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


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


def test_without_tools_min_max_ranges_are_those_that_pytorch_sees(chain: Chain, tmp_path: Path) -> None:
    model, facts = made(chain, stage_of(chain, batch=7), tmp_path / "out.onnx")
    wanted, held = largest_inputs(chain), arrays(model)
    assert len(facts["quantized_linears"]) == 16
    for module in facts["quantized_linears"]:
        assert held[f"{module}.input.scale"] == pytest.approx(wanted[module] / 127, rel=1e-3)
        assert facts["solutions"][module]["step"] == held[f"{module}.input.scale"]


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse", "output"])
def test_the_other_methods_clip_what_min_max_keeps(v1: Chain, method: str, tmp_path: Path) -> None:
    model, facts = made(v1, stage_of(v1, Settings(method=method, tools=())), tmp_path / "out.onnx")
    wanted, held = largest_inputs(v1), arrays(model)
    ratios = [held[f"{module}.input.scale"] * 127 / wanted[module] for module in facts["quantized_linears"]]
    assert max(ratios) < 1 + 1e-3
    assert min(ratios) < 0.99


def test_the_facts_say_what_was_calibrated_on_what(chain: Chain) -> None:
    facts = chain.produced("qdq").facts
    record = CalibrationRecord.from_json(facts["calibration"])
    assert [content for _, content in record.images] == list(chain.images.content_hashes())
    assert (record.source_kind, record.source_name, record.used) == ("npz", "calibration.npz", 24)
    assert record.preprocess == PREPROCESS.to_json()
    assert record.method == {"grid": "int8", "ranges": "output", "tools": ["balance", "reconstruct", "bias"]}
    assert facts["quantized_linears"] == [f"blocks.{block}.{part}" for block in range(4) for part in PARTS]
    assert facts["left_in_float"] == []
    assert facts["macs_share"] == 1.0
    assert facts["audit"]["linears"] == {f"blocks.{block}": 4 for block in range(4)}
    assert facts["audit"]["stored"] == "INT8"
    assert set(facts["solutions"]) == set(facts["quantized_linears"])
    assert chain.produced("qdq.fp8").facts["audit"]["stored"] == "FP8"


def test_who_applies_a_move_is_what_the_family_offers(v1: Chain, v2: Chain) -> None:
    """V1 has its norms before the linears; V2 behind them, so that the residual stream itself is read."""
    for chain, norm in ((v1, "norm"), (v2, "explicit")):
        solutions = chain.produced("qdq").facts["solutions"]
        places = {part: {solutions[f"blocks.{block}.{part}"]["place"] for block in range(4)} for part in PARTS}
        assert places["attn.proj"] == {"value"}
        assert places["mlp.2"] == {"explicit"}
        assert norm in places["mlp.0"] and norm in places["attn.qkv"]


@pytest.mark.parametrize("name", ["qdq", "int8", "lowered.qdq", "qdq.fp8", "fp8"])
def test_the_quantized_graph_is_close_but_not_equal(chain: Chain, name: str) -> None:
    images = random_images(7)
    with OnnxRuntime(literal=True).open(chain.artifact(name)) as session:
        got = session.infer(images)["logits"]
    assert 25 <= decibels(got, chain.logits(images)) < 90


def test_the_tools_bring_the_answer_nearer_than_plain_rounding(chain: Chain, tmp_path: Path) -> None:
    images = PREPROCESS.batch(chain.images)  # so few that ranges by channel say little of other images
    wanted = chain.logits(images)

    def heard(model: onnx.ModelProto) -> float:
        return decibels(next(outputs_of(model, [images]))["logits"], wanted)

    plain, _ = made(chain, stage_of(chain), tmp_path / "plain.onnx")
    assert heard(chain.model("qdq")) > heard(plain) + 2


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
    images = open_images(tmp_path / "hundred.npz")
    stage = replace(stage_of(v1), calibration=Calibration(images, PREPROCESS, 100, None))
    assert stage.run(v1.artifact("simplified"), tmp_path / "out.onnx").notes == ()


# Placement, exclusions, plans


def test_the_attentions_products_are_quantized_where_the_placement_says_so(chain: Chain, tmp_path: Path) -> None:
    model, facts = made(chain, stage_of(chain, placement="linears-and-attention"), tmp_path / "out.onnx")
    assert facts["audit"]["attention"] == {f"blocks.{block}": 2 for block in range(4)}
    held = arrays(model)
    for block in range(4):
        assert held[f"blocks.{block}.attn.probabilities.scale"] == np.float16(1 / 127)
        assert held[f"blocks.{block}.attn.value.scale"] > 0
    images = random_images(7)
    answer = next(outputs_of(model, [images]))["logits"]
    without, _ = made(chain, stage_of(chain), tmp_path / "without.onnx")
    assert decibels(answer, chain.logits(images)) >= 15
    assert attention_products(without) and not attention_products(model)  # the control
    assert not np.array_equal(answer, next(outputs_of(without, [images]))["logits"])


def test_what_is_excluded_or_planned_as_float_stays_in_float_and_the_plan_says_so(v1: Chain, tmp_path: Path) -> None:
    (tmp_path / "mine.plan").write_text("default int8\nblocks.3.mlp.2 fp16\n")
    stage = stage_of(v1, plan_file=str(tmp_path / "mine.plan"), exclude=(r"^blocks\.0\.",))
    model, facts = made(v1, stage, tmp_path / "out.onnx")
    left = [f"blocks.0.{part}" for part in PARTS] + ["blocks.3.mlp.2"]
    assert facts["left_in_float"] == left
    assert {linear.module for linear in linears(model)} == {*left, "blocks.2.merge.reduction"}
    assert 0 < facts["macs_share"] < 1
    plan = (tmp_path / "int8.plan").read_text().splitlines()
    written = {line.split()[0]: line.split()[1] for line in plan if not line.startswith("#")}
    assert {name for name, precision in written.items() if precision == "fp16"} == set(left)
    assert set(written.values()) == {"int8", "fp16"}
    # The plan that was written gives the same graph.
    again, _ = made(v1, stage_of(v1, plan_file=str(tmp_path / "int8.plan")), tmp_path / "again.onnx")
    assert again == model


def test_a_plan_or_a_timings_file_is_part_of_the_key_by_its_content(v1: Chain, tmp_path: Path) -> None:
    images = EvaluationSet(v1.images, PREPROCESS, task=Classifier(5))
    file = tmp_path / "a"
    for stage in (stage_of(v1, plan_file=str(file)), stage_of(v1, search=Search(images, 1.0, timings=str(file)))):
        found = []
        for text in ("one", "two", "one"):
            file.write_text(text)
            found.append(dict(stage.tools()))
        assert found[0] == found[2] != found[1]


def test_other_calibrations_of_the_same_size_are_shown_and_the_first_is_the_one_that_is_built(
    v1: Chain, tmp_path: Path
) -> None:
    pixels = structured_images(10, 28, 28, seed=8)
    rows = tuple(ArrayRow("judged", pixels, row) for row in range(10))
    labels = tuple(row % 5 for row in range(10))
    judged = EvaluationSet(
        ImageSet("judged", tuple(map(str, range(10))), labels, None, rows), PREPROCESS, task=Classifier(5)
    )
    model, facts = made(v1, stage_of(v1, seeds=3, judged=judged), tmp_path / "out.onnx")
    assert [entry["seed"] for entry in facts["seeds"]] == [0, 1, 2]
    assert len({entry["sqnr_db"] for entry in facts["seeds"]}) == 3
    (batch,) = judged.batches(10)
    wanted = next(outputs_of(v1.model("simplified"), [batch]))["logits"]
    built = decibels(next(outputs_of(model, [batch]))["logits"], wanted)
    assert facts["seeds"][0]["sqnr_db"] == pytest.approx(built, abs=0.5)
    one, facts = made(v1, stage_of(v1, seeds=1, judged=judged), tmp_path / "one.onnx")
    assert "seeds" not in facts and one == model


# Memory


def test_a_step_holds_no_more_images_than_its_memory(v1: Chain, tmp_path: Path, monkeypatch) -> None:
    """One image of a dense network may have a GiB of activations, and 32 of them be no machine's."""
    steps: list[int] = []
    whole = onnxruntime.tensors_of

    def watched(path, names, batches):
        for found in whole(path, names, batches):
            steps.append(len(next(iter(found.values()))))
            yield found

    monkeypatch.setattr(onnxruntime, "tensors_of", watched)
    stage, parent = stage_of(v1), v1.artifact("simplified")
    wide, _ = made(v1, stage, tmp_path / "wide.onnx")
    assert steps == [1, 24]  # the first says how large one image is; min-max needs one pass
    names = [linear.activation for linear in linears(v1.model("simplified")) if linear.module.endswith(PARTS)]
    (first,) = whole(parent.path, names, [PREPROCESS.batch([v1.images[0]])])
    each = sum(values.nbytes for values in first.values())
    for room, wanted in ((7 * each, [7, 7, 7, 3]), (each - 1, [1] * 24)):
        steps.clear()
        monkeypatch.setattr(quantize, "STEP_BYTES", room)
        narrow, _ = made(v1, stage, tmp_path / "narrow.onnx")
        assert steps[1:] == wanted
        for name, values in arrays(wide).items():
            if name.endswith("input.scale"):
                assert arrays(narrow)[name] == pytest.approx(values, rel=2e-3)


# Refusals


def test_unknown_methods_tools_grids_and_placements_are_refused_and_the_known_ones_named(v1: Chain) -> None:
    for options, words in (
        ({"method": "entropie"}, r"'entropie'.*min-max"),
        ({"tools": ("magic",)}, r"no INT8 tool magic.*balance"),
        ({"grid": "int4"}, r"'int4'.*int8, fp8"),
    ):
        with pytest.raises(BadData, match=words):
            Settings(**options)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"no placement 'everywhere'.*linears"):
        stage_of(v1, placement="everywhere")


def test_an_empty_calibration_batch_is_refused(v1: Chain) -> None:
    with pytest.raises(BadInput, match="batch of 0"):
        stage_of(v1, batch=0)


def test_neither_images_nor_a_calibration_and_a_calibration_without_a_transform_are_refused() -> None:
    with pytest.raises(UsageFault, match="quantization without data"):
        Quantize(None, preprocess=PREPROCESS)
    with pytest.raises(UsageFault, match="an earlier calibration without a transform"):
        Quantize(None, reuse="a.npz")
    assert Quantize(None, reuse="a.npz", preprocess=PREPROCESS).precision is Precision.INT8


def test_images_of_another_size_than_the_graphs_are_refused(v1: Chain, tmp_path: Path) -> None:
    large = replace(PREPROCESS, height=56, width=56)
    stage = Quantize(replace(v1.calibration, preprocess=large), preprocess=large)
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
        stage_of(v1).run(nameless, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_a_graph_whose_function_a_move_would_change_is_refused(
    v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swin_deploy.onnx_graph import move_inputs

    monkeypatch.setattr(move_inputs._Editor, "rescale_values", lambda *_: None)
    with pytest.raises(BadInput, match="moving the linears' inputs changed output logits"):
        stage_of(v1, Settings()).run(v1.artifact("simplified"), tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
