"""The memory formula, by hand, and what the doctor makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from random_swin import small_spec

from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Classifier, Restoration
from swin_deploy.doctor.line import Line, Verdict
from swin_deploy.doctor.machine import Machine
from swin_deploy.doctor.memory_estimate import Estimate, estimate
from swin_deploy.doctor.room import disk_line, memory_lines

SWIN_T = SwinSpec(
    "v1",
    (224, 224),
    4,
    3,
    tuple(StageSpec(depth, 96 << i, 3 << i, (7, 7), 384 << i) for i, depth in enumerate((2, 2, 6, 2))),
    Classifier(1000),
)
PARAMETERS = 28_288_354


def test_the_activations_are_those_of_the_formula() -> None:
    # Stage 0: 3136 tokens of 96 channels, MLP of 384 twice: 3136 x (96 + 768) = 2,709,504 numbers an image, more than
    # with attention (288 + 2 x 49 x 3 instead of 768). FP16, batch 32: 173.4 MB = 165.4 MiB, and 8 MiB.
    assert estimate(SWIN_T, PARAMETERS, 32, "tensorrt").activations == 173
    assert estimate(SWIN_T, PARAMETERS, 1, "tensorrt").activations == 13


@pytest.mark.parametrize(("batch", "said_mb"), [(1, 18.4), (8, 90.4), (32, 336.9)])
def test_the_activations_in_fp32_are_near_what_tensorrt_for_rtx_said(batch: int, said_mb: float) -> None:
    """Total Activation Memory of TensorRT for RTX 1.6.1, Swin-T in FP32 for compute capability 8.6."""
    in_fp32 = (2 * (estimate(SWIN_T, PARAMETERS, batch, "tensorrt").activations - 8) + 8) * 2**20 / 1e6
    assert said_mb <= in_fp32 * 1.05 and in_fp32 <= 1.25 * said_mb


@pytest.mark.parametrize(
    ("upsampler", "scale", "batch", "said_mb"),
    [
        ("pixelshuffle", 4, 1, 43.0),
        ("pixelshuffle", 4, 4, 170.7),
        ("nearest+conv", 4, 4, 170.7),
        ("pixelshuffledirect", 2, 4, 84.9),
        ("none", 1, 4, 85.1),
    ],
)
def test_restoration_is_near_what_tensorrt_for_rtx_said(upsampler: str, scale: int, batch: int, said_mb: float) -> None:
    """The same builder's, 64x64 pixels, two groups of two blocks, 60 channels, 6 heads, windows of 8."""
    groups = (StageSpec(2, 60, 6, (8, 8), 120),) * 2
    spec = SwinSpec("v1", (64, 64), 1, 3, groups, Restoration(scale, upsampler))
    in_fp32 = (2 * (estimate(spec, 10**6, batch, "tensorrt_rtx").activations - 8) + 8) * 2**20 / 1e6
    assert said_mb <= in_fp32 * 1.05 and in_fp32 <= 1.25 * said_mb


def test_weights_and_constants_are_the_graph() -> None:
    found = estimate(SWIN_T, PARAMETERS, 32, "tensorrt")
    # 28,288,354 weights are 107.91 MiB. Constants, 2401 numbers a head and window of a shifted block: 3 + 192, 6 + 96,
    # 3 x 12 + 3 x 48 and 2 x 24 times 2401 are 1,260,525 numbers, 4.81 MiB.
    assert found.graph == 113
    assert found.disk == round(12 * 112.72 + 256)
    # Half the graph, activations, 32 x (3 x 224 x 224 + 1000) x 4 bytes of images and logits, and the libraries.
    assert found.run == round(56.36 + 173.37 + 18.50 + 512)


def test_a_larger_batch_and_a_larger_window_take_more() -> None:
    small = small_spec("v1", image_size=(96, 96), window=6)
    wide = small_spec("v1", image_size=(96, 96), window=48)
    assert estimate(small, 10**6, 64, "tensorrt").run > estimate(small, 10**6, 1, "tensorrt").run
    assert estimate(wide, 10**6, 64, "tensorrt").activations > estimate(small, 10**6, 64, "tensorrt").activations


NEEDED = estimate(SWIN_T, PARAMETERS, 32, "tensorrt")


def verdicts(machine: Machine, needed: Estimate = NEEDED) -> list[Verdict]:
    return [line.verdict for line in memory_lines(machine, needed)]


def test_too_little_memory_fails_and_just_enough_warns() -> None:
    plenty = Machine(free_mib=64_000, gpu_free_mib=20_000)
    assert verdicts(plenty) == [Verdict.OK, Verdict.OK]
    assert verdicts(replace(plenty, gpu_free_mib=NEEDED.run - 1)) == [Verdict.OK, Verdict.FAIL]
    assert verdicts(replace(plenty, gpu_free_mib=NEEDED.run + 1)) == [Verdict.OK, Verdict.WARN]
    assert verdicts(replace(plenty, free_mib=NEEDED.build.total - 1)) == [Verdict.FAIL, Verdict.OK]
    build, _ = memory_lines(replace(plenty, free_mib=100), NEEDED)
    assert "100 MiB free" in build.seen and "--batch" in build.do


def test_a_jetson_runs_in_the_memory_that_it_builds_in() -> None:
    board = Machine(jetson_linux="36.4.3", free_mib=NEEDED.run - 1)
    assert verdicts(board) == [Verdict.FAIL, Verdict.FAIL]
    assert verdicts(replace(board, free_mib=64_000)) == [Verdict.OK, Verdict.OK]


def test_memory_that_is_not_known_is_a_warning_with_the_estimate() -> None:
    lines = list(memory_lines(Machine(), NEEDED))
    assert [line.verdict for line in lines] == [Verdict.WARN, Verdict.WARN]
    assert str(NEEDED.run) in lines[1].seen


def test_the_disk_fails_below_what_a_build_leaves() -> None:
    def verdict(free: int | None, needed: Estimate | None) -> Line:
        return disk_line(Machine(disk_free_mib=free), needed)

    assert verdict(10**6, NEEDED).verdict is Verdict.OK
    assert verdict(NEEDED.disk - 1, NEEDED).verdict is Verdict.FAIL
    assert verdict(10, None).verdict is Verdict.WARN, "without a checkpoint nothing is certain"
    assert verdict(None, None).verdict is Verdict.WARN
