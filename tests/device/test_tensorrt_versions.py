"""The version table: every version the project names has the row that its bindings ask for."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from swin_deploy.device.tensorrt_versions import (
    import_flavor,
    package_unavailable,
    parse_version,
    table,
    traits_of,
)
from swin_deploy.errors import Unavailable, UsageFault


@pytest.mark.parametrize(
    ("package", "version", "typed", "flags", "targets", "profile", "jetpack"),
    [
        ("tensorrt", "8.5.2.2", False, True, False, "trt85", "5.1"),
        ("tensorrt", "8.5.3.1", False, True, False, "trt85", "5.1"),
        ("tensorrt", "8.6.1.post1", False, True, False, "trt86", "6.0"),
        ("tensorrt", "8.6.2.3", False, True, False, "trt86", "6.0"),
        ("tensorrt", "10.3.0", True, False, False, "strong", "6.1 and 6.2"),
        ("tensorrt", "10.13.3.9", True, False, False, "strong", "7.0 and 7.1"),
        ("tensorrt", "11.4.0.106", True, False, False, "strong", "7.2.2 and later"),
        ("tensorrt_rtx", "1.6.1.120", True, False, True, "strong", ""),
        ("tensorrt_rtx", "1.7.1.116", True, False, True, "strong", ""),
    ],
)
def test_each_known_version_has_its_row(
    package: str, version: str, typed: bool, flags: bool, targets: bool, profile: str, jetpack: str
) -> None:
    row = traits_of(package, version)
    found = row.strongly_typed, row.precision_flags, row.capability_targets, row.profile, row.jetpack
    assert found == (typed, flags, targets, profile, jetpack)
    assert row.explicit_batch == flags  # both went with TensorRT 10


def test_the_rows_of_a_package_follow_on_from_old_to_new() -> None:
    rows = [row for row in table() if row.package == "tensorrt"]
    assert [row.since for row in rows] == sorted(row.since for row in rows)
    assert all(row.since < row.until for row in table())
    assert all(before.until <= after.since for before, after in itertools.pairwise(rows))


@pytest.mark.parametrize(("package", "version"), [("tensorrt", "8.4.1"), ("tensorrt", "9.2.0"), ("tensorrt", "12.0")])
def test_a_version_without_a_row_is_refused_and_the_known_ones_are_named(package: str, version: str) -> None:
    with pytest.raises(Unavailable, match=r"8\.5 to below 8\.6 or .*tensorrt 11\.0 to below 12\.0"):
        traits_of(package, version)


def test_an_unknown_package_is_a_usage_fault() -> None:
    with pytest.raises(UsageFault, match="tensorrt_rtx or tensorrt"):
        traits_of("onnxruntime", "1.0")


def test_an_unreadable_version_is_refused() -> None:
    assert parse_version("10.13.3.9") == (10, 13)
    with pytest.raises(Unavailable):
        parse_version("unknown")


@pytest.mark.parametrize(("package", "extra"), [("tensorrt", "tensorrt"), ("tensorrt_rtx", "rtx")])
def test_a_missing_package_names_the_extra_to_install(
    package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # Python's own way to say: not importable
    reason = package_unavailable(package)
    assert reason is not None
    assert f"pip install 'swin-deploy[{extra}]'" in reason


def test_a_stub_without_a_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace())
    with pytest.raises(Unavailable, match="stub"):
        import_flavor("tensorrt")


def test_the_documentation_lists_each_row_as_it_is() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "tensorrt.md").read_text(encoding="utf-8")
    for row in table():
        kind = "builder flags" if row.precision_flags else "the graph's types"
        assert " | ".join([f"| {row.versions}", row.jetpack, f"`{row.profile}`", kind]).replace("|  |", "| |") in page
