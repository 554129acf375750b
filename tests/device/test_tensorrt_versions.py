"""The version table: every version the project names has the row that its bindings ask for."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from swin_deploy.device.tensorrt_versions import flavor_traits, import_flavor, package_unavailable, parse_version
from swin_deploy.errors import Unavailable, UsageFault


@pytest.mark.parametrize(
    ("package", "version", "typed", "flags", "targets", "profile"),
    [
        ("tensorrt", "8.6.0", False, True, False, "trt86"),
        ("tensorrt", "8.6.1.post1", False, True, False, "trt86"),
        ("tensorrt", "10.3.0", True, False, False, "strong"),
        ("tensorrt", "10.13.3.9", True, False, False, "strong"),
        ("tensorrt", "11.4.0.106", True, False, False, "strong"),
        ("tensorrt_rtx", "1.6.1.120", True, False, True, "strong"),
        ("tensorrt_rtx", "1.7.1.116", True, False, True, "strong"),
    ],
)
def test_each_known_version_has_its_row(
    package: str, version: str, typed: bool, flags: bool, targets: bool, profile: str
) -> None:
    row = flavor_traits(package, version)
    assert (row.strongly_typed, row.precision_flags, row.capability_targets, row.profile) == (
        typed,
        flags,
        targets,
        profile,
    )


@pytest.mark.parametrize(("package", "version"), [("tensorrt", "8.5.3.1"), ("tensorrt", "9.2.0"), ("tensorrt", "12.0")])
def test_a_version_without_a_row_is_refused_and_the_known_ones_are_named(package: str, version: str) -> None:
    with pytest.raises(Unavailable, match=r"8\.6 to below 9\.0, 10\.0 to below 12\.0"):
        flavor_traits(package, version)


def test_an_unknown_package_is_a_usage_fault() -> None:
    with pytest.raises(UsageFault, match="tensorrt_rtx or tensorrt"):
        flavor_traits("onnxruntime", "1.0")


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
