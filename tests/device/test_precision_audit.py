"""A build is held to the precision that was asked for; what cannot be seen is said, and is never a PASS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from swin_deploy.artifact import Precision
from swin_deploy.device.kernel_census import KernelCensus
from swin_deploy.device.precision_audit import AuditCheck, audited, overall, summary


def census(gemms: Mapping[str, int], **others: Any) -> KernelCensus:
    given = {"kernels": 108, "fused_attentions": 12, "opaque": 0, "by_type": {}, **others}
    return KernelCensus(gemms=sum(gemms.values()), int8_gemms=gemms.get("int8", 0), gemms_by_type=gemms, **given)


def precision_of(found: KernelCensus, precision: str, **known: Any) -> AuditCheck:
    checks = audited(found, Precision(precision), **known)
    assert [check.check for check in checks] == ["precision", "attention", "movement"]
    assert overall(checks) == checks[0].verdict
    return checks[0]


SOUND = [
    ({"fp16": 52}, "fp16", {"linears": 52}),
    ({"bf16": 52}, "bf16", {"linears": 52}),
    ({"fp32": 76}, "fp32", {"linears": 52}),
    ({"int8": 48, "fp16": 4}, "int8", {"linears": 48, "fp32_products": 0}),
    ({"fp8": 48, "fp16": 4}, "fp8", {"linears": 48, "fp32_products": 0}),
    ({"fp16": 52}, "fp16", {}),  # a saved log: everything is seen, and nothing is wider
    ({"fp16": 40, "fp32": 12}, "fp16", {"linears": 40, "fp32_products": 12}),  # blocks that the graph keeps in FP32
    ({"fp16": 51, "fp32": 1}, "fp16", {"linears": 52, "strongly_typed": False}),  # the builder's choice, for speed
]


@pytest.mark.parametrize(("gemms", "asked", "known"), SOUND)
def test_what_was_asked_for_passes(gemms: dict[str, int], asked: str, known: dict[str, Any]) -> None:
    check = precision_of(census(gemms), asked, **known)
    assert check.verdict == "PASS", check.detail


SPOILED = [
    ({"fp32": 76}, "fp16", {"linears": 52}, "76 products or convolutions are computed in FP32"),  # the flag was ignored
    ({"fp32": 76}, "fp16", {}, "FP16 was asked for"),  # the same of a saved log
    ({"fp32": 76}, "bf16", {}, "BF16 was asked for"),
    ({"fp32": 76}, "fp16", {"linears": 0, "fp32_products": 77}, "nothing reads FP16"),  # the graph lost its types too
    ({"fp16": 51, "fp32": 1}, "fp16", {"linears": 52}, "1 products"),  # a typed graph is not the builder's to change
    ({"fp16": 40, "fp32": 12}, "fp16", {"linears": 52, "strongly_typed": False}, "5 of them allowed"),
    ({"fp16": 52}, "int8", {"linears": 48}, "0 linears read INT8, 48 were to"),
    ({"int8": 47, "fp16": 5}, "int8", {"linears": 48}, "47 linears read INT8, 48 were to"),
    ({"fp16": 52}, "int8", {}, "nothing reads INT8"),
    ({"fp16": 52}, "int8", {"linears": 0}, "nothing reads INT8"),  # stripped of its Q/DQ, and nobody wrote them down
    ({"int8": 48, "fp32": 4}, "int8", {"linears": 48, "fp32_products": 0}, "4 products"),
    ({"int8": 48, "fp16": 4}, "fp8", {"linears": 48}, "0 linears read FP8"),
    ({"fp16": 52}, "bf16", {"linears": 52}, "0 linears read BF16"),
    ({"fp16": 52}, "fp32", {"linears": 52}, "52 products or convolutions are computed below FP32"),
]


@pytest.mark.parametrize(("gemms", "asked", "known", "words"), SPOILED)
def test_what_was_not_asked_for_fails(gemms: dict[str, int], asked: str, known: dict[str, Any], words: str) -> None:
    check = precision_of(census(gemms), asked, **known)
    assert check.verdict == "FAIL", check.detail
    assert words in check.detail


def test_the_products_of_an_attention_that_was_taken_apart_stand_for_no_linear() -> None:
    found = census({"int8": 48, "fp16": 28}, attention_gemms_by_type={"int8": 24}, unfused=("blocks.0.attn/Softmax",))
    assert precision_of(found, "int8", linears=48).verdict == "FAIL"


def test_a_convolution_in_fp32_fails_an_fp16_build_and_one_in_fp16_passes_a_network_of_convolutions() -> None:
    assert precision_of(census({"fp16": 52}, convolutions_by_type={"fp32": 1}), "fp16", linears=52).verdict == "FAIL"
    assert precision_of(census({}, convolutions_by_type={"fp16": 9}), "fp16", linears=0).verdict == "PASS"


def test_tf32_fails_an_fp32_build() -> None:
    check = precision_of(census({"fp32": 76}, tf32_gemms=3), "fp32", linears=52)
    assert (check.verdict, "TF32" in check.detail) == ("FAIL", True)


UNSEEN = [
    (census({}, opaque=1), "fp16", {"linears": 52}, "1 fused regions hide"),  # TensorRT 8 as a rule
    (census({"int8": 10}, opaque=2), "int8", {"linears": 48}, "10 linears read INT8, 48 were to"),
    (census({"fp16": 10}, opaque=2), "fp16", {}, "cannot be told"),
    (census({"unknown": 52}), "fp16", {"linears": 52}, "does not say what the products read"),
    (census({}, opaque=5, by_type={"unnamed": 5}), "int8", {"linears": 48}, "ProfilingVerbosity.DETAILED"),
    (census({"int8": 48, "fp16": 4}), "int8", {}, "how many were to is not known"),
    (census({}), "fp16", {}, "no product or convolution"),
]


@pytest.mark.parametrize(("found", "asked", "known", "words"), UNSEEN)
def test_what_cannot_be_seen_is_said_and_is_no_pass(
    found: KernelCensus, asked: str, known: dict[str, Any], words: str
) -> None:
    check = precision_of(found, asked, **known)
    assert check.verdict == "INFO", check.detail
    assert words in check.detail


def test_a_wrong_product_beside_an_opaque_region_fails_all_the_same() -> None:
    assert precision_of(census({"fp32": 3}, opaque=1), "fp16", linears=52).verdict == "FAIL"


def test_a_product_in_fp32_beside_an_opaque_region_fails_nothing_that_flags_permitted() -> None:
    found = census({"fp32": 3}, opaque=1)
    assert precision_of(found, "fp16", linears=52, strongly_typed=False).verdict == "INFO"


def test_enough_products_beside_an_opaque_region_pass() -> None:
    assert precision_of(census({"int8": 48}, opaque=1), "int8", linears=48).verdict == "PASS"


@pytest.mark.parametrize(
    ("found", "attentions", "verdict", "words"),
    [
        (census({"fp16": 52}), 12, "PASS", "12 of 12"),
        (census({"fp16": 52}), None, "INFO", "not known"),
        (census({"fp16": 52}, fused_attentions=10), 12, "INFO", "2 were taken apart"),
        (census({"fp16": 52}, fused_attentions=11, unfused=("blocks.3.attn/Softmax",)), 12, "INFO", "blocks.3.attn"),
        (census({}, fused_attentions=0, opaque=1), 12, "INFO", "hide"),
    ],
)
def test_an_attention_that_is_not_fused_is_named_and_fails_nothing(
    found: KernelCensus, attentions: int | None, verdict: str, words: str
) -> None:
    check = audited(found, Precision.FP16, attentions=attentions)[1]
    assert (check.verdict, words in check.detail) == (verdict, True), check.detail


def test_the_summary_says_that_hidden_kernels_make_a_lower_bound() -> None:
    assert summary(census({"fp16": 52}), 12).startswith("108 kernels; products: 52 FP16; attentions fused: 12 of 12")
    assert summary(census({}, opaque=1)).startswith("at least 108 kernels; products: none")


def test_fused_attentions_are_held_to_the_precision_too() -> None:
    wide, half = ({"attentions_by_type": {kind: 12}} for kind in ("fp32", "fp16"))
    check = precision_of(census({"fp16": 52}, **wide), "fp16", linears=52, fp32_products=0)
    assert (check.verdict, "24 products" in check.detail) == ("FAIL", True)
    assert precision_of(census({"fp16": 52}, **half), "fp16", linears=52).verdict == "PASS"
    assert precision_of(census({"fp32": 52}, **half), "fp32", linears=52).verdict == "FAIL"
    # The graph keeps one attention in FP32: both its products.
    kept = census({"fp16": 48, "fp32": 4}, attentions_by_type={"fp16": 11, "fp32": 1})
    assert precision_of(kept, "fp16", linears=48, fp32_products=6).verdict == "PASS"
    assert precision_of(kept, "fp16", linears=48, fp32_products=5).verdict == "FAIL"


def test_a_network_without_attention_has_none_that_was_seen_to_be_fused() -> None:
    check = audited(census({"fp16": 9}, fused_attentions=0, opaque=1), Precision.FP16, attentions=0)[1]
    assert (check.verdict, "has none" in check.detail) == ("INFO", True)
