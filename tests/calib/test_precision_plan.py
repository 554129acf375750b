"""Plans: made, changed by patterns, written and read by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from calib.errors import BadData
from calib.precision_plan import PrecisionPlan, plan_from_text, read_plan

NAMES = tuple(f"blocks.{block}.{layer}" for block in range(3) for layer in ("attn.qkv", "attn.proj", "mlp.0", "mlp.2"))


def test_excluded_linears_are_left_in_float_and_the_others_stay() -> None:
    plan = PrecisionPlan.uniform(NAMES).excluding([r"^blocks\.0\.", r"mlp\.2$"])
    assert plan.quantized == tuple(name for name in NAMES if "blocks.0" not in name and "mlp.2" not in name)
    assert PrecisionPlan.uniform(NAMES).excluding([]).quantized == NAMES


def test_excluding_keeps_the_precision_of_the_rest() -> None:
    plan = PrecisionPlan.uniform(NAMES, "fp8").excluding(["qkv"])
    assert set(plan.precisions.values()) == {"fp8", "fp16"}


def test_a_pattern_that_matches_nothing_is_refused_with_names_that_are_there() -> None:
    with pytest.raises(BadData, match=r"'blok' matches no linear.*blocks\.0\.attn\.qkv") as caught:
        PrecisionPlan.uniform(NAMES).excluding(["qkv", "blok"])
    assert caught.value.exit_code == 5


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(BadData, match="no regular expression"):
        PrecisionPlan.uniform(NAMES).excluding(["("])


def test_the_chosen_linears_are_quantized_and_unknown_ones_refused() -> None:
    assert PrecisionPlan.quantizing(NAMES, {NAMES[4], NAMES[1]}, "fp8").quantized == (NAMES[1], NAMES[4])
    with pytest.raises(BadData, match=r"no linear is named head"):
        PrecisionPlan.quantizing(NAMES, {"head"})


def test_a_plan_cannot_be_changed_through_what_it_was_made_from() -> None:
    given = {"a": "int8"}
    plan = PrecisionPlan(given)
    given["a"] = "fp16"
    assert plan.quantized == ("a",)
    with pytest.raises(TypeError):
        plan.precisions["a"] = "fp16"


@pytest.mark.parametrize("wrong", [{}, {"a": "int4"}, {"a\nb": "int8"}])
def test_what_is_no_plan_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(BadData):
        PrecisionPlan(wrong)


def test_a_file_written_by_hand_is_read_with_later_lines_winning() -> None:
    plan = plan_from_text(
        """# the last block is the sensitive one

default int8    # all but these:
/^blocks\\.2\\./   fp16
blocks.2.mlp.0\tint8
/qkv/ fp8
""",
        NAMES,
    )
    expected = dict.fromkeys(NAMES, "int8")
    expected.update({name: "fp16" for name in NAMES if name.startswith("blocks.2")})
    expected["blocks.2.mlp.0"] = "int8"
    expected.update({name: "fp8" for name in NAMES if "qkv" in name})
    assert dict(plan.precisions) == expected
    assert tuple(plan.precisions) == NAMES


def test_a_written_plan_reads_as_itself_with_shares_as_comments() -> None:
    plan = PrecisionPlan.uniform(NAMES).excluding(["blocks.1"])
    text = plan.to_text(dict.fromkeys(NAMES, 5.0))
    assert plan_from_text(text, NAMES) == plan_from_text(plan.to_text(), NAMES) == plan
    assert "blocks.1.mlp.0 fp16  # 8.33 %" in text


@pytest.mark.parametrize("name", ["default", "", "/a/", "/", "a b", "a #b", "#a", "x", "a.b+c", "/a b/"])
def test_names_that_the_format_uses_itself_come_back_too(name: str) -> None:
    plan = PrecisionPlan({name: "fp8", "xx": "int8", "other/linear": "fp16"})
    assert plan_from_text(plan.to_text({name: 1, "xx": 2, "other/linear": 3}), plan.precisions) == plan


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("default int8\nblocks.9.mlp.0 fp16", "plan, line 2: no linear is named blocks.9.mlp.0"),
        ("default int8\n/blocks.9/ fp16", "plan, line 2: /blocks.9/ matches no linear"),
        ("default int8\n/(/ fp16", "line 2: /(/ is no regular expression"),
        ("default int4", "line 1: unknown precision 'int4'"),
        ("default", "line 1: 'default'"),
        ("blocks.0.attn.qkv fp16", "no precision for 11 of 12 linears: blocks.0.attn.proj"),
        ("", "no precision for 12 of 12 linears"),
        ("/qkv/ fp16\ndefault int8", "line 2: default stands behind another line"),
        ("default int8\ndefault fp16", "line 2: default stands behind another line"),
        ("default int8\nblocks.0.mlp.0 fp16\nblocks.0.mlp.0 fp8", "line 3: blocks.0.mlp.0 is named a second time"),
    ],
)
def test_a_file_with_a_mistake_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(BadData, match=re.escape(complaint)):
        plan_from_text(text, NAMES)


def test_a_file_is_read_from_disk_and_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "plan.txt"
    path.write_bytes(b"\xef\xbb\xbfdefault fp8\r\n/mlp/ fp16\r\n")
    assert len(read_plan(path, NAMES).quantized) == 6
    path.write_bytes(b"default\xff")
    with pytest.raises(BadData, match=r"plan\.txt cannot be read"):
        read_plan(path, NAMES)
    with pytest.raises(BadData, match=r"none\.txt cannot be read"):
        read_plan(tmp_path / "none.txt", NAMES)
