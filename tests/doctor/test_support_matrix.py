"""The support matrix against what is pinned, what the TensorRT table knows, and the docs."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from swin_deploy.device.tensorrt_versions import table, traits_of
from swin_deploy.doctor.support_matrix import JETPACKS, MATRIX, jetpack_of, markdown, row_of

ROOT = Path(__file__).resolve().parents[2]


def test_the_docs_hold_the_very_table() -> None:
    assert "\n".join(markdown()) in (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("package", "pin"),
    [
        ("torch", "torch"),
        ("onnx", "onnx"),
        ("onnxruntime", "onnxruntime"),
        ("tensorrt_rtx", "tensorrt-rtx"),
        ("torch_tensorrt", "torch-tensorrt-rtx"),
    ],
)
def test_what_is_pinned_is_what_was_executed(package: str, pin: str) -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    (version,) = re.findall(rf"^{pin}==([\d.]+)(?:; python_version >= '3.11')?$", pins, re.MULTILINE)
    row = row_of(package, version)
    assert row is not None and row.standing == "executed"


def test_ranges_of_one_package_do_not_overlap() -> None:
    for one, other in combinations(MATRIX, 2):
        if one.package == other.package:
            assert one.until <= other.since or other.until <= one.since, f"{one} and {other}"


@pytest.mark.parametrize("traits", [row for row in table() if row.package == "tensorrt"], ids=lambda row: row.versions)
def test_every_tensorrt_that_the_builder_drives_has_a_row_that_refuses_nothing(traits: object) -> None:
    row = row_of("tensorrt", "{}.{}".format(*traits.since))
    assert row is not None and row.standing != "refused"
    assert row.since <= traits.since and traits.until <= row.until


def test_each_jetpack_s_tensorrt_is_the_one_that_the_builder_s_table_names() -> None:
    for jetpack in JETPACKS:
        traits = traits_of("tensorrt", ".".join(map(str, jetpack.tensorrt)))
        for number in re.findall(r"\d+\.\d+", jetpack.name):
            assert number in traits.jetpack, f"{jetpack} and {traits.versions}: {traits.jetpack}"


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("35.4.1", "5.1"),
        ("36.3.0", "6.0"),
        ("36.4.7", "6.1 or 6.2"),
        ("38.4.0", "7.0 or 7.1"),
        ("32.7.1", None),
        ("", None),
    ],
)
def test_releases_of_jetson_linux_are_told_apart(release: str, name: str | None) -> None:
    found = jetpack_of(release)
    assert (found and found.name) == name


def test_a_local_version_and_a_garbled_one_are_read_as_far_as_they_go() -> None:
    assert row_of("torch", "2.14.1+cpu").standing == "executed"
    assert row_of("torch", "") is None
    assert row_of("no such package", "1.0") is None
