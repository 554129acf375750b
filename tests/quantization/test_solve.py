"""A float graph becomes a quantized one: what is solved for, and that it helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from calib.errors import BadData
from calib.grid import GRIDS, fake_quantize
from calib.tools.problem import output_sqnr_db
from calib.tools.step import METHODS
from swin_deploy.backends.onnxruntime import outputs_of, tensors_of
from swin_deploy.device.build_in_child import build_plan
from swin_deploy.device.build_job import BatchProfile
from swin_deploy.onnx_graph.input_groups import input_groups
from swin_deploy.onnx_graph.linears import quantizable
from swin_deploy.quantization.solve import Settings, observe, rows_wanted, sample_inputs
from tests.chain import PREPROCESS, Chain, decibels, random_images
from tests.solved_chain import solved_of


def arrays(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def logits(model: ModelProto, images: np.ndarray) -> np.ndarray:
    return next(outputs_of(model, [images]))["logits"]


@pytest.mark.parametrize("grid", ["int8", "fp8"])
def test_every_linear_is_solved_on_its_grid_and_the_float_graph_computes_what_it_did(chain: Chain, grid: str) -> None:
    solved = solved_of(chain, Settings(grid))
    assert len(solved.problems) == 16
    for problem in solved.problems.values():
        assert problem.step is not None and problem.rounded is not None and problem.weight_step is not None
        np.testing.assert_array_equal(
            fake_quantize(problem.rounded, problem.weight_step, GRIDS[grid]), problem.rounded, err_msg=problem.name
        )
        assert np.float32(np.float16(problem.step)) == np.float32(problem.step)
    images = random_images(5)
    assert decibels(logits(solved.graph, images), chain.logits(images)) > 100


def test_weights_and_samples_of_a_problem_are_those_of_the_moved_graph(v1: Chain) -> None:
    solved = solved_of(v1, Settings(tools=("balance",)))
    held = arrays(solved.graph)
    assert sum(problem.move is not None and problem.move.moves for problem in solved.problems.values()) > 4
    images = [PREPROCESS.batch(v1.images)]
    names = [group.linears[0].activation for group in solved.groups.values()]
    (values,) = tensors_of(solved.graph, names, images)
    for tensor, problem in solved.problems.items():
        linear = solved.groups[tensor].linears[0]
        np.testing.assert_array_equal(held[linear.weight], problem.weight)
        assert linear.bias is not None and problem.bias is not None
        np.testing.assert_array_equal(held[linear.bias], problem.bias)
        tokens = values[linear.activation].reshape(-1, len(problem.weight))
        largest = np.abs(tokens).max()
        np.testing.assert_allclose(problem.sample.lowest, tokens.min(axis=0), atol=1e-4 * largest)
        np.testing.assert_allclose(problem.sample.highest, tokens.max(axis=0), atol=1e-4 * largest)


def test_tools_raise_the_ratio_at_each_linear_and_say_what_they_did(v1: Chain) -> None:
    plain, whole = solved_of(v1, Settings(method="min-max", tools=())), solved_of(v1)
    gains = [output_sqnr_db(whole.problems[tensor]) - output_sqnr_db(plain.problems[tensor]) for tensor in plain.groups]
    assert np.median(gains) > 3
    for problem in whole.problems.values():
        assert [trial.tool for trial in problem.trials] == ["balance", "step", "reconstruct", "bias"]
    for problem in plain.problems.values():
        assert [trial.tool for trial in problem.trials] == ["step"]


def test_only_what_was_chosen_is_solved_and_moved(v1: Chain) -> None:
    model = v1.model("simplified")
    chosen = [linear for linear in quantizable(model) if linear.module.startswith("blocks.3.mlp")]
    solved = solved_of(v1, chosen=chosen)
    assert [group.name for group in solved.groups.values()] == ["blocks.3.mlp.0", "blocks.3.mlp.2"]
    before, after = arrays(model), arrays(solved.quantized())
    for linear in quantizable(model):
        assert (linear.weight in after) == (linear not in chosen)
        if linear not in chosen:
            np.testing.assert_array_equal(after[linear.weight], before[linear.weight])


def test_what_a_restriction_leaves_out_computes_in_float(v1: Chain) -> None:
    solved = solved_of(v1, Settings(tools=()))
    tensors = {group.name: tensor for tensor, group in solved.groups.items()}
    part = solved.restricted([tensors["blocks.0.attn.qkv"], tensors["blocks.3.mlp.2"]])
    scales = {name for name in arrays(part.quantized()) if name.endswith("input.scale")}
    assert scales == {"blocks.0.attn.qkv.input.scale", "blocks.3.mlp.2.input.scale"}


def test_folded_is_the_same_function(v1: Chain) -> None:
    solved, images = solved_of(v1), random_images(4)
    whole, folded = (logits(solved.quantized(folded=folded), images) for folded in (False, True))
    assert decibels(folded, whole) > 60  # a last bit may change a code
    assert decibels(folded, v1.logits(images)) < 60


@pytest.mark.parametrize("method", METHODS)
def test_each_range_method_solves_and_min_max_and_output_take_no_pass_of_their_own(v1: Chain, method: str) -> None:
    settings = Settings(method=method, tools=())
    streamed = observe(iter(()), settings, 1) if method in ("min-max", "output") else {}
    assert (streamed is None) == (method in ("min-max", "output"))
    images = PREPROCESS.batch(v1.images)
    assert decibels(logits(solved_of(v1, settings).quantized(), images), v1.logits(images)) > 30


def test_the_same_seed_gives_the_same_sample_whatever_the_batches_and_another_one_another(v1: Chain) -> None:
    model, path = v1.model("simplified"), v1.artifact("simplified").path
    groups = input_groups(model, quantizable(model)[:2])
    whole = PREPROCESS.batch(v1.images)

    def rows(seed: int) -> np.ndarray:
        return sample_inputs(model, path, groups, [whole], len(whole), seed)[groups[0].activation].rows

    np.testing.assert_array_equal(rows(0), rows(0))
    assert not np.array_equal(rows(0), rows(1))
    parts = sample_inputs(model, path, groups, [whole[:10], whole[10:]], len(whole), 0)
    first = parts[groups[0].activation]
    assert first.rows.shape == rows(0).shape
    once = sample_inputs(model, path, groups, [whole], len(whole), 0)[groups[0].activation]
    np.testing.assert_allclose(first.highest, once.highest, rtol=1e-5)  # extremes are of all tokens, not of the sample


def test_wide_inputs_get_more_rows_and_all_of_them_together_a_bounded_memory() -> None:
    assert rows_wanted({"a": 64, "b": 1024, "c": 9999}) == {"a": 2048, "b": 8192, "c": 16384}
    many = {f"t{index}": 4096 for index in range(100)}
    wanted = rows_wanted(many)
    assert set(wanted.values()) == {max(1024, int(16384 * (1 << 30) / (100 * 4 * 16384 * 4096)))}


def test_settings_that_do_not_exist_are_refused() -> None:
    for options, words in (
        ({"grid": "int4"}, "no grid 'int4'"),
        ({"method": "max"}, "no calibration method 'max'"),
        ({"tools": ("balance", "x")}, "no INT8 tool x"),
    ):
        with pytest.raises(BadData, match=words):
            Settings(**options)  # type: ignore[arg-type]


def test_tensorrt_for_rtx_builds_the_fp8_graph_for_ada(v1: Chain, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    from swin_deploy.artifact import Precision

    path = v1.artifact("fp8").path
    onnx.checker.check_model(onnx.load(path), full_check=True)
    report = build_plan(
        path,
        tmp_path / "fp8.rtx.plan",
        flavor="tensorrt_rtx",
        precision=Precision.FP8,
        shapes=BatchProfile(1, 2, 4),
        compute_capabilities=("8.9",),
    )
    assert len(report.censuses) == 1
    assert (tmp_path / "fp8.rtx.plan").stat().st_size > 0
