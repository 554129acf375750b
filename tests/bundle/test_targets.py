"""Which graphs a target gets follows from the version table, and from nothing else."""

from __future__ import annotations

import pytest

from swin_deploy.bundle.targets import TARGETS, releases_of
from swin_deploy.device.tensorrt_versions import table
from swin_deploy.errors import UsageFault


@pytest.mark.parametrize(
    ("target", "profiles"),
    [
        ("orin", ["strong", "trt86", "trt85"]),
        ("xavier", ["trt85"]),
        ("thor", ["strong"]),
        ("rtx", ["strong"]),
        ("triton", ["strong"]),
    ],
)
def test_each_target_gets_one_graph_a_profile_the_preferred_first(target: str, profiles: list[str]) -> None:
    rows = releases_of(TARGETS[target], None)
    assert [row.profile for row in rows] == profiles
    assert all(row in table() for row in rows)


@pytest.mark.parametrize(("version", "profile"), [("10.3", "strong"), ("10.3.0.30", "strong"), ("8.6.2", "trt86")])
def test_a_version_chooses_its_profile(version: str, profile: str) -> None:
    assert [row.profile for row in releases_of(TARGETS["orin"], version)] == [profile]


@pytest.mark.parametrize(("target", "version"), [("orin", "7.1"), ("xavier", "10.3"), ("thor", "8.6")])
def test_a_version_that_the_target_does_not_have_is_refused_with_those_it_has(target: str, version: str) -> None:
    with pytest.raises(UsageFault, match=r"needed|Needed: one of \d"):
        releases_of(TARGETS[target], version)


def test_a_small_board_has_bounds_and_a_desktop_has_none() -> None:
    for name in ("orin", "xavier"):
        limits = TARGETS[name].limits
        assert limits.workspace_mib is not None and limits.workspace_mib <= 1024
        assert limits.memory_limit_mib is not None and limits.memory_limit_mib <= 4096
    assert TARGETS["rtx"].limits.workspace_mib is None
