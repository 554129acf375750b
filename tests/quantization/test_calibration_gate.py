"""The gates on what a calibration left in a graph: sound graphs pass, and each wrong step or scale fails by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swin_deploy.device.distances import EXACT_DB, Distance
from swin_deploy.parity.gates import GATES, GateName, Judgement, Verdict, judge
from swin_deploy.quantization.measure import QuantizationMeasure, measure_quantization
from tests.quantization.qdq_graphs import BLOCKS, CHANNELS, float_graph, images, qdq_graph


def measured(folder: Path, **spoiled: object) -> QuantizationMeasure:
    shown = images(24, seed=1)
    graph = qdq_graph(folder / "int8.onnx", **spoiled)  # type: ignore[arg-type]
    found = measure_quantization(graph, float_graph(folder / "fp32.onnx"), [shown[:16], shown[16:]])
    assert found is not None
    return found


def checks(found: QuantizationMeasure) -> dict[str, Judgement]:
    """The judgements on the inside alone; the outputs themselves are fine."""
    distances = {8: Distance(64, True, EXACT_DB, 0.0, 1.0)}
    judged = judge(GATES[GateName.INT8], distances, None, 1.0, found)
    return {
        judgement.check: judgement for judgement in judged if judgement.check in ("calibration-fit", "weight-scales")
    }


def test_a_sound_graph_passes_both(tmp_path: Path) -> None:
    found = checks(measured(tmp_path))
    assert {name: check.verdict for name, check in found.items()} == {
        "calibration-fit": Verdict.PASS,
        "weight-scales": Verdict.PASS,
    }


@pytest.mark.parametrize("block", [0, 5, BLOCKS - 1])
@pytest.mark.parametrize("factor", [8.0, 1 / 8])
def test_one_input_step_times_or_over_8_fails_and_its_block_is_named(block: int, factor: float, tmp_path: Path) -> None:
    found = checks(measured(tmp_path, inputs={block: factor}))
    assert found["calibration-fit"].verdict is Verdict.FAIL
    assert f"blocks.{block}.fc (block blocks.{block})" in found["calibration-fit"].detail
    assert f"most noise enters at blocks.{block}:" in found["calibration-fit"].detail
    assert found["weight-scales"].verdict is Verdict.PASS


@pytest.mark.parametrize("factor", [3.2, 1 / 2])
def test_steps_that_are_all_somewhat_wrong_fail_together(factor: float, tmp_path: Path) -> None:
    # What other images or another preprocessing do: no step is absurd, and many are wrong.
    found = checks(measured(tmp_path, all_inputs=factor))["calibration-fit"]
    assert found.verdict is Verdict.FAIL
    assert "loses" in found.detail or "linears lose more than 5 dB" in found.detail


def test_a_single_step_that_is_somewhat_wrong_is_borne(tmp_path: Path) -> None:
    assert checks(measured(tmp_path, inputs={3: 3.0}))["calibration-fit"].verdict is Verdict.PASS


@pytest.mark.parametrize("factor", [8.0, 1 / 8])
def test_weight_scales_times_or_over_8_fail(factor: float, tmp_path: Path) -> None:
    found = checks(measured(tmp_path, scales={4: factor}))["weight-scales"]
    assert found.verdict is Verdict.FAIL
    assert "blocks.4.fc (block blocks.4)" in found.detail and "rounded to the nearest" in found.detail


def test_swapped_weight_scales_fail(tmp_path: Path) -> None:
    found = checks(measured(tmp_path, codes_of={2: 6, 6: 2}))["weight-scales"]
    assert found.verdict is Verdict.FAIL
    assert "blocks.2.fc" in found.detail and "rounded to the nearest" in found.detail


def test_channels_that_a_tool_scaled_are_compared_with_what_nothing_has_moved(tmp_path: Path) -> None:
    even = np.exp2(np.linspace(-1, 1, CHANNELS))
    assert checks(measured(tmp_path, move={3: even}))["weight-scales"].verdict is Verdict.PASS
    # A move made for other images: a few channels take the whole range. The best step for the moved tensor is the
    # stored one, so that a search over steps alone would see nothing.
    wrong = np.ones(CHANNELS)
    wrong[:2] = 2.0**-6
    found = checks(measured(tmp_path, move={3: wrong}))["calibration-fit"]
    assert found.verdict is Verdict.FAIL and "blocks.3.fc" in found.detail


def test_a_clipped_input_is_not_blamed_on_the_weights_behind_it(tmp_path: Path) -> None:
    found = measured(tmp_path, inputs={2: 1 / 8})
    shrunk = tuple(
        replace(linear, weight_loss_db=20.0) if place > 2 else linear for place, linear in enumerate(found.linears)
    )
    assert checks(replace(found, linears=shrunk))["weight-scales"].verdict is Verdict.PASS


def test_of_several_the_first_in_the_networks_order_is_named(tmp_path: Path) -> None:
    detail = checks(measured(tmp_path, inputs={3: 6.0, 8: 16.0}))["calibration-fit"].detail
    assert detail.startswith("blocks.3.fc (block blocks.3) loses 15") and "(1 others behind it" in detail


def test_made_up_images_judge_weights_and_not_the_calibration(tmp_path: Path) -> None:
    shown = images(16)
    graphs = qdq_graph(tmp_path / "q.onnx", inputs={3: 8.0}), float_graph(tmp_path / "f.onnx")
    found = measure_quantization(*graphs, [shown], representative=False)
    assert found is not None and set(checks(found)) == {"weight-scales"}


def test_fp8_goes_the_same_way(tmp_path: Path) -> None:
    sound = measured(tmp_path, fp8=True)
    assert sound.grid == "fp8" and {check.verdict for check in checks(sound).values()} == {Verdict.PASS}
    # Three mantissa bits in both factors: a relative error of 2^-4 / sqrt(3) at most, 29 dB, and some of it less.
    assert min(linear.output_db or 0 for linear in sound.linears) == pytest.approx(29, abs=2.5)
    # A floating grid bears a step that is too large or too small until it saturates.
    spoiled = checks(measured(tmp_path, fp8=True, inputs={5: 1 / 8}))["calibration-fit"]
    assert spoiled.verdict is Verdict.FAIL and "blocks.5.fc" in spoiled.detail


def test_codes_that_leave_half_of_the_grid_unused_fail(tmp_path: Path) -> None:
    sound = measured(tmp_path)
    lazy = replace(sound.linears[4], idle=0.5)
    found = checks(replace(sound, linears=(*sound.linears[:4], lazy, *sound.linears[5:])))["weight-scales"]
    assert found.verdict is Verdict.FAIL and "blocks.4.fc" in found.detail and "50 %" in found.detail


def test_what_was_measured_is_judged_again_from_what_was_stored(tmp_path: Path) -> None:
    found = measured(tmp_path, inputs={5: 8.0})
    stored = QuantizationMeasure.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert stored == found and checks(stored) == checks(found)


def test_other_gates_do_not_look_inside(tmp_path: Path) -> None:
    found = measured(tmp_path, inputs={5: 8.0})
    judged = judge(GATES[GateName.FP32], {8: Distance(64, True, EXACT_DB, 0.0, 1.0)}, None, 1.0, found)
    assert {judgement.verdict for judgement in judged} == {Verdict.PASS}
