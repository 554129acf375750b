"""What the doctor says of architectures: windows, padding, attention, DLA."""

from __future__ import annotations

import pytest
from random_swin import small_spec

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.doctor.attention_rules import attention_lines
from swin_deploy.doctor.dla import dla_line
from swin_deploy.doctor.line import Line, Verdict
from swin_deploy.doctor.window_fit import window_lines


def attention(spec: SwinSpec) -> tuple[Line, Line]:
    fp16, int8 = attention_lines(spec)
    return fp16, int8


def test_a_usual_swin_is_within_all_bounds() -> None:
    spec = small_spec("v1", dim=64, heads=(2, 4), image_size=(56, 56))
    assert [line.verdict for line in attention(spec)] == [Verdict.OK, Verdict.OK]


def test_a_window_of_24_warns_for_int8_alone() -> None:
    spec = small_spec("v2", dim=64, heads=(2, 4), image_size=(96, 96), window=24)
    fp16, int8 = attention(spec)
    assert fp16.verdict is Verdict.OK
    assert int8.verdict is Verdict.WARN and "576 tokens" in int8.seen and "--placement linears" in int8.do


def test_heads_are_told_with_the_zero_channels_that_they_get() -> None:
    fp16, int8 = attention(small_spec("v1", dim=60, heads=(2, 4), image_size=(56, 56)))
    assert "30 (with 2 zero channels 32, which is exact)" in fp16.seen and fp16.verdict is Verdict.OK
    assert int8.verdict is Verdict.OK
    fp16, int8 = attention(small_spec("v1", dim=48, heads=(2, 4), image_size=(56, 56)))
    assert fp16.verdict is Verdict.OK
    assert int8.verdict is Verdict.WARN and "heads of 24" in int8.seen


def test_heads_beyond_256_are_not_fused() -> None:
    fp16, _ = attention(small_spec("v1", dim=264, heads=(1, 2), image_size=(56, 56)))
    assert fp16.verdict is Verdict.WARN


def test_of_another_attention_nothing_is_claimed() -> None:
    (line,) = attention_lines(small_spec("v1", attention="linformer"))
    assert line.verdict is Verdict.WARN and "linformer" in line.seen


def test_a_last_stage_of_one_window_has_no_shift_and_that_is_all_right() -> None:
    shift, padding = window_lines(small_spec("v1"))
    assert shift.verdict is Verdict.OK and "stage 1 of 0 to 1" in shift.seen
    assert padding.verdict is Verdict.OK


def test_a_shift_that_is_off_everywhere_warns() -> None:
    shift, _ = window_lines(small_spec("v1", image_size=(14, 14)))
    assert shift.verdict is Verdict.WARN and "--window" in shift.do


def test_code_that_never_stops_shifting_is_on_everywhere() -> None:
    shift, _ = window_lines(small_spec("v1", rule="openmmlab-dense"))
    assert shift.seen == "on in every stage"


def test_padding_is_told_with_its_cost_and_with_a_size_that_needs_none() -> None:
    # 16x16 tokens in windows of 7 become 21x21, 8x8 become 14x14: 2 x (441 + 196) of 2 x (256 + 64) tokens.
    _, padding = window_lines(small_spec("v1", image_size=(32, 32)))
    assert padding.verdict is Verdict.WARN
    assert "0 (16 to 21)" in padding.seen and "1 (8 to 14)" in padding.seen and "99 % more tokens" in padding.seen
    assert "--image-size 56 needs none" in padding.do


@pytest.mark.parametrize("image_size", [(28, 28), (56, 28)])
def test_an_image_that_fits_has_no_padding(image_size: tuple[int, int]) -> None:
    _, padding = window_lines(small_spec("v1", image_size=image_size))
    assert padding.verdict is Verdict.OK


def test_the_dla_line_counts_what_would_fall_back() -> None:
    line = dla_line(small_spec("v1", depths=(2, 2)))
    for words in ("8 or more LayerNormalization", "4 Softmax", "4 GELU", "8 MatMul", "GPU"):
        assert words in line.seen
